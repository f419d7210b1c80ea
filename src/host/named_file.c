/* SPDX-License-Identifier: Apache-2.0 */
/* Files that an operator names. The contract: godwit/named_file.h. */
#include "godwit/named_file.h"

#include <errno.h>

enum gw_status gw_named_file_judge(struct gw_fault *fault)
{
    int error = fault->os_error;
    if (error == ENOENT || error == ENOTDIR || error == EISDIR) {
        fault->status = GW_ARGUMENT;
    }
    return fault->status;
}
