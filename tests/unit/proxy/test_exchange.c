/* SPDX-License-Identifier: MIT
 * proxy/{exchange,exchange_record,answer,turn}.c: requests and answers over a real
 * connection; the test is the app server. Bodies of requests are in
 * test_exchange_uploads.c, failures and deadlines in test_exchange_failures.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* ---- requests ---- */

static void a_request_becomes_a_frame(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, "POST /a/b?c=%20d HTTP/1.1\r\nHost: example.org\r\nX-A: 1\r\n"
                   "Content-Length: 5\r\n\r\nhello");
    struct frame_request *f = &rig_latest()->frame.request;
    assert_slice(f->method, "POST");
    assert_slice(f->target, "/a/b?c=%20d");
    assert_int_equal(f->minor, 1);
    assert_slice(f->scheme, "http");
    assert_slice(f->server_addr, "/run/web.sock");
    assert_int_equal(f->body_form, BODY_INLINE);
    assert_slice(f->body, "hello");
    assert_int_equal(f->queued_us, 1000000);
    assert_int_equal(f->deadline_us, 61000000);
    assert_int_equal(f->id.len, 16);
    assert_int_equal(f->flags, 0);
    assert_false(rig_latest()->ticket->is_idempotent);
    assert_true(rig_latest()->ticket->is_replayable);
    assert_int_equal(rig_latest()->ticket->queue_deadline_us, 31000000);
    rig_respond(rig_latest(), 201, "made\n");
    rig_run(&rig);
    rig_expect(&rig, "HTTP/1.1 201 Created\r\nDate: *\r\nServer: banyan\r\n"
                     "Content-Length: 5\r\n\r\nmade\n");
    rig_fini(&rig);
}

static void the_connection_serves_one_request_after_the_other(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    for (int i = 0; i < 5; i++) {
        rig_send(&rig, GET);
        assert_int_equal(rig_pool.count, i + 1);
        rig_respond(rig_latest(), 200, "hello");
        rig_run(&rig);
        rig_expect(&rig, OK_HEAD "Content-Length: 5\r\n\r\nhello");
    }
    assert_false(rig.saw_eof);
    assert_int_equal(rig.stats.connections, 1);
    assert_int_equal(rig.stats.responses_2xx, 5);
    rig_fini(&rig);
}

static void a_head_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    const char *text = "\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n";
    for (const char *at = text; *at != '\0'; at++) {
        assert_int_equal(rig_pool.count, 0);
        rig_send(&rig, (char[]){*at, '\0'});
    }
    assert_slice(rig_latest()->frame.request.target, "/x");
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_EMPTY);
    rig_fini(&rig);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
                   "POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                   "GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    static const char *const answers[] = {"one", "two", "three"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig_pool.count, i + 1);
        assert_int_equal(rig_latest()->frame.request.target.ptr[1], '1' + i);
        rig_respond(rig_latest(), 200, answers[i]);
        rig_run(&rig);
    }
    assert_slice(rig_pool.tickets[1].frame.request.body, "abc");
    rig_expect(&rig, OK_HEAD "Content-Length: 3\r\n\r\none" OK_HEAD
                             "Content-Length: 3\r\n\r\ntwo" OK_HEAD
                             "Content-Length: 5\r\nConnection: close\r\n\r\nthree");
    assert_true(rig.saw_eof);
    rig_fini(&rig);
}

static void options_asterisk_is_answered_by_the_edge(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    rig_expect(&rig, OK_HEAD "Content-Type: *\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(rig_pool.count, 0);
    rig_send(&rig, GET);
    assert_int_equal(rig_pool.count, 1);
    rig_fini(&rig);
}

static void interim_answers_go_to_http_1_1_clients(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    struct ticket *t = rig_latest()->ticket;
    struct frame_response hints = {.status = 103}, going_on = {.status = 100};
    t->events->inform(t, &going_on); /* 100 is the edge's business */
    t->events->inform(t, &hints);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, "HTTP/1.1 103 Early Hints\r\n\r\n" OK_EMPTY);
    rig_fini(&rig);
}

/* ---- answers ---- */

