/* SPDX-License-Identifier: MIT
 * An event loop's core: news, bodies, windows, and the descriptor. The test's own
 * thread is the loop (harness.h); nothing is read but when the descriptor says so. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "protocol/page.h"
#include "tests/unit/appserver/core/harness.h"

enum { BIG = 1024 * 1024 };
static char big[BIG];

static void fill_big(void)
{
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 7 + i / 251);
}

static void start(struct app *a, struct proxy *p, unsigned slots)
{
    app_init_loop(a, slots);
    app_start_loop(a);
    proxy_open_loop(p, a, FRAME_DEFAULT_WINDOW);
}

static void stop(struct app *a, struct proxy *p)
{
    app_stop(a);
    proxy_close(p);
}

static void finish(struct app *a, struct request *r, const char *body)
{
    respond(r, slice_from(body));
    request_finish(&r);
    assert_null(r);
    core_loop_flush(a->core);
}

static void send_streamed(struct proxy *p, uint32_t stream, uint32_t flags)
{
    proxy_request_body(p, stream, "/up", BODY_UNKNOWN, SLICE(""), 0, flags);
    proxy_send(p);
}

static void send_body(struct proxy *p, uint32_t stream, const char *data)
{
    frame_pack_body(&p->out, stream, slice_from(data));
    proxy_send(p);
}

static void send_end(struct proxy *p, uint32_t stream)
{
    frame_pack_end(&p->out, stream, SLICE(""));
    proxy_send(p);
}

static bool is_readable(struct app *a)
{
    struct pollfd fd = {.fd = core_loop_fd(a->core), .events = POLLIN};

    return poll(&fd, 1, 0) > 0;
}

/* Turns until the descriptor is silent. */
static void settle(struct app *a)
{
    while (app_try_turn(a, 0))
        core_loop_flush(a->core);
}

static void a_request_is_started_viewed_and_answered(void **state)
{
    struct page *page = NULL;
    struct app a;
    struct proxy p;
    int mine;

    (void)state;
    start(&a, &p, 10);
    assert_int_equal(p.hello.slots, 10);
    assert_true(slice_eq(p.hello.interface, SLICE("asgi")));
    assert_int_not_equal(p.hello.features & FEATURE_WEBSOCKET, 0);
    assert_int_equal(page_open(p.page, p.hello.instance, &page), ERR_NONE);
    proxy_request(&p, 1, "/first");
    proxy_request(&p, 2, "/second");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    assert_true(slice_eq(request_frame(r)->target, SLICE("/first")));
    assert_string_equal(request_id(r), "test-1");
    assert_false(page_never_started(page, (int)p.hello.page_slot, 1));
    assert_true(page_never_started(page, (int)p.hello.page_slot, 3));
    assert_null(request_owner(r));
    request_set_owner(r, &mine);
    assert_ptr_equal(request_owner(r), &mine);
    assert_false(request_is_websocket(r));
    assert_false(request_takes_trailers(r));
    assert_true(request_takes_inform(r));
    assert_int_equal(request_inline_max(r), FRAME_MAX_INLINE_BODY);

    /* What is sent waits for the flush. */
    respond(r, SLICE("one"));
    request_finish(&r);
    assert_true(core_loop_has_pending(a.core));
    core_loop_flush(a.core);
    assert_false(core_loop_has_pending(a.core));
    (void)proxy_expect_response(&p, 1);
    finish(&a, app_expect_news(&a, NEWS_STARTED), "two");
    (void)proxy_expect_response(&p, 2);
    page_free(&page);
    stop(&a, &p);
}

/* One of `running` ends and, when a request waits or is sent again, another begins. */
static void replace(struct app *a, struct proxy *p, struct request **running)
{
    bool is_answered = false;
    struct frame f;

    finish(a, *running, "done");
    while (!is_answered || !app_has_news(a)) {
        if (!proxy_try_next(p, 1000, &f))
            continue;
        /* More than the window, or it had to wait for too long. */
        if (f.kind == FRAME_RETURN) {
            assert_int_equal(f.stop.reason, ERR_QUEUE_FULL);
            proxy_request(p, ++p->stream, "/slow");
            proxy_send(p);
            continue;
        }
        assert_int_equal(f.kind, FRAME_RESPONSE);
        is_answered = true;
    }
    *running = app_expect_news(a, NEWS_STARTED);
}

