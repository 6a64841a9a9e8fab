/* SPDX-License-Identifier: MIT
 * An event loop's core: who starts, what is news, and the descriptor. Nothing is read
 * but when the descriptor says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "protocol/page.h"
#include "tests/unit/appserver/core/loop_fixture.h"

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
        cmocka_unit_test(a_client_that_left_is_news_once),
        cmocka_unit_test(a_cancel_says_why),
        cmocka_unit_test(a_lost_link_is_news_for_all_its_requests),
        cmocka_unit_test(what_waited_too_long_is_returned),
        cmocka_unit_test(a_file_is_taken_or_its_bytes_are_put),
        cmocka_unit_test(trailers_go_to_clients_that_take_them),
        cmocka_unit_test(no_input_is_forgotten_however_sends_and_arrivals_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
