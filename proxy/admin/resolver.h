/* SPDX-License-Identifier: MIT
 * What the system says a host's name stands for: getaddrinfo, hence /etc/hosts,
 * nsswitch.conf and resolv.conf, in threads of its own, for it waits. Answers come in
 * the loop, one at a time. */
#ifndef ADMIN_RESOLVER_H
#define ADMIN_RESOLVER_H

#include <stdint.h>

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"

struct event_base;
struct resolver;

enum {
    RESOLVER_THREADS = 8,     /* lookups at once; others wait */
    RESOLVER_ADDRESSES = 256, /* of an answer; the rest is left out */
    RESOLVER_ADDRESS = 46,    /* bytes of one, with its end */
};

struct resolver_answer { /* lives for the call */
    uint64_t id;
    int error; /* of getaddrinfo, see gai_strerror; 0: there are addresses */
    uint32_t count;
    const char *addresses[RESOLVER_ADDRESSES]; /* sorted, each once */
};

MUST_CHECK struct resolver *
resolver_new(struct event_base *base,
             void (*on_answer)(void *arg, const struct resolver_answer *answer),
             void *arg);
/* No answer comes any more. A thread that still waits ends when its lookup does. */
void resolver_free(struct resolver **resolver_p);
/* Answered once, with this id. */
void resolver_ask(struct resolver *r, uint64_t id, const char *host);

#endif
