/* SPDX-License-Identifier: MIT
 * proxy/exchange.c where things go wrong: bad input, clients that leave, app servers
 * that fail, deadlines, shutting down; and the table of states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/proxy/edge_rig.h"

#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: x\r\n"
#define CLOSE "Connection: close\r\n\r\n"

static void begin(struct rig *rig)
{
    rig_init(rig);
    rig_start(rig);
    rig_connect(rig);
}

/* ---- what a client sends ---- */

static void bad_requests_get_a_page_and_the_close(void **state)
{
    (void)state;
    static const struct {
        const char *request, *status;
        enum err err;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", "400 Bad Request", ERR_BAD_HOST},
        {"GET / HTTP/1.1\nHost: x\n\n", "400 Bad Request", ERR_BAD_LINE_END},
        {"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", "405 Method Not Allowed",
         ERR_METHOD_NOT_ALLOWED},
        {POST "Transfer-Encoding: gzip\r\n\r\n", "501 Not Implemented",
         ERR_UNKNOWN_TRANSFER_ENCODING},
        {POST "Content-Length: 1000001\r\n\r\n", "413 Content Too Large",
         ERR_BODY_TOO_LARGE},
        {POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
         "400 Bad Request", ERR_FRAMING_CONFLICT},
        {POST "Transfer-Encoding: chunked\r\n\r\nx\r\n", "400 Bad Request",
         ERR_BAD_CHUNK},
        {POST "Content-Length: 5\r\nExpect: tea\r\n\r\n", "417 Expectation Failed",
         ERR_EXPECTATION_FAILED},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rig rig;
        char page[512];
        begin(&rig);
        rig_send(&rig, rows[i].request);
        assert_int_equal(rig_pool.count, 0);
        assert_int_equal(rig.stats.failures[rows[i].err], 1);
        /* What follows has no meaning any more, and must not reset the answer. */
        rig_send(&rig, GET);
        (void)snprintf(page, sizeof(page),
                       "HTTP/1.1 %s\r\n*Content-Length: *\r\n" CLOSE "*\n",
                       rows[i].status);
        rig_expect(&rig, page);
        assert_true(rig.saw_eof);
        assert_false(rig.saw_reset);
        assert_int_equal(rig_pool.count, 0);
        rig_fini(&rig);
    }
}

static void a_chunked_body_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.rules.max_body = 10;
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, POST "Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n1234");
    rig_expect(&rig, ERROR_HEAD("413 Content Too Large") CLOSE "*\n");
    assert_int_equal(rig_pool.count, 0);
    rig_fini(&rig);
}

/* ---- clients that leave ---- */

static void a_client_that_leaves_the_queue_never_reaches_an_app_server(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_pool.queues = true;
    rig_send(&rig, GET);
    assert_int_equal(rig_latest()->ticket->state, TICKET_QUEUED);
    rig_hang_up(&rig);
    assert_int_equal(rig_latest()->cancelled, ERR_CLIENT_GONE);
    assert_int_equal(clients_count(rig.clients), 0);
    assert_int_equal(rig.stats.clients_gone, 1);
    rig_fini(&rig);
}

static void a_client_that_leaves_is_noticed_behind_pipelined_input(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_pool.queues = true;
    rig_send(&rig, GET);
    for (int i = 0; i < 4000; i++) /* more than is read ahead */
        rig_send(&rig, GET);
    assert_int_equal(rig_pool.count, 1);
    rig_hang_up(&rig);
    assert_int_equal(rig_latest()->cancelled, ERR_CLIENT_GONE);
    assert_int_equal(clients_count(rig.clients), 0);
    rig_fini(&rig);
}

static void a_client_that_leaves_its_upload_cancels_it(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, POST "Content-Length: 600000\r\n\r\nabc");
    struct rig_ticket *t = rig_latest();
    assert_int_equal(buf_len(&t->body), 3);
    (void)shutdown(rig.fd, SHUT_WR);
    rig_run(&rig);
    assert_int_equal(t->cancelled, ERR_CLIENT_GONE);
    assert_false(t->body_ended);
    assert_true(rig.saw_eof);

    rig_connect(&rig); /* the same while it is gathered */
    rig_send(&rig, POST "Content-Length: 100\r\n\r\nabc");
    rig_hang_up(&rig);
    assert_int_equal(rig_pool.count, 1);
    assert_int_equal(clients_count(rig.clients), 0);
    rig_fini(&rig);
}

