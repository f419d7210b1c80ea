/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit list: every guest with a control socket in the usual place. The directory is read with
 * getdents64 itself, since libc's opendir allocates. Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "commands.h"
#include "godwit/units.h"
#include "places.h"
#include "print.h"

enum { NAMES_MAX = 128 };

static char names[NAMES_MAX][GW_INFO_NAME_BYTES];
static size_t name_count;
static bool is_more; /* there were more than NAMES_MAX */

static struct gw_cli_client *const client = &gw_cli_shared_client;

/* getdents64(2). */
struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t bytes; /* of the whole entry */
    uint8_t type;
    char name[];
};

static void take_name(const char *file)
{
    static const char suffix[] = ".sock";
    size_t length = strlen(file);
    if (length <= sizeof(suffix) - 1 || file[0] == '.')
        return;
    length -= sizeof(suffix) - 1;
    if (length >= GW_INFO_NAME_BYTES || strcmp(file + length, suffix) != 0)
        return;
    if (name_count == NAMES_MAX) {
        is_more = true;
        return;
    }
    memcpy(names[name_count], file, length);
    names[name_count++][length] = 0;
}

static enum gw_status read_directory(const char *path, struct gw_fault *fault)
{
    static union {
        struct entry align;
        char bytes[4096];
    } buffer;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? GW_OK : gw_fault_set_os(fault, errno, "cannot read %s", path);
    long bytes;
    while ((bytes = syscall(SYS_getdents64, fd, buffer.bytes, sizeof(buffer.bytes))) > 0) {
        for (long at = 0; at < bytes;) {
            uint16_t length = 0;
            memcpy(&length, buffer.bytes + at + offsetof(struct entry, bytes), sizeof(length));
            take_name(buffer.bytes + at + offsetof(struct entry, name));
            at += length;
        }
    }
    int error = errno;
    (void)close(fd);
    return bytes < 0 ? gw_fault_set_os(fault, error, "cannot read %s", path) : GW_OK;
}

/* By insertion: there are a few dozen at most. */
static void sort_names(void)
{
    for (size_t i = 1; i < name_count; i++) {
        char name[sizeof(names[0])];
        size_t at = i;
        memcpy(name, names[i], sizeof(name));
        for (; at > 0 && strcmp(names[at - 1], name) > 0; at--)
            memcpy(names[at], names[at - 1], sizeof(name));
        memcpy(names[at], name, sizeof(name));
    }
}

static void print_dead(const char *name, const char *why, bool is_json)
{
    char line[GW_FAULT_TEXT_BYTES * 6 + 512];
    struct gw_json json;
    if (!is_json) {
        (void)printf("%-20s %-15s %s\n", name, "no answer", why);
        return;
    }
    gw_json_init(&json, line, sizeof(line));
    gw_json_open_object(&json, NULL);
    gw_json_put_text(&json, "name", name);
    gw_json_put_text(&json, "error", why);
    gw_json_close_object(&json);
    if (gw_json_end(&json) == GW_OK)
        (void)printf("%s\n", line);
}

static void print_live(const char *name)
{
    struct gw_info_status status;
    struct gw_info_migrate migrate;
    char memory[GW_UNITS_TEXT_BYTES];
    int inner = gw_json_read_member(&client->document, client->result, "migrate");
    if (!gw_qmp_decode_status(&client->document, client->result, &status) ||
        !gw_qmp_decode_migrate(&client->document, inner, &migrate)) {
        print_dead(name, "another version of godwit", false);
        return;
    }
    (void)printf("%-20s %-15s %4u %8s %8u  %s%s\n", name, gw_info_run_state_name(status.state),
                 (unsigned int)status.vcpu_count, gw_units_encode_size(memory, status.memory_bytes),
                 (unsigned int)status.pid,
                 migrate.status == GW_INFO_MIGRATION_NONE ? "-"
                                                          : gw_info_migration_name(migrate.status),
                 migrate.held.is_held ? " (held)" : "");
}

static void print_guest(const char *directory, const char *name, bool is_json)
{
    char path[GW_CLI_PATH_BYTES + GW_INFO_NAME_BYTES + 8];
    struct gw_fault fault = {.status = GW_OK};
    (void)snprintf(path, sizeof(path), "%s/%.63s.sock", directory, name);
    enum gw_status status = gw_cli_client_open(client, path, 2 * GW_NS_PER_S, &fault);
    if (status == GW_OK) {
        status = gw_cli_client_call(client, GW_QMP_STATUS, &fault);
        gw_cli_client_close(client);
    }
    if (status != GW_OK)
        print_dead(name, fault.text, is_json);
    else if (is_json)
        gw_cli_print_json(&client->document, client->result);
    else
        print_live(name);
}

static int run_list(struct gw_cli_values *values)
{
    char directory[GW_CLI_PATH_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    if (gw_cli_runtime_dir(directory, &fault) != GW_OK ||
        read_directory(directory, &fault) != GW_OK)
        return gw_cli_fail_with(&fault);
    sort_names();
    if (!values->is_json)
        (void)printf("%-20s %-15s %4s %8s %8s  %s\n", "NAME", "STATE", "CPUS", "MEMORY", "PID",
                     "MIGRATION");
    for (size_t i = 0; i < name_count; i++)
        print_guest(directory, names[i], values->is_json);
    if (is_more)
        (void)gw_cli_fail(0, "there are more than %d sockets in %s; the others are not listed",
                          NAMES_MAX, directory);
    return GW_RUN_EXIT_DONE;
}

static const struct gw_cli_option options[] = {
    {"--json", NULL, GW_CLI_FLAG, GW_CLI_AT(is_json), 0,
     "one JSON object a line for each guest, as godwit status\n--json has it"},
};

const struct gw_cli_command gw_cli_command_list = {
    .name = "list",
    .summary = "list the guests of this host",
    .about = "Those with a control socket in the usual place; a guest run with --control\n"
             "elsewhere is not among them.",
    .examples = "godwit list",
    .exits = "0 done; 2 usage; 3 the directory cannot be read",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .function = run_list,
};
