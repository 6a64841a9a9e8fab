/* SPDX-License-Identifier: MIT
 * How WebSockets of a core with a loop end, and who may say what when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/appserver/core/ws_fixture.h"

static void the_client_closes(void **state)
{
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    struct request *r = open_ws(&a, &p, 1);
    expect_wait(r);
    pack(&p, 1, WS_TEXT, SLICE("bye"), true);
    pack_close(&p, 1, 1001, "going away");
    proxy_send(&p);
    assert_ptr_equal(app_expect_news(&a, NEWS_BODY), r);
    expect_piece(r, WS_TEXT, SLICE("bye"), true);
    expect_close(r, 1001, "going away");
    assert_int_equal(request_ws_close(r, 1001, SLICE("")), ERR_NONE);
    assert_int_equal(request_end(r), ERR_NONE);
    finish(&a, r);
    proxy_next(&p, &f);
    assert_int_equal(f.ws.op, WS_CLOSE);
    assert_int_equal(f.ws.code, 1001);
    expect_frame(&p, FRAME_END);
    stop(&a, &p);
}

/* Nothing makes room after it: whoever waits to send would wait for ever. */
static void a_message_that_waits_for_room_hears_the_clients_close(void **state)
{
    struct slice left = slice_of(big, 10000);
    bool is_done = false;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 1000);
    struct request *r = open_ws(&a, &p, 1);
    assert_int_equal(request_ws_put(r, WS_BINARY, &left, &is_done), ERR_NONE);
    assert_false(is_done);
    core_loop_flush(a.core);
    pack_close(&p, 1, 4000, "enough");
    proxy_send(&p);
    assert_ptr_equal(app_expect_news(&a, NEWS_ROOM), r);
    assert_int_equal(request_ws_put(r, WS_BINARY, &left, &is_done), ERR_CLIENT_GONE);
    expect_close(r, 4000, "enough");
    finish(&a, r);
    stop(&a, &p);
}

static void the_application_closes(void **state)
{
    struct slice data = SLICE("late");
    size_t granted = 0;
    bool is_done;
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    struct request *r = open_ws(&a, &p, 1);
    assert_int_equal(request_ws_close(r, 4000, SLICE("enough")), ERR_NONE);
    assert_int_equal(request_ws_close(r, 4000, SLICE("enough")), ERR_INTERNAL);
    assert_int_equal(request_ws_put(r, WS_TEXT, &data, &is_done), ERR_INTERNAL);
    core_loop_flush(a.core);
    proxy_next(&p, &f);
    assert_int_equal(f.ws.op, WS_CLOSE);
    assert_int_equal(f.ws.code, 4000);
    assert_true(slice_eq(f.ws.data, SLICE("enough")));
    /* What crosses it is dropped, and does not keep the client's close back. */
    expect_wait(r);
    for (int i = 0; i < 7; i++)
        pack(&p, 1, WS_BINARY, slice_of(big, 32 * 1024), true);
    proxy_send(&p);
    while (granted < FRAME_DEFAULT_WINDOW / 2) {
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_WINDOW);
        granted += f.bytes;
    }
    pack_close(&p, 1, 4000, "");
    proxy_send(&p);
    assert_ptr_equal(app_expect_news(&a, NEWS_BODY), r);
    assert_int_equal(app_stats(&a).dropped_frames, 7);
    expect_close(r, 4000, "");
    finish(&a, r);
    expect_frame(&p, FRAME_END);
    stop(&a, &p);
}

static void finishing_ends_what_was_closed_and_aborts_the_rest(void **state)
{
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    struct request *r = open_ws(&a, &p, 1);
    assert_int_equal(request_ws_close(r, 1000, SLICE("")), ERR_NONE);
    finish(&a, r);
    expect_frame(&p, FRAME_WS);
    expect_frame(&p, FRAME_END);
    /* The client's answer to it finds no stream any more. */
    pack_close(&p, 1, 1000, "");
    proxy_send(&p);
    finish(&a, open_ws(&a, &p, 2));
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_ABORT);
    assert_int_equal(f.stop.reason, ERR_RESPONSE_TRUNCATED);
    assert_int_equal(app_stats(&a).dropped_frames, 1);
    stop(&a, &p);
}

