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
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/bind.h"

static void addresses_are_read_as_they_are_meant(void **state)
{
    static const struct {
        const char *text;
        bool ok, is_unix;
        const char *host; /* or path */
        uint16_t port;
    } cases[] = {
        {"127.0.0.1:8000", true, false, "127.0.0.1", 8000},
        {"localhost:80", true, false, "localhost", 80},
        {"http://localhost:80", true, false, "localhost", 80},
        {":8000", true, false, "", 8000},
        {"0.0.0.0:0", true, false, "0.0.0.0", 0},
        {"[::1]:65535", true, false, "::1", 65535},
        {"[fe80::1%eth0]:1", true, false, "fe80::1%eth0", 1},
        {"unix:/run/web.sock", true, true, "/run/web.sock", 0},
        {"unix:web.sock", true, true, "web.sock", 0},
        {"", false, false, NULL, 0},
        {"8000", false, false, NULL, 0},
        {"host", false, false, NULL, 0},
        {"host:", false, false, NULL, 0},
        {"host:65536", false, false, NULL, 0},
        {"host:-1", false, false, NULL, 0},
        {"host:80x", false, false, NULL, 0},
        {"::1:80", false, false, NULL, 0},
        {"[]:80", false, false, NULL, 0},
        {"[host]:80", false, false, NULL, 0},
        {"tcp://host:80", false, false, NULL, 0},
        {"unix:", false, false, NULL, 0},
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
            assert_int_equal(a.is_unix, cases[i].is_unix);
            assert_string_equal(a.is_unix ? a.path : a.host, cases[i].host);
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

static bool open_one(struct bind_set *set, const char *text, char say[200])
{
    struct bind_address address;
    struct buf message;
    buf_init(&message, 0);
    bool ok =
        bind_parse(text, &address, &message) && bind_set_open(set, &address, &message);
    snprintf(say, 200, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return ok;
}

static void close_edge(struct bind_set *set, uint32_t edge)
{
    const int *fds = bind_set_take(set, edge);
    for (uint32_t i = 0; i < bind_set_count(set); i++) {
        int listens = 0;
        socklen_t size = sizeof listens;
        assert_int_equal(getsockopt(fds[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &size),
                         0);
        assert_true(listens);
        assert_int_equal(close(fds[i]), 0);
    }
}

static void all_edges_share_the_port_that_was_free(void **state)
{
    (void)state;
    char say[200], text[32];
    struct bind_set *set = bind_set_new(3);
    assert_true(open_one(set, "127.0.0.1:0", say));
    assert_int_equal(bind_set_count(set), 1);
    unsigned port;
    assert_int_equal(sscanf(bind_set_names(set)[0], "http://127.0.0.1:%u", &port), 1);
    assert_in_range(port, 1024, 65535);

    /* Nobody else gets it, not even another proxy. */
    snprintf(text, sizeof text, "127.0.0.1:%u", port);
    for (uint32_t edges = 1; edges <= 2; edges++) {
        struct bind_set *other = bind_set_new(edges);
        assert_false(open_one(other, text, say));
        assert_non_null(strstr(say, "another program listens there"));
        assert_non_null(strstr(say, text));
        bind_set_free(&other);
    }
    for (uint32_t edge = 0; edge < 3; edge++)
        close_edge(set, edge);
    bind_set_free(&set);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static void connections_inherit_what_is_set_once(void **state)
{
    (void)state;
    char say[200];
    struct bind_set *set = bind_set_new(1);
    assert_true(open_one(set, "127.0.0.1:0", say));
    int listener = bind_set_take(set, 0)[0];
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, size), 0);
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
    bind_set_free(&set);
}

static void addresses_that_are_not_ours_are_refused(void **state)
{
    (void)state;
    char say[200];
    struct bind_set *set = bind_set_new(1);
    assert_false(open_one(set, "192.0.2.1:8000", say));
    assert_non_null(strstr(say, "no such address"));
    assert_false(open_one(set, "unix:/nonexistent/dir/x.sock", say));
    assert_non_null(strstr(say, "create it"));
    assert_int_equal(bind_set_count(set), 0);
    bind_set_free(&set);
}

static void a_dead_unix_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    (void)state;
    char dir[] = "/tmp/banyan-test-XXXXXX", text[64], say[200];
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text, "unix:%s/web.sock", dir);
    const char *path = text + 5;

    mode_t mask = umask(027);
    struct bind_set *first = bind_set_new(2), *second = bind_set_new(1);
    assert_true(open_one(first, text, say));
    (void)umask(mask);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_false(open_one(second, text, say));
    assert_non_null(strstr(say, "another program listens there"));

    /* The first one dies without a word: its file stays. */
    close_edge(first, 0);
    close_edge(first, 1);
    assert_int_equal(access(path, F_OK), 0);
    assert_true(open_one(second, text, say));

    /* Which is now the second one's, so the first leaves it alone. */
    bind_set_free(&first);
    assert_int_equal(access(path, F_OK), 0);
    bind_set_free(&second);
    assert_int_not_equal(access(path, F_OK), 0);

    /* What is no socket is never removed. */
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fclose(file);
    struct bind_set *third = bind_set_new(1);
    assert_false(open_one(third, text, say));
    bind_set_free(&third);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_as_they_are_meant),
        cmocka_unit_test(all_edges_share_the_port_that_was_free),
        cmocka_unit_test(connections_inherit_what_is_set_once),
        cmocka_unit_test(addresses_that_are_not_ours_are_refused),
        cmocka_unit_test(a_dead_unix_socket_is_replaced_and_a_live_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
