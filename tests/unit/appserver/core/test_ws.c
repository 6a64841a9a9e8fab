/* SPDX-License-Identifier: MIT
 * WebSockets of a core with a loop: the handshake, and messages within the windows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "appserver/core/core_priv.h"
#include "tests/unit/appserver/core/ws_fixture.h"

static void a_handshake_is_accepted(void **state)
{
    struct header_writer w;
    struct buf headers;
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    buf_init(&headers, 0);
    header_begin(&w, &headers);
    header_put(&w, 0, SLICE("x-room"), SLICE("7"));
    header_end(&w);
    struct request *r = shake_hands(&a, &p, 1);
    assert_int_equal(request_ws_accept(r, SLICE("chat"), buf_slice(&headers)),
                     ERR_NONE);
    core_loop_flush(a.core);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_WS);
    assert_int_equal(f.ws.op, WS_ACCEPT);
    assert_true(slice_eq(f.ws.data, SLICE("chat")));
    assert_int_equal(f.ws.headers.count, 1);
    buf_fini(&headers);
    request_abort(r, ERR_APP_FAILED, SLICE(""));
    finish(&a, r);
    stop(&a, &p);
}

/* It takes no slot and none of the credit, up to max_websockets. */
static void an_accepted_one_leaves_its_place_to_requests(void **state)
{
    struct core_stats stats;
    struct app a;
    struct proxy p;

    (void)state;
    app_init_loop(&a, 1);
    a.options.max_websockets = 1;
    app_start_loop(&a);
    proxy_open_loop(&p, &a, FRAME_DEFAULT_WINDOW);
    uint32_t window = p.window;
    struct request *first = open_ws(&a, &p, 1);
    assert_int_equal(p.window, window + 1);
    struct request *second = open_ws(&a, &p, 2);
    assert_int_equal(p.window, window + 1);
    core_stats(a.core, &stats);
    assert_int_equal(stats.running, 2);

    /* The second one has the only slot. */
    proxy_request(&p, 3, "/hello");
    proxy_send(&p);
    while (!app_try_turn(&a, 1000))
        continue;
    assert_false(app_has_news(&a));
    expect_frame(&p, FRAME_RETURN);
    request_abort(second, ERR_APP_FAILED, SLICE(""));
    finish(&a, second);
    expect_frame(&p, FRAME_ABORT);
    proxy_request(&p, 4, "/hello");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    assert_int_equal(request_respond(r, 200, SLICE(""), HEADERS_NONE, SLICE("ok")),
                     ERR_NONE);
    finish(&a, r);
    (void)proxy_expect_response(&p, 4);

    request_abort(first, ERR_APP_FAILED, SLICE(""));
    finish(&a, first);
    expect_frame(&p, FRAME_ABORT);
    assert_int_equal(p.window, window);
    stop(&a, &p);
}

static void a_handshake_is_refused_with_an_answer(void **state)
{
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    struct request *r = shake_hands(&a, &p, 1);
    assert_int_equal(request_respond(r, 403, SLICE(""), HEADERS_NONE, SLICE("no")),
                     ERR_NONE);
    finish(&a, r);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_RESPONSE);
    assert_int_equal(f.response.status, 403);
    finish(&a, shake_hands(&a, &p, 2));
    expect_frame(&p, FRAME_ABORT);
    stop(&a, &p);
}

static void messages_come_in_whole_in_pieces_and_empty(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    struct request *r = open_ws(&a, &p, 1);
    expect_wait(r);
    pack(&p, 1, WS_TEXT, SLICE("hello"), true);
    proxy_send(&p);
    assert_ptr_equal(app_expect_news(&a, NEWS_BODY), r);
    expect_piece(r, WS_TEXT, SLICE("hello"), true);
    expect_wait(r);
    pack(&p, 1, WS_BINARY, slice_of(big, 32 * 1024), false);
    pack(&p, 1, WS_BINARY, slice_of(big + 32 * 1024, 100), false);
    pack(&p, 1, WS_BINARY, SLICE(""), true);
    pack(&p, 1, WS_TEXT, SLICE(""), true);
    pack(&p, 1, WS_TEXT, SLICE("x"), true);
    proxy_send(&p);
    assert_ptr_equal(app_expect_news(&a, NEWS_BODY), r);
    expect_piece(r, WS_BINARY, slice_of(big, 32 * 1024), false);
    expect_piece(r, WS_BINARY, slice_of(big + 32 * 1024, 100), false);
    expect_piece(r, WS_BINARY, SLICE(""), true);
    expect_piece(r, WS_TEXT, SLICE(""), true);
    expect_piece(r, WS_TEXT, SLICE("x"), true);
    expect_wait(r);
    finish(&a, r);
    stop(&a, &p);
}

