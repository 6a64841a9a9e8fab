/* SPDX-License-Identifier: MIT
 * proxy/http/clients.c: what the connections of a thread are watched for between turns.
 * Who is evicted is in test_client.c, who is told to go in
 * proxy/test_exchange_failures.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/proxy/edge_rig.h"

#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: x\r\n"

static void begin(struct rig *rig)
{
    rig_init(rig);
    rig_start(rig);
    rig_connect(rig);
}

/* The client has an answer that it will never read: when it closes, the edge's socket
 * is reset, and no event tells that apart from the bytes that came before. */
static void begin_unread(struct rig *rig)
{
    begin(rig);
    rig_send(rig, GET);
    rig->saw_eof = true; /* the rig's client does not read */
    rig_respond(rig_latest(), 200, "");
    rig_run(rig);
}

static void send_and_reset(struct rig *rig, const char *text)
{
    assert_int_equal(send(rig->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    rig_hang_up(rig);
}

static void a_reset_behind_half_a_request_is_seen_at_once(void **state)
{
    (void)state;
    static const char *const halves[] = {
        "GET / HT",
        POST "Content-Length: 10\r\n\r\nabc",
        POST "Transfer-Encoding: chunked\r\n\r\n3\r\nab",
    };
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
        struct rig rig;
        begin_unread(&rig);
        send_and_reset(&rig, halves[i]);
        assert_int_equal(clients_count(rig.clients), 0);
        assert_int_equal(rig_pool.count, 1);
        rig_fini(&rig);
    }
}

static void a_reset_behind_half_a_streamed_body_cancels_its_request(void **state)
{
    (void)state;
    struct rig rig;
    begin_unread(&rig);
    send_and_reset(&rig, POST "Content-Length: 600000\r\n\r\nabc");
    assert_int_equal(rig_pool.count, 2);
    assert_int_equal(rig_latest()->cancelled, ERR_CLIENT_GONE);
    assert_false(rig_latest()->body_ended);
    rig_fini(&rig);
}

static void a_reset_behind_a_request_that_must_wait_is_seen_at_once(void **state)
{
    (void)state;
    struct rig rig;
    begin_unread(&rig);
    rig_pool.queues = true;
    send_and_reset(&rig, GET);
    assert_int_equal(rig_pool.count, 2);
    assert_int_equal(rig_latest()->cancelled, ERR_CLIENT_GONE);
    rig_fini(&rig);
}

static void a_reset_behind_a_request_that_runs_is_seen_soon(void **state)
{
    (void)state;
    struct rig rig;
    begin_unread(&rig);
    send_and_reset(&rig, GET);
    assert_int_equal(rig_latest()->cancelled, ERR_NONE);
    rig_wait(&rig, 0.2);
    assert_int_equal(rig_latest()->cancelled, ERR_CLIENT_GONE);
    assert_int_equal(clients_count(rig.clients), 0);
    rig_fini(&rig);
}

/* Large enough for the socket to be full. */
static struct rig_ticket *answer_without_end(struct rig *rig)
{
    static const char piece[64 * 1024];
    rig_send(rig, GET);
    rig->saw_eof = true; /* the rig's client does not read */
    struct rig_ticket *t = rig_latest();
    rig_head(t, 200, RIG_UNKNOWN_LENGTH);
    for (int i = 0; i < 64; i++)
        rig_body(t, piece, sizeof(piece));
    rig_run(rig);
    return t;
}

static void who_reads_a_little_is_not_taken_for_one_who_reads_nothing(void **state)
{
    (void)state;
    struct rig rig;
    static char data[40000];
    begin(&rig);
    struct rig_ticket *t = answer_without_end(&rig);
    for (int i = 0; i < 3; i++) {
        rig_wait(&rig, 50); /* the kernel speaks of room when most of it is free */
        assert_int_equal(recv(rig.fd, data, sizeof(data), 0), sizeof(data));
    }
    rig_wait(&rig, 59);
    assert_int_equal(t->cancelled, ERR_NONE);
    rig_wait(&rig, 62);
    assert_int_equal(t->cancelled, ERR_WRITE_STALLED);
    assert_int_equal(clients_count(rig.clients), 0);
    rig_fini(&rig);
}

static void what_comes_behind_a_late_body_s_408_does_not_reset_it(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, POST "Content-Length: 10\r\n\r\nabc");
    rig_wait(&rig, 30.5);
    rig_send(&rig, "def");
    rig_send(&rig, "ghij" GET);
    rig_expect(&rig, ERROR_HEAD("408 Request Timeout") "Connection: close\r\n\r\n*\n");
    assert_true(rig.saw_eof);
    assert_int_equal(clients_count(rig.clients), 1);
    rig_wait(&rig, 2.1); /* not for ever */
    assert_int_equal(clients_count(rig.clients), 0);
    assert_int_equal(rig_pool.count, 0);
    rig_fini(&rig);
}

static void closed_connections_are_gone_after_the_turn(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    assert_int_equal(clients_count(rig.clients), 1);
    assert_true(clients_has_room(rig.clients));
    assert_false(clients_has_output(rig.clients));
    rig_send(&rig, GET);
    rig_respond(rig_latest(), 200, "");
    assert_true(clients_has_output(rig.clients));
    rig_run(&rig);
    assert_false(clients_has_output(rig.clients));
    rig_hang_up(&rig);
    assert_int_equal(clients_count(rig.clients), 0);
    rig_fini(&rig);
}

static void the_date_is_today_s(void **state)
{
    (void)state;
    struct rig rig;
    struct tm broken = {0};
    begin(&rig);
    struct slice date = clients_date(rig.clients);
    assert_int_equal(date.len, 29);
    const char *end = strptime(date.ptr, "%a, %d %b %Y %H:%M:%S GMT", &broken);
    assert_ptr_equal(end, date.ptr + date.len);
    assert_in_range(timegm(&broken), time(NULL) - 2, time(NULL));
    assert_ptr_equal(clients_date(rig.clients).ptr, date.ptr);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reset_behind_half_a_request_is_seen_at_once),
        cmocka_unit_test(a_reset_behind_half_a_streamed_body_cancels_its_request),
        cmocka_unit_test(a_reset_behind_a_request_that_must_wait_is_seen_at_once),
        cmocka_unit_test(a_reset_behind_a_request_that_runs_is_seen_soon),
        cmocka_unit_test(who_reads_a_little_is_not_taken_for_one_who_reads_nothing),
        cmocka_unit_test(what_comes_behind_a_late_body_s_408_does_not_reset_it),
        cmocka_unit_test(closed_connections_are_gone_after_the_turn),
        cmocka_unit_test(the_date_is_today_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
