/* SPDX-License-Identifier: Apache-2.0 */
/* From arguments to values, by a command's table. Memory: the caller's. Main thread. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "godwit/units.h"

enum { NAME_LENGTH_MAX = 31 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters must be put, removed or changed (Levenshtein). Both at most NAME_LENGTH_MAX. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_LENGTH_MAX + 1];
    size_t length = strlen(b);
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            size_t above = row[j + 1];
            row[j + 1] = least(least(above, row[j]) + 1, diagonal + (a[i] != b[j]));
            diagonal = above;
        }
    }
    return row[length];
}

const char *gw_cli_nearest(const char *text, const char *(*name)(size_t index, const void *context),
                           const void *context, size_t count)
{
    const char *best = NULL;
    size_t best_distance = 4; /* more is another word */
    if (strlen(text) > NAME_LENGTH_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const char *candidate = name(i, context);
        if (strlen(candidate) > NAME_LENGTH_MAX)
            continue;
        size_t d = distance(text, candidate);
        if (d < best_distance && d < strlen(text)) {
            best = candidate;
            best_distance = d;
        }
    }
    return best;
}

static const char *option_name(size_t index, const void *context)
{
    const struct gw_cli_command *command = context;
    return index < command->option_count ? command->options[index].name : "--help";
}

static const struct gw_cli_option *find_option(const struct gw_cli_command *command,
                                               const char *text, size_t length)
{
    for (size_t i = 0; i < command->option_count; i++) {
        const struct gw_cli_option *option = &command->options[i];
        if (strlen(option->name) == length && memcmp(option->name, text, length) == 0)
            return option;
    }
    return NULL;
}

static enum gw_status refuse_option(const struct gw_cli_command *command, const char *text,
                                    struct gw_fault *fault)
{
    char name[NAME_LENGTH_MAX + 2];
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, "="), text);
    const char *near = gw_cli_nearest(name, option_name, command, command->option_count + 1);
    return gw_fault_set(fault, GW_ARGUMENT, "%s has no option %.60s%s%s%s (see godwit %s --help)",
                        command->name, text, near ? "; did you mean " : "", near ? near : "",
                        near ? "?" : "", command->name);
}

static enum gw_status put_option(const struct gw_cli_option *option, const char *text,
                                 struct gw_cli_values *values, struct gw_fault *fault)
{
    char *output = (char *)values + option->offset;
    uint64_t number = 0;
    enum gw_status status = GW_OK;
    if (option->flag)
        memcpy((char *)values + option->flag, &(bool){true}, sizeof(bool));
    switch ((enum gw_cli_kind)(option->kind % GW_CLI_KINDS)) {
    case GW_CLI_FLAG:
        memcpy(output, &(bool){true}, sizeof(bool));
        return GW_OK;
    case GW_CLI_TEXT:
        memcpy(output, &text, sizeof(text));
        return GW_OK;
    case GW_CLI_NUMBER:
        status = gw_units_decode_number(text, option->name, 1, option->kind / GW_CLI_KINDS, &number,
                                        fault);
        break;
    case GW_CLI_SIZE:
        status = gw_units_decode_size(text, option->name, &number, fault);
        break;
    case GW_CLI_RATE:
        status = gw_units_decode_rate(text, option->name, &number, fault);
        break;
    case GW_CLI_TIME:
        status = gw_units_decode_time(text, option->name, &number, fault);
        break;
    case GW_CLI_KINDS:
        break;
    }
    if (status == GW_OK)
        memcpy(output, &number, sizeof(number));
    return status;
}

static enum gw_status put_positional(const struct gw_cli_command *command, size_t index,
                                     const char *text, struct gw_cli_values *values,
                                     struct gw_fault *fault)
{
    if (index >= GW_CLI_POSITIONALS_MAX || !command->positional[index].name)
        return gw_fault_set(fault, GW_ARGUMENT,
                            "%s has no place for \"%.60s\" (see godwit %s "
                            "--help)",
                            command->name, text, command->name);
    memcpy((char *)values + command->positional[index].offset, &text, sizeof(text));
    return GW_OK;
}

/* One option at arguments[i], with or without "=VALUE"; *used is how many arguments it took. */
static enum gw_status take_option(const struct gw_cli_command *command, int count, char **arguments,
                                  int i, struct gw_cli_values *values, int *used,
                                  struct gw_fault *fault)
{
    const char *text = arguments[i];
    size_t length = strcspn(text, "=");
    const struct gw_cli_option *option = find_option(command, text, length);
    *used = 1;
    if (!option)
        return refuse_option(command, text, fault);
    if (option->kind == GW_CLI_FLAG) {
        if (text[length] == '=')
            return gw_fault_set(fault, GW_ARGUMENT, "%s takes no value; found \"%.60s\"",
                                option->name, text + length + 1);
        return put_option(option, NULL, values, fault);
    }
    if (text[length] == '=')
        return put_option(option, text + length + 1, values, fault);
    if (i + 1 == count)
        return gw_fault_set(fault, GW_ARGUMENT, "%s is the last word; wanted %s after it",
                            option->name, option->argument);
    *used = 2;
    return put_option(option, arguments[i + 1], values, fault);
}

enum gw_status gw_cli_parse(const struct gw_cli_command *command, int count, char **arguments,
                            struct gw_cli_values *values, bool *is_help, struct gw_fault *fault)
{
    size_t positional = 0;
    bool is_rest = false;
    *is_help = false;
    for (int i = 0; i < count && !is_rest; i++) {
        if (strcmp(arguments[i], "--") == 0)
            is_rest = true;
        else if (strcmp(arguments[i], "--help") == 0 || strcmp(arguments[i], "-h") == 0)
            *is_help = true;
    }
    if (*is_help)
        return GW_OK;
    is_rest = false;
    enum gw_status status = GW_OK;
    for (int i = 0, used = 1; i < count && status == GW_OK; i += used) {
        used = 1;
        if (!is_rest && strcmp(arguments[i], "--") == 0)
            is_rest = true;
        else if (!is_rest && arguments[i][0] == '-')
            status = take_option(command, count, arguments, i, values, &used, fault);
        else
            status = put_positional(command, positional++, arguments[i], values, fault);
    }
    for (size_t i = positional; status == GW_OK && i < GW_CLI_POSITIONALS_MAX; i++) {
        if (command->positional[i].name && command->positional[i].is_required)
            status = gw_fault_set(fault, GW_ARGUMENT, "%s lacks its %s (see godwit %s --help)",
                                  command->name, command->positional[i].name, command->name);
    }
    return status;
}
