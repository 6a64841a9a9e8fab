/* SPDX-License-Identifier: MIT
 * proxy/http/{client,client_input,clients}.c without an exchange: what is read and
 * when, what is not, who is evicted. Whole exchanges are in proxy/test_exchange.c. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "proxy/http/clients.h"
#include "tests/support/assert_slice.h"

#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#define UPLOAD "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"

enum { MOST = 3, PIPELINE = 4096 };

static struct event_base *base;
static struct deadlines *deadlines;
static struct clients *clients;
static struct http_limits limits;
static struct rules_options rules;
static struct stats stats;

/* What the events told. */
static struct client *current; /* with a request open */
static int requests, gone;
static size_t room, body_bytes;
static bool body_ended, half_closed;
static char targets[64]; /* first letters behind the slash */

static void on_request(struct client *c, const struct client_request *r)
{
    current = c;
    client_set_exchange(c, &current);
    targets[requests++ % 64] = r->head->path.len > 1 ? r->head->path.ptr[1] : '/';
    body_bytes = r->body.len;
    body_ended = r->body_is_whole;
}

static void on_refused(struct client *c, enum err err)
{
    (void)err;
    current = c;
    client_set_exchange(c, &current);
    client_cut(c, CUT_SHORT);
}

static size_t on_room(struct client *c)
{
    assert_ptr_equal(client_exchange(c), &current);
    return room;
}

static void on_body(struct client *c, struct slice data)
{
    (void)c;
    assert_true(data.len <= room);
    room -= data.len;
    body_bytes += data.len;
}

static void on_body_end(struct client *c)
{
    (void)c;
    body_ended = true;
}

static void on_body_failed(struct client *c, enum err err)
{
    (void)err;
    client_cut(c, CUT_SHORT);
}

static bool on_half_closed(struct client *c)
{
    (void)c;
    half_closed = true;
    return true;
}

static void on_gone(struct client *c, enum err err)
{
    (void)err;
    gone++;
    if (c == current)
        current = NULL;
}

static void on_nothing(struct client *c)
{
    (void)c;
}

/* Takes up to `room` bytes, and turns them round. */
static bool on_input(struct client *c, char **input, size_t *length)
{
    assert_ptr_equal(c, current);
    size_t n = *length < room ? *length : room;
    for (size_t i = 0; i < n; i++)
        (*input)[i] ^= 0x20;
    buf_add(client_out(c), slice_of(*input, n));
    client_touch(c);
    body_bytes += n;
    room -= n;
    *input += n;
    *length -= n;
    return room > 0;
}

static const struct client_events events = {
    .request = on_request,
    .refused = on_refused,
    .room = on_room,
    .body = on_body,
    .body_end = on_body_end,
    .body_failed = on_body_failed,
    .input = on_input,
    .half_closed = on_half_closed,
    .gone = on_gone,
    .written = on_nothing,
    .finished = on_nothing,
};

static int begin(void **state)
{
    (void)state;
    current = NULL;
    requests = gone = 0;
    room = body_bytes = 0;
    body_ended = half_closed = false;
    memset(targets, 0, sizeof(targets));
    memset(&stats, 0, sizeof(stats));
    http_limits_init(&limits);
    rules.max_body = 1000000;
    struct event_config *config = event_config_new();
    (void)event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
    base = event_base_new_with_config(config);
    event_config_free(config);
    deadlines = deadlines_new();
    struct clients_options options = {
        .limits = &limits,
        .rules = &rules,
        .max_connections = MOST,
        .max_pipeline = PIPELINE,
        .keepalive_timeout_us = 75 * 1000000,
        .events = &events,
        .deadlines = deadlines,
        .stats = &stats,
    };
    clients = clients_new(base, &options);
    return 0;
}

static int end(void **state)
{
    (void)state;
    clients_free(&clients);
    deadlines_free(&deadlines);
    event_base_free(base);
    return 0;
}

static void run(void)
{
    bool moves = true;
    for (int quiet = 0; quiet < 3; quiet = moves ? 0 : quiet + 1) {
        (void)event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        moves = clients_turn(clients);
    }
}

