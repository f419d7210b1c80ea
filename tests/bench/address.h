/* SPDX-License-Identifier: Apache-2.0 */
/* Where the target listens, a line, as it tells the source through a pipe. */
#ifndef GW_BENCH_ADDRESS_H
#define GW_BENCH_ADDRESS_H

#include <stdbool.h>

#include "godwit/transport.h"

/* False: the target ended without a word. */
bool read_address(int hear, char uri[GW_URI_TEXT_BYTES]);

#endif
