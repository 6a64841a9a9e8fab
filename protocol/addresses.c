/* SPDX-License-Identifier: MIT
 * getaddrinfo(3): what /etc/hosts, DNS and their like say. */
#include "protocol/addresses.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "protocol/base/mem.h"

static const char SCHEME[] = "tcp://";

static void add(struct addresses *to, const struct addrinfo *found)
{
    char host[NI_MAXHOST], port[NI_MAXSERV], text[ADDRESS_BYTES];
    if (getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    int length = snprintf(text, sizeof text,
                          found->ai_family == AF_INET6 ? "%s[%s]:%s" : "%s%s:%s",
                          SCHEME, host, port);
    if (length < 0 || (size_t)length >= sizeof text || to->count == ADDRESSES_MAX ||
        addresses_have(to, text))
        return;
    memcpy(to->items[to->count++], text, sizeof text);
}

static void add_all(struct addresses *to, const struct addrinfo *list, int family)
{
    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next)
        if (at->ai_family == family)
            add(to, at);
}

bool addresses_resolve(const char *endpoint,
                       struct addresses *ret_addresses,
                       const char **ret_why)
{
    static const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV,
    };
    struct addrinfo *list;
    own(mem) char *host = mem_strdup(endpoint + sizeof SCHEME - 1);
    char *port = strrchr(host, ':');
    ASSERT(strncmp(endpoint, SCHEME, sizeof SCHEME - 1) == 0 && port != NULL);
    *port++ = '\0';
    bool is_ipv6 = host[0] == '[';
    if (is_ipv6)
        host[strlen(host) - 1] = '\0';
    ret_addresses->count = 0;
    int error = getaddrinfo(host + is_ipv6, port, &hints, &list);
    if (error != 0) {
        *ret_why = error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error);
        return false;
    }
    add_all(ret_addresses, list, AF_INET);
    if (ret_addresses->count == 0)
        add_all(ret_addresses, list, AF_INET6);
    freeaddrinfo(list);
    return true;
}

bool addresses_have(const struct addresses *addresses, const char *endpoint)
{
    for (size_t i = 0; i < addresses->count; i++)
        if (strcmp(addresses->items[i], endpoint) == 0)
            return true;
    return false;
}