static void what_was_taken_is_granted_with_the_price_of_its_pieces(void **state)
{
    enum { PIECES = FRAME_DEFAULT_WINDOW / 2 / (WINDOW_WS_PIECE + 1) + 1 };
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    struct request *r = open_ws(&a, &p, 1);
    for (unsigned i = 0; i < PIECES; i++) {
        pack(&p, 1, WS_TEXT, SLICE("x"), true);
        if (i % 1000 == 0)
            proxy_send(&p);
    }
    pack(&p, 1, WS_TEXT, SLICE("the last"), true);
    proxy_send(&p);
    for (unsigned i = 0; i < PIECES; i++) {
        while (request_readable(r) == 0)
            (void)app_try_turn(&a, HARNESS_WAIT_US);
        expect_piece(r, WS_TEXT, SLICE("x"), true);
    }
    core_loop_flush(a.core);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_WINDOW);
    assert_in_range(f.bytes, FRAME_DEFAULT_WINDOW / 2, PIECES * (WINDOW_WS_PIECE + 1));
    finish(&a, r);
    stop(&a, &p);
}

static void empty_messages_beyond_the_window_break_the_rules(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    struct request *r = open_ws(&a, &p, 1);
    for (unsigned i = 0; i <= FRAME_DEFAULT_WINDOW / WINDOW_WS_PIECE; i++) {
        pack(&p, 1, WS_BINARY, SLICE(""), true);
        if (i % 1000 == 0)
            proxy_send(&p);
    }
    proxy_send(&p);
    proxy_wait_flag(&p, &p.bye);
    assert_string_equal(p.bye_reason, "BAD_FRAME");
    assert_ptr_equal(app_expect_news(&a, NEWS_GONE), r);
    finish(&a, r);
    stop(&a, &p);
}

static void messages_go_out_in_pieces_with_fin_on_the_last(void **state)
{
    size_t got = 0;
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 1024 * 1024);
    struct request *r = open_ws(&a, &p, 1);
    put_whole(r, WS_BINARY, slice_of(big, sizeof(big)));
    put_whole(r, WS_TEXT, SLICE(""));
    put_whole(r, WS_TEXT, SLICE("short"));
    core_loop_flush(a.core);
    do {
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_WS);
        assert_int_equal(f.ws.op, WS_BINARY);
        assert_in_range(f.ws.data.len, 1, FRAME_MAX_INLINE_BODY);
        assert_memory_equal(f.ws.data.ptr, big + got, f.ws.data.len);
        got += f.ws.data.len;
        assert_int_equal(f.ws.fin, got == sizeof(big));
    } while (!f.ws.fin);
    proxy_next(&p, &f);
    assert_int_equal(f.ws.op, WS_TEXT);
    assert_int_equal(f.ws.data.len, 0);
    assert_true(f.ws.fin);
    proxy_next(&p, &f);
    assert_true(slice_eq(f.ws.data, SLICE("short")));
    finish(&a, r);
    stop(&a, &p);
}

static void messages_out_wait_for_the_window(void **state)
{
    enum { WINDOW = 1000 };
    struct slice left = slice_of(big, 10000);
    size_t got = 0, allowed = WINDOW;
    bool is_done = false;
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, WINDOW);
    struct request *r = open_ws(&a, &p, 1);
    assert_int_equal(request_ws_put(r, WS_BINARY, &left, &is_done), ERR_NONE);
    assert_false(is_done);
    core_loop_flush(a.core);
    while (got < 10000) {
        size_t spent = 0;
        while (got < (size_t)(left.ptr - big)) {
            proxy_next(&p, &f);
            assert_memory_equal(f.ws.data.ptr, big + got, f.ws.data.len);
            got += f.ws.data.len;
            spent += f.ws.data.len + WINDOW_WS_PIECE;
        }
        assert_in_range(spent, 1, allowed);
        assert_int_equal(f.ws.fin, is_done);
        allowed += WINDOW - spent;
        frame_pack_window(&p.out, 1, WINDOW);
        proxy_send(&p);
        if (is_done)
            break;
        assert_ptr_equal(app_expect_news(&a, NEWS_ROOM), r);
        assert_int_equal(request_ws_put(r, WS_BINARY, &left, &is_done), ERR_NONE);
        core_loop_flush(a.core);
    }
    assert_int_equal(got, 10000);
    finish(&a, r);
    stop(&a, &p);
}