static void a_half_closed_client_still_gets_its_answers(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET GET);
    (void)shutdown(rig.fd, SHUT_WR);
    rig_run(&rig);
    rig_wait(&rig, 0.5);
    rig_respond(rig_latest(), 200, "one");
    rig_run(&rig);
    assert_int_equal(rig_pool.count, 2);
    rig_respond(rig_latest(), 200, "two");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "*one" OK_HEAD "*two");
    assert_true(rig.saw_eof);
    assert_int_equal(clients_count(rig.clients), 0);
    rig_fini(&rig);
}

static void a_half_closed_client_is_given_up_when_nothing_can_be_written(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    (void)shutdown(rig.fd, SHUT_WR);
    rig_run(&rig);
    rig_wait(&rig, 0.9);
    assert_int_equal(rig_latest()->cancelled, ERR_NONE);
    rig_wait(&rig, 0.2);
    assert_int_equal(rig_latest()->cancelled, ERR_CLIENT_GONE);
    rig_fini(&rig);
}

static void a_client_that_leaves_its_download_cancels_it(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    struct rig_ticket *t = rig_latest();
    rig_head(t, 200, RIG_UNKNOWN_LENGTH);
    rig_body(t, "abc", 3);
    rig_run(&rig);
    rig_hang_up(&rig);
    assert_int_equal(t->cancelled, ERR_NONE); /* it may have closed one side only */
    rig_body(t, "def", 3);
    rig_run(&rig);
    assert_int_equal(t->cancelled, ERR_CLIENT_GONE);
    assert_int_equal(clients_count(rig.clients), 0);
    rig_fini(&rig);
}

/* ---- app servers that fail ---- */

static void failures_before_the_head_become_pages(void **state)
{
    (void)state;
    static const struct {
        enum err err;
        const char *status, *more;
    } rows[] = {
        {ERR_APP_FAILED, "500 Internal Server Error", ""},
        {ERR_BACKEND_LOST, "502 Bad Gateway", ""},
        {ERR_QUEUE_FULL, "503 Service Unavailable", "Retry-After: 1\r\n"},
        {ERR_QUEUE_TIMEOUT, "503 Service Unavailable", "Retry-After: 1\r\n"},
        {ERR_REQUEST_TIMEOUT, "504 Gateway Timeout", ""},
    };
    struct rig rig;
    begin(&rig);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char page[512];
        (void)snprintf(page, sizeof(page),
                       "HTTP/1.1 %s\r\nDate: *\r\nServer: banyan\r\n%s"
                       "Content-Type: *\r\nContent-Length: *\r\n\r\n%s\n",
                       rows[i].status, rows[i].more, rows[i].status);
        rig_send(&rig, GET);
        rig_fail(rig_latest(), rows[i].err);
        rig_run(&rig);
        rig_expect(&rig, page); /* and the connection lives on */
    }
    rig_fini(&rig);
}

static void a_pool_may_refuse_before_pool_submit_returns(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_pool.refuses = ERR_QUEUE_FULL;
    rig_send(&rig, GET GET);
    rig_expect(&rig, ERROR_HEAD("503 Service Unavailable") "\r\n*\n" ERROR_HEAD(
                         "503 Service Unavailable") "\r\n*\n");
    assert_int_equal(rig.stats.failures[ERR_QUEUE_FULL], 2);
    rig_fini(&rig);
}