static int join(void)
{
    int pair[2];
    struct sockaddr_storage nobody = {.ss_family = AF_UNIX};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_true(clients_has_room(clients));
    clients_add(clients, pair[1], &nobody, SLICE("/run/web.sock"));
    run();
    return pair[0];
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    run();
}

static void answer(const char *text)
{
    buf_add(client_out(current), slice_from(text));
    client_end(current, CLIENT_KEEP_ALIVE);
    run();
}

/* As much as fits; how much did. */
static size_t flood(int fd, const char *text)
{
    size_t sent = 0, length = strlen(text);
    for (ssize_t n; (n = send(fd, text, length, MSG_NOSIGNAL)) > 0; run())
        sent += (size_t)n;
    assert_int_equal(errno, EAGAIN);
    return sent;
}

static bool is_open(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK) != 0;
}

static void says_where_a_request_came_from(void **state)
{
    (void)state;
    int fd = join();
    say(fd, GET);
    assert_slice(client_peer(current)->addr, "");
    assert_slice(client_server_addr(current), "/run/web.sock");
    assert_int_equal(client_server_port(current), 0);
    assert_int_equal(client_number(current), 1);
    assert_true(client_body_is_whole(current));
    assert_true(client_may_keep_alive(current));
    assert_int_equal(client_date(current).len, 29);
    close(fd);
}

static void
what_is_sent_ahead_waits_in_a_bounded_buffer_and_then_in_the_socket(void **state)
{
    (void)state;
    int fd = join();
    say(fd, GET);
    static char request[1500];
    (void)snprintf(request, sizeof(request),
                   "GET /a HTTP/1.1\r\nHost: x\r\nX: %1400s\r\n\r\n", "x");
    size_t flooded = flood(fd, request);
    assert_int_equal(requests, 1);
    /* The socket of the pair holds most of it: what the edge has taken is what a new
     * flood of the same kind finds room for after one answer. */
    answer("x");
    assert_int_equal(requests, 2);
    assert_true(flooded > 2 * PIPELINE);
    size_t more = flood(fd, request);
    assert_in_range(more, 0, PIPELINE + 2 * sizeof(request) + 65536);
    assert_int_equal(requests, 2);
    close(fd);
}

static void a_body_is_read_no_faster_than_there_is_room(void **state)
{
    (void)state;
    static char piece[50001];
    memset(piece, 'x', 50000);
    int fd = join();
    say(fd, UPLOAD);
    assert_int_equal(requests, 1);
    assert_false(client_body_is_whole(current));
    say(fd, piece);
    assert_int_equal(body_bytes, 0);
    room = 30000;
    client_resume(current);
    run();
    assert_int_equal(body_bytes, 30000);
    room = 100000;
    client_resume(current);
    run();
    assert_int_equal(body_bytes, 50000);
    assert_false(body_ended);
    say(fd, piece);
    assert_int_equal(body_bytes, 100000);
    assert_true(body_ended);
    say(fd, GET); /* the connection stays in step */
    answer("x");
    assert_int_equal(requests, 2);
    close(fd);
}

static void a_body_that_nobody_wants_is_read_and_dropped(void **state)
{
    (void)state;
    static char piece[100001];
    memset(piece, 'x', 100000);
    int fd = join();
    say(fd, UPLOAD);
    client_discard_body(current);
    say(fd, piece);
    assert_int_equal(body_bytes, 0);
    assert_false(body_ended);
    assert_true(client_body_is_whole(current));
    close(fd);
}

