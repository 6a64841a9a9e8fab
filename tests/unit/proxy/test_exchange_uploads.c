/* SPDX-License-Identifier: MIT
 * proxy/{exchange,upload}.c: bodies of requests on their way from a real connection to
 * the app server that the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "tests/support/assert_slice.h"
#include "tests/unit/proxy/edge_rig.h"

#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK_EMPTY OK_HEAD "Content-Length: 0\r\n\r\n"

static void begin(struct rig *rig)
{
    rig_init(rig);
    rig_start(rig);
    rig_connect(rig);
}

/* ---- gathered ---- */

static void a_body_in_pieces_is_gathered_into_the_frame(void **state)
{
    (void)state;
    static const struct {
        const char *name, *pieces[6];
    } rows[] = {
        {"by length", {"Content-Length: 5\r\n\r\n", "h", "ell", "o"}},
        {"chunked",
         {"Transfer-Encoding: chunked\r\n\r\n", "3\r", "\nhel\r\n2;x=y\r\nl", "o\r\n0",
          "\r\nTrailer: t\r\n\r", "\n"}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rig rig;
        begin(&rig);
        rig_send(&rig, "PUT /p HTTP/1.1\r\nHost: x\r\nX-Kept: yes\r\n");
        for (int piece = 0; piece < 6 && rows[i].pieces[piece] != NULL; piece++) {
            assert_int_equal(rig_pool.count, 0);
            rig_send(&rig, rows[i].pieces[piece]);
        }
        assert_int_equal(rig_pool.count, 1);
        struct frame_request *f = &rig_latest()->frame.request;
        assert_slice(f->target, "/p");
        assert_int_equal(f->body_form, BODY_INLINE);
        assert_slice(f->body, "hello");
        bool kept = false;
        struct header h;
        for (struct header_list it = f->headers; header_next(&it, &h);)
            kept |=
                slice_eq(h.name, SLICE("x-kept")) && slice_eq(h.value, SLICE("yes"));
        assert_true(kept);
        rig_respond(rig_latest(), 200, "");
        rig_send(&rig, GET);
        rig_expect(&rig, OK_EMPTY);
        assert_int_equal(rig_pool.count, 2);
        rig_fini(&rig);
    }
}

static void assert_body(const struct rig_ticket *t, const char *body)
{
    assert_slice(buf_slice(&t->body), body);
    assert_true(t->body_ended);
}

static void a_large_body_is_gathered_first_and_sent_as_there_is_room(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_pool.window_bytes = 100000;
    char *body = rig_text(300000);
    rig_send(&rig, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n");
    rig_send(&rig, body + 1);
    assert_int_equal(rig_pool.count, 0);
    rig_send(&rig, body + 299999);
    assert_int_equal(rig_pool.count, 1);
    struct rig_ticket *t = rig_latest();
    assert_int_equal(t->frame.request.body_form, BODY_LENGTH);
    assert_int_equal(t->frame.request.body_length, 300000);
    assert_int_equal(t->frame.request.deadline_us, clock_now_us() + 60 * 1000000);
    assert_int_equal(buf_len(&t->body), 100000);
    rig_room(t, 150000);
    assert_int_equal(buf_len(&t->body), 250000);
    assert_false(t->body_ended);

    /* The app server dies: another one gets it from the first byte. */
    assert_true(t->ticket->is_replayable);
    rig_sent(t);
    assert_int_equal(buf_len(&t->body), 100000);
    rig_room(t, 1000000);
    assert_int_equal(buf_len(&t->body), 300000);
    assert_memory_equal(t->body.data, body + 1, 299999);
    assert_true(t->body_ended);
    rig_respond(t, 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_EMPTY);
    assert_int_equal(rig.stats.bodies_spooled, 1);
    free(body);
    rig_fini(&rig);
}

/* ---- streamed ---- */

static void a_body_beyond_the_buffer_is_streamed_with_back_pressure(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_pool.window_bytes = 100000;
    char *body = rig_text(600000);
    rig_send(&rig, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n");
    assert_int_equal(rig_pool.count, 1);
    struct rig_ticket *t = rig_latest();
    assert_int_equal(t->frame.request.deadline_us, 0); /* who knows how long it takes */
    assert_true(t->ticket->is_replayable);
    rig_send(&rig, body); /* as much as the edge and the socket take */
    assert_int_equal(buf_len(&t->body), 100000);
    assert_true(t->ticket->is_replayable);
    rig_pool.has_started = true;
    size_t sent = 100000;
    while (sent < 600000) {
        rig_room(t, 50000);
        rig_run(&rig);
        size_t now = buf_len(&t->body);
        if (now == sent) /* the socket is empty: the client writes the next piece */
            break;
        assert_in_range(now, sent + 1, sent + 50000);
        sent = now;
    }
    assert_memory_equal(t->body.data, body, sent);
    assert_false(t->ticket->is_replayable);
    free(body);
    rig_fini(&rig);
}

static void a_chunked_body_that_outgrows_the_buffer_is_streamed_from_there(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.request_buffer = 40000;
    rig_start(&rig);
    rig_connect(&rig);
    char *body = rig_text(100000);
    rig_send(&rig, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "186a0\r\n");
    assert_int_equal(rig_pool.count, 0);
    rig_send(&rig, body);
    assert_int_equal(rig_pool.count, 1);
    struct rig_ticket *t = rig_latest();
    assert_int_equal(t->frame.request.body_form, BODY_UNKNOWN);
    assert_int_equal(t->frame.request.deadline_us, 0);
    assert_false(t->body_ended);
    rig_send(&rig, "\r\n0\r\n\r\n");
    assert_body(t, body);
    rig_respond(t, 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_EMPTY);
    free(body);
    rig_fini(&rig);
}

static void an_asgi_application_gets_a_body_as_it_comes(void **state)
{
    (void)state;
    static const struct {
        enum buffering buffering;
        bool is_asgi, streams;
    } rows[] = {
        {BUFFERING_AUTO, false, false},
        {BUFFERING_AUTO, true, true},
        {BUFFERING_ON, true, false},
        {BUFFERING_OFF, false, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rig rig;
        rig_init(&rig);
        rig.options.buffering = rows[i].buffering;
        rig_pool.is_asgi = rows[i].is_asgi;
        rig_start(&rig);
        rig_connect(&rig);
        rig_send(&rig, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
        rig_send(&rig, "he");
        assert_int_equal(rig_pool.count, rows[i].streams);
        if (rows[i].streams) {
            struct rig_ticket *t = rig_latest();
            assert_int_equal(t->frame.request.body_form, BODY_LENGTH);
            assert_int_equal(t->frame.request.body_length, 5);
            assert_int_equal(t->frame.request.deadline_us, 0);
            assert_slice(buf_slice(&t->body), "he");
            rig_send(&rig, "llo");
            assert_body(t, "hello");
        } else {
            rig_send(&rig, "llo");
            assert_slice(rig_latest()->frame.request.body, "hello");
        }
        rig_respond(rig_latest(), 200, "");
        rig_send(&rig, GET);
        rig_expect(&rig, OK_EMPTY);
        assert_int_equal(rig_pool.count, 2);
        rig_fini(&rig);
    }
}

static void a_small_body_that_came_with_its_head_stays_in_the_frame(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_pool.is_asgi = true;
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" GET);
    assert_slice(rig_latest()->frame.request.body, "hello");
    assert_int_not_equal(rig_latest()->frame.request.deadline_us, 0);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    assert_int_equal(rig_latest()->frame.request.body_form, BODY_NONE);
    rig_fini(&rig);
}

static void what_was_streamed_to_one_app_server_goes_to_the_next(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_pool.is_asgi = true;
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "3\r\nabc\r\n");
    struct rig_ticket *t = rig_latest();
    assert_slice(buf_slice(&t->body), "abc");
    assert_true(t->ticket->is_replayable);
    rig_sent(t); /* handed back: to another one */
    assert_slice(buf_slice(&t->body), "abc");
    rig_send(&rig, "3\r\ndef\r\n");
    rig_sent(t);
    assert_slice(buf_slice(&t->body), "abcdef");
    rig_pool.has_started = true;
    rig_send(&rig, "1\r\ng\r\n0\r\n\r\n");
    assert_false(t->ticket->is_replayable);
    assert_body(t, "abcdefg");
    rig_respond(t, 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_EMPTY);
    rig_fini(&rig);
}

static void a_queued_upload_is_not_read_before_it_leaves(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_pool.is_asgi = rig_pool.queues = true;
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
    rig_wait(&rig, 40); /* longer than a body may pause: it is not the client's fault */
    struct rig_ticket *t = rig_latest();
    assert_int_equal(t->cancelled, ERR_NONE);
    rig_sent(t);
    rig_run(&rig);
    rig_send(&rig, "llo");
    assert_body(t, "hello");
    rig_respond(t, 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_EMPTY);
    rig_fini(&rig);
}

static void an_answer_may_begin_before_the_body_is_whole(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_pool.is_asgi = true;
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "1\r\na\r\n");
    struct rig_ticket *t = rig_latest();
    rig_head(t, 200, RIG_UNKNOWN_LENGTH);
    rig_body(t, "A", 1);
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                             "1\r\nA\r\n");
    rig_send(&rig, "1\r\nb\r\n");
    assert_slice(buf_slice(&t->body), "ab");
    rig_body(t, "B", 1);
    rig_send(&rig, "0\r\n\r\n");
    assert_body(t, "ab");
    rig_done(t);
    rig_run(&rig);
    rig_expect(&rig, "1\r\nB\r\n0\r\n\r\n");
    assert_true(rig.saw_eof);
    rig_fini(&rig);
}

/* ---- Expect: 100-continue ---- */

#define EXPECTING                                                                      \
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

static void the_client_is_told_to_continue_when_the_application_asks(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, EXPECTING);
    struct rig_ticket *t = rig_latest();
    assert_int_equal(t->frame.request.flags, REQUEST_EXPECT);
    assert_int_equal(t->frame.request.body_form, BODY_LENGTH);
    assert_true(t->ticket->expects);
    rig_expect(&rig, "");
    rig_room(t, 100);
    rig_run(&rig);
    rig_expect(&rig, "HTTP/1.1 100 Continue\r\n\r\n");
    rig_send(&rig, "hello");
    assert_body(t, "hello");
    rig_respond(t, 200, "");
    rig_send(&rig, GET);
    rig_expect(&rig, OK_EMPTY);
    assert_int_equal(rig_pool.count, 2);
    rig_fini(&rig);
}

static void a_body_that_comes_unasked_makes_100_needless(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, EXPECTING "hello"); /* all at once: nothing is left to expect */
    assert_int_equal(rig_latest()->frame.request.flags, 0);
    assert_slice(rig_latest()->frame.request.body, "hello");
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_EMPTY);
    rig_fini(&rig);
}

