/* SPDX-License-Identifier: MIT
 * The set of backends of one edge thread and the queue in front of them. Each edge
 * thread has its own pool; membership comes from the control thread, which is the only
 * caller of pool_add, pool_drain, pool_remove (through the edge's PAIR). */
#ifndef UPSTREAM_POOL_H
#define UPSTREAM_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/link.h"
#include "proxy/upstream/ticket.h"

struct event_base;

struct pool_options {
    uint32_t max_queue; /* tickets waiting */
    uint64_t heartbeat_timeout_us;
    uint32_t retry_budget_percent; /* of requests over the last 10 s, at least 3 */
    uint64_t window_bytes; /* --response-buffer: towards this proxy, per stream */
    bool insecure;         /* tcp:// off loopback without keys */
    bool has_files;        /* FEATURE_FILE */
    uint64_t instance;     /* this proxy process */
    bool is_quiet; /* another edge thread's pool logs what comes up and goes down */
};

MUST_CHECK struct pool *pool_new(struct event_base *base,
                                 struct link_context *context,
                                 const struct pool_options *options);
void pool_free(struct pool **pool_p);

/* `name` and `endpoint` are copied. ERR_BAD_ENDPOINT, or ERR_BAD_OPTION when the name
 * is taken. */
MUST_CHECK enum err pool_add(struct pool *pool, const char *name, const char *endpoint);
/* No new requests to it; running ones end. False: no such name. */
MUST_CHECK bool pool_drain(struct pool *pool, const char *name);
/* Closes it now: what runs there is settled by the started rule. False: no such name.
 */
MUST_CHECK bool pool_remove(struct pool *pool, const char *name);

/* Called by the edge at the end of each loop turn: dispatches what waits, sends the
 * batches, and re-reads every link that was touched (the ZMQ_FD rule). True: input is
 * left, and the loop's next turn will not sleep. */
bool pool_turn(struct pool *pool, uint64_t now_us);
/* Called about every 100 ms: queue deadlines, heartbeats, reconnects. */
void pool_tick(struct pool *pool, uint64_t now_us);

/* No new tickets (SHUTTING_DOWN); queued ones still go out. */
void pool_stop(struct pool *pool);
uint32_t pool_busy(const struct pool *pool); /* tickets queued or sent */
uint32_t pool_up(const struct pool *pool);   /* backends that take requests */
/* Its applications speak ASGI, as far as is known: as the latest HELLO said. */
bool pool_is_asgi(const struct pool *pool);

/* Counters since pool_new. */
struct pool_stats {
    uint64_t requests; /* submitted */
    uint64_t sent;     /* REQUEST frames, repeated ones included */
    uint64_t returned; /* handed back by a backend */
    uint64_t requeued; /* never started where they were: queued again */
    uint64_t retried;  /* started or unknown: once more within the budget */
    uint64_t lost;     /* failed with BACKEND_LOST */
    uint64_t queue_full, queue_timeout;
    uint64_t unknown_stream; /* frames for a stream that is not there any more */
    uint64_t stale_epoch;    /* frames of an old connection */
    uint64_t bad_frames;     /* links closed for breaking the protocol */
    uint64_t messages_out, messages_in, frames_in;
};
const struct pool_stats *pool_stats(const struct pool *pool);

#endif