static void only_so_many_run_at_once(void **state)
{
    struct request *running[3] = {NULL};
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 3);
    for (p.stream = 1; p.stream <= 3; p.stream++)
        proxy_request(&p, p.stream, "/slow");
    proxy_send(&p);
    for (size_t i = 0; i < 3; i++)
        running[i] = app_expect_news(&a, NEWS_STARTED);
    for (size_t i = 0; i < 30; i++) {
        proxy_request(&p, ++p.stream, "/slow");
        proxy_send(&p);
        settle(&a);
        assert_false(app_has_news(&a));
        assert_int_equal(app_stats(&a).running, 3);
        replace(&a, &p, &running[i % 3]);
    }
    for (size_t i = 0; i < 3; i++)
        finish(&a, running[i], "done");
    stop(&a, &p);
}

static void news_beyond_the_turn_leave_the_descriptor_readable(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 50);
    a.turn_max = 1;
    for (uint32_t stream = 1; stream <= 20; stream++)
        proxy_request(&p, stream, "/x");
    proxy_send(&p);
    for (uint32_t stream = 1; stream <= 20; stream++) {
        struct request *r = app_expect_news(&a, NEWS_STARTED);
        assert_int_equal(is_readable(&a), stream < 20);
        finish(&a, r, "x");
    }
    for (uint32_t stream = 1; stream <= 20; stream++)
        (void)proxy_expect_response(&p, stream);
    stop(&a, &p);
}

static void the_descriptor_is_silent_when_there_is_nothing_to_do(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 5);
    proxy_request(&p, 1, "/x");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    settle(&a);
    assert_false(is_readable(&a));
    finish(&a, r, "x");
    (void)proxy_expect_response(&p, 1);
    settle(&a);
    assert_false(is_readable(&a));
    stop(&a, &p);
}

static void a_body_in_the_frame_is_there_at_once(void **state)
{
    struct slice data;
    struct app a;
    struct proxy p;
    enum err e;

    (void)state;
    start(&a, &p, 5);
    proxy_request_body(&p, 1, "/form", BODY_INLINE, SLICE("name=ficus"), 10, 0);
    proxy_request(&p, 2, "/none");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    assert_int_equal(request_readable(r), 10);
    assert_int_equal(request_take(r, 4, &data, &e), TAKE_DATA);
    assert_true(slice_eq(data, SLICE("name")));
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_DATA);
    assert_true(slice_eq(data, SLICE("=ficus")));
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_END);
    finish(&a, r, "");
    r = app_expect_news(&a, NEWS_STARTED);
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_END);
    finish(&a, r, "");
    stop(&a, &p);
}

static void a_body_is_news_as_it_comes(void **state)
{
    struct slice data;
    struct app a;
    struct proxy p;
    enum err e;

    (void)state;
    start(&a, &p, 5);
    send_streamed(&p, 1, 0);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    /* Nobody asked for it yet: no news. */
    send_body(&p, 1, "ab");
    while (request_readable(r) == 0)
        (void)app_try_turn(&a, HARNESS_WAIT_US);
    settle(&a);
    assert_false(app_has_news(&a));
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_DATA);
    assert_true(slice_eq(data, SLICE("ab")));
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_WAIT);
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_WAIT);
    send_body(&p, 1, "cd");
    assert_ptr_equal(app_expect_news(&a, NEWS_BODY), r);
    assert_int_equal(request_take(r, 1, &data, &e), TAKE_DATA);
    assert_true(slice_eq(data, SLICE("c")));
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_DATA);
    assert_true(slice_eq(data, SLICE("d")));
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_WAIT);
    send_end(&p, 1);
    assert_ptr_equal(app_expect_news(&a, NEWS_BODY), r);
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_END);
    finish(&a, r, "");
    (void)proxy_expect_response(&p, 1);
    stop(&a, &p);
}

