/* SPDX-License-Identifier: MIT
 * What ties a request to an app server. Pure. */
#ifndef PROXY_AFFINITY_H
#define PROXY_AFFINITY_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/slice.h"
#include "proxy/http/parse.h"
#include "proxy/upstream/policy.h"

/* The first cookie of this name. False: there is none. */
MUST_CHECK bool affinity_cookie(const struct request_head *head,
                                struct slice name,
                                struct slice *ret_value);
/* For ticket.key; 0: there is nothing to go by. */
uint64_t affinity_key(const struct hash_by *by,
                      const struct request_head *head,
                      struct slice client_addr);

/* The key that the pool's cookie holds; 0: there is none, or it is not ours. */
uint64_t affinity_read_cookie(const struct sticky *sticky,
                              const struct request_head *head);
/* The value of the Set-Cookie that names the backend with this key (load.key). */
void affinity_write_cookie(const struct sticky *sticky,
                           uint64_t key,
                           bool is_secure,
                           struct buf *to);

#endif
