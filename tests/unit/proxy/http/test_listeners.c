/* SPDX-License-Identifier: MIT
 * proxy/http/listeners.c: sockets that come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/http/listeners.h"
#include "tests/support/assert_slice.h"
#include "tests/unit/proxy/edge_rig.h"

#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

struct place { /* a listening Unix socket */
    struct sockaddr_un address;
    char name[120];
    int fd;
};

static struct place listen_in(const char *directory, const char *file)
{
    struct place p = {.address.sun_family = AF_UNIX};
    (void)snprintf(p.address.sun_path, sizeof p.address.sun_path, "%s/%s", directory,
                   file);
    (void)snprintf(p.name, sizeof p.name, "unix:%s", p.address.sun_path);
    p.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p.fd, (void *)&p.address, sizeof p.address), 0);
    assert_int_equal(listen(p.fd, 16), 0);
    return p;
}

static bool join(struct rig *rig, const struct place *p)
{
    rig->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    rig->saw_eof = rig->saw_reset = false;
    bool is_in = connect(rig->fd, (const void *)&p->address, sizeof p->address) == 0;
    rig_run(rig);
    return is_in;
}

static void names_outlive_their_sockets(void **state)
{
    (void)state;
    struct rig rig;
    char directory[] = "/tmp/banyan-test-listeners-XXXXXX";
    assert_non_null(mkdtemp(directory));
    rig_init(&rig);
    rig_start(&rig);
    struct listeners *all = listeners_new(rig.base, rig.clients, &rig.stats);
    struct place a = listen_in(directory, "a"), b = listen_in(directory, "b");
    char name[120];
    (void)snprintf(name, sizeof name, "%s", a.name);
    listeners_add(all, a.fd, name);
    listeners_add(all, b.fd, b.name);
    memset(name, 'x', sizeof name - 1); /* it was borrowed for the call */

    assert_true(join(&rig, &a));
    int kept = rig.fd;
    listeners_close(all, a.name);
    assert_false(join(&rig, &a));
    (void)close(rig.fd);
    assert_true(join(&rig, &b));
    (void)close(rig.fd);
    rig.fd = kept;
    rig_send(&rig, GET);
    assert_slice(rig_latest()->frame.request.server_addr, a.address.sun_path);
    (void)close(kept);

    /* Who leaves, leaves the waiting ones to others. */
    int others = dup(b.fd);
    int late = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (void *)&b.address, sizeof b.address), 0);
    listeners_leave(all);
    assert_true(accept(others, NULL, NULL) >= 0);
    (void)close(others);
    (void)close(late);
    rig.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rig_fini(&rig);
    listeners_free(&all);
    assert_int_equal(unlink(a.address.sun_path), 0);
    assert_int_equal(unlink(b.address.sun_path), 0);
    assert_int_equal(rmdir(directory), 0);
}

static void a_shared_sockets_connections_are_dealt_out(void **state)
{
    (void)state;
    struct rig rig;
    char directory[] = "/tmp/banyan-test-listeners-XXXXXX";
    assert_non_null(mkdtemp(directory));
    rig_init(&rig);
    rig_start(&rig);
    struct dealer *dealer = dealer_new(2);
    int other = dealer_sit(dealer, 1); /* another thread */
    struct listeners *all = listeners_new(rig.base, rig.clients, &rig.stats);
    listeners_sit(all, dealer, 0);
    struct place p = listen_in(directory, "s");
    listeners_share(all, p.fd, p.name);

    struct dealt d;
    assert_true(join(&rig, &p));
    int first = rig.fd;
    assert_true(dealer_take(other, &d));
    assert_string_equal(d.name, p.name);
    assert_int_equal(clients_count(rig.clients), 0);
    assert_true(join(&rig, &p));
    int second = rig.fd;
    assert_false(dealer_take(other, &d));
    assert_int_equal(clients_count(rig.clients), 1);

    /* The other one deals to us: it is as if we had accepted it. */
    uint32_t turn = 1;
    assert_true(dealer_deal(dealer, &turn, 1, &d));
    rig.fd = first;
    rig_run(&rig);
    assert_int_equal(clients_count(rig.clients), 2);
    rig_send(&rig, GET);
    assert_slice(rig_latest()->frame.request.server_addr, p.address.sun_path);
    (void)close(first);
    (void)close(second);

    listeners_end(all);
    assert_false(dealer_deal(dealer, &turn, 1, &d)); /* ours is empty */
    assert_false(dealer_deal(dealer, &turn, 1, &d)); /* its own */
    (void)close(other);
    rig.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rig_fini(&rig);
    listeners_free(&all);
    dealer_free(&dealer);
    assert_int_equal(unlink(p.address.sun_path), 0);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_outlive_their_sockets),
        cmocka_unit_test(a_shared_sockets_connections_are_dealt_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