static void only_what_was_taken_is_granted_again(void **state)
{
    enum { PIECE = 64 * 1024 };
    struct slice data;
    struct frame f;
    struct app a;
    struct proxy p;
    enum err e;

    (void)state;
    fill_big();
    start(&a, &p, 5);
    send_streamed(&p, 1, 0);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    for (size_t at = 0; at < FRAME_DEFAULT_WINDOW; at += PIECE)
        proxy_send_bulk(&p, 1, slice_of(big + at, PIECE));
    while (request_readable(r) < FRAME_DEFAULT_WINDOW)
        (void)app_try_turn(&a, HARNESS_WAIT_US);
    settle(&a);
    assert_false(proxy_try_next(&p, 2000, &f));
    size_t got = 0;
    while (got < FRAME_DEFAULT_WINDOW / 2) {
        assert_int_equal(request_take(r, 5000, &data, &e), TAKE_DATA);
        assert_memory_equal(data.ptr, big + got, data.len);
        got += data.len;
    }
    core_loop_flush(a.core);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_WINDOW);
    assert_in_range(f.bytes, FRAME_DEFAULT_WINDOW / 2, got);
    finish(&a, r, "");
    (void)proxy_expect_response(&p, 1);
    stop(&a, &p);
}

static void the_first_take_asks_for_an_expected_body(void **state)
{
    struct slice data;
    struct frame f;
    struct app a;
    struct proxy p;
    enum err e;

    (void)state;
    start(&a, &p, 5);
    send_streamed(&p, 1, REQUEST_EXPECT);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    settle(&a);
    assert_false(proxy_try_next(&p, 2000, &f));
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_WAIT);
    core_loop_flush(a.core);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_WINDOW);
    assert_int_equal(f.bytes, FRAME_DEFAULT_WINDOW);
    send_body(&p, 1, "x");
    assert_ptr_equal(app_expect_news(&a, NEWS_BODY), r);
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_DATA);
    finish(&a, r, "");
    stop(&a, &p);
}

/* Reads pieces and grants windows until `total` bytes came, while the loop puts the
 * rest of `left` whenever there is room. */
static void
pass_big(struct app *a, struct proxy *p, struct request *r, struct slice left)
{
    size_t got = 0, unreported = 0;
    struct frame f;

    for (;;) {
        while (got < (size_t)(left.ptr - big)) {
            proxy_next(p, &f);
            struct slice piece = proxy_body(p, &f);
            assert_memory_equal(piece.ptr, big + got, piece.len);
            got += piece.len;
            unreported += piece.len;
        }
        if (left.len == 0)
            break;
        frame_pack_window(&p->out, f.stream, unreported);
        proxy_send(p);
        unreported = 0;
        assert_ptr_equal(app_expect_news(a, NEWS_ROOM), r);
        assert_int_equal(request_put(r, &left), ERR_NONE);
        core_loop_flush(a->core);
    }
    assert_int_equal(got, sizeof(big));
}

static void an_answer_flows_as_the_window_opens(void **state)
{
    static const uint64_t windows[] = {20000, 100 * 1024, FRAME_DEFAULT_WINDOW};
    struct frame f;
    struct app a;

    (void)state;
    fill_big();
    for (size_t i = 0; i < 3; i++) {
        struct slice left = slice_of(big, sizeof(big));
        struct proxy p;
        app_init_loop(&a, 5);
        app_start_loop(&a);
        proxy_open_loop(&p, &a, windows[i]);
        proxy_request(&p, 1, "/big");
        proxy_send(&p);
        struct request *r = app_expect_news(&a, NEWS_STARTED);
        assert_int_equal(
            request_head(r, 200, SLICE(""), HEADERS_NONE, true, sizeof(big)), ERR_NONE);
        assert_int_equal(request_put(r, &left), ERR_NONE);
        assert_int_equal(left.len, sizeof(big) - windows[i]);
        core_loop_flush(a.core);
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_HEAD);
        pass_big(&a, &p, r, left);
        assert_int_equal(request_end(r), ERR_NONE);
        request_finish(&r);
        core_loop_flush(a.core);
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_END);
        stop(&a, &p);
    }
}

static char zeros[16 * 1024];

/* Puts as many pieces as the link takes; returns how many bytes that were. */
static size_t put_zeros(struct app *a, struct request *r)
{
    size_t sent = 0;
    struct slice piece;

    do {
        piece = slice_of(zeros, sizeof(zeros));
        assert_int_equal(request_put(r, &piece), ERR_NONE);
        core_loop_flush(a->core);
        sent += sizeof(zeros) - piece.len;
    } while (piece.len == 0);
    return sent;
}

