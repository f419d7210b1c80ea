/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses and faults. Memory: the caller's. Any thread. Never blocks. */
#include "godwit/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *gw_status_name(enum gw_status status)
{
    switch (status) {
    case GW_OK:
        return "ok";
    case GW_AGAIN:
        return "again";
    case GW_ARGUMENT:
        return "argument";
    case GW_LIMIT:
        return "limit";
    case GW_PROTOCOL:
        return "protocol";
    case GW_LINK:
        return "link";
    case GW_HOST:
        return "host";
    case GW_CORRUPT:
        return "corrupt";
    case GW_REFUSED:
        return "refused";
    case GW_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

void gw_fault_clear(struct gw_fault *fault)
{
    *fault = (struct gw_fault){.status = GW_OK};
}

/* True when this fault is still free to be set. */
static bool is_free(const struct gw_fault *fault)
{
    return fault && fault->status == GW_OK;
}

enum gw_status gw_fault_set(struct gw_fault *fault, enum gw_status status, const char *format, ...)
{
    if (is_free(fault)) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(fault->text, sizeof(fault->text), format, arguments);
        va_end(arguments);
        fault->status = status;
        fault->os_error = 0;
    }
    return fault ? fault->status : status;
}

enum gw_status gw_fault_set_os(struct gw_fault *fault, int os_error, const char *format, ...)
{
    if (is_free(fault)) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(fault->text, sizeof(fault->text), format, arguments);
        va_end(arguments);
        size_t used = strlen(fault->text);
        (void)snprintf(fault->text + used, sizeof(fault->text) - used, ": %s", strerror(os_error));
        fault->status = GW_HOST;
        fault->os_error = os_error;
    }
    return fault ? fault->status : GW_HOST;
}

_Noreturn void gw_assert_failed(const char *file, int line)
{
    (void)fprintf(stderr, "godwit: a bug in godwit: what must hold at %s:%d does not\n", file,
                  line);
    abort();
}
