/* SPDX-License-Identifier: MIT
 * proxy/bind.c: addresses as text, and as sockets of this machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/bind.h"

static void addresses_are_read_as_they_are_meant(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        enum bind_kind kind;
        const char *host; /* or path, or name */
        uint16_t port;
    } cases[] = {
        {"127.0.0.1:8000", true, BIND_TCP, "127.0.0.1", 8000},
        {"localhost:80", true, BIND_TCP, "localhost", 80},
        {"http://localhost:80", true, BIND_TCP, "localhost", 80},
        {":8000", true, BIND_TCP, "", 8000},
        {"0.0.0.0:0", true, BIND_TCP, "0.0.0.0", 0},
        {"[::1]:65535", true, BIND_TCP, "::1", 65535},
        {"[fe80::1%eth0]:1", true, BIND_TCP, "fe80::1%eth0", 1},
        {"unix:/run/web.sock", true, BIND_UNIX, "/run/web.sock", 0},
        {"unix:web.sock", true, BIND_UNIX, "web.sock", 0},
        {"", false, BIND_TCP, NULL, 0},
        {"8000", false, BIND_TCP, NULL, 0},
        {"host", false, BIND_TCP, NULL, 0},
        {"host:", false, BIND_TCP, NULL, 0},
        {"host:65536", false, BIND_TCP, NULL, 0},
        {"host:-1", false, BIND_TCP, NULL, 0},
        {"host:80x", false, BIND_TCP, NULL, 0},
        {"::1:80", false, BIND_TCP, NULL, 0},
        {"[]:80", false, BIND_TCP, NULL, 0},
        {"[host]:80", false, BIND_TCP, NULL, 0},
        {"tcp://host:80", false, BIND_TCP, NULL, 0},
        {"unix:", false, BIND_TCP, NULL, 0},
        {"fd:web", true, BIND_INHERITED, "web", 0},
        {"fd:", false, BIND_TCP, NULL, 0},
        {"fd:a:b", false, BIND_TCP, NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bind_address a;
        struct buf message;
        buf_init(&message, 0);
        bool ok = bind_parse(cases[i].text, &a, &message);
        if (ok != cases[i].ok)
            fail_msg("%s", cases[i].text);
        assert_int_equal(ok, buf_len(&message) == 0);
        if (ok) {
            assert_int_equal(a.kind, cases[i].kind);
            assert_string_equal(a.kind == BIND_UNIX        ? a.path
                                : a.kind == BIND_INHERITED ? a.passed_as
                                                           : a.host,
                                cases[i].host);
            assert_int_equal(a.port, cases[i].port);
        }
        buf_fini(&message);
    }
    char path[BIND_MAX_PATH + 8] = "unix:";
    memset(path + 5, 'x', BIND_MAX_PATH + 1);
    struct bind_address a;
    struct buf message;
    buf_init(&message, 0);
    assert_false(bind_parse(path, &a, &message));
    path[5 + BIND_MAX_PATH] = '\0';
    assert_true(bind_parse(path, &a, &message));
    buf_fini(&message);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static int listen_somewhere(struct bind_place *ret_place)
{
    struct bind_address address;
    struct addrinfo *found;
    struct buf message;
    buf_init(&message, 0);
    assert_true(bind_parse("127.0.0.1:0", &address, &message));
    assert_int_equal(bind_resolve(&address, &found), 0);
    bind_place_from(found, ret_place);
    freeaddrinfo(found);
    int fd = bind_listen_tcp(ret_place, BIND_ALONE, false);
    assert_true(fd >= 0);
    assert_true(bind_place_of(fd, ret_place));
    buf_fini(&message);
    return fd;
}

static void connections_inherit_what_is_set_once(void **state)
{
    (void)state;
    struct bind_place place;
    int listener = listen_somewhere(&place);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, &place.any, place.size), 0);
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), 15);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT), 4);
    (void)close(fd);
    (void)close(client);
    (void)close(listener);
}

static void a_place_is_named_and_compared(void **state)
{
    (void)state;
    struct bind_place a, b;
    char name[BIND_MAX_NAME], want[BIND_MAX_NAME];
    int fd = listen_somewhere(&a);
    bind_place_name(&a, name);
    (void)snprintf(want, sizeof want, "http://127.0.0.1:%u", bind_place_port(&a));
    assert_string_equal(name, want);
    b = a;
    assert_true(bind_place_is_same(&a, &b));
    bind_place_set_port(&b, 1);
    assert_false(bind_place_is_same(&a, &b));
    bind_place_from_path("/run/a.sock", &a);
    assert_false(bind_place_is_same(&a, &b));
    bind_place_from_path("/run/b.sock", &b);
    assert_false(bind_place_is_same(&a, &b));
    bind_place_from_path("/run/a.sock", &b);
    assert_true(bind_place_is_same(&a, &b));
    bind_place_name(&a, name);
    assert_string_equal(name, "unix:/run/a.sock");
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_as_they_are_meant),
        cmocka_unit_test(connections_inherit_what_is_set_once),
        cmocka_unit_test(a_place_is_named_and_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
