/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who this monitor is, for TLS: to those who come, and to where its guest goes. Memory:
 * gw_run_storage. Main thread. Blocks in reading files.
 */
#ifndef GW_RUN_IDENTITY_H
#define GW_RUN_IDENTITY_H

#include "godwit/qmp.h"
#include "godwit/run.h"
#include "godwit/tls.h"
#include "godwit/transport.h"

struct gw_identities {
    struct gw_tls_identity here; /* --tls's, read at the start */
    struct gw_tls_identity away; /* the last migration's; read anew for each */
};

/* Reads what --tls names, if it is given. */
GW_MUST_USE enum gw_status gw_identity_open(const struct gw_run_config *config,
                                            struct gw_fault *fault);

/* How a guest may come: TLS or not, plaintext or not. Not for one of this host. */
void gw_identity_expect(const struct gw_run_config *config, struct gw_transport_options *options);

/* How a guest goes: what `migrate` says, or else --tls. No migration is under way. */
GW_MUST_USE enum gw_status gw_identity_choose(const struct gw_run_config *config,
                                              const struct gw_qmp_migrate *migrate,
                                              struct gw_transport_options *options,
                                              struct gw_fault *fault);

#endif