static void what_no_route_leads_to_is_a_404(void **state)
{
    (void)state;
    struct rig rig;
    static const struct route routes[] = {{.prefix = "/api"}};
    rig_init(&rig);
    rig.routes = routes;
    rig.route_count = 1;
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, GET);
    rig_expect(&rig, ERROR_HEAD("404 Not Found") "\r\n*\n");
    rig_send(&rig, "POST /ap HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12");
    rig_expect(&rig, ERROR_HEAD("404 Not Found") "\r\n*\n");
    rig_connect(&rig);
    rig_send(&rig, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_expect(&rig, OK_HEAD "*");
    assert_int_equal(rig_pool.count, 0);
    assert_int_equal(rig.stats.failures[ERR_NO_ROUTE], 2);
    rig_send(&rig, "GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_respond(rig_latest(), 200, "here");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "*here");
    rig_fini(&rig);
}

static void a_head_that_no_client_may_see_is_a_502(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    struct buf headers;
    struct header_writer w;
    buf_init(&headers, 0);
    header_begin(&w, &headers);
    header_put(&w, 0, SLICE("X-Bad"), SLICE("a\r\nSet-Cookie: b"));
    header_end(&w);
    struct frame_response r = {
        .status = 200,
        .headers = {.packed = slice_of(headers.data + 3, buf_len(&headers) - 3),
                    .count = 1},
    };
    struct rig_ticket *t = rig_latest();
    t->ticket->events->head(t->ticket, &r, false);
    assert_int_equal(t->cancelled, ERR_BAD_RESPONSE);
    rig_run(&rig);
    rig_expect(&rig, ERROR_HEAD("502 Bad Gateway") "\r\n502 Bad Gateway\n");
    buf_fini(&headers);
    rig_fini(&rig);
}

static void a_truncated_answer_never_ends_cleanly(void **state)
{
    (void)state;
    static const struct {
        const char *name, *request;
        int64_t length;
        enum err failure; /* ERR_NONE: END comes too early */
        const char *received;
        bool is_reset;
    } rows[] = {
        {"short", GET, 10, ERR_NONE, OK_HEAD "Content-Length: 10\r\n\r\nabc", false},
        {"length", GET, 10, ERR_BACKEND_LOST, OK_HEAD "Content-Length: 10\r\n\r\nabc",
         false},
        {"chunked", GET, RIG_UNKNOWN_LENGTH, ERR_APP_FAILED,
         OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false},
        {"until close", "GET / HTTP/1.0\r\n\r\n", RIG_UNKNOWN_LENGTH, ERR_APP_FAILED,
         OK_HEAD "Connection: close\r\n\r\nabc", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rig rig;
        begin(&rig);
        rig_send(&rig, rows[i].request);
        struct rig_ticket *t = rig_latest();
        rig_head(t, 200, rows[i].length);
        assert_true(t->ticket->is_committed);
        rig_body(t, "abc", 3);
        if (rows[i].failure == ERR_NONE)
            rig_done(t);
        else
            rig_fail(t, rows[i].failure);
        rig_run(&rig);
        rig_expect(&rig, rows[i].received);
        /* A Unix socket cannot tell a reset from a close: only that it ended here. */
        assert_true(rig.saw_eof || (rows[i].is_reset && rig.saw_reset));
        assert_int_equal(rig.stats.responses_cut, 1);
        assert_int_equal(clients_count(rig.clients), 0);
        rig_fini(&rig);
    }
}

/* ---- deadlines ---- */

static void a_head_must_be_there_in_time_however_it_trickles(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < 4; i++) {
        rig_wait(&rig, 2.4);
        rig_send(&rig, "X-Slow: 1\r\n");
    }
    rig_expect(&rig, "");
    rig_wait(&rig, 0.5);
    rig_expect(&rig, ERROR_HEAD("408 Request Timeout") CLOSE "*\n");
    assert_true(rig.saw_eof);
    rig_wait(&rig, 2.1);
    assert_int_equal(clients_count(rig.clients), 0);
    rig_fini(&rig);
}

static void an_idle_connection_is_closed_silently(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_wait(&rig, 74);
    rig_send(&rig, GET);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "*");
    rig_wait(&rig, 74.5);
    assert_false(rig.saw_eof);
    rig_wait(&rig, 1);
    assert_true(rig.saw_eof);
    rig_expect(&rig, "");
    rig_fini(&rig);
}

