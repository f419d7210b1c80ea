/* SPDX-License-Identifier: Apache-2.0 */
/* Where a guest's socket and records lie. Memory: the caller's. Main thread. */
#include "places.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum gw_status put_path(char output[GW_CLI_PATH_BYTES], const char *directory,
                               const char *name, const char *suffix, struct gw_fault *fault)
{
    int bytes = snprintf(output, GW_CLI_PATH_BYTES, "%s%s%s%s", directory, name[0] ? "/" : "", name,
                         suffix);
    if (bytes < 0 || bytes >= GW_CLI_PATH_BYTES)
        return gw_fault_set(fault, GW_LIMIT, "the path %.60s... has %d bytes; wanted at most %d",
                            directory, bytes, GW_CLI_PATH_BYTES - 1);
    return GW_OK;
}

enum gw_status gw_cli_runtime_dir(char path[GW_CLI_PATH_BYTES], struct gw_fault *fault)
{
    if (geteuid() == 0)
        return put_path(path, "/run/godwit", "", "", fault);
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (!runtime || runtime[0] != '/')
        return gw_fault_set(fault, GW_ARGUMENT,
                            "XDG_RUNTIME_DIR is %s; wanted a directory (or be root, or say where "
                            "things lie: --control, and --state-dir where there is such an option)",
                            runtime ? runtime : "not set");
    return put_path(path, runtime, "godwit", "", fault);
}

/* A name is part of file names: no slash, no leading dot or dash. */
static enum gw_status check_name(const char *name, struct gw_fault *fault)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t length = strlen(name);
    if (length == 0 || length >= GW_INFO_NAME_BYTES || strspn(name, allowed) != length ||
        name[0] == '.' || name[0] == '-')
        return gw_fault_set(fault, GW_ARGUMENT,
                            "the name \"%.70s\" cannot be one; wanted 1 to %d "
                            "of A-Z a-z 0-9 . _ -, with neither . nor - first",
                            name, GW_INFO_NAME_BYTES - 1);
    return GW_OK;
}

enum gw_status gw_cli_find_control(const struct gw_cli_values *values,
                                   char control[GW_CLI_PATH_BYTES], struct gw_fault *fault)
{
    char directory[GW_CLI_PATH_BYTES];
    enum gw_status status = check_name(values->name, fault);
    if (status != GW_OK)
        return status;
    if (values->control)
        return put_path(control, values->control, "", "", fault);
    status = gw_cli_runtime_dir(directory, fault);
    return status == GW_OK ? put_path(control, directory, values->name, ".sock", fault) : status;
}

enum gw_status gw_cli_find_places(const struct gw_cli_values *values, struct gw_cli_places *places,
                                  struct gw_fault *fault)
{
    enum gw_status status = gw_cli_find_control(values, places->control, fault);
    if (status != GW_OK)
        return status;
    return values->state_dir ? put_path(places->state_dir, values->state_dir, "", "", fault)
                             : gw_cli_runtime_dir(places->state_dir, fault);
}

enum gw_status gw_cli_check_state_dir(const struct gw_cli_values *values, struct gw_fault *fault)
{
    return values->state_dir == NULL || access(values->state_dir, F_OK) == 0
               ? GW_OK
               : gw_fault_set_os(fault, errno, "--state-dir %s", values->state_dir);
}