static void a_full_link_is_tried_again_and_stops_nobody_else(void **state)
{
    size_t sent = 0, got = 0;
    struct frame f;
    struct app a;
    struct proxy p, other;

    (void)state;
    app_init_loop(&a, 5);
    app_start_loop(&a);
    proxy_open_loop(&p, &a, 1ull << 40);
    proxy_open_loop(&other, &a, FRAME_DEFAULT_WINDOW);
    proxy_request(&p, 1, "/endless");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    assert_int_equal(request_head(r, 200, SLICE(""), HEADERS_NONE, false, 0), ERR_NONE);
    sent += put_zeros(&a, r);
    /* While that one does not read, the other is served. */
    for (uint32_t stream = 1; stream <= 100; stream++) {
        proxy_request(&other, stream, "/x");
        proxy_send(&other);
        struct loop_news news = app_next_news(&a);
        for (; news.what == NEWS_ROOM; news = app_next_news(&a))
            sent += put_zeros(&a, r);
        assert_int_equal(news.what, NEWS_STARTED);
        finish(&a, news.request, "x");
        (void)proxy_expect_response(&other, stream);
    }
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_HEAD);
    for (; got < sent; got += proxy_body(&p, &f).len)
        proxy_next(&p, &f);
    assert_ptr_equal(app_expect_news(&a, NEWS_ROOM), r);
    assert_int_equal(request_end(r), ERR_NONE);
    request_finish(&r);
    core_loop_flush(a.core);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_END);
    assert_int_equal(got, sent);
    stop(&a, &p);
    proxy_close(&other);
}

static void a_client_that_left_is_news_once(void **state)
{
    struct slice data = SLICE("x");
    struct frame f;
    struct app a;
    struct proxy p;
    enum err e;

    (void)state;
    start(&a, &p, 5);
    send_streamed(&p, 1, 0);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    assert_int_equal(request_head(r, 200, SLICE(""), HEADERS_NONE, false, 0), ERR_NONE);
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_WAIT);
    frame_pack_body(&p.out, 1, SLICE("late"));
    frame_pack_cancel(&p.out, 1, ERR_CLIENT_GONE);
    proxy_send(&p);
    assert_ptr_equal(app_expect_news(&a, NEWS_BODY | NEWS_GONE), r);
    assert_int_equal(request_gone(r), ERR_CLIENT_GONE);
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_GONE);
    assert_int_equal(e, ERR_CLIENT_GONE);
    assert_int_equal(request_put(r, &data), ERR_CLIENT_GONE);
    settle(&a);
    assert_false(app_has_news(&a));
    request_finish(&r);
    core_loop_flush(a.core);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_HEAD);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_ABORT);
    assert_int_equal(f.stop.reason, ERR_CLIENT_GONE);
    stop(&a, &p);
}

static void a_cancel_says_why(void **state)
{
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 5);
    proxy_request(&p, 1, "/slow");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    frame_pack_cancel(&p.out, 1, ERR_REQUEST_TIMEOUT);
    proxy_send(&p);
    assert_ptr_equal(app_expect_news(&a, NEWS_GONE), r);
    assert_int_equal(request_gone(r), ERR_REQUEST_TIMEOUT);
    assert_int_equal(request_respond(r, 200, SLICE(""), HEADERS_NONE, SLICE("late")),
                     ERR_REQUEST_TIMEOUT);
    request_abort(r, ERR_APP_FAILED, SLICE("CancelledError"));
    request_finish(&r);
    core_loop_flush(a.core);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_ABORT);
    assert_int_equal(f.stop.reason, ERR_REQUEST_TIMEOUT);
    stop(&a, &p);
}

static void a_lost_link_is_news_for_all_its_requests(void **state)
{
    struct request *r[3];
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 5);
    for (uint32_t stream = 1; stream <= 3; stream++)
        proxy_request(&p, stream, "/slow");
    proxy_send(&p);
    for (size_t i = 0; i < 3; i++)
        r[i] = app_expect_news(&a, NEWS_STARTED);
    proxy_close(&p);
    for (size_t i = 0; i < 3; i++) {
        struct request *gone = app_expect_news(&a, NEWS_GONE);
        assert_int_equal(request_gone(gone), ERR_LINK_DOWN);
        request_finish(&gone);
    }
    (void)r;
    app_stop(&a);
}

