/* SPDX-License-Identifier: MIT
 * proxy/websocket.c: a client over a real connection, the test is the app server.
 * Handshake, messages, compression; how they part is in test_websocket_close.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/http/ws_deflate.h"
#include "tests/unit/proxy/websocket_rig.h"

/* ---- handshake ---- */

static void a_handshake_is_offered_and_accepted(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    struct header_list it = rig_latest()->frame.request.headers;
    struct header h;
    bool has_key = false;
    while (header_next(&it, &h)) {
        has_key = has_key || slice_eq(h.name, SLICE("sec-websocket-key"));
        assert_false(slice_eq(h.name, SLICE("upgrade")));
    }
    assert_true(has_key);
    assert_true(rig_latest()->ticket->is_committed);
    assert_int_equal(rig.stats.websockets, 1);
    assert_int_equal(rig.stats.websockets_open, 1);
    /* What the log needs is still there, the rest is not. */
    assert_true(buf_len(&rig_latest()->ticket->frame) < buf_len(&rig_latest()->bytes));
    rig_fini(&rig);
}

static void the_request_deadline_ends_with_the_accept(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.websocket_ping_interval_s = 0;
    rig_start(&rig);
    rig_connect(&rig);
    shake_hands(&rig);
    rig_wait(&rig, 200);
    assert_false(rig.saw_eof);
    expect_bytes(&rig, SLICE(""));
    rig_fini(&rig);
}

static void an_answer_refuses_the_handshake_and_http_goes_on(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, HANDSHAKE "\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(rig_pool.count, 1);
    rig_respond(rig_latest(), 403, "no\n");
    rig_run(&rig);
    rig_expect(&rig, "HTTP/1.1 403 Forbidden\r\n*\r\n\r\nno\n");
    assert_int_equal(rig_pool.count, 2);
    assert_slice(rig_latest()->frame.request.target, "/next");
    assert_int_equal(rig_latest()->frame.request.flags, 0);
    assert_false(rig_latest()->ticket->is_websocket);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Content-Length: 0\r\n\r\n");
    rig_fini(&rig);
}

static void what_comes_before_the_accept_waits_for_it(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, HANDSHAKE "\r\n");
    send_frame(&rig, 0x81, SLICE("early"));
    assert_int_equal(buf_len(&rig_latest()->said), 0);
    rig_accept(rig_latest());
    rig_run(&rig);
    rig_expect(&rig, ACCEPTED "\r\n");
    expect_said("t:early\n");
    rig_fini(&rig);
}

static void an_accept_that_no_client_may_see_is_a_502(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, HANDSHAKE "\r\n");
    struct frame_ws ws = {.op = WS_ACCEPT, .data = SLICE("a\r\nb")};
    struct ticket *t = rig_latest()->ticket;
    t->events->ws(t, &ws);
    rig_run(&rig);
    rig_expect(&rig, ERROR_HEAD("502 Bad Gateway") "*");
    assert_int_equal(rig_latest()->cancelled, ERR_BAD_RESPONSE);
    rig_fini(&rig);
}

/* ---- messages ---- */

static void messages_go_both_ways(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    send_frame(&rig, 0x81, SLICE("hello"));
    send_frame(&rig, 0x82, SLICE(""));
    send_frame(&rig, 0x01, SLICE("one "));
    send_frame(&rig, 0x89, SLICE("ping"));
    send_frame(&rig, 0x80, SLICE("two"));
    expect_said("t:hello\nb:\nt+:one \nt:two\n");
    expect_bytes(&rig, SLICE("\x8a\x04ping"));
    rig_say(rig_latest(), WS_TEXT, "answer", true);
    rig_say(rig_latest(), WS_BINARY, "a", false);
    rig_say(rig_latest(), WS_BINARY, "", false);
    rig_say(rig_latest(), WS_BINARY, "b", true);
    rig_run(&rig);
    expect_bytes(&rig, SLICE("\x81\x06"
                             "answer\x02\x01"
                             "a\x00\x00\x80\x01"
                             "b"));
    assert_int_equal(rig.stats.ws_messages_in, 3);
    assert_int_equal(rig.stats.ws_messages_out, 2);
    assert_int_equal(rig_latest()->passed_on, 6 + 1 + 0 + 1 + 4 * WINDOW_WS_PIECE);
    rig_fini(&rig);
}

