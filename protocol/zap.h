/* SPDX-License-Identifier: MIT
 * Answers ZeroMQ when a peer has proved that it holds a key (ZAP, RFC 27): may this key
 * speak to that socket? One for each ZeroMQ context, with a thread of its own that
 * sleeps while nobody connects.
 *
 * A refusal is answered after ZAP_TARPIT_MS, so that a refused peer tries about once a
 * second, and told once in ZAP_QUIET_S for each address, with the number of those in
 * between. */
#ifndef PROTOCOL_ZAP_H
#define PROTOCOL_ZAP_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/keys.h"

enum {
    ZAP_TARPIT_MS = 1000,
    ZAP_QUIET_S = 10,
    ZAP_WAITING_MAX = 256, /* refusals that wait; beyond, they are answered at once */
};

/* What a socket is for, hence who may speak to it. */
enum zap_domain {
    ZAP_APP,     /* an app server's: proxies */
    ZAP_CONTROL, /* a proxy's control endpoint: viewer, operator, admin and app */
    ZAP_DOMAIN_COUNT
};
const char *zap_domain_name(enum zap_domain domain);
bool zap_domain_admits(enum zap_domain domain, enum key_role role);

/* What it has to say, as sentences, from its own thread. */
struct zap_events {
    void (*refused)(void *arg, const char *text);
    /* The keys were read again because `reread_fd` became readable: what changed, or
     * (`is_bad`) what is wrong with them. The links were told. */
    void (*reread)(void *arg, const char *text, bool is_bad);
    void *arg;
};

struct zap;
/* `zmq` is a ZeroMQ context, to be terminated after zap_free; `keys` is borrowed. With
 * a `reread_fd` (an eventfd, borrowed; -1: none) whoever writes it has the keys read
 * again, then `on_change` is called. NULL: errno. */
MUST_CHECK struct zap *zap_new(void *zmq,
                               struct keys *keys,
                               int reread_fd,
                               void (*on_change)(void *arg),
                               void *on_change_arg,
                               const struct zap_events *events);
void zap_free(struct zap **zap_p); /* joins */

/* The User-Id that a message of an admitted peer carries: "ROLE KEY NAME". */
MUST_CHECK bool zap_parse_user(const char *user_id, struct key_user *ret_user);

#endif