static void what_waited_too_long_is_returned(void **state)
{
    struct frame_request late = {
        .method = SLICE("GET"),
        .target = SLICE("/late"),
        .scheme = SLICE("http"),
        .deadline_us = clock_now_us() - 1000000,
        .id = SLICE("test-1"),
    };
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 5);
    proxy_request_frame(&p, 1, &late);
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_RETURN);
    assert_int_equal(f.stop.reason, ERR_REQUEST_TIMEOUT);
    assert_false(app_has_news(&a));
    stop(&a, &p);
}

static void a_file_is_taken_or_its_bytes_are_put(void **state)
{
    struct frame_file file = {SLICE("/srv/x"), 1, 2, 0, 5};
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 5);
    for (uint32_t stream = 1; stream <= 2; stream++) {
        struct slice bytes = SLICE("bytes");
        bool asked = false;
        proxy_request(&p, stream, "/file");
        proxy_send(&p);
        struct request *r = app_expect_news(&a, NEWS_STARTED);
        assert_int_equal(request_head(r, 200, SLICE(""), HEADERS_NONE, true, 5),
                         ERR_NONE);
        assert_int_equal(request_put_file(r, &file, &asked), ERR_NONE);
        assert_true(asked);
        core_loop_flush(a.core);
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_HEAD);
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_FILE);
        frame_pack_filed(&p.out, stream, stream == 1);
        proxy_send(&p);
        assert_ptr_equal(app_expect_news(&a, NEWS_FILED), r);
        assert_int_equal(request_file_taken(r), stream == 1);
        if (stream == 2) {
            assert_int_equal(request_put(r, &bytes), ERR_NONE);
            assert_int_equal(request_end(r), ERR_NONE);
        }
        request_finish(&r);
        core_loop_flush(a.core);
    }
    proxy_next(&p, &f);
    assert_true(slice_eq(proxy_body(&p, &f), SLICE("bytes")));
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_END);
    stop(&a, &p);
}

static void trailers_go_to_clients_that_take_them(void **state)
{
    struct header_writer w;
    struct buf trailers;
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 5);
    buf_init(&trailers, 0);
    header_begin(&w, &trailers);
    header_put(&w, 0, SLICE("x-checksum"), SLICE("5eb63bbb"));
    header_end(&w);
    for (uint32_t stream = 1; stream <= 2; stream++) {
        uint32_t flags = stream == 1 ? REQUEST_TRAILERS : 0;
        proxy_request_body(&p, stream, "/t", BODY_NONE, SLICE(""), 0, flags);
        proxy_send(&p);
        struct request *r = app_expect_news(&a, NEWS_STARTED);
        assert_int_equal(request_takes_trailers(r), stream == 1);
        assert_int_equal(request_head(r, 200, SLICE(""), HEADERS_NONE, false, 0),
                         ERR_NONE);
        assert_int_equal(request_end_with(r, buf_slice(&trailers)), ERR_NONE);
        request_finish(&r);
        core_loop_flush(a.core);
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_HEAD);
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_END);
        assert_int_equal(f.trailers.count, stream == 1 ? 1 : 0);
    }
    buf_fini(&trailers);
    stop(&a, &p);
}

static void a_drain_starts_only_what_cannot_be_sent_again(void **state)
{
    struct slice data;
    struct frame f;
    struct app a;
    struct proxy p;
    enum err e;

    (void)state;
    start(&a, &p, 5);
    proxy_request(&p, 1, "/slow");
    proxy_send(&p);
    struct request *running = app_expect_news(&a, NEWS_STARTED);
    /* The loop is busy; what comes is read, and waits. */
    p.app = NULL;
    proxy_request_body(&p, 2, "/up", BODY_LENGTH, SLICE(""), 3, 0);
    frame_pack_body(&p.out, 2, SLICE("abc"));
    frame_pack_end(&p.out, 2, SLICE(""));
    proxy_request(&p, 3, "/returned");
    proxy_request_body(&p, 4, "/expect", BODY_LENGTH, SLICE(""), 3, REQUEST_EXPECT);
    proxy_send(&p);
    while (app_stats(&a).waiting + app_stats(&a).returned < 3)
        (void)usleep(1000);
    assert_false(core_is_draining(a.core));
    core_drain(a.core);
    assert_true(core_is_draining(a.core));
    for (uint32_t stream = 3; stream <= 4; stream++) {
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_RETURN);
        assert_int_equal(f.stream, stream);
    }
    proxy_wait_flag(&p, &p.draining);
    assert_false(core_wait_drained(a.core, 1000));

    p.app = &a;
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    finish(&a, running, "done");
    (void)proxy_expect_response(&p, 1);
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_DATA);
    assert_true(slice_eq(data, SLICE("abc")));
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_END);
    /* The same for one that crosses the DRAIN. */
    proxy_request(&p, 5, "/returned");
    send_streamed(&p, 6, 0);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_RETURN);
    assert_int_equal(f.stream, 5);
    finish(&a, app_expect_news(&a, NEWS_STARTED), "crossed");
    (void)proxy_expect_response(&p, 6);
    finish(&a, r, "up");
    (void)proxy_expect_response(&p, 2);
    assert_true(core_wait_drained(a.core, HARNESS_WAIT_US));
    proxy_wait_flag(&p, &p.bye);
    stop(&a, &p);
}