static void a_client_that_vanished_is_heard_to_its_last_message(void **state)
{
    bool is_done;
    struct slice data = SLICE("x");
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, FRAME_DEFAULT_WINDOW);
    struct request *r = open_ws(&a, &p, 1);
    expect_wait(r);
    pack(&p, 1, WS_TEXT, SLICE("last"), true);
    frame_pack_cancel(&p.out, 1, ERR_CLIENT_GONE);
    proxy_send(&p);
    assert_ptr_equal(app_expect_news(&a, NEWS_BODY | NEWS_GONE), r);
    assert_int_equal(request_ws_put(r, WS_TEXT, &data, &is_done), ERR_CLIENT_GONE);
    assert_false(is_done);
    assert_int_equal(request_ws_close(r, 1000, SLICE("")), ERR_CLIENT_GONE);
    expect_piece(r, WS_TEXT, SLICE("last"), true);
    expect_gone(r, ERR_CLIENT_GONE);
    finish(&a, r);
    expect_frame(&p, FRAME_ABORT);
    stop(&a, &p);
}

/* The proxy says what `bad` packs for stream 1; that must end the link. */
static void
expect_breach(void (*bad)(struct proxy *p), bool is_websocket, bool is_accepted)
{
    struct request *r;
    struct app a;
    struct proxy p;

    start(&a, &p, FRAME_DEFAULT_WINDOW);
    if (is_accepted) {
        r = open_ws(&a, &p, 1);
    } else if (is_websocket) {
        r = shake_hands(&a, &p, 1);
    } else {
        proxy_request(&p, 1, "/x");
        proxy_send(&p);
        r = app_expect_news(&a, NEWS_STARTED);
    }
    bad(&p);
    proxy_send(&p);
    proxy_wait_flag(&p, &p.bye);
    assert_string_equal(p.bye_reason, "BAD_FRAME");
    while (request_gone(r) == ERR_NONE)
        (void)app_next_news(&a);
    finish(&a, r);
    stop(&a, &p);
}

static void say_text(struct proxy *p)
{
    pack(p, 1, WS_TEXT, SLICE("x"), true);
}

static void say_after_close(struct proxy *p)
{
    pack_close(p, 1, 1000, "");
    say_text(p);
}

static void close_twice(struct proxy *p)
{
    pack_close(p, 1, 1000, "");
    pack_close(p, 1, 1000, "");
}

static void mix_messages(struct proxy *p)
{
    pack(p, 1, WS_BINARY, SLICE("x"), false);
    say_text(p);
}

static void accept_itself(struct proxy *p)
{
    pack(p, 1, WS_ACCEPT, SLICE(""), false);
}

static void send_body(struct proxy *p)
{
    frame_pack_body(&p->out, 1, SLICE("x"));
}

static void frames_that_break_the_rules_end_the_link(void **state)
{
    (void)state;
    expect_breach(say_text, false, false);
    expect_breach(say_text, true, false);
    expect_breach(say_after_close, true, true);
    expect_breach(close_twice, true, true);
    expect_breach(mix_messages, true, true);
    expect_breach(accept_itself, true, true);
    expect_breach(send_body, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_client_closes),
        cmocka_unit_test(a_message_that_waits_for_room_hears_the_clients_close),
        cmocka_unit_test(the_application_closes),
        cmocka_unit_test(finishing_ends_what_was_closed_and_aborts_the_rest),
        cmocka_unit_test(a_client_that_vanished_is_heard_to_its_last_message),
        cmocka_unit_test(frames_that_break_the_rules_end_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
