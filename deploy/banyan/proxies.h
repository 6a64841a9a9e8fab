/* SPDX-License-Identifier: MIT
 * Which proxies an operator means: the control endpoints as paths of Unix sockets. */
#ifndef BANYAN_PROXIES_H
#define BANYAN_PROXIES_H

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

enum { PROXIES_MAX = 64 };

struct proxies {
    size_t count;
    char *paths[PROXIES_MAX]; /* owned */
};

void proxies_init(struct proxies *p);
void proxies_fini(struct proxies *p);
/* "PATH" or "unix:PATH"; several, separated by commas. False: too many. */
MUST_CHECK bool proxies_add(struct proxies *p, const char *text);
/* Without any: $BANYAN_PROXY, else /run/banyan/control.sock, else the one `banyan
 * serve` of this user that runs. False: ret_message says what to do. */
MUST_CHECK bool proxies_find(struct proxies *p, struct buf *ret_message);

/* Connected and non-blocking, or -1 with errno. */
MUST_CHECK int proxies_connect(const char *path);

#endif
