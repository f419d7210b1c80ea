/* SPDX-License-Identifier: Apache-2.0 */
/* Internet addresses. The contract: transport/address.h. */
#include "transport/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum gw_status gw_address_resolve(const struct gw_uri *uri, struct gw_address_list *list,
                                  struct gw_fault *fault)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)uri->port);
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const char *host = uri->address[0] != '\0' ? uri->address : uri->host;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) {
        char text[GW_URI_TEXT_BYTES];
        return gw_fault_set(fault, GW_LINK, "%.100s: the host name cannot be looked up: %s",
                            gw_uri_encode(uri, text), gai_strerror(error));
    }
    list->count = 0;
    for (const struct addrinfo *next = found; next != NULL; next = next->ai_next) {
        struct gw_address *address = &list->address[list->count];
        if (list->count < GW_ADDRESSES_MAX && next->ai_addrlen <= sizeof(address->storage)) {
            memcpy(&address->storage, next->ai_addr, next->ai_addrlen);
            address->size = next->ai_addrlen;
            list->count++;
        }
    }
    freeaddrinfo(found);
    GW_ASSERT(list->count > 0); /* getaddrinfo(3): success means at least one */
    return GW_OK;
}

static const struct sockaddr_in6 *as_v6(const struct gw_address *address)
{
    return (const struct sockaddr_in6 *)(const void *)&address->storage;
}

static const struct sockaddr_in *as_v4(const struct gw_address *address)
{
    return (const struct sockaddr_in *)(const void *)&address->storage;
}

bool gw_address_is_loopback(const struct gw_address *address)
{
    if (address->storage.ss_family == AF_INET) {
        return (ntohl(as_v4(address)->sin_addr.s_addr) >> 24) == 127;
    }
    if (address->storage.ss_family == AF_INET6) {
        const struct in6_addr *v6 = &as_v6(address)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
    }
    return false;
}

void gw_address_get_uri(const struct gw_address *address, struct gw_uri *uri)
{
    bool is_v6 = address->storage.ss_family == AF_INET6;
    const void *host =
        is_v6 ? (const void *)&as_v6(address)->sin6_addr : (const void *)&as_v4(address)->sin_addr;
    *uri = (struct gw_uri){.scheme = GW_URI_TCP,
                           .port =
                               ntohs(is_v6 ? as_v6(address)->sin6_port : as_v4(address)->sin_port)};
    (void)inet_ntop(address->storage.ss_family, host, uri->host, sizeof(uri->host));
    if (is_v6 && as_v6(address)->sin6_scope_id != 0) { /* a link-local one names its link */
        size_t used = strlen(uri->host);
        (void)snprintf(uri->host + used, sizeof(uri->host) - used, "%%%u",
                       as_v6(address)->sin6_scope_id);
    }
}

enum gw_status gw_address_check_plaintext(const struct gw_address_list *list,
                                          const struct gw_transport_options *options,
                                          struct gw_fault *fault)
{
    bool is_fine = options->tls != NULL || options->is_plaintext_allowed;
    for (uint32_t i = 0; i < list->count && !is_fine; i++) {
        if (!gw_address_is_loopback(&list->address[i])) {
            struct gw_uri uri;
            char text[GW_URI_TEXT_BYTES];
            gw_address_get_uri(&list->address[i], &uri);
            return gw_fault_set(fault, GW_ARGUMENT,
                                "%.80s: plain TCP beyond this host would show the guest's memory "
                                "to the network; wanted --tls, a loopback address, or "
                                "--plaintext on both sides",
                                gw_uri_encode(&uri, text));
        }
    }
    return GW_OK;
}
