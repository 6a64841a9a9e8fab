/* SPDX-License-Identifier: MIT
 * What the tests of upstream/ stand on: a real event_base and pool, a real ROUTER that
 * plays the app server, and tickets that write down what they hear. */
#ifndef TESTS_FAKE_APP_H
#define TESTS_FAKE_APP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/frame.h"
#include "protocol/link.h"
#include "protocol/page.h"
#include "proxy/upstream/pool.h"

enum { APP_INSTANCE = 77, SECOND_US = 1000 * 1000, MAX_SEEN = 16384 };

/* ---- the app server ---- */

struct seen {
    enum frame_kind kind;
    uint32_t stream, flags;
    uint64_t bytes; /* of a body, or of a WINDOW */
    bool bulk, taken;
    enum err reason;
    char text[64]; /* method and target of a REQUEST */
};

struct app {
    struct link *link;
    uint32_t peer;
    uint64_t epoch, ping_sequence;
    uint64_t instance; /* 0: APP_INSTANCE */
    uint32_t window;   /* granted with HELLO; 0: no HELLO is answered */
    uint32_t version;  /* said in HELLO; 0: 1 */
    const char *page_path;
    int page_slot;
    const char *interface; /* NULL: wsgi */
    uint32_t own_features;
    uint64_t window_bytes;
    uint32_t messages, hellos, byes;
    uint32_t features; /* that the proxy named */
    struct seen *seen; /* MAX_SEEN: all but HELLO, BYE, PING */
    uint32_t count;
};

static inline void app_send(struct app *app, struct buf *frames, struct slice bulk)
{
    assert_int_equal(link_send(app->link, app->peer, buf_slice(frames), bulk),
                     ERR_NONE);
    buf_fini(frames);
}

#define APP_SAY(app, pack, ...)                                                        \
    do {                                                                               \
        struct buf say_;                                                               \
        buf_init(&say_, 0);                                                            \
        pack(&say_, __VA_ARGS__);                                                      \
        app_send(app, &say_, SLICE(""));                                               \
    } while (0)

static inline void app_grant(struct app *app, uint32_t window)
{
    APP_SAY(app, frame_pack_grant, app->epoch, window);
}

static inline void app_respond(struct app *app, uint32_t stream, const char *body)
{
    APP_SAY(app, frame_pack_response, stream, 200, SLICE(""), HEADERS_NONE,
            slice_from(body));
}

static inline void app_head(struct app *app, uint32_t stream)
{
    APP_SAY(app, frame_pack_head, stream, 200, SLICE(""), HEADERS_NONE, false, 0);
}

static inline void app_say_hello(struct app *app)
{
    struct frame_hello hello = {
        .version = app->version == 0 ? PROTOCOL_VERSION : app->version,
        .role = SLICE("app"),
        .instance = app->instance == 0 ? APP_INSTANCE : app->instance,
        .clock_us = 1,
        .features = app->own_features,
        .window_bytes = app->window_bytes,
        .inline_bytes = FRAME_MAX_INLINE_BODY,
        .has_app = true,
        .pool = SLICE("default"),
        .slots = 16,
        .interface = slice_from(app->interface == NULL ? "wsgi" : app->interface),
        .pid = 4242,
        .page = slice_from(app->page_path),
        .page_slot = (uint32_t)app->page_slot,
    };
    struct buf frames;
    buf_init(&frames, 0);
    frame_pack_hello(&frames, app->epoch, &hello);
    frame_pack_grant(&frames, app->epoch, app->window);
    app_send(app, &frames, SLICE(""));
}

