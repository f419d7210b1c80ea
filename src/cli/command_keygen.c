/* SPDX-License-Identifier: Apache-2.0 */
/* godwit keygen: a fresh key for two sides. Main thread. */
#include <stdio.h>

#include "commands.h"
#include "godwit/tls.h"

static int run_keygen(struct gw_cli_values *values)
{
    char name[GW_TLS_NAME_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    if (gw_tls_make_key(values->key_file, name, &fault) != GW_OK)
        return gw_cli_fail_with(&fault);
    (void)printf("%s: a new key, %s; copy the file to the other side, by a way that you trust\n",
                 values->key_file, name);
    return GW_RUN_EXIT_DONE;
}

const struct gw_cli_command gw_cli_command_keygen = {
    .name = "keygen",
    .summary = "make a key for --tls psk:FILE",
    .about = "Writes 32 random bytes with a name to a new FILE that only its owner can read\n"
             "(mode 0600). Both sides of a migration need the same file, by a way that nobody\n"
             "else can read: godwit run --tls psk:FILE where the guest is to come, godwit\n"
             "migrate --tls psk:FILE where it leaves. Whoever has the file can take guests and\n"
             "send them; what was sent before stays unreadable even so.",
    .examples = "godwit keygen /etc/godwit.key\n"
                "scp -p /etc/godwit.key two:/etc/godwit.key",
    .exits =
        "0 done; 2 usage, FILE is there already, or its directory is not; 3 it cannot be\nwritten",
    .positional = {{"FILE", GW_CLI_AT(key_file), true}},
    .function = run_keygen,
};