static void an_empty_message_needs_room_as_well(void **state)
{
    struct slice empty = SLICE("");
    unsigned sent = 0;
    bool is_done;
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 100);
    struct request *r = open_ws(&a, &p, 1);
    while (request_ws_put(r, WS_TEXT, &empty, &is_done) == ERR_NONE && is_done)
        sent++;
    assert_int_equal(sent, 100 / WINDOW_WS_PIECE);
    core_loop_flush(a.core);
    for (unsigned i = 0; i < sent; i++)
        expect_frame(&p, FRAME_WS);
    frame_pack_window(&p.out, 1, WINDOW_WS_PIECE);
    proxy_send(&p);
    assert_ptr_equal(app_expect_news(&a, NEWS_ROOM), r);
    put_whole(r, WS_TEXT, empty);
    core_loop_flush(a.core);
    proxy_next(&p, &f);
    assert_true(f.ws.fin);
    finish(&a, r);
    stop(&a, &p);
}

static void a_handshake_with_a_body_is_an_ordinary_request(void **state)
{
    struct slice data;
    struct app a;
    struct proxy p;
    enum err e;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    proxy_request_body(&p, 1, "/ws", BODY_INLINE, SLICE("body"), 4, REQUEST_WEBSOCKET);
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    assert_false(request_is_websocket(r));
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_DATA);
    assert_true(slice_eq(data, SLICE("body")));
    finish(&a, r);
    stop(&a, &p);
}

static void without_a_loop_there_are_no_websockets(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    app_init(&a, 1, handle_hello, NULL);
    app_start(&a);
    proxy_open(&p, a.endpoint);
    assert_int_equal(p.hello.features & FEATURE_WEBSOCKET, 0);
    stop(&a, &p);
}

/* Also when the request's memory served an ordinary one before, and after messages. */
static void an_idle_websocket_needs_little_memory(void **state)
{
    char target[600];
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    memset(target, 'x', sizeof(target));
    target[0] = '/';
    target[sizeof(target) - 1] = '\0';
    proxy_request(&p, 1, "/ordinary");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    respond(r, SLICE(""));
    finish(&a, r);
    (void)proxy_expect_response(&p, 1);
    proxy_request_body(&p, 2, target, BODY_NONE, SLICE(""), 0, REQUEST_WEBSOCKET);
    proxy_send(&p);
    r = app_expect_news(&a, NEWS_STARTED);
    assert_int_equal(request_ws_accept(r, SLICE(""), HEADERS_NONE), ERR_NONE);
    pack(&p, 2, WS_TEXT, SLICE("hello"), true);
    core_loop_flush(a.core);
    expect_frame(&p, FRAME_WS);
    proxy_send(&p);
    wait_readable(&a, r, 1);
    expect_piece(r, WS_TEXT, SLICE("hello"), true);
    expect_wait(r);
    assert_null(r->lent);
    assert_true(list_is_empty(&r->pieces));
    assert_in_range(sizeof(*r) + r->cap, 1, 1536);
    finish(&a, r);
    stop(&a, &p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handshake_is_accepted),
        cmocka_unit_test(an_accepted_one_leaves_its_place_to_requests),
        cmocka_unit_test(a_handshake_is_refused_with_an_answer),
        cmocka_unit_test(messages_come_in_whole_in_pieces_and_empty),
        cmocka_unit_test(what_was_taken_is_granted_with_the_price_of_its_pieces),
        cmocka_unit_test(empty_messages_beyond_the_window_break_the_rules),
        cmocka_unit_test(messages_go_out_in_pieces_with_fin_on_the_last),
        cmocka_unit_test(messages_out_wait_for_the_window),
        cmocka_unit_test(an_empty_message_needs_room_as_well),
        cmocka_unit_test(a_handshake_with_a_body_is_an_ordinary_request),
        cmocka_unit_test(without_a_loop_there_are_no_websockets),
        cmocka_unit_test(an_idle_websocket_needs_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
