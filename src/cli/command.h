/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: commands, their options as tables, and what all commands share.
 *
 * Parsing and help come from the same tables. Memory: one struct gw_cli_values, static; texts
 * point into argv. Threads: the main thread. Blocks: where a command does.
 */
#ifndef GW_CLI_COMMAND_H
#define GW_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/info.h"
#include "godwit/run.h"
#include "godwit/status.h"

/* Every value an option or a positional argument of any command may set. */
struct gw_cli_values {
    const char *name;
    const char *uri;
    const char *run_name; /* of `run`: the same as --name */
    const char *token;
    const char *control;   /* socket path; NULL: from the name */
    const char *state_dir; /* NULL: the default place */
    const char *kernel;
    const char *initrd;
    const char *cmdline;
    const char *flat;
    const char *console;
    const char *incoming;
    const char *guest_clock;
    const char *tls; /* psk:FILE | x509:DIR */
    const char *tls_hostname;
    const char *key_file;
    const char *dirty;
    uint64_t memory_bytes;
    bool has_memory;
    uint64_t cpus;
    uint64_t seconds;
    uint64_t downtime_ns;
    uint64_t bandwidth_bytes;
    uint64_t postcopy_bandwidth_bytes;
    uint64_t channels;
    bool has_channels;
    const char *compress;
    uint64_t retry_ns;
    uint64_t deadline_ns;
    bool has_deadline;
    const char *on_deadline;
    const char *binary;
    const char *take_over; /* "fd:N" */
    bool is_postcopy;
    bool is_precopy;
    bool is_pausing;
    const char *blocker;
    const char *reason;
    bool has_downtime;
    bool has_bandwidth;
    bool has_postcopy_bandwidth;
    bool has_retry;
    bool is_full_speed;
    bool is_plaintext;
    bool is_verify;
    bool is_lingering;
    bool is_once;
    bool is_json;
    bool is_run;
    bool is_give_up;
    bool is_other_dead;
    bool is_huge;
    bool is_release;
};

enum gw_cli_kind {
    GW_CLI_FLAG,   /* no value; sets a bool */
    GW_CLI_TEXT,   /* const char * */
    GW_CLI_NUMBER, /* from 1 to a largest (GW_CLI_NUMBER_TO); uint64_t, as the other three */
    GW_CLI_SIZE,
    GW_CLI_RATE,
    GW_CLI_TIME,
    GW_CLI_KINDS, /* how many there are */
};

/* The kind of a number that is `largest` at most. */
#define GW_CLI_NUMBER_TO(largest) (GW_CLI_NUMBER + GW_CLI_KINDS * (unsigned int)(largest))

struct gw_cli_option {
    const char *name;     /* "--memory" */
    const char *argument; /* "SIZE"; NULL for a flag */
    unsigned int kind;    /* enum gw_cli_kind, or GW_CLI_NUMBER_TO */
    size_t offset;        /* in struct gw_cli_values */
    size_t flag;          /* offset of a bool set with it; 0: none */
    const char *help;
};

#define GW_CLI_AT(member) offsetof(struct gw_cli_values, member)

enum { GW_CLI_POSITIONALS_MAX = 2 };

struct gw_cli_positional {
    const char *name; /* "NAME"; NULL: none */
    size_t offset;    /* const char * in struct gw_cli_values */
    bool is_required;
};

struct gw_cli_command {
    const char *name;
    const char *summary;  /* one line */
    const char *about;    /* paragraphs for --help; may be "" */
    const char *examples; /* lines for --help */
    const char *exits;    /* "0 done; 1 ..." */
    struct gw_cli_positional positional[GW_CLI_POSITIONALS_MAX];
    const struct gw_cli_option *options;
    size_t option_count;
    int (*function)(struct gw_cli_values *values); /* returns an enum gw_run_exit */
};

/* All commands in the order of `godwit help`. */
extern const struct gw_cli_command *const gw_cli_commands[];
extern const size_t gw_cli_command_count;

/* Fills `values` from the arguments after the command's name. *is_help: --help was among them.
 * GW_ARGUMENT: the fault says which argument, and what would be right. */
GW_MUST_USE enum gw_status gw_cli_parse(const struct gw_cli_command *command, int count,
                                        char **arguments, struct gw_cli_values *values,
                                        bool *is_help, struct gw_fault *fault);

void gw_cli_print_help(void);
void gw_cli_print_command_help(const struct gw_cli_command *command);

/* The one of `count` names nearest to `text`, or NULL when none is near. name(i) gives them. */
const char *gw_cli_nearest(const char *text, const char *(*name)(size_t index, const void *context),
                           const void *context, size_t count);

/* "godwit: SENTENCE" on standard error; returns `code`. */
int gw_cli_fail(int code, const char *format, ...) GW_PRINTF(2, 3);

/* An interrupt asked for a cancel, which was refused. The next one ends this program alone. */
void gw_cli_tell_not_cancelled(const char *why);

/* The same, and with --json {"error": "SENTENCE"} on standard output before. */
int gw_cli_fail_for(const struct gw_cli_values *values, int code, const char *format, ...)
    GW_PRINTF(3, 4);

/* A host's fault is GW_RUN_EXIT_HOST, an argument's GW_RUN_EXIT_USAGE, any other
 * GW_RUN_EXIT_FAILED. */
int gw_cli_exit_of(const struct gw_fault *fault);

/* Says a fault, and returns that. */
int gw_cli_fail_with(const struct gw_fault *fault);

#endif
