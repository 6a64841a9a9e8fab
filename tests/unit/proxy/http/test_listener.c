/* SPDX-License-Identifier: MIT
 * proxy/http/listener.c: who is accepted, when nobody is, and what happens when
 * descriptors run out. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/base/log.h"
#include "proxy/http/listener.h"
#include "tests/support/assert_slice.h"
#include "tests/unit/proxy/edge_rig.h"

#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

enum { MOST = 4 }; /* connections of the rig */

struct place { /* a listening Unix socket */
    char directory[40], name[64];
    const char *path;
    struct listener *listener;
};

static int new_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static struct sockaddr_un address_of(const struct place *p)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", p->path);
    return address;
}

static void begin(struct rig *rig, struct place *p)
{
    rig_init(rig);
    rig_start(rig);
    strcpy(p->directory, "/tmp/banyan-test-listener-XXXXXX");
    assert_non_null(mkdtemp(p->directory));
    (void)snprintf(p->name, sizeof(p->name), "unix:%s/s", p->directory);
    p->path = p->name + strlen("unix:");
    struct sockaddr_un address = address_of(p);
    int fd = new_socket(AF_UNIX);
    assert_int_equal(bind(fd, (void *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 16), 0);
    p->listener = listener_new(rig->base, fd, p->name, rig->clients, &rig->stats);
}

static void end(struct rig *rig, struct place *p)
{
    listener_free(&p->listener);
    assert_int_equal(unlink(p->path), 0);
    assert_int_equal(rmdir(p->directory), 0);
    rig_fini(rig);
}

/* The rig's client, until the next one. */
static int join(struct rig *rig, const struct place *p)
{
    struct sockaddr_un to = address_of(p);
    rig->fd = new_socket(AF_UNIX);
    rig->saw_eof = rig->saw_reset = false;
    assert_int_equal(connect(rig->fd, (void *)&to, sizeof(to)), 0);
    rig_run(rig);
    return rig->fd;
}

static void become(struct rig *rig, int fd)
{
    rig->fd = fd;
    rig->saw_eof = rig->saw_reset = false;
}

static void a_request_tells_where_it_came_in(void **state)
{
    (void)state;
    struct rig rig;
    struct place p;
    begin(&rig, &p);
    (void)join(&rig, &p);
    rig_send(&rig, GET);
    assert_slice(rig_latest()->frame.request.server_addr, p.path);
    assert_slice(rig_latest()->frame.request.client_addr, "");
    (void)close(rig.fd);

    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = new_socket(AF_INET);
    assert_int_equal(bind(fd, (void *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (void *)&address, &length), 0);
    struct listener *tcp =
        listener_new(rig.base, fd, "http://127.0.0.1:0", rig.clients, &rig.stats);
    become(&rig, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(connect(rig.fd, (void *)&address, sizeof(address)), 0);
    struct sockaddr_in own = {0};
    assert_int_equal(getsockname(rig.fd, (void *)&own, &length), 0);
    assert_int_equal(send(rig.fd, GET, strlen(GET), 0), strlen(GET));
    while (rig_pool.count < 2) { /* the kernel brings it in a moment */
        rig.saw_eof = true;      /* the socket blocks: nobody reads */
        rig_run(&rig);
    }
    const struct frame_request *r = &rig_latest()->frame.request;
    assert_slice(r->server_addr, "127.0.0.1");
    assert_slice(r->client_addr, "127.0.0.1");
    assert_int_equal(r->server_port, ntohs(address.sin_port));
    assert_int_equal(r->client_port, ntohs(own.sin_port));
    listener_free(&tcp);
    end(&rig, &p);
}

static void it_accepts_up_to_the_limit_and_what_waits_when_it_closes(void **state)
{
    (void)state;
    struct rig rig;
    struct place p;
    int fds[MOST + 1];
    begin(&rig, &p);
    for (int i = 0; i < MOST; i++) {
        fds[i] = join(&rig, &p);
        rig_send(&rig, GET);
        assert_int_equal(rig_pool.count, i + 1);
    }
    fds[MOST] = join(&rig, &p);
    rig_send(&rig, GET);
    assert_int_equal(clients_count(rig.clients), MOST);
    assert_true(rig.stats.accepts_paused > 0);
    assert_int_equal(rig.stats.connections_evicted, 0);

    become(&rig, fds[MOST - 1]);
    rig_respond(rig_latest(), 200, "x"); /* one is idle now, and makes room */
    rig_run(&rig);
    listener_free(&p.listener);
    rig_run(&rig);
    assert_int_equal(rig.stats.connections, MOST + 1);
    assert_int_equal(rig_pool.count, MOST + 1);
    for (int i = 0; i < MOST; i++)
        (void)close(fds[i]);
    rig.fd = fds[MOST];
    end(&rig, &p);
}

/* No descriptor beyond those in use. */
static struct rlimit take_descriptors(void)
{
    struct rlimit before, now;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    assert_true(next >= 0);
    (void)close(next);
    now = before;
    now.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    return before;
}

static void out_of_descriptors_an_idle_connection_gives_its_own(void **state)
{
    (void)state;
    struct rig rig;
    struct place p;
    begin(&rig, &p);
    int idle = join(&rig, &p), next = new_socket(AF_UNIX);
    struct rlimit before = take_descriptors();
    struct sockaddr_un to = address_of(&p);
    assert_int_equal(connect(next, (void *)&to, sizeof(to)), 0);
    rig_run(&rig);
    assert_true(rig.saw_eof);
    (void)close(idle);
    assert_int_equal(rig.stats.connections_evicted, 1);
    assert_int_equal(rig.stats.connections, 2);
    become(&rig, next);
    rig_send(&rig, GET);
    assert_int_equal(rig_pool.count, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    end(&rig, &p);
}

static void out_of_descriptors_and_nobody_idle_it_pauses(void **state)
{
    (void)state;
    struct rig rig;
    struct place p;
    begin(&rig, &p);
    log_set_level(LOG_ERROR);
    (void)join(&rig, &p);
    rig_send(&rig, GET);
    int busy = rig.fd, next = new_socket(AF_UNIX);
    struct rlimit before = take_descriptors();
    struct sockaddr_un to = address_of(&p);
    assert_int_equal(connect(next, (void *)&to, sizeof(to)), 0);
    rig_run(&rig);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    rig_run(&rig); /* it does not try in every turn */
    assert_int_equal(rig.stats.connections, 1);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Content-Length: 0\r\n\r\n");
    (void)close(busy);
    rig.fd = next;
    end(&rig, &p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_tells_where_it_came_in),
        cmocka_unit_test(it_accepts_up_to_the_limit_and_what_waits_when_it_closes),
        cmocka_unit_test(out_of_descriptors_an_idle_connection_gives_its_own),
        cmocka_unit_test(out_of_descriptors_and_nobody_idle_it_pauses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
