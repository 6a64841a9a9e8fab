/* SPDX-License-Identifier: MIT
 * Bodies and windows under an event loop, in both directions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/appserver/core/loop_fixture.h"

enum { BIG = 1024 * 1024 };
static char big[BIG];

static void fill_big(void)
{
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 7 + i / 251);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_in_the_frame_is_there_at_once),
        cmocka_unit_test(a_body_is_news_as_it_comes),
        cmocka_unit_test(only_what_was_taken_is_granted_again),
        cmocka_unit_test(the_first_take_asks_for_an_expected_body),
        cmocka_unit_test(an_answer_flows_as_the_window_opens),
        cmocka_unit_test(a_full_link_is_tried_again_and_stops_nobody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