static void a_drain_wakes_a_loop_that_has_nothing_to_do(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 1);
    settle(&a);
    core_drain(a.core);
    assert_true(app_try_turn(&a, HARNESS_WAIT_US));
    assert_true(core_is_draining(a.core));
    while (!core_is_drained(a.core))
        assert_true(app_try_turn(&a, HARNESS_WAIT_US));
    assert_true(core_wait_drained(a.core, 0));
    stop(&a, &p);
}

/* From here on the loop is inside something long: it does not turn. */

static void a_ping_is_answered_while_the_loop_is_busy(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 5);
    proxy_request(&p, 1, "/slow");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    settle(&a);
    p.app = NULL;
    unsigned before = p.loads;
    frame_pack_ping(&p.out, p.epoch, 5, clock_now_us());
    proxy_send(&p);
    bool answered = false;
    while (!answered) {
        struct frame f;
        assert_false(proxy_try_next(&p, 1000, &f));
        answered = p.loads > before;
    }
    /* What came is news as soon as it looks again. */
    frame_pack_cancel(&p.out, 1, ERR_CLIENT_GONE);
    proxy_send(&p);
    while (request_gone(r) == ERR_NONE)
        (void)usleep(1000);
    p.app = &a;
    assert_ptr_equal(app_expect_news(&a, NEWS_GONE), r);
    request_finish(&r);
    stop(&a, &p);
}

static void what_waits_for_a_busy_loop_goes_back(void **state)
{
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 50);
    uint32_t window = p.window;
    assert_in_range(window, 50, 51);
    proxy_request(&p, 1, "/slow");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    settle(&a);
    p.app = NULL;
    send_streamed(&p, 2, 0);
    proxy_request(&p, 3, "/waits");
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_RETURN);
    assert_int_equal(f.stream, 3);
    assert_int_equal(f.stop.reason, ERR_QUEUE_FULL);
    /* No more of them until it looks again. */
    assert_int_equal(p.window, 1);
    p.app = &a;
    finish(&a, r, "slow");
    (void)proxy_expect_response(&p, 1);
    finish(&a, app_expect_news(&a, NEWS_STARTED), "up");
    (void)proxy_expect_response(&p, 2);
    while (p.window < window)
        (void)proxy_try_next(&p, 1000, &f);
    stop(&a, &p);
}

static void what_a_busy_loop_left_behind_is_sent(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 5);
    proxy_request(&p, 1, "/x");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    respond(r, SLICE("x"));
    p.app = NULL;
    (void)proxy_expect_response(&p, 1);
    request_finish(&r);
    p.app = &a;
    stop(&a, &p);
}

static _Atomic unsigned stuck_calls, stuck_again_calls;

static void on_stuck(void *arg, uint64_t thread_tag, const char *request_id)
{
    (void)arg;
    if (thread_tag == 77 && request_id[0] == '\0')
        stuck_calls++;
}

static void on_stuck_again(void *arg, const char *request_id)
{
    (void)arg;
    (void)request_id;
    stuck_again_calls++;
}

