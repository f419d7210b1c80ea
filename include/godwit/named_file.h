/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that an operator names: where there is none of that name he is told so, not that his host
 * lacks something. Pure. Any thread. Never blocks.
 */
#ifndef GODWIT_NAMED_FILE_H
#define GODWIT_NAMED_FILE_H

#include "godwit/status.h"

/* Behind gw_fault_set_os: makes it GW_ARGUMENT where no file has that name. Returns the status. */
enum gw_status gw_named_file_judge(struct gw_fault *fault);

#endif