static void an_answer_without_a_length_is_chunked(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    struct rig_ticket *t = rig_latest();
    rig_head(t, 200, RIG_UNKNOWN_LENGTH);
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n");
    rig_body(t, "hello", 5);
    rig_body(t, "", 0);
    rig_run(&rig);
    rig_expect(&rig, "5\r\nhello\r\n");
    rig_body(t, "seventeen bytes..", 17);
    rig_done(t);
    rig_send(&rig, GET);
    rig_expect(&rig, "11\r\nseventeen bytes..\r\n0\r\n\r\n");
    assert_int_equal(rig_pool.count, 2);
    rig_fini(&rig);
}

static void trailers_go_to_clients_that_take_them(void **state)
{
    (void)state;
    static const struct {
        const char *field, *end;
        uint32_t flags;
    } rows[] = {
        {"", "0\r\n\r\n", 0},
        {"TE: trailers\r\nConnection: TE\r\n", "0\r\nX-Sum: 1\r\n\r\n",
         REQUEST_TRAILERS},
    };
    struct rig rig;
    begin(&rig);
    for (size_t i = 0; i < 2; i++) {
        char request[128];
        (void)snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n",
                       rows[i].field);
        rig_send(&rig, request);
        struct rig_ticket *t = rig_latest();
        assert_int_equal(t->frame.request.flags, rows[i].flags);
        rig_head(t, 200, RIG_UNKNOWN_LENGTH);
        rig_run(&rig);
        rig_expect(&rig, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n");
        rig_done_with(t, "X-Sum", "1");
        rig_run(&rig);
        rig_expect(&rig, rows[i].end);
    }
    rig_fini(&rig);
}

static void trailers_that_no_client_may_see_cut_the_answer(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, "GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n");
    struct rig_ticket *t = rig_latest();
    rig_head(t, 200, RIG_UNKNOWN_LENGTH);
    rig_body(t, "abc", 3);
    rig_done_with(t, "X-Sum", "1\r\nX-More: 2");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_true(rig.saw_eof);
    assert_int_equal(rig.stats.failures[ERR_BAD_RESPONSE], 1);
    rig_fini(&rig);
}

static void a_small_piece_leaves_in_the_turn_in_which_it_came(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    struct rig_ticket *t = rig_latest();
    rig_head(t, 200, RIG_UNKNOWN_LENGTH);
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "*");
    const struct turn turn = {rig.sites, rig.clients, rig.deadlines, rig.access};
    for (int i = 0; i < 3; i++) {
        char received[16] = "";
        rig_body(t, "data", 4);
        bool has_more UNUSED = turn_end(&turn);
        assert_int_equal(recv(rig.fd, received, sizeof(received), 0), 9);
        assert_string_equal(received, "4\r\ndata\r\n");
    }
    rig_fini(&rig);
}

static void an_http_1_0_client_gets_it_until_the_close(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    struct rig_ticket *t = rig_latest();
    rig_head(t, 200, RIG_UNKNOWN_LENGTH);
    rig_body(t, "hello", 5);
    rig_done(t);
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Connection: close\r\n\r\nhello");
    assert_true(rig.saw_eof);
    rig_fini(&rig);
}

static void answers_that_have_no_body_get_none(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        int status;
    } rows[] = {{"HEAD", 200}, {"GET", 204}, {"GET", 304}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rig rig;
        begin(&rig);
        for (int streamed = 0; streamed < 2; streamed++) {
            char request[64];
            (void)snprintf(request, sizeof(request), "%s / HTTP/1.1\r\nHost: x\r\n\r\n",
                           rows[i].method);
            rig_send(&rig, request);
            struct rig_ticket *t = rig_latest();
            if (streamed) {
                rig_head(t, rows[i].status, RIG_UNKNOWN_LENGTH);
                rig_body(t, "hello", 5);
                rig_run(&rig);
                assert_int_equal(t->passed_on, 5); /* the app may go on */
                rig_done(t);
            } else {
                rig_respond(t, rows[i].status, "hello");
            }
            rig_run(&rig);
            rig_expect(&rig, "HTTP/1.1 *\r\nDate: *\r\nServer: banyan\r\n\r\n");
        }
        assert_false(rig.saw_eof);
        rig_fini(&rig);
    }
}

