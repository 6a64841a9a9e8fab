/* SPDX-License-Identifier: MIT
 * A real core with C handlers on its worker threads, and a proxy made of a link and the
 * codec. Any failure or five seconds of silence fails the test. */
#ifndef TESTS_CORE_HARNESS_H
#define TESTS_CORE_HARNESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "appserver/core/core.h"
#include "appserver/core/loop.h"
#include "protocol/base/buf.h"
#include "protocol/link.h"

enum { HARNESS_WAIT_US = 60000000, HARNESS_WORKERS = 300, HARNESS_NEWS = 1024 };

/* ---- the app server ---- */
typedef void handler_fn(struct request *r, void *arg);

struct app {
    char directory[64], endpoint[96];
    struct core_options options; /* set what is needed before app_start */
    struct core_events events;
    handler_fn *handler;
    void *arg;
    struct core *core;
    pthread_t threads[HARNESS_WORKERS];
    unsigned thread_count;
    /* of a loop */
    size_t turn_max; /* news that one turn may give; 8 */
    struct loop_news news[HARNESS_NEWS];
    size_t news_first, news_count;
};

/* `threads` workers on a fresh ipc:// endpoint. */
void app_init(struct app *a, unsigned threads, handler_fn *handler, void *arg);
void app_start(struct app *a);
void app_add_worker(struct app *a);
void app_stop(struct app *a); /* drains, joins, frees */

/* A core with a loop, which is the test's own thread: it turns while the test waits for
 * news, or for a proxy whose `app` this is. Only the descriptor's word makes it turn.
 */
void app_init_loop(struct app *a, unsigned slots);
void app_start_loop(struct app *a); /* after app_init_loop and its options */
/* Turns once if the descriptor is readable within `us`. */
bool app_try_turn(struct app *a, uint64_t us);
struct loop_news app_next_news(struct app *a);
/* Its request; the news must be just this. */
struct request *app_expect_news(struct app *a, unsigned what);
bool app_has_news(const struct app *a); /* without turning */
struct core_stats app_stats(struct app *a);

/* ---- the proxy ---- */
struct proxy {
    struct app *app; /* a loop to be turned while this proxy waits; NULL: none */
    struct link_context *context;
    bool owns_context;
    struct link *link;
    uint64_t epoch;
    uint64_t old_epoch; /* of a link before on this connection: passed over; 0: none */
    struct buf out;     /* frames not sent yet */
    struct link_message message; /* being read */
    bool has_message;
    struct slice rest;
    unsigned messages; /* received */
    uint32_t stream;   /* the last id that proxy_warm used */
    /* from HELLO and GRANT */
    struct frame_hello hello;
    char page[128];
    uint32_t window;
    unsigned grants, loads;
    uint64_t load_sequence; /* of the last, as the next three */
    uint32_t load_running, load_slots;
    uint64_t load_service_us;
    bool draining, bye;
    char bye_reason[32];
};

void proxy_connect(struct proxy *p, struct link_context *context, const char *endpoint);
/* HELLO both ways and the first GRANT. `window_bytes`: per stream, for answers. */
void proxy_hello(struct proxy *p, uint64_t window_bytes);
void proxy_open(struct proxy *p, const char *endpoint); /* both, 256 KiB */
/* The same with a loop. `window_bytes` as in proxy_hello. */
void proxy_open_loop(struct proxy *p, struct app *a, uint64_t window_bytes);
void proxy_close(struct proxy *p);

void proxy_request(struct proxy *p, uint32_t stream, const char *target);
void proxy_request_body(struct proxy *p,
                        uint32_t stream,
                        const char *target,
                        enum body_form form,
                        struct slice body,
                        uint64_t length,
                        uint32_t flags);
void proxy_request_frame(struct proxy *p,
                         uint32_t stream,
                         const struct frame_request *r);
void proxy_send(struct proxy *p); /* what is in `out`, as one message */
void proxy_send_bulk(struct proxy *p, uint32_t stream, struct slice bulk);

/* The next frame of a stream; GRANT, LOAD, DRAIN and BYE are noted on the way. Its
 * bytes live until the next call. */
void proxy_next(struct proxy *p, struct frame *ret);
/* False: nothing but link frames for `us`. */
bool proxy_try_next(struct proxy *p, uint64_t us, struct frame *ret);
/* The bytes of a BODY frame, wherever they are. */
struct slice proxy_body(const struct proxy *p, const struct frame *f);
/* The next frame must be RESPONSE 200 for `stream` (0: any); returns its stream. */
uint32_t proxy_expect_response(struct proxy *p, uint32_t stream);
/* Sends quick requests ("/hello") until the app server knows that they are, and grants
 * more than its slots. */
void proxy_warm(struct proxy *p, uint32_t window);
/* Reads link frames until `*flag`. */
void proxy_wait_flag(struct proxy *p, const bool *flag);

/* ---- handlers ---- */
void respond(struct request *r, struct slice body); /* 200 */
void handle_hello(struct request *r, void *arg);    /* 200 "hello" */

/* A gate that handlers wait at. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned inside, most, passed;
    bool open;
};
void gate_init(struct gate *g);
void gate_pass(struct gate *g); /* in a handler: waits until it is open */
void gate_wait_inside(struct gate *g, unsigned count);
void gate_open(struct gate *g);

#endif
