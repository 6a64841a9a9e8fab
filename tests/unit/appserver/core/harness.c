/* SPDX-License-Identifier: MIT */
#include "tests/unit/appserver/core/harness.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/base/clock.h"

static void synchronize(void);
static void *work(void *arg);
static bool receive(struct proxy *p, uint64_t until_us);
static bool note_link_frame(struct proxy *p, const struct frame *f);

void app_init(struct app *a, unsigned threads, handler_fn *handler, void *arg)
{
    memset(a, 0, sizeof(*a));
    (void)snprintf(a->directory, sizeof(a->directory), "/tmp/core-test-XXXXXX");
    assert_non_null(mkdtemp(a->directory));
    (void)snprintf(a->endpoint, sizeof(a->endpoint), "ipc://%s/app", a->directory);
    a->options = (struct core_options){
        .endpoint = a->endpoint,
        .pool = "default",
        .interface = "wsgi",
        .threads = threads,
        .threads_max = threads,
    };
    a->handler = handler;
    a->arg = arg;
}

void app_start(struct app *a)
{
    assert_int_equal(core_new(&a->options, &a->events, &a->core), ERR_NONE);
    for (unsigned i = 0; i < a->options.threads; i++)
        app_add_worker(a);
    while (app_stats(a).workers < a->options.threads)
        (void)usleep(1000);
}

void app_add_worker(struct app *a)
{
    assert_true(a->thread_count < HARNESS_WORKERS);
    assert_int_equal(pthread_create(&a->threads[a->thread_count], NULL, work, a), 0);
    a->thread_count++;
}

static void *work(void *arg)
{
    struct app *a = arg;
    struct worker *w = core_worker_enter(a->core, 0);
    struct request *r;

    while ((r = core_next(w)) != NULL) {
        synchronize();
        a->handler(r, a->arg);
    }
    core_worker_leave(&w);
    return NULL;
}

void app_init_loop(struct app *a, unsigned slots)
{
    app_init(a, slots, NULL, NULL);
    a->options.is_loop = true;
    a->options.interface = "asgi";
    a->turn_max = 8;
}

void app_start_loop(struct app *a)
{
    assert_int_equal(core_new(&a->options, &a->events, &a->core), ERR_NONE);
    core_loop_enter(a->core, 77);
}

bool app_try_turn(struct app *a, uint64_t us)
{
    struct pollfd fd = {.fd = core_loop_fd(a->core), .events = POLLIN};

    if (poll(&fd, 1, (int)(us / 1000)) <= 0)
        return false;
    size_t at = a->news_first + a->news_count;
    assert_true(at + a->turn_max <= HARNESS_NEWS);
    a->news_count += core_loop_turn(a->core, a->news + at, a->turn_max);
    return true;
}

struct loop_news app_next_news(struct app *a)
{
    uint64_t until = clock_now_us() + HARNESS_WAIT_US;

    while (a->news_count == 0) {
        assert_true(clock_now_us() < until);
        (void)app_try_turn(a, HARNESS_WAIT_US);
    }
    a->news_count--;
    struct loop_news news = a->news[a->news_first++];
    if (a->news_count == 0)
        a->news_first = 0;
    return news;
}

struct request *app_expect_news(struct app *a, unsigned what)
{
    struct loop_news news = app_next_news(a);

    assert_int_equal(news.what, what);
    return news.request;
}

bool app_has_news(const struct app *a)
{
    return a->news_count > 0;
}

void app_stop(struct app *a)
{
    uint64_t until = clock_now_us() + HARNESS_WAIT_US;

    core_drain(a->core);
    while (a->options.is_loop && !core_wait_drained(a->core, 1000)) {
        assert_true(clock_now_us() < until);
        (void)app_try_turn(a, 1000);
    }
    assert_true(core_wait_drained(a->core, HARNESS_WAIT_US));
    for (unsigned i = 0; i < a->thread_count; i++)
        (void)pthread_join(a->threads[i], NULL);
    core_free(&a->core);
    (void)rmdir(a->directory);
}

struct core_stats app_stats(struct app *a)
{
    struct core_stats s;
    core_stats(a->core, &s);
    return s;
}

void proxy_connect(struct proxy *p, struct link_context *context, const char *endpoint)
{
    static uint64_t epochs = 1000;

    memset(p, 0, sizeof(*p));
    p->owns_context = context == NULL;
    p->context = context == NULL ? link_context_new(16) : context;
    p->epoch = __atomic_add_fetch(&epochs, 1, __ATOMIC_RELAXED);
    buf_init(&p->out, 0);
    assert_int_equal(link_connect(p->context, endpoint, LINK_LOCAL_ONLY, &p->link),
                     ERR_NONE);
    if (link_monitor_fd(p->link) < 0)
        return;
    uint64_t until = clock_now_us() + HARNESS_WAIT_US;
    struct link_event event = {.kind = LINK_DOWN};
    while (!link_next_event(p->link, &event) || event.kind != LINK_UP) {
        assert_true(clock_now_us() < until);
        struct pollfd fd = {.fd = link_monitor_fd(p->link), .events = POLLIN};
        (void)poll(&fd, 1, 10);
    }
}