static void the_longest_idle_connection_makes_room(void **state)
{
    (void)state;
    int fds[MOST + 1];
    for (int i = 0; i < MOST; i++)
        fds[i] = join();
    say(fds[0], GET); /* busy, then idle again: the last to have been busy */
    answer("x");
    say(fds[1], GET); /* stays busy */
    fds[MOST] = join();
    assert_int_equal(clients_count(clients), MOST);
    assert_int_equal(stats.connections_evicted, 1);
    assert_true(is_open(fds[0]));
    assert_true(is_open(fds[1]));
    assert_false(is_open(fds[2]));

    say(fds[0], GET);
    say(fds[MOST], GET);
    assert_false(clients_has_room(clients)); /* all are busy */
    assert_false(clients_evict(clients));
    for (int i = 0; i <= MOST; i++)
        close(fds[i]);
}

static void a_large_piece_is_written_at_once_and_its_rest_waits(void **state)
{
    (void)state;
    static char piece[1000000];
    int fd = join();
    say(fd, GET);
    client_write(current, slice_of(piece, sizeof(piece)));
    assert_in_range(client_pending(current), 1, sizeof(piece) - 1);
    static char got[2000000];
    size_t total = 0;
    for (ssize_t n; (n = recv(fd, got, sizeof(got), 0)) > 0; run())
        total += (size_t)n;
    assert_int_equal(total, sizeof(piece));
    assert_int_equal(client_pending(current), 0);
    close(fd);
}

static void the_owner_hears_of_a_half_close_once_and_of_the_end(void **state)
{
    (void)state;
    int fd = join();
    say(fd, GET);
    (void)shutdown(fd, SHUT_WR);
    run();
    assert_true(half_closed);
    assert_int_equal(gone, 0);
    half_closed = false;
    run();
    assert_false(half_closed);
    close(fd);
    client_write(current, SLICE("x"));
    run();
    assert_int_equal(gone, 1);
    assert_int_equal(clients_count(clients), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

/* ---- upgraded ---- */

static void expect_bytes(int fd, const char *want)
{
    char got[256];
    ssize_t n = recv(fd, got, sizeof(got), 0);
    assert_slice(slice_of(got, n < 0 ? 0 : (size_t)n), want);
}

static void what_follows_an_upgrade_is_no_http(void **state)
{
    (void)state;
    int fd = join();
    say(fd, GET "ahead");
    assert_int_equal(requests, 1);
    room = 1000;
    client_upgrade(current);
    assert_int_equal(body_bytes, 0); /* from the end of the turn on */
    run();
    expect_bytes(fd, "AHEAD");
    say(fd, GET);
    assert_int_equal(requests, 1);
    assert_int_equal(body_bytes, 5 + strlen(GET));
    client_end(current, CLIENT_KEEP_ALIVE);
    run();
    char data[256];
    assert_true(recv(fd, data, sizeof(data), 0) > 0);
    assert_false(is_open(fd)); /* a connection that was something else is not kept */
    assert_int_equal(gone, 0);
    close(fd);
}

static void an_upgraded_connection_is_read_no_faster_than_it_goes_on(void **state)
{
    (void)state;
    int fd = join();
    say(fd, GET);
    room = 2;
    client_upgrade(current);
    say(fd, "abcdef");
    expect_bytes(fd, "AB");
    say(fd, "ghi");
    assert_int_equal(body_bytes, 2);
    shutdown(fd, SHUT_WR);
    run();
    assert_int_equal(gone, 0); /* what it said before is still to be used */
    room = 5;
    client_resume(current);
    run();
    expect_bytes(fd, "CDEFG");
    assert_int_equal(gone, 0);
    room = 100;
    client_resume(current);
    run();
    assert_int_equal(body_bytes, 9);
    assert_int_equal(gone, 1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(says_where_a_request_came_from),
        TEST(what_is_sent_ahead_waits_in_a_bounded_buffer_and_then_in_the_socket),
        TEST(a_body_is_read_no_faster_than_there_is_room),
        TEST(a_body_that_nobody_wants_is_read_and_dropped),
        TEST(the_longest_idle_connection_makes_room),
        TEST(a_large_piece_is_written_at_once_and_its_rest_waits),
        TEST(the_owner_hears_of_a_half_close_once_and_of_the_end),
        TEST(what_follows_an_upgrade_is_no_http),
        TEST(an_upgraded_connection_is_read_no_faster_than_it_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
