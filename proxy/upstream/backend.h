/* SPDX-License-Identifier: MIT
 * One app server as one edge thread sees it: its link, the streams it runs, the credit
 * it granted. backend.c is its life (open, greet, lose, settle), backend_frames.c what
 * it says, backend_send.c what it is told, health.c whether it still lives. */
#ifndef UPSTREAM_BACKEND_H
#define UPSTREAM_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "proxy/upstream/balance.h"
#include "proxy/upstream/settings.h"

struct backend;
struct claim;
struct pool;
struct ticket;

enum backend_state {
#define STATE(name, text) BACKEND_##name,
#include "proxy/upstream/backend_states.def"
    BACKEND_STATE_COUNT
};
const char *backend_state_name(enum backend_state state);
bool backend_state_may_become(enum backend_state from, enum backend_state to);

struct backend_stats {
#define STAT(name, help) uint64_t name;
#include "proxy/upstream/backend_stats.def"
#undef STAT
};

/* What there is to say about a backend. The texts live as long as it. */
struct backend_view {
    const char *name, *endpoint;
    enum backend_state state;
    struct backend_settings settings;
    uint32_t pid; /* of its latest HELLO */
    uint32_t weight;
    uint32_t slots;       /* requests it runs at once; 0: not known */
    uint32_t running;     /* requests it runs, of all its links; of its last LOAD */
    uint32_t window;      /* granted */
    uint32_t in_flight;   /* requests there */
    uint32_t waiting;     /* in the queue, for it alone */
    uint64_t service_us;  /* average time in the application; 0: not known */
    uint64_t up_since_us; /* clock.h; 0: not up */
    uint64_t ejected_until_us; /* clock.h; 0: it is not */
    bool has_failed_check;
    struct backend_stats stats;
};

/* Copies name and endpoint, which link_check_endpoint has accepted. Connects at once.
 */
MUST_CHECK struct backend *
backend_new(struct pool *pool, const char *name, const char *endpoint);
/* Settles what runs there first. Not inside an event of its own tickets. */
void backend_free(struct backend **backend_p);

/* Holds from here on, over new connections too. */
void backend_set(struct backend *b, const struct backend_settings *settings);
/* What runs there fails with `err`; the app server is told to stop it. */
void backend_abort_all(struct backend *b, enum err err);
/* Ends the connection, settles what runs there, and opens it again after the back-off;
 * in this turn when it took its leave (ERR_SHUTTING_DOWN) after a second or more.
 * `why` may be empty; a breach of the protocol is told to the peer. Allowed while one
 * of the backend's messages is read. */
void backend_lose(struct backend *b, enum err err, const char *why);

/* The request leaves with the next flush; within the window only. */
void backend_send_request(struct backend *b, struct ticket *t, uint64_t now_us);
/* The batch leaves as one message, or waits for room in the link. */
void backend_flush(struct backend *b);
/* After the last flush of a turn. True: there is input already. */
bool backend_recheck(struct backend *b);

/* Likewise: opens a link when its time has come. */
void backend_open_due(struct backend *b, uint64_t now_us);

/* About every 100 ms: silence, back-off, a blocked link. */
void backend_tick(struct backend *b, uint64_t now_us);

void backend_view(const struct backend *b, struct backend_view *ret_view);
const char *backend_name(const struct backend *b);
enum backend_state backend_state(const struct backend *b);
bool backend_takes_requests(const struct backend *b);
struct load *backend_load(struct backend *b);
struct backend *backend_of_load(struct load *load);
struct claim *backend_claim(struct backend *b);
struct backend *backend_of_claim(struct claim *claim);
struct node *backend_node(struct backend *b);
struct backend *backend_of_node(struct node *node); /* in the pool's list */
struct backend *
backend_of_turn_node(struct node *node); /* in its list of the touched */

#endif