void proxy_hello(struct proxy *p, uint64_t window_bytes)
{
    struct frame_hello h = {
        .version = PROTOCOL_VERSION,
        .role = SLICE("proxy"),
        .instance = 7,
        .clock_us = clock_now_us(),
        .features =
            FEATURE_FILE | FEATURE_INFORM | FEATURE_WEBSOCKET | FEATURE_TRAILERS,
        .window_bytes = window_bytes,
        .inline_bytes = FRAME_MAX_INLINE_BODY,
    };
    frame_pack_hello(&p->out, p->epoch, &h);
    proxy_send(p);
    while (p->hello.version == 0 || (p->grants == 0 && !p->draining)) {
        struct frame f;
        assert_true(receive(p, clock_now_us() + HARNESS_WAIT_US));
        enum err e;
        while (frame_unpack(&p->rest, &f, &e) == STEP_DONE)
            assert_true(note_link_frame(p, &f));
    }
}

void proxy_open(struct proxy *p, const char *endpoint)
{
    proxy_connect(p, NULL, endpoint);
    proxy_hello(p, FRAME_DEFAULT_WINDOW);
}

void proxy_open_loop(struct proxy *p, struct app *a, uint64_t window_bytes)
{
    proxy_connect(p, NULL, a->endpoint);
    p->app = a;
    proxy_hello(p, window_bytes);
}

void proxy_close(struct proxy *p)
{
    if (p->has_message)
        link_message_done(&p->message);
    link_free(&p->link);
    buf_fini(&p->out);
    if (p->owns_context)
        link_context_free(&p->context);
}

void proxy_request(struct proxy *p, uint32_t stream, const char *target)
{
    proxy_request_body(p, stream, target, BODY_NONE, SLICE(""), 0, 0);
}

void proxy_request_body(struct proxy *p,
                        uint32_t stream,
                        const char *target,
                        enum body_form form,
                        struct slice body,
                        uint64_t length,
                        uint32_t flags)
{
    struct frame_request r = {
        .flags = flags,
        .method = form == BODY_NONE ? SLICE("GET") : SLICE("POST"),
        .target = slice_from(target),
        .minor = 1,
        .scheme = SLICE("http"),
        .client_addr = SLICE("127.0.0.1"),
        .client_port = 4321,
        .server_addr = SLICE("127.0.0.1"),
        .server_port = 8000,
        .body_form = form,
        .body = body,
        .body_length = length,
        .queued_us = clock_now_us(),
        .id = SLICE("test-1"),
    };
    proxy_request_frame(p, stream, &r);
}

void proxy_request_frame(struct proxy *p,
                         uint32_t stream,
                         const struct frame_request *r)
{
    frame_pack_request(&p->out, stream, r, HEADERS_NONE);
}

void proxy_send(struct proxy *p)
{
    synchronize();
    enum err e;
    while ((e = link_send(p->link, 0, buf_slice(&p->out), SLICE(""))) == ERR_LINK_FULL)
        (void)usleep(1000);
    assert_int_equal(e, ERR_NONE);
    buf_clear(&p->out);
}

void proxy_send_bulk(struct proxy *p, uint32_t stream, struct slice bulk)
{
    frame_pack_body_bulk(&p->out, stream);
    assert_int_equal(link_send(p->link, 0, buf_slice(&p->out), bulk), ERR_NONE);
    buf_clear(&p->out);
}

void proxy_next(struct proxy *p, struct frame *ret)
{
    assert_true(proxy_try_next(p, HARNESS_WAIT_US, ret));
}

bool proxy_try_next(struct proxy *p, uint64_t us, struct frame *ret)
{
    uint64_t until = clock_now_us() + us;
    enum err e;

    for (;;) {
        enum step step = frame_unpack(&p->rest, ret, &e);
        assert_int_not_equal(step, STEP_BAD);
        if (step == STEP_DONE && !note_link_frame(p, ret))
            return true;
        if (step == STEP_MORE && !receive(p, until))
            return false;
    }
}

struct slice proxy_body(const struct proxy *p, const struct frame *f)
{
    assert_int_equal(f->kind, FRAME_BODY);
    return f->body.bulk ? p->message.bulk : f->body.data;
}

