/* SPDX-License-Identifier: Apache-2.0 */
/* Keys for TLS. The contract: run/identity.h. */
#include "run/identity.h"

#include "run/storage.h"

#define HERE (&gw_run_storage.identities.here)
#define AWAY (&gw_run_storage.identities.away)

static_assert((int)GW_INFO_TLS_BYTES == (int)GW_TLS_SPEC_BYTES &&
                  (int)GW_INFO_HOST_BYTES == (int)GW_TLS_HOST_BYTES,
              "what a control client may say, TLS takes");

enum gw_status gw_identity_open(const struct gw_run_config *config, struct gw_fault *fault)
{
    return config->tls == NULL ? GW_OK
                               : gw_tls_open(HERE, config->tls, config->tls_hostname, fault);
}

void gw_identity_expect(const struct gw_run_config *config, struct gw_transport_options *options)
{
    options->tls = config->tls != NULL ? HERE : NULL;
    options->is_plaintext_allowed = config->is_plaintext;
}

static enum gw_status check(const struct gw_run_config *config,
                            const struct gw_qmp_migrate *migrate, struct gw_fault *fault)
{
    if (migrate->is_plaintext && migrate->tls[0] != '\0') {
        return gw_fault_set(fault, GW_ARGUMENT, "TLS and plaintext are both asked for, wanted one");
    }
    if (migrate->is_plaintext && config->tls != NULL) {
        return gw_fault_set(
            fault, GW_ARGUMENT,
            "plaintext is asked for, and this godwit was started with --tls %.100s: "
            "its guest goes by TLS",
            config->tls);
    }
    if (migrate->tls_hostname[0] != '\0' && migrate->tls[0] == '\0' && config->tls == NULL) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "a host name for TLS is given without TLS, wanted both");
    }
    return GW_OK;
}

enum gw_status gw_identity_choose(const struct gw_run_config *config,
                                  const struct gw_qmp_migrate *migrate,
                                  struct gw_transport_options *options, struct gw_fault *fault)
{
    enum gw_status status = check(config, migrate, fault);
    const char *spec = migrate->tls[0] != '\0' ? migrate->tls : config->tls;
    const char *host = migrate->tls_hostname[0] != '\0' ? migrate->tls_hostname
                       : migrate->tls[0] != '\0'        ? NULL
                                                        : config->tls_hostname;
    options->is_plaintext_allowed = migrate->is_plaintext;
    gw_tls_close(AWAY);
    if (status == GW_OK && spec != NULL) {
        status = gw_tls_open(AWAY, spec, host, fault);
        options->tls = AWAY;
    }
    return status;
}
