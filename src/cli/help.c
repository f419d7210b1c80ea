/* SPDX-License-Identifier: Apache-2.0 */
/* Help, made from the tables of commands and options. Main thread. */
#include <stdio.h>
#include <string.h>

#include "command.h"

static void print_usage(const struct gw_cli_command *command)
{
    (void)printf("godwit %s", command->name);
    for (size_t i = 0; i < GW_CLI_POSITIONALS_MAX && command->positional[i].name; i++)
        (void)printf(command->positional[i].is_required ? " %s" : " [%s]",
                     command->positional[i].name);
    (void)printf("%s", command->option_count ? " [options]" : "");
}

/* Prints text whose lines after the first are indented. */
static void print_indented(const char *text, int indent)
{
    for (const char *c = text; *c; c++) {
        (void)putchar(*c);
        if (*c == '\n')
            (void)printf("%*s", indent, "");
    }
    (void)putchar('\n');
}

void gw_cli_print_help(void)
{
    (void)printf("godwit " GW_VERSION
                 ": runs a virtual machine and moves it, running, to another host\n\n"
                 "Commands:\n");
    for (size_t i = 0; i < gw_cli_command_count; i++)
        (void)printf("  %-16s %s\n", gw_cli_commands[i]->name, gw_cli_commands[i]->summary);
    (void)printf(
        "\n`godwit COMMAND --help` says more about each.\n\n"
        "Values:\n"
        "  sizes    256M, 2G: powers of 1024\n"
        "  rates    100M bytes a second, 100Mbit bits a second: powers of 1000\n"
        "  times    300ms, 2s\n"
        "  URIs     tcp:HOST:PORT, tcp:[V6]:PORT, vsock:CID:PORT (CID: a number, host,\n"
        "           local, or any to listen), unix:/PATH, fd:N,N... (sockets that are open)\n"
        "Places:\n"
        "  /run/godwit/NAME.sock and records beside it, as root\n"
        "  $XDG_RUNTIME_DIR/godwit/ for others; --control and --state-dir name other places\n"
        "Exit codes:\n"
        "  0 done; 1 failed, guest unharmed; 2 usage; 3 this host lacks something;\n"
        "  4 the peer refused; 5 cancelled; 6 held or given up: `godwit resolve`; 7 guest lost.\n"
        "  godwit run: 0 the guest powered off, or it was told to quit; 20 migrated away; 21 the\n"
        "  guest asked for a reset; 22 the guest crashed; 23 monitor error.\n");
}

void gw_cli_print_command_help(const struct gw_cli_command *command)
{
    enum { HELP_COLUMN = 28 };
    print_usage(command);
    (void)printf("\n    %s\n\n", command->summary);
    if (command->about[0])
        (void)printf("%s\n\n", command->about);
    if (command->option_count)
        (void)printf("Options:\n");
    for (size_t i = 0; i < command->option_count; i++) {
        const struct gw_cli_option *option = &command->options[i];
        int used = printf("  %s%s%s", option->name, option->argument ? " " : "",
                          option->argument ? option->argument : "");
        if (used + 2 > HELP_COLUMN) {
            (void)putchar('\n');
            used = 0;
        }
        (void)printf("%*s", HELP_COLUMN - used, "");
        print_indented(option->help, HELP_COLUMN);
    }
    if (command->option_count)
        (void)putchar('\n');
    (void)printf("Example:\n  ");
    print_indented(command->examples, 2);
    (void)printf("\nExit codes:\n  ");
    print_indented(command->exits, 2);
}