static inline void app_note(struct app *app, const struct frame *f, struct slice bulk)
{
    if (app->seen == NULL)
        app->seen = mem_zalloc(sizeof(struct seen) * MAX_SEEN);
    assert_true(app->count < MAX_SEEN);
    struct seen *s = &app->seen[app->count++];
    *s = (struct seen){.kind = f->kind, .stream = f->stream};
    switch (f->kind) {
    case FRAME_REQUEST:
        s->flags = f->request.flags;
        snprintf(s->text, sizeof s->text, "%.*s %.*s", SLICE_FMT(f->request.method),
                 SLICE_FMT(f->request.target));
        break;
    case FRAME_BODY:
        s->bulk = f->body.bulk;
        s->bytes = f->body.bulk ? bulk.len : f->body.data.len;
        break;
    case FRAME_WINDOW:
        s->bytes = f->bytes;
        break;
    case FRAME_LIMIT:
        s->bytes = f->running;
        break;
    case FRAME_CANCEL:
        s->reason = f->stop.reason;
        break;
    case FRAME_FILED:
        s->taken = f->taken;
        break;
    case FRAME_WS:
        snprintf(s->text, sizeof s->text, "%d %.*s", f->ws.op,
                 f->ws.data.len < 32 ? (int)f->ws.data.len : 32, f->ws.data.ptr);
        s->bytes = f->ws.data.len;
        break;
    default:
        break;
    }
}

static inline void app_hear(struct app *app, const struct frame *f, struct slice bulk)
{
    switch (f->kind) {
    case FRAME_HELLO:
        app->hellos++;
        app->epoch = f->epoch;
        app->features = f->hello.features;
        if (app->window != 0)
            app_say_hello(app);
        break;
    case FRAME_BYE:
        app->byes++;
        break;
    case FRAME_PING:
        app->ping_sequence = f->load.sequence;
        break;
    default:
        app_note(app, f, bulk);
        break;
    }
}

static inline void app_poll(struct app *app)
{
    struct link_message m;
    while (app->link != NULL && link_recv(app->link, &m) == STEP_DONE) {
        app->peer = m.peer;
        app->messages++;
        struct slice rest = m.frames;
        struct frame f;
        enum err err;
        while (frame_unpack(&rest, &f, &err) == STEP_DONE)
            app_hear(app, &f, m.bulk);
        assert_int_equal(rest.len, 0);
        link_message_done(&m);
    }
}

/* ---- the fixture ---- */

enum { MAX_APPS = 4 };

struct fixture {
    char dir[32];
    struct event_base *base;
    struct link_context *context;
    struct pool *pool;
    struct app apps[MAX_APPS];
};

static inline void fixture_endpoint(struct fixture *f, uint32_t at, char endpoint[64])
{
    snprintf(endpoint, 64, "ipc://%s/app-%u.sock", f->dir, at);
}