static void without_keep_alive_each_answer_ends_its_connection(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.keepalive_timeout_s = 0;
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, GET);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Content-Length: 0\r\n" CLOSE);
    assert_true(rig.saw_eof);

    rig_connect(&rig); /* nor is one without a request open for ever */
    rig_wait(&rig, 9.5);
    assert_false(rig.saw_eof);
    rig_wait(&rig, 1);
    assert_true(rig.saw_eof);
    rig_expect(&rig, "");
    rig_fini(&rig);
}

static void a_body_that_pauses_too_long_or_trickles_is_refused(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, POST "Content-Length: 10000\r\n\r\nabc");
    rig_wait(&rig, 30.5);
    rig_expect(&rig, ERROR_HEAD("408 Request Timeout") CLOSE "*\n");

    rig_connect(&rig); /* 100 bytes a second */
    rig_send(&rig, POST "Content-Length: 100000\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        rig_wait(&rig, 0.99);
        rig_send(&rig, "0123456789012345678901234567890123456789"
                       "012345678901234567890123456789012345678901234567890123456789");
        rig_expect(&rig, "");
    }
    rig_wait(&rig, 0.5);
    rig_send(&rig, "x");
    rig_expect(&rig, ERROR_HEAD("408 Request Timeout") CLOSE "*\n");
    assert_int_equal(rig_pool.count, 0);
    rig_fini(&rig);
}

static void the_body_s_clock_stands_while_the_application_makes_it_wait(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_pool.window_bytes = 3;
    rig_send(&rig, POST "Content-Length: 600000\r\n\r\nabcdef");
    struct rig_ticket *t = rig_latest();
    rig_wait(&rig, 45);
    assert_int_equal(t->cancelled, ERR_NONE);
    rig_room(t, 10);
    rig_run(&rig);
    assert_int_equal(buf_len(&t->body), 6);
    /* Now the client is the one: the application's deadline stands. */
    rig_wait(&rig, 29);
    assert_int_equal(t->cancelled, ERR_NONE);
    rig_wait(&rig, 2);
    assert_int_equal(t->cancelled, ERR_BODY_TIMEOUT);
    rig_fini(&rig);
}

static void an_application_that_does_not_answer_in_time_is_cancelled(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    rig_wait(&rig, 59.5);
    assert_int_equal(rig_latest()->cancelled, ERR_NONE);
    rig_wait(&rig, 1);
    assert_int_equal(rig_latest()->cancelled, ERR_REQUEST_TIMEOUT);
    rig_expect(&rig, ERROR_HEAD("504 Gateway Timeout") "\r\n*\n");

    rig_send(&rig, GET); /* once it has begun, it may take its time */
    rig_head(rig_latest(), 200, RIG_UNKNOWN_LENGTH);
    rig_wait(&rig, 500);
    assert_int_equal(rig_latest()->cancelled, ERR_NONE);
    rig_fini(&rig);
}

static void a_client_that_reads_nothing_is_cut_off(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    struct rig_ticket *t = rig_latest();
    static char piece[64 * 1024];
    rig_head(t, 200, RIG_UNKNOWN_LENGTH);
    for (int i = 0; i < 64; i++)
        rig_body(t, piece, sizeof(piece));
    rig.saw_eof = true; /* the rig's client stops reading */
    rig_wait(&rig, 59);
    assert_int_equal(t->cancelled, ERR_NONE);
    rig_wait(&rig, 2);
    assert_int_equal(t->cancelled, ERR_WRITE_STALLED);
    assert_int_equal(clients_count(rig.clients), 0);
    rig_fini(&rig);
}

/* ---- shutting down ---- */