static void bytes_beyond_the_length_are_cut(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_send(&rig, GET);
    struct rig_ticket *t = rig_latest();
    rig_head(t, 200, 4);
    rig_body(t, "abc", 3);
    rig_body(t, "def", 3);
    rig_body(t, "ghi", 3);
    assert_int_equal(rig.stats.responses_excess, 0);
    rig_done(t);
    rig_send(&rig, GET);
    rig_expect(&rig, OK_HEAD "Content-Length: 4\r\n\r\nabcd");
    assert_int_equal(rig.stats.responses_excess, 1);
    assert_int_equal(rig_pool.count, 2);
    rig_fini(&rig);
}

/* Window arithmetic is the app server's; the edge says what the client took. */
static void a_slow_reader_holds_the_application_back(void **state)
{
    (void)state;
    enum { PIECE = 64 * 1024, PIECES = 16 };
    struct rig rig;
    begin(&rig);
    int least = 4096;
    (void)setsockopt(rig.fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
    rig_send(&rig, GET);
    struct rig_ticket *t = rig_latest();
    char *piece = rig_text(PIECE);
    rig_head(t, 200, PIECE * PIECES);
    for (int i = 0; i < PIECES; i++)
        rig_body(t, piece, PIECE); /* nobody reads meanwhile */
    assert_in_range(t->passed_on, 1, PIECE * PIECES / 2);
    rig_done(t);
    rig_run(&rig); /* and now the client reads */
    assert_int_equal(buf_len(&rig.received) > PIECE * PIECES, true);
    const char *end = buf_slice(&rig.received).ptr + buf_len(&rig.received);
    assert_memory_equal(end - PIECE, piece, PIECE);
    assert_int_equal(rig.stats.bytes_out, PIECE * PIECES);
    rig_send(&rig, GET);
    assert_int_equal(rig_pool.count, 2);
    free(piece);
    rig_fini(&rig);
}

static void a_file_is_sent_by_the_edge_itself(void **state)
{
    (void)state;
    char directory[] = "/tmp/banyan-test-exchange-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof(path), "%s/file", directory);
    FILE *file = fopen(path, "w");
    char *content = rig_text(3000000);
    assert_int_equal(fwrite(content, 1, 3000000, file), 3000000);
    fclose(file);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);

    struct rig rig;
    rig_init(&rig);
    rig.options.sendfile_root.items[rig.options.sendfile_root.count++] = directory;
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, GET);
    struct rig_ticket *t = rig_latest();
    struct frame_file f = {.path = slice_from(path),
                           .device = status.st_dev,
                           .inode = status.st_ino,
                           .offset = 1000,
                           .length = 2999000};
    rig_head(t, 200, 2999000);
    struct frame_file wrong = f;
    wrong.length = 1;
    assert_false(t->ticket->events->file(t->ticket, &wrong));
    assert_true(t->ticket->events->file(t->ticket, &f));
    rig_done(t);
    rig_run(&rig);
    assert_memory_equal(buf_slice(&rig.received).ptr + buf_len(&rig.received) - 2999000,
                        content + 1000, 2999000);
    rig_send(&rig, GET);
    assert_int_equal(rig_pool.count, 2);
    free(content);
    rig_fini(&rig);
    unlink(path);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_becomes_a_frame),
        cmocka_unit_test(the_connection_serves_one_request_after_the_other),
        cmocka_unit_test(a_head_may_come_byte_by_byte),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(options_asterisk_is_answered_by_the_edge),
        cmocka_unit_test(interim_answers_go_to_http_1_1_clients),
        cmocka_unit_test(an_answer_without_a_length_is_chunked),
        cmocka_unit_test(trailers_go_to_clients_that_take_them),
        cmocka_unit_test(trailers_that_no_client_may_see_cut_the_answer),
        cmocka_unit_test(a_small_piece_leaves_in_the_turn_in_which_it_came),
        cmocka_unit_test(an_http_1_0_client_gets_it_until_the_close),
        cmocka_unit_test(answers_that_have_no_body_get_none),
        cmocka_unit_test(bytes_beyond_the_length_are_cut),
        cmocka_unit_test(a_slow_reader_holds_the_application_back),
        cmocka_unit_test(a_file_is_sent_by_the_edge_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
