/* SPDX-License-Identifier: MIT
 * proxy/edge.c: a whole edge thread, with the test in place of the control thread and
 * no app server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "proxy/edge.h"

struct fixture {
    char directory[40], name[64];
    int listener;
    struct config *config;
    struct link_context *context;
    struct link *control; /* our end of the PAIR */
    struct edge_options edge;
    pthread_t thread;
};

static void *run_edge(void *arg)
{
    edge_run(arg);
    return NULL;
}

static struct sockaddr_un address_of(const struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", f->directory);
    return address;
}

/* The next thing that the edge says. */
static enum edge_report_kind next_report(struct fixture *f)
{
    struct link_message m;
    struct edge_report report;
    while (link_recv(f->control, &m) != STEP_DONE) {
        struct pollfd poll_fd = {.fd = link_fd(f->control), .events = POLLIN};
        if (!link_has_input(f->control))
            (void)poll(&poll_fd, 1, -1);
    }
    assert_int_equal(m.frames.len, sizeof(report));
    memcpy(&report, m.frames.ptr, sizeof(report));
    link_message_done(&m);
    assert_int_equal(report.number, f->edge.number);
    return report.kind;
}

/* The listening socket is the edge's. */
static void listen_at(struct fixture *f)
{
    struct edge_order o = {.kind = EDGE_LISTEN};
    o.listen.fd = f->listener;
    (void)snprintf(o.listen.name, sizeof(o.listen.name), "%s", f->name);
    assert_int_equal(link_send(f->control, 0, slice_of(&o, sizeof(o)), SLICE("")),
                     ERR_NONE);
}

static void begin(struct fixture *f, const char *graceful_timeout)
{
    char program[] = "banyan-proxy", backend[] = "--backend=ipc:///x", graceful[64];
    char *argv[] = {program, backend, graceful, NULL};
    struct buf message;
    (void)alarm(30); /* instead of waiting for ever */
    *f = (struct fixture){0};
    log_set_level(LOG_ERROR);
    buf_init(&message, 0);
    (void)snprintf(graceful, sizeof(graceful), "--graceful-timeout=%s",
                   graceful_timeout);
    assert_int_equal(config_load(3, argv, &f->config, &message), ERR_NONE);

    strcpy(f->directory, "/tmp/banyan-test-edge-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    (void)snprintf(f->name, sizeof(f->name), "unix:%s/s", f->directory);
    struct sockaddr_un address = address_of(f);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listener, (void *)&address, sizeof(address)), 0);
    assert_int_equal(listen(f->listener, 16), 0);

    f->context = link_context_new(8);
    struct link *theirs;
    link_pair_new(f->context, &f->control, &theirs);
    f->edge = (struct edge_options){
        .config = f->config,
        .number = 3,
        .count = 4,
        .context = f->context,
        .orders = theirs,
        .instance = 42,
    };
    listen_at(f);
    assert_int_equal(pthread_create(&f->thread, NULL, run_edge, &f->edge), 0);
    assert_int_equal(next_report(f), EDGE_READY);
}

static void end(struct fixture *f)
{
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    link_free(&f->control);
    link_context_free(&f->context);
    config_free(&f->config);
    assert_int_equal(unlink(address_of(f).sun_path), 0);
    assert_int_equal(rmdir(f->directory), 0);
    (void)alarm(0);
}

static enum err
try_order(struct fixture *f, enum edge_order_kind kind, const char *endpoint)
{
    struct edge_order o = {.kind = kind, .pool = "default", .name = "app"};
    o.backend.settings = BACKEND_SETTINGS;
    (void)snprintf(o.backend.endpoint, sizeof(o.backend.endpoint), "%s", endpoint);
    return link_send(f->control, 0, slice_of(&o, sizeof(o)), SLICE(""));
}

static void order(struct fixture *f, enum edge_order_kind kind, const char *endpoint)
{
    assert_int_equal(try_order(f, kind, endpoint), ERR_NONE);
}

static int join(const struct fixture *f)
{
    struct sockaddr_un to = address_of(f);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (void *)&to, sizeof(to)), 0);
    return fd;
}

static void ask(int fd, const char *request)
{
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
}

static void assert_says(int fd, const char *start)
{
    char answer[1024];
    ssize_t n = recv(fd, answer, sizeof(answer), 0);
    assert_true(n > (ssize_t)strlen(start));
    assert_memory_equal(answer, start, strlen(start));
}

static void assert_ended(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    (void)close(fd);
}

static void it_serves_until_it_is_told_to_stop(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "30");
    int client = join(&f);
    ask(client, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"); /* needs no app server */
    assert_says(client, "HTTP/1.1 200 OK\r\n");
    order(&f, EDGE_SHUTDOWN, "");
    assert_ended(client);
    assert_int_equal(next_report(&f), EDGE_STOPPED);
    struct sockaddr_un to = address_of(&f);
    int late = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (void *)&to, sizeof(to)), -1);
    (void)close(late);
    end(&f);
}

static void orders_that_cannot_be_followed_do_no_harm(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "30");
    log_set_level(LOG_ERROR);
    order(&f, EDGE_SET, "");
    order(&f, EDGE_REMOVE, "");
    order(&f, EDGE_ADD, "carrier-pigeon://roof");
    order(&f, EDGE_ADD, "inproc://app");
    order(&f, EDGE_ADD, "inproc://app");
    order(&f, EDGE_REMOVE, "");
    int client = join(&f);
    ask(client, "nonsense\r\n\r\n");
    assert_says(client, "HTTP/1.1 400 Bad Request\r\n");
    (void)close(client);
    order(&f, EDGE_SHUTDOWN, "");
    enum err again = try_order(&f, EDGE_SHUTDOWN, "");
    assert_true(again == ERR_NONE || again == ERR_LINK_DOWN); /* it is gone already */
    assert_int_equal(next_report(&f), EDGE_STOPPED);
    end(&f);
}