static void frames_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    struct buf out;
    buf_init(&out, 0);
    add_frame(&out, 0x89, SLICE("p"));
    add_frame(&out, 0x81, SLICE("\xc3\xa4"));
    for (size_t i = 0; i < buf_len(&out); i++)
        send_bytes(&rig, slice_of(out.data + out.start + i, 1));
    expect_said("t+:\xc3\nt:\xa4\n");
    expect_bytes(&rig, SLICE("\x8a\x01p"));
    buf_fini(&out);
    rig_fini(&rig);
}

static void a_closed_window_stops_the_client(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_pool.window_bytes = 100;
    rig_start(&rig);
    rig_connect(&rig);
    shake_hands(&rig);
    static char large[60000];
    memset(large, 'x', sizeof large);
    send_frame(&rig, 0x82, slice_of(large, sizeof large));
    assert_int_equal(buf_len(&rig_latest()->said), 3 + 84 + 1);
    buf_clear(&rig_latest()->said);
    /* It reads no more, and no silence is held against the client. */
    rig_wait(&rig, 100);
    assert_int_equal(buf_len(&rig_latest()->said), 0);
    buf_clear(&rig.received);
    rig_room(rig_latest(), 50);
    rig_run(&rig);
    assert_int_equal(buf_len(&rig_latest()->said), 3 + 34 + 1);
    buf_clear(&rig_latest()->said);
    rig_room(rig_latest(), 200000);
    rig_run(&rig);
    assert_true(buf_len(&rig_latest()->said) > 59000);
    assert_false(rig.saw_eof);
    rig_fini(&rig);
}

static void a_client_that_reads_nothing_stops_the_app_server(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    static char large[32001];
    memset(large, 'x', 32000);
    uint64_t said = 0;
    struct rig_ticket *t = rig_latest();
    /* Nobody reads rig.fd but rig_run. */
    while (t->passed_on + 100000 > said) {
        rig_say(t, WS_TEXT, large, true);
        said += 32000 + WINDOW_WS_PIECE;
        assert_true(said < 100000000);
    }
    rig_run(&rig);
    assert_int_equal(t->passed_on, said);
    rig_fini(&rig);
}

/* ---- compression ---- */

static void shake_compressed(struct rig *rig)
{
    rig_send(rig, HANDSHAKE OFFER "\r\n");
    rig_accept(rig_latest());
    rig_run(rig);
    rig_expect(rig,
               ACCEPTED "Sec-WebSocket-Extensions: permessage-deflate; "
                        "server_no_context_takeover; client_no_context_takeover\r\n"
                        "\r\n");
}

static void begin_compressed(struct rig *rig)
{
    rig_init(rig);
    rig_start(rig);
    rig_connect(rig);
    shake_compressed(rig);
}

static void compressed_messages_are_inflated(void **state)
{
    (void)state;
    struct rig rig;
    begin_compressed(&rig);
    send_frame(&rig, 0xc1, SLICE("\xf2\x48\xcd\xc9\xc9\x07\x00"));
    send_frame(&rig, 0x41, SLICE("\xf2\x48\xcd"));
    send_frame(&rig, 0x80, SLICE("\xc9\xc9\x07\x00"));
    send_frame(&rig, 0x81, SLICE("plain"));
    struct buf *said = &rig_latest()->said;
    assert_true(buf_len(said) > 0);
    /* How the second one is cut is zlib's business. */
    assert_memory_equal(said->data, "t:Hello\nt", 9);
    assert_memory_equal(said->data + said->end - 8, "t:plain\n", 8);
    assert_int_equal(rig.stats.ws_messages_in, 3);
    rig_fini(&rig);
}