static inline void fixture_init_named(struct fixture *f,
                                      const char *pool,
                                      uint32_t max_queue,
                                      const struct pool_policy *policy)
{
    *f = (struct fixture){0};
    log_set_level(LOG_ERROR);
    strcpy(f->dir, "/tmp/banyan-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->base = event_base_new();
    f->context = link_context_new(64);
    struct pool_options options = {
        .max_queue = max_queue,
        .heartbeat_timeout_us = 3 * SECOND_US,
        .retry_budget_percent = 20,
        .window_bytes = 64 * 1024,
        .has_files = true,
        .instance = 42,
        .policy = *policy,
    };
    snprintf(options.name, sizeof options.name, "%s", pool);
    clock_set(1000 * (uint64_t)SECOND_US);
    f->pool = pool_new(f->base, f->context, &options);
}

static inline void fixture_init_with(struct fixture *f,
                                     uint32_t max_queue,
                                     const struct pool_policy *policy)
{
    fixture_init_named(f, "", max_queue, policy);
}

static inline void fixture_init(struct fixture *f, uint32_t max_queue)
{
    fixture_init_with(f, max_queue, &(struct pool_policy){0});
}

/* Binds an app server that grants `window`; the pool's backend is called b<at>. */
static inline void fixture_bind(struct fixture *f, uint32_t at, uint32_t window)
{
    struct app *app = &f->apps[at];
    char endpoint[64];
    fixture_endpoint(f, at, endpoint);
    app->window = window;
    if (app->window_bytes == 0)
        app->window_bytes = 64 * 1024;
    assert_int_equal(link_bind(f->context, endpoint, LINK_LOCAL_ONLY, &app->link),
                     ERR_NONE);
}

static inline void fixture_add(struct fixture *f, uint32_t at)
{
    char endpoint[64], name[8];
    fixture_endpoint(f, at, endpoint);
    snprintf(name, sizeof name, "b%u", at);
    assert_int_equal(pool_add(f->pool, name, endpoint), ERR_NONE);
}

/* Of the backend b<at>. */
static inline void fixture_weigh(struct fixture *f, uint32_t at, uint32_t weight)
{
    struct backend_settings settings = BACKEND_SETTINGS;
    char name[8];
    settings.weight = weight;
    snprintf(name, sizeof name, "b%u", at);
    assert_true(pool_set(f->pool, name, &settings));
}

static inline void fixture_fini(struct fixture *f)
{
    pool_free(&f->pool);
    for (uint32_t i = 0; i < MAX_APPS; i++) {
        link_free(&f->apps[i].link);
        mem_free(&f->apps[i].seen);
    }
    event_base_free(f->base);
    link_context_free(&f->context);
    char path[64];
    snprintf(path, sizeof path, "%s/page", f->dir);
    (void)unlink(path);
    assert_int_equal(rmdir(f->dir), 0);
    clock_release();
}

/* One turn of the loop, and of the app servers. */
static inline void fixture_turn(struct fixture *f)
{
    (void)event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    (void)pool_turn(f->pool, clock_now_us());
    for (uint32_t i = 0; i < MAX_APPS; i++)
        app_poll(&f->apps[i]);
}

/* Not the pool's clock, which stands. */
static inline time_t real_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* Turns until it holds; gives up after a minute. */
#define UNTIL(f, condition)                                                            \
    do {                                                                               \
        time_t end_ = real_seconds() + 60;                                             \
        while (!(condition)) {                                                         \
            if (real_seconds() > end_)                                                 \
                fail_msg("never came true: %s", #condition);                           \
            fixture_turn(f);                                                           \
            usleep(300);                                                               \
        }                                                                              \
    } while (0)

/* Turns for a moment, to see that nothing happens. */
static inline void fixture_settle(struct fixture *f)
{
    for (int i = 0; i < 30; i++) {
        fixture_turn(f);
        usleep(500);
    }
}

/* Ticks as the edge would, until `us` have passed on the standing clock. */
static inline void fixture_pass(struct fixture *f, uint64_t us)
{
    for (uint64_t passed = 0; passed < us; passed += 100 * 1000) {
        clock_set(clock_now_us() + 100 * 1000);
        pool_tick(f->pool, clock_now_us());
        fixture_turn(f);
    }
}

static inline void fixture_up(struct fixture *f, uint32_t at, uint32_t window)
{
    fixture_bind(f, at, window);
    fixture_add(f, at);
    uint32_t up = pool_up(f->pool) + 1;
    UNTIL(f, pool_up(f->pool) == up);
}

/* ---- the exchange ---- */

struct asker {
    struct ticket ticket; /* first */
    char heard[256];      /* "sent head 200 body 3 done" */
    size_t body_bytes;
    bool takes_file, cancels_at_head, frees_frame;
};

static inline struct asker *asker_of(struct ticket *t)
{
    return NODE_OF(t, struct asker, ticket);
}

__attribute__((format(printf, 2, 3))) static inline void
hear(struct ticket *t, const char *format, ...)
{
    struct asker *a = asker_of(t);
    size_t at = strlen(a->heard);
    if (at > 0 && at < sizeof a->heard - 1)
        a->heard[at++] = ' ';
    va_list args;
    va_start(args, format);
    vsnprintf(a->heard + at, sizeof a->heard - at, format, args);
    va_end(args);
}

static inline void on_sent(struct ticket *t)
{
    hear(t, "sent");
}

static inline void on_room(struct ticket *t)
{
    hear(t, "room");
}

static inline void on_inform(struct ticket *t, const struct frame_response *r)
{
    hear(t, "inform %u", r->status);
}

static inline void
on_head(struct ticket *t, const struct frame_response *r, bool is_whole)
{
    hear(t, "head %u", r->status);
    if (is_whole)
        hear(t, "%.*s", SLICE_FMT(r->body));
    if (asker_of(t)->cancels_at_head)
        ticket_cancel(t, ERR_BAD_RESPONSE);
}

static inline void on_body(struct ticket *t, struct slice data)
{
    asker_of(t)->body_bytes += data.len;
    hear(t, "body %zu", data.len);
}

static inline void on_done(struct ticket *t, const struct header_list *trailers)
{
    assert_int_equal(t->state, TICKET_IDLE);
    hear(t, "done");
    if (trailers != NULL && trailers->count > 0)
        hear(t, "%u trailers", trailers->count);
}

static inline bool on_file(struct ticket *t, const struct frame_file *file)
{
    hear(t, "file %.*s", SLICE_FMT(file->path));
    return asker_of(t)->takes_file;
}

static inline void on_ws(struct ticket *t, const struct frame_ws *ws)
{
    static const char *const names[] = {[WS_ACCEPT] = "accept",
                                        [WS_TEXT] = "text",
                                        [WS_BINARY] = "binary",
                                        [WS_CLOSE] = "close"};
    hear(t, "%s %.*s%s", names[ws->op], SLICE_FMT(ws->data),
         ws->op != WS_ACCEPT && ws->op != WS_CLOSE && !ws->fin ? "+" : "");
}

static inline void on_failed(struct ticket *t, enum err err, struct slice text)
{
    (void)text;
    assert_int_equal(t->state, TICKET_IDLE);
    hear(t, "failed %s", err_name(err));
}

static inline const struct ticket_events *asker_events(void)
{
    static const struct ticket_events events = {
        .sent = on_sent,
        .room = on_room,
        .inform = on_inform,
        .head = on_head,
        .body = on_body,
        .done = on_done,
        .file = on_file,
        .ws = on_ws,
        .failed = on_failed,
    };
    return &events;
}

/* A ticket for "METHOD target". */
static inline void asker_init(struct asker *a, const char *method, const char *target)
{
    *a = (struct asker){0};
    struct ticket *t = &a->ticket;
    ticket_init(t, asker_events());
    struct frame_request r = {
        .method = slice_from(method),
        .target = slice_from(target),
        .minor = 1,
        .scheme = SLICE("http"),
        .body_form = BODY_NONE,
        .id = SLICE("r1"),
    };
    frame_pack_request(&t->frame, 0, &r, HEADERS_NONE);
    t->is_idempotent = strcmp(method, "POST") != 0;
    t->is_replayable = true;
    t->queue_deadline_us = clock_now_us() + 30 * (uint64_t)SECOND_US;
}

static inline void asker_fini(struct asker *a)
{
    ticket_cancel(&a->ticket, ERR_CLIENT_GONE);
    buf_fini(&a->ticket.frame);
}

static inline void ask(struct fixture *f, struct asker *a, const char *method)
{
    asker_init(a, method, "/");
    pool_submit(f->pool, &a->ticket);
}

/* One backend with one request that runs there. */
static inline struct app *begin(struct fixture *f, struct asker *a, const char *method)
{
    fixture_init(f, 10);
    fixture_up(f, 0, 4);
    ask(f, a, method);
    UNTIL(f, f->apps[0].count == 1);
    return &f->apps[0];
}

static inline void end(struct fixture *f, struct asker *a)
{
    asker_fini(a);
    fixture_fini(f);
}

#endif
