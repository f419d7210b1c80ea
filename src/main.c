/* SPDX-License-Identifier: Apache-2.0 */
/* godwit: see src/cli for the commands and src/run for the monitor. */
#include "godwit/cli.h"

int main(int count, char **arguments)
{
    return gw_cli_main(count, arguments);
}