uint32_t proxy_expect_response(struct proxy *p, uint32_t stream)
{
    struct frame f;

    proxy_next(p, &f);
    assert_int_equal(f.kind, FRAME_RESPONSE);
    assert_int_equal(f.response.status, 200);
    if (stream != 0)
        assert_int_equal(f.stream, stream);
    return f.stream;
}

void proxy_warm(struct proxy *p, uint32_t window)
{
    while (p->window < window) {
        proxy_request(p, ++p->stream, "/hello");
        proxy_send(p);
        (void)proxy_expect_response(p, p->stream);
    }
}

void proxy_wait_flag(struct proxy *p, const bool *flag)
{
    uint64_t until = clock_now_us() + HARNESS_WAIT_US;
    struct frame f;
    enum err e;

    while (!*flag) {
        enum step step = frame_unpack(&p->rest, &f, &e);
        if (step == STEP_DONE)
            assert_true(note_link_frame(p, &f));
        else
            assert_true(receive(p, until));
    }
}

/* The next message; false: none until then. */
static bool receive(struct proxy *p, uint64_t until_us)
{
    for (;;) {
        if (p->has_message)
            link_message_done(&p->message);
        p->has_message = false;
        enum step step = link_recv(p->link, &p->message);
        assert_int_not_equal(step, STEP_BAD);
        if (step == STEP_DONE) {
            p->has_message = true;
            synchronize();
            p->rest = p->message.frames;
            p->messages++;
            return true;
        }
        uint64_t now = clock_now_us();
        if (now >= until_us)
            return false;
        struct pollfd fds[] = {
            {.fd = link_fd(p->link), .events = POLLIN},
            {.fd = p->app == NULL ? -1 : core_loop_fd(p->app->core), .events = POLLIN}};
        (void)poll(fds, 2, (int)((until_us - now) / 1000) + 1);
        if (fds[1].revents != 0)
            (void)app_try_turn(p->app, 0);
    }
}

static bool note_link_frame(struct proxy *p, const struct frame *f)
{
    if (!frame_kind_is_link(f->kind))
        return false;
    if (p->old_epoch != 0 && f->epoch == p->old_epoch)
        return true;
    assert_int_equal(f->epoch, p->epoch);
    switch (f->kind) {
    case FRAME_HELLO:
        p->hello = f->hello;
        (void)snprintf(p->page, sizeof(p->page), "%.*s", SLICE_FMT(f->hello.page));
        break;
    case FRAME_GRANT:
        p->window = f->window;
        p->grants++;
        break;
    case FRAME_LOAD:
        p->loads++;
        p->load_sequence = f->load.sequence;
        p->load_running = f->load.running;
        p->load_slots = f->load.slots;
        p->load_service_us = f->load.service_us;
        break;
    case FRAME_DRAIN:
        p->draining = true;
        break;
    case FRAME_BYE:
        p->bye = true;
        (void)snprintf(p->bye_reason, sizeof(p->bye_reason), "%.*s",
                       SLICE_FMT(f->stop.text));
        break;
    default:
        fail_msg("unexpected %s", frame_kind_name(f->kind));
    }
    return true;
}

void respond(struct request *r, struct slice body)
{
    synchronize();
    (void)!request_respond(r, 200, SLICE(""), HEADERS_NONE, body);
}

void handle_hello(struct request *r, void *arg)
{
    (void)arg;
    respond(r, SLICE("hello"));
}

/* What a test and its handlers know of each other travels through a socket, where
 * ThreadSanitizer does not see that one comes after the other. */
static void synchronize(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    (void)pthread_mutex_lock(&lock);
    (void)pthread_mutex_unlock(&lock);
}

void gate_init(struct gate *g)
{
    memset(g, 0, sizeof(*g));
    (void)pthread_mutex_init(&g->lock, NULL);
    (void)pthread_cond_init(&g->changed, NULL);
}

void gate_pass(struct gate *g)
{
    (void)pthread_mutex_lock(&g->lock);
    g->inside++;
    if (g->inside > g->most)
        g->most = g->inside;
    (void)pthread_cond_broadcast(&g->changed);
    while (!g->open)
        (void)pthread_cond_wait(&g->changed, &g->lock);
    g->inside--;
    g->passed++;
    (void)pthread_mutex_unlock(&g->lock);
}

void gate_wait_inside(struct gate *g, unsigned count)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += HARNESS_WAIT_US / 1000000;
    (void)pthread_mutex_lock(&g->lock);
    while (g->inside < count)
        assert_int_equal(pthread_cond_timedwait(&g->changed, &g->lock, &until), 0);
    (void)pthread_mutex_unlock(&g->lock);
}

void gate_open(struct gate *g)
{
    (void)pthread_mutex_lock(&g->lock);
    g->open = true;
    (void)pthread_cond_broadcast(&g->changed);
    (void)pthread_mutex_unlock(&g->lock);
}
