/* SPDX-License-Identifier: MIT
 * What an operator decides about an app server. The credit that it grants and its own
 * DRAIN bound this further; nothing here outlives the membership (proxy/admin). */
#ifndef UPSTREAM_SETTINGS_H
#define UPSTREAM_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/key.h"
#include "proxy/upstream/balance.h"

enum admin_state {
    ADMIN_READY,
    ADMIN_DRAIN, /* no new requests; what runs goes on, and so do heartbeats */
    ADMIN_MAINT, /* the same without heartbeats */
};

enum health_rule {
    HEALTH_AUTO, /* by its link and its heartbeats */
    HEALTH_UP,   /* silence is not held against it */
    HEALTH_DOWN, /* no new requests */
};

struct backend_settings {
    enum admin_state state;
    bool keeps_sticky; /* ADMIN_DRAIN: requests whose cookie names it still go there */
    enum health_rule health;
    uint32_t weight;    /* its share of the requests; 0: none */
    uint32_t limit;     /* most requests at once; the app server keeps to it; 0: none */
    char key[KEY_TEXT]; /* the app server's public key; empty: any authorized one */
};

#define BACKEND_SETTINGS ((struct backend_settings){.weight = WEIGHT_DEFAULT})

enum pool_state {
    POOL_SERVING,
    POOL_PAUSED,  /* requests wait in the queue */
    POOL_STOPPED, /* requests are answered 503 */
};

struct pool_settings {
    enum pool_state state;
    uint64_t max_pause_us; /* PAUSED: a request waits at most so long */
    char message[128];     /* STOPPED: what its clients are told; may be empty */
};

#endif
