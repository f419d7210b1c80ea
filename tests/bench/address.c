/* SPDX-License-Identifier: Apache-2.0 */
/* See address.h. */
#include "address.h"

#include <unistd.h>

bool read_address(int hear, char uri[GW_URI_TEXT_BYTES])
{
    size_t count = 0;
    while (count < GW_URI_TEXT_BYTES && read(hear, &uri[count], 1) == 1) {
        if (uri[count] == '\n') {
            uri[count] = '\0';
            return true;
        }
        count++;
    }
    return false;
}