static struct snapshot *look(struct fixture *f)
{
    struct edge_order o = {.kind = EDGE_SNAPSHOT};
    struct edge_report report;
    struct link_message m;
    o.snapshot = snapshot_new(SNAPSHOT_REQUESTS | SNAPSHOT_CLIENTS, 42);
    assert_int_equal(link_send(f->control, 0, slice_of(&o, sizeof(o)), SLICE("")),
                     ERR_NONE);
    while (link_recv(f->control, &m) != STEP_DONE) {
        struct pollfd poll_fd = {.fd = link_fd(f->control), .events = POLLIN};
        if (!link_has_input(f->control))
            (void)poll(&poll_fd, 1, -1);
    }
    memcpy(&report, m.frames.ptr, sizeof(report));
    link_message_done(&m);
    assert_int_equal(report.kind, EDGE_SNAPSHOT_TAKEN);
    assert_int_equal(report.snapshot->owner, 42);
    return report.snapshot;
}

static void a_snapshot_shows_what_was_ordered_before(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "30");
    order(&f, EDGE_ADD, "ipc:///nowhere");
    int client = join(&f);
    ask(client, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    struct snapshot *s = look(&f);
    while (s->pools[0].queued == 0) {
        snapshot_free(&s);
        s = look(&f);
    }
    assert_int_equal(s->pools[0].backend_count, 1);
    assert_string_equal(s->pools[0].backends[0].name, "app");
    assert_int_equal(s->requests.count, 1);
    assert_string_equal(s->requests.rows[0].target, "/x");
    assert_string_equal(s->requests.rows[0].stage, "queued");
    assert_int_equal(s->clients.count, 1);
    assert_string_equal(s->clients.rows[0].state, "busy");

    struct edge_order kill = {.kind = EDGE_KILL_REQUEST};
    (void)snprintf(kill.name, sizeof(kill.name), "%s", s->requests.rows[0].id);
    snapshot_free(&s);
    assert_int_equal(link_send(f.control, 0, slice_of(&kill, sizeof(kill)), SLICE("")),
                     ERR_NONE);
    assert_says(client, "HTTP/1.1 503 Service Unavailable\r\n");
    s = look(&f);
    assert_true(s->was_followed);
    assert_int_equal(s->pools[0].queued, 0);
    snapshot_free(&s);
    (void)close(client);
    order(&f, EDGE_SHUTDOWN, "");
    assert_int_equal(next_report(&f), EDGE_STOPPED);
    end(&f);
}

static void what_does_not_finish_is_cut_off_in_the_end(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "0");
    int waiting = join(&f), seen = join(&f);
    ask(waiting, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); /* for an app server */
    ask(seen, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_says(seen, "HTTP/1.1 200 OK\r\n");
    (void)close(seen);
    order(&f, EDGE_SHUTDOWN, "");
    assert_ended(waiting);
    assert_int_equal(next_report(&f), EDGE_STOPPED);
    end(&f);
}

static void an_address_can_go_while_its_connections_stay(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "30");
    int client = join(&f);
    struct edge_order o = {.kind = EDGE_UNLISTEN};
    (void)snprintf(o.listen.name, sizeof(o.listen.name), "%s", f.name);
    assert_int_equal(link_send(f.control, 0, slice_of(&o, sizeof(o)), SLICE("")),
                     ERR_NONE);
    struct snapshot *s = look(&f);
    snapshot_free(&s);
    struct sockaddr_un to = address_of(&f);
    int late = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (void *)&to, sizeof(to)), -1);
    (void)close(late);
    ask(client, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_says(client, "HTTP/1.1 200 OK\r\n");
    (void)close(client);
    order(&f, EDGE_SHUTDOWN, "");
    assert_int_equal(next_report(&f), EDGE_STOPPED);
    end(&f);
}

static void who_leaves_ends_each_connection_after_its_next_answer(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "0"); /* which is for a shutdown */
    int successor = dup(f.listener);
    int client = join(&f);
    ask(client, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_says(client, "HTTP/1.1 200 OK\r\n");
    order(&f, EDGE_LEAVE, "");
    order(&f, EDGE_PROBE, "");
    assert_int_equal(next_report(&f), EDGE_TURNED);
    int late = join(&f); /* is the successor's */
    ask(client, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_says(client, "HTTP/1.1 200 OK\r\n");
    assert_ended(client);
    assert_int_equal(next_report(&f), EDGE_STOPPED);
    assert_true(accept(successor, NULL, NULL) >= 0);
    (void)close(late);
    (void)close(successor);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_serves_until_it_is_told_to_stop),
        cmocka_unit_test(orders_that_cannot_be_followed_do_no_harm),
        cmocka_unit_test(a_snapshot_shows_what_was_ordered_before),
        cmocka_unit_test(what_does_not_finish_is_cut_off_in_the_end),
        cmocka_unit_test(an_address_can_go_while_its_connections_stay),
        cmocka_unit_test(who_leaves_ends_each_connection_after_its_next_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
