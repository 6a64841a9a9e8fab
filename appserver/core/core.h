/* SPDX-License-Identifier: MIT
 * One app-server process's core: the ROUTER link, the streams, and the scheduler that
 * decides which worker thread reads and which runs (appserver/README.md). Never sees
 * Python. */
#ifndef CORE_CORE_H
#define CORE_CORE_H

#include "appserver/core/request.h"
#include "protocol/base/error.h"

struct keys;
struct link_context;

struct core_options {
    const char *endpoint;    /* borrowed for the core's life */
    const char *pool;        /* "default" */
    const char *interface;   /* "wsgi", "asgi" */
    uint32_t max_websockets; /* with a loop: open WebSockets that take no slot; each one
                                beyond takes one, as any request */
    bool is_loop; /* one event loop runs all requests (loop.h); `processors` and growing
                     are for workers only */
    uint32_t threads;     /* slots: requests that run at once */
    uint32_t threads_max; /* workers that may be grown to on demand; >= threads */
    bool insecure;        /* tcp:// off loopback without keys */
    struct keys *keys;    /* of tcp://; borrowed; NULL: none */
    int reread_fd;        /* with keys: eventfd, readable: read them again; -1: none */
    uint32_t processors;  /* handlers that can compute at once: 1 under a GIL; 0: all */
    double request_timeout_s; /* --timeout: a request that is longer than this in the
                                 application without reading or sending anything is
                                 stuck; 0: never */
    struct link_context *context; /* borrowed, to meet proxies of this process over
                                     inproc://; NULL: its own */
};

/* Called by the core, from any of its threads, without the GIL. */
struct core_events {
    /* Start one more worker thread that will call core_worker_enter ..
     * core_worker_leave. Must not wait for the GIL: the new thread takes it. */
    void (*grow)(void *arg);
    /* A request is past --timeout: raise in its thread (`thread_tag` of
     * core_worker_enter). The core asks once, from a thread made for this call, which
     * may wait for the GIL; the request may have ended meanwhile. When it still runs
     * `timeout` later the core calls stuck_again, which must not wait for the GIL. What
     * they mean with a loop: core_loop_enter. */
    void (*stuck)(void *arg, uint64_t thread_tag, const char *request_id);
    void (*stuck_again)(void *arg, const char *request_id);
    void *arg;
};

MUST_CHECK enum err core_new(const struct core_options *options,
                             const struct core_events *events,
                             struct core **ret_core);
void core_free(struct core **core_p);

/* A worker thread's frame around its core_next loop. `thread_tag` is handed back by
 * events.stuck (the Python thread id). */
struct worker *core_worker_enter(struct core *core, uint64_t thread_tag);
void core_worker_leave(struct worker **w_p);

/* Any thread, async-signal-safe: say DRAIN to every proxy, RETURN what is not started,
 * let what runs finish; core_is_drained() then holds and workers get NULL from
 * core_next. */
void core_drain(struct core *core);
/* Waits up to `timeout_us` until nothing runs and all answers are out. */
MUST_CHECK bool core_wait_drained(struct core *core, uint64_t timeout_us);

struct core_stats {
    uint64_t requests, returned, cancelled, dropped_frames, bad_frames, messages_in,
        messages_out;
    uint32_t running, waiting, workers;
};
void core_stats(struct core *core, struct core_stats *ret_stats);

#endif