static void a_loop_that_does_not_look_at_its_work_is_stuck(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    stuck_calls = stuck_again_calls = 0;
    app_init_loop(&a, 5);
    a.options.request_timeout_s = 0.1;
    a.events.stuck = on_stuck;
    a.events.stuck_again = on_stuck_again;
    app_start_loop(&a);
    proxy_open_loop(&p, &a, FRAME_DEFAULT_WINDOW);
    proxy_request(&p, 1, "/slow");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    settle(&a);
    /* Busy, but with nothing to do for it here: that is its own affair. */
    (void)usleep(800000);
    assert_int_equal(stuck_calls, 0);
    proxy_request(&p, 2, "/waits");
    proxy_send(&p);
    for (uint64_t until = clock_now_us() + HARNESS_WAIT_US; stuck_again_calls == 0;) {
        assert_true(clock_now_us() < until);
        (void)usleep(1000);
    }
    assert_int_equal(stuck_calls, 1);
    /* It looks again: over, and a later one is a new one. */
    p.stream = 2;
    replace(&a, &p, &r);
    proxy_request(&p, ++p.stream, "/waits");
    proxy_send(&p);
    for (uint64_t until = clock_now_us() + HARNESS_WAIT_US; stuck_calls == 1;) {
        assert_true(clock_now_us() < until);
        (void)usleep(1000);
    }
    replace(&a, &p, &r);
    finish(&a, r, "waited");
    stop(&a, &p);
}

/* ---- the descriptor ---- */

enum { ROUNDS = 3000, CALLERS = 3, AT_ONCE = 4 };

struct caller {
    pthread_t thread;
    struct proxy proxy;
};

/* Keeps some requests on their way; each answer brings the next one. */
static void *call(void *arg)
{
    struct caller *c = arg;
    uint32_t stream = 0;

    while (stream < AT_ONCE)
        proxy_request(&c->proxy, ++stream, "/x");
    proxy_send(&c->proxy);
    for (unsigned answers = 0; answers < ROUNDS; answers++) {
        (void)proxy_expect_response(&c->proxy, 0);
        if (stream == ROUNDS)
            continue;
        proxy_request(&c->proxy, ++stream, "/x");
        proxy_send(&c->proxy);
    }
    return NULL;
}

static void no_input_is_forgotten_however_sends_and_arrivals_mix(void **state)
{
    struct caller callers[CALLERS];
    struct app a;

    (void)state;
    app_init_loop(&a, 100);
    a.turn_max = 3;
    app_start_loop(&a);
    for (size_t i = 0; i < CALLERS; i++) {
        proxy_open_loop(&callers[i].proxy, &a, FRAME_DEFAULT_WINDOW);
        callers[i].proxy.app = NULL;
    }
    for (size_t i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]),
                         0);
    for (unsigned served = 0; served < ROUNDS * CALLERS; served++)
        finish(&a, app_expect_news(&a, NEWS_STARTED), "x");
    for (size_t i = 0; i < CALLERS; i++)
        (void)pthread_join(callers[i].thread, NULL);
    app_stop(&a);
    for (size_t i = 0; i < CALLERS; i++)
        proxy_close(&callers[i].proxy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_started_viewed_and_answered),
        cmocka_unit_test(only_so_many_run_at_once),
        cmocka_unit_test(news_beyond_the_turn_leave_the_descriptor_readable),
        cmocka_unit_test(the_descriptor_is_silent_when_there_is_nothing_to_do),
        cmocka_unit_test(a_body_in_the_frame_is_there_at_once),
        cmocka_unit_test(a_body_is_news_as_it_comes),
        cmocka_unit_test(only_what_was_taken_is_granted_again),
        cmocka_unit_test(the_first_take_asks_for_an_expected_body),
        cmocka_unit_test(an_answer_flows_as_the_window_opens),
        cmocka_unit_test(a_full_link_is_tried_again_and_stops_nobody_else),
        cmocka_unit_test(a_client_that_left_is_news_once),
        cmocka_unit_test(a_cancel_says_why),
        cmocka_unit_test(a_lost_link_is_news_for_all_its_requests),
        cmocka_unit_test(what_waited_too_long_is_returned),
        cmocka_unit_test(a_file_is_taken_or_its_bytes_are_put),
        cmocka_unit_test(trailers_go_to_clients_that_take_them),
        cmocka_unit_test(a_drain_starts_only_what_cannot_be_sent_again),
        cmocka_unit_test(a_drain_wakes_a_loop_that_has_nothing_to_do),
        cmocka_unit_test(a_ping_is_answered_while_the_loop_is_busy),
        cmocka_unit_test(what_waits_for_a_busy_loop_goes_back),
        cmocka_unit_test(what_a_busy_loop_left_behind_is_sent),
        cmocka_unit_test(a_loop_that_does_not_look_at_its_work_is_stuck),
        cmocka_unit_test(no_input_is_forgotten_however_sends_and_arrivals_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