static void long_messages_are_compressed(void **state)
{
    (void)state;
    struct rig rig;
    begin_compressed(&rig);
    char text[65];
    memset(text, 'x', 64);
    text[64] = '\0';
    rig_say(rig_latest(), WS_TEXT, text, true);
    rig_run(&rig);
    assert_int_equal(buf_len(&rig.received), 2 + 64);
    buf_clear(&rig.received);
    char longer[1001];
    memset(longer, 'x', 1000);
    longer[1000] = '\0';
    rig_say(rig_latest(), WS_TEXT, longer, false);
    rig_say(rig_latest(), WS_TEXT, "", true);
    rig_run(&rig);
    assert_true(buf_len(&rig.received) < 40);
    assert_int_equal((unsigned char)rig.received.data[rig.received.start], 0x41);
    rig_fini(&rig);
}

static void what_inflates_beyond_the_limit_is_a_1009(void **state)
{
    (void)state;
    struct rig rig;
    begin_compressed(&rig);
    struct ws_deflate *d = ws_deflate_new();
    struct ws_terms terms = {true, 0};
    struct buf packed;
    static char zeros[100001];
    for (size_t size = 100000; size <= 100001; size++) {
        buf_init(&packed, 0);
        ws_deflate_piece(d, &terms, slice_of(zeros, size), true, &packed);
        assert_true(buf_len(&packed) < 1000);
        send_frame(&rig, 0xc2, buf_slice(&packed));
        buf_fini(&packed);
        if (size == 100000)
            assert_int_equal(rig.stats.ws_messages_in, 1);
    }
    expect_bytes(&rig, SLICE("\x88\x11\x03\xf1message too big"));
    assert_int_equal(rig.stats.ws_messages_in, 1);
    assert_int_equal(rig.stats.ws_failures, 1);
    assert_true(rig_latest()->was_left);
    ws_deflate_free(&d);
    expect_end(&rig);
    rig_fini(&rig);
}

static void inflation_waits_for_the_window(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_pool.window_bytes = 1000;
    rig_start(&rig);
    rig_connect(&rig);
    shake_compressed(&rig);
    struct ws_deflate *d = ws_deflate_new();
    struct ws_terms terms = {true, 0};
    struct buf packed;
    static char zeros[50000];
    memset(zeros, '0', sizeof zeros);
    buf_init(&packed, 0);
    ws_deflate_piece(d, &terms, slice_of(zeros, sizeof zeros), true, &packed);
    send_frame(&rig, 0xc1, buf_slice(&packed));
    send_frame(&rig, 0x81, SLICE("behind"));
    size_t got = 0;
    int turns = 0;
    for (; got < sizeof zeros && turns < 100; turns++) {
        struct buf *said = &rig_latest()->said;
        size_t zeros_said = 0;
        for (size_t i = said->start; i < said->end; i++)
            zeros_said += said->data[i] == '0';
        assert_true(zeros_said <= 1000 - WINDOW_WS_PIECE);
        got += zeros_said;
        buf_clear(said);
        rig_room(rig_latest(), 1000);
        rig_run(&rig);
    }
    assert_int_equal(got, sizeof zeros);
    assert_int_equal(rig.stats.ws_messages_in, 2);
    assert_in_range(turns, 50, 60);
    buf_fini(&packed);
    ws_deflate_free(&d);
    rig_fini(&rig);
}

static void without_compression_no_offer_is_taken(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.websocket_compression = false;
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, HANDSHAKE OFFER "\r\n");
    rig_accept(rig_latest());
    rig_run(&rig);
    rig_expect(&rig, ACCEPTED "\r\n");
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handshake_is_offered_and_accepted),
        cmocka_unit_test(the_request_deadline_ends_with_the_accept),
        cmocka_unit_test(an_answer_refuses_the_handshake_and_http_goes_on),
        cmocka_unit_test(what_comes_before_the_accept_waits_for_it),
        cmocka_unit_test(an_accept_that_no_client_may_see_is_a_502),
        cmocka_unit_test(messages_go_both_ways),
        cmocka_unit_test(frames_may_come_byte_by_byte),
        cmocka_unit_test(a_closed_window_stops_the_client),
        cmocka_unit_test(a_client_that_reads_nothing_stops_the_app_server),
        cmocka_unit_test(compressed_messages_are_inflated),
        cmocka_unit_test(long_messages_are_compressed),
        cmocka_unit_test(what_inflates_beyond_the_limit_is_a_1009),
        cmocka_unit_test(inflation_waits_for_the_window),
        cmocka_unit_test(without_compression_no_offer_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
