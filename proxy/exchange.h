/* SPDX-License-Identifier: MIT
 * One request and its response: the only place where http/ and upstream/ meet. It
 * begins with a client's head and ends when the answer is in the socket or the client
 * is gone. */
#ifndef PROXY_EXCHANGE_H
#define PROXY_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "proxy/deadline.h"
#include "proxy/http/access_log.h"
#include "proxy/http/client.h"
#include "proxy/http/file.h"
#include "proxy/options.h"
#include "proxy/site.h"
#include "proxy/stats.h"
#include "proxy/upstream/pool.h"

enum exchange_state {
#define STATE(name, text) EXCHANGE_##name,
#include "proxy/exchange_states.def"
    EXCHANGE_STATE_COUNT
};
const char *exchange_state_name(enum exchange_state state);
bool exchange_state_may_become(enum exchange_state from, enum exchange_state to);

/* The exchanges of an edge thread: what they share, and spare ones for reuse. */
struct exchanges;

struct exchanges_options { /* all borrowed, outlive the exchanges */
    const struct proxy_options *proxy;
    struct sites *sites;
    struct deadlines *deadlines;
    struct stats *stats;
    struct access_writer *access; /* NULL: no access log */
    const struct file_roots *roots;
    uint64_t instance; /* of the process; with `number` the prefix of request ids */
    uint32_t number;   /* of the edge thread */
};

MUST_CHECK struct exchanges *exchanges_new(const struct exchanges_options *options);
/* The options have changed. */
void exchanges_set(struct exchanges *all);
/* None is open any more (clients_free came first). */
void exchanges_free(struct exchanges **exchanges_p);

/* Shutting down: WebSockets are told to go, as exchanges_tick is called; what else runs
 * ends by itself. `seconds` is all the time there is. */
void exchanges_stop(struct exchanges *all, double seconds);
void exchanges_tick(struct exchanges *all); /* about every 100 ms */

/* For clients_options, with the exchanges as owner. */
extern const struct client_events exchange_client_events;

#endif