static void a_final_answer_instead_of_100_closes_the_connection(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, EXPECTING);
    rig_respond(rig_latest(), 401, "no");
    rig_run(&rig);
    rig_expect(&rig, "HTTP/1.1 401 Unauthorized\r\n*Content-Length: 2\r\n"
                     "Connection: close\r\n\r\nno");
    assert_true(rig.saw_eof);
    /* The body may be on its way: it is read, and is no request. */
    rig_send(&rig, GET);
    assert_int_equal(rig_pool.count, 1);
    rig_hang_up(&rig);
    assert_int_equal(clients_count(rig.clients), 0);
    rig_fini(&rig);
}

static void http_1_0_knows_no_interim_answers(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, "POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
                   "Connection: keep-alive\r\n\r\n");
    assert_int_equal(rig_pool.count, 0);
    rig_send(&rig, "hello");
    struct ticket *t = rig_latest()->ticket;
    struct frame_response hints = {.status = 103};
    t->events->inform(t, &hints);
    rig_respond(rig_latest(), 200, "x");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Content-Length: 1\r\nConnection: keep-alive\r\n\r\nx");
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_in_pieces_is_gathered_into_the_frame),
        cmocka_unit_test(a_large_body_is_gathered_first_and_sent_as_there_is_room),
        cmocka_unit_test(a_body_beyond_the_buffer_is_streamed_with_back_pressure),
        cmocka_unit_test(
            a_chunked_body_that_outgrows_the_buffer_is_streamed_from_there),
        cmocka_unit_test(an_asgi_application_gets_a_body_as_it_comes),
        cmocka_unit_test(a_small_body_that_came_with_its_head_stays_in_the_frame),
        cmocka_unit_test(what_was_streamed_to_one_app_server_goes_to_the_next),
        cmocka_unit_test(a_queued_upload_is_not_read_before_it_leaves),
        cmocka_unit_test(an_answer_may_begin_before_the_body_is_whole),
        cmocka_unit_test(the_client_is_told_to_continue_when_the_application_asks),
        cmocka_unit_test(a_body_that_comes_unasked_makes_100_needless),
        cmocka_unit_test(a_final_answer_instead_of_100_closes_the_connection),
        cmocka_unit_test(http_1_0_knows_no_interim_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
