/* SPDX-License-Identifier: MIT
 * All the addresses behind the name of a tcp:// endpoint, as endpoints. */
#ifndef PROTOCOL_ADDRESSES_H
#define PROTOCOL_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/base/check.h"

enum { ADDRESSES_MAX = 64, ADDRESS_BYTES = 64 /* "tcp://[IPV6]:PORT" */ };

struct addresses {
    size_t count;
    char items[ADDRESSES_MAX][ADDRESS_BYTES]; /* each once; none beyond the 64th */
};

/* `endpoint` is one that link_check_endpoint takes. The IPv4 addresses, else those of
 * IPv6: a host that has both is meant once. Waits for the name service. False: *ret_why
 * says what it said. */
MUST_CHECK bool addresses_resolve(const char *endpoint,
                                  struct addresses *ret_addresses,
                                  const char **ret_why);
bool addresses_have(const struct addresses *addresses, const char *endpoint);

#endif