static void
stopping_closes_idle_connections_and_ends_the_others_after_their_answer(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Content-Length: 0\r\n\r\n");
    clients_stop(rig.clients);
    rig_wait(&rig, 0.5); /* the next request may be on its way */
    assert_false(rig.saw_eof);
    rig_send(&rig, GET);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Content-Length: 0\r\n" CLOSE);
    assert_true(rig.saw_eof);
    rig_fini(&rig);

    begin(&rig);
    rig_send(&rig, GET);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Content-Length: 0\r\n\r\n");
    clients_stop(rig.clients);
    rig_wait(&rig, 1.1);
    assert_true(rig.saw_eof);
    rig_fini(&rig);

    begin(&rig);
    rig_send(&rig, GET);
    clients_stop(rig.clients);
    rig_run(&rig);
    assert_false(rig.saw_eof);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Content-Length: 0\r\n" CLOSE);
    assert_true(rig.saw_eof);
    rig_fini(&rig);

    begin(&rig); /* new ones: their first request may be on its way */
    clients_stop(rig.clients);
    rig_wait(&rig, 0.5);
    rig_send(&rig, GET);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Content-Length: 0\r\n" CLOSE);
    rig_connect(&rig);
    rig_wait(&rig, 1.1);
    assert_true(rig.saw_eof);
    rig_fini(&rig);
}

static void closing_all_cancels_what_runs(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    clients_free(&rig.clients);
    assert_int_equal(rig_latest()->cancelled, ERR_SHUTTING_DOWN);
    rig_fini(&rig);
}

/* ---- states ---- */

static void the_states_allow_these_steps_and_no_others(void **state)
{
    (void)state;
    /* Rows: from; columns: to idle, gathering, waiting, answering, websocket, ending.
     */
    static const char *const table[EXCHANGE_STATE_COUNT] = {
        [EXCHANGE_IDLE] = ".gw..e",      [EXCHANGE_GATHERING] = "i.w..e",
        [EXCHANGE_WAITING] = "i..awe",   [EXCHANGE_ANSWERING] = "i....e",
        [EXCHANGE_WEBSOCKET] = "i....e", [EXCHANGE_ENDING] = "i.....",
    };
    for (int from = 0; from < EXCHANGE_STATE_COUNT; from++)
        for (int to = 0; to < EXCHANGE_STATE_COUNT; to++) {
            char mark = table[from][to];
            assert_int_equal(exchange_state_may_become((enum exchange_state)from,
                                                       (enum exchange_state)to),
                             mark != '.');
            if (mark != '.')
                assert_int_equal(exchange_state_name((enum exchange_state)to)[0], mark);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_requests_get_a_page_and_the_close),
        cmocka_unit_test(a_chunked_body_beyond_the_limit_is_refused),
        cmocka_unit_test(a_client_that_leaves_the_queue_never_reaches_an_app_server),
        cmocka_unit_test(a_client_that_leaves_is_noticed_behind_pipelined_input),
        cmocka_unit_test(a_client_that_leaves_its_upload_cancels_it),
        cmocka_unit_test(a_half_closed_client_still_gets_its_answers),
        cmocka_unit_test(a_half_closed_client_is_given_up_when_nothing_can_be_written),
        cmocka_unit_test(a_client_that_leaves_its_download_cancels_it),
        cmocka_unit_test(failures_before_the_head_become_pages),
        cmocka_unit_test(a_pool_may_refuse_before_pool_submit_returns),
        cmocka_unit_test(what_no_route_leads_to_is_a_404),
        cmocka_unit_test(a_head_that_no_client_may_see_is_a_502),
        cmocka_unit_test(a_truncated_answer_never_ends_cleanly),
        cmocka_unit_test(a_head_must_be_there_in_time_however_it_trickles),
        cmocka_unit_test(an_idle_connection_is_closed_silently),
        cmocka_unit_test(without_keep_alive_each_answer_ends_its_connection),
        cmocka_unit_test(a_body_that_pauses_too_long_or_trickles_is_refused),
        cmocka_unit_test(the_body_s_clock_stands_while_the_application_makes_it_wait),
        cmocka_unit_test(an_application_that_does_not_answer_in_time_is_cancelled),
        cmocka_unit_test(a_client_that_reads_nothing_is_cut_off),
        cmocka_unit_test(
            stopping_closes_idle_connections_and_ends_the_others_after_their_answer),
        cmocka_unit_test(closing_all_cancels_what_runs),
        cmocka_unit_test(the_states_allow_these_steps_and_no_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
