/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Internet addresses: from names, to URIs, and the question whether one is loopback.
 *
 * Memory: the caller's; what the resolver allocates is freed before it returns. Blocks: only
 * gw_address_resolve, as long as the resolver's own time-outs allow.
 */
#ifndef GW_TRANSPORT_ADDRESS_H
#define GW_TRANSPORT_ADDRESS_H

#include <sys/socket.h>

#include "godwit/transport.h"

enum { GW_ADDRESSES_MAX = 8 }; /* of one name; the rest is not tried */

struct gw_address {
    socklen_t size;
    struct sockaddr_storage storage;
};

struct gw_address_list {
    uint32_t count; /* 1..GW_ADDRESSES_MAX after GW_OK */
    struct gw_address address[GW_ADDRESSES_MAX];
};

/* Resolves uri->host, in the order in which the system prefers them. GW_LINK: no such name, or
 * the resolver does not answer. */
GW_MUST_USE enum gw_status gw_address_resolve(const struct gw_uri *uri,
                                              struct gw_address_list *list, struct gw_fault *fault);

/* 127.0.0.0/8 (RFC 1122, 3.2.1.3), ::1 (RFC 4291, 2.5.3), and the first within ::ffff:0:0/96. */
bool gw_address_is_loopback(const struct gw_address *address);

/* The address as a URI. */
void gw_address_get_uri(const struct gw_address *address, struct gw_uri *uri);

/* GW_OK when plain TCP to or on all of these is allowed, else GW_ARGUMENT. */
GW_MUST_USE enum gw_status gw_address_check_plaintext(const struct gw_address_list *list,
                                                      const struct gw_transport_options *options,
                                                      struct gw_fault *fault);

#endif
