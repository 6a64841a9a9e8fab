/* SPDX-License-Identifier: MIT
 * Which proxies an operator means: the control endpoints, paths of Unix sockets or
 * tcp://HOST:PORT. */
#ifndef BANYAN_PROXIES_H
#define BANYAN_PROXIES_H

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

enum { PROXIES_MAX = 64 };

struct proxies {
    size_t count;
    char *addresses[PROXIES_MAX]; /* owned */
};

void proxies_init(struct proxies *p);
void proxies_fini(struct proxies *p);
/* "PATH", "unix:PATH" or "tcp://HOST:PORT"; several, separated by commas. False: too
 * many. */
MUST_CHECK bool proxies_add(struct proxies *p, const char *text);
/* Without any: $BANYAN_PROXY, else /run/banyan/control.sock, else the one `banyan
 * serve` of this user that runs. A name becomes all addresses behind it. False:
 * ret_message says what to do. */
MUST_CHECK bool proxies_find(struct proxies *p, struct buf *ret_message);

bool proxies_is_remote(const char *address); /* tcp:// */

/* Connected and non-blocking, or -1 with errno. */
MUST_CHECK int proxies_connect(const char *path);

#endif
