/* SPDX-License-Identifier: MIT
 * proxy/inherited.c and what proxy/bind_set.c does with it. Each test is a process of
 * its own: descriptors are passed by their numbers, from 3 on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "proxy/bind_set.h"

#define CHECK(condition)                                                               \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
            _exit(1);                                                                  \
        }                                                                              \
    } while (0)

static struct bind_place place;

static int listen_at(enum bind_sharing sharing)
{
    struct bind_address address;
    struct addrinfo *found;
    struct buf message;
    buf_init(&message, 0);
    CHECK(bind_parse("127.0.0.1:0", &address, &message));
    if (place.size == 0) {
        CHECK(bind_resolve(&address, &found) == 0);
        bind_place_from(found, &place);
        freeaddrinfo(found);
    }
    int fd = bind_listen_tcp(&place, sharing, false);
    CHECK(fd >= 0 && bind_place_of(fd, &place));
    return fd;
}

/* Passes them as 3, 4 ... */
static struct inherited *pass(const int *fds, int count, const char *names)
{
    char number[16];
    int high[8];
    for (int i = 0; i < count; i++)
        CHECK((high[i] = fcntl(fds[i], F_DUPFD, 64)) >= 64);
    for (int fd = 3; fd < 64; fd++)
        (void)close(fd);
    for (int i = 0; i < count; i++) {
        CHECK(dup2(high[i], 3 + i) == 3 + i);
        CHECK(close(high[i]) == 0);
    }
    (void)snprintf(number, sizeof number, "%d", count);
    setenv("LISTEN_FDS", number, 1);
    setenv("LISTEN_FDNAMES", names, 1);
    (void)snprintf(number, sizeof number, "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
    return inherited_new();
}

static void in_a_process(void (*test)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        test();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void on_nothing(void *arg, enum bind_change change, const struct bind_row *row)
{
    (void)arg;
    (void)change;
    (void)row;
}

static struct bind_set *
open_set(uint32_t edges, struct inherited *from, const char *text)
{
    struct buf message;
    buf_init(&message, 0);
    struct bind_set *set = bind_set_new(edges, from);
    CHECK(bind_set_prepare(set, &text, 1, &message));
    bind_set_commit(set, on_nothing, NULL);
    CHECK(bind_set_count(set) == 1);
    buf_fini(&message);
    return set;
}

static uint32_t count_copies(struct bind_set *set, uint32_t edge)
{
    uint32_t n = 0;
    int fd;
    while ((fd = bind_row_copy(bind_set_first(set), edge, n)) >= 0) {
        (void)close(fd);
        n++;
    }
    return n;
}

static unsigned told;
static const char *told_name;

static void count_socket(void *arg, int fd, const char *name)
{
    (void)arg;
    CHECK(fd >= 0);
    told++;
    CHECK(told_name == NULL || strcmp(name, told_name) == 0);
}

static void names(void)
{
    int fds[] = {listen_at(BIND_ALONE), open("/dev/null", O_RDONLY)};
    struct inherited *inherited = pass(fds, 2, "web:other");
    CHECK(inherited_count(inherited) == 2);
    CHECK(inherited_take(inherited, "nobody") == -1);
    CHECK(inherited_take(inherited, "other") == 4);
    CHECK(inherited_take(inherited, "other") == -1);
    CHECK((fcntl(4, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(inherited_count(inherited) == 1);
    inherited_free(&inherited);
    CHECK(fcntl(3, F_GETFD) == -1);
    CHECK(fcntl(4, F_GETFD) >= 0);
    setenv("LISTEN_PID", "1", 1); /* another process's */
    inherited = inherited_new();
    CHECK(inherited_count(inherited) == 0);
    inherited_free(&inherited);
}

/* As systemd does it: one socket, found by its address or by its name. */
static void one_socket(void)
{
    char text[64];
    int fd = listen_at(BIND_ALONE);
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", bind_place_port(&place));
    const char *texts[] = {text, "fd:web"};
    for (int i = 0; i < 2; i++) {
        int copy = dup(fd);
        struct inherited *inherited = pass(&copy, 1, "web");
        fd = fcntl(3, F_DUPFD, 100);
        struct bind_set *set = open_set(3, inherited, texts[i]);
        CHECK(inherited_count(inherited) == 0);
        CHECK(bind_row_is_shared(bind_set_first(set)));
        CHECK(count_copies(set, 0) == 1); /* which deals them out */
        CHECK(count_copies(set, 1) == 0 && count_copies(set, 2) == 0);
        told = 0;
        told_name = "web";
        bind_set_tell_sockets(set, count_socket, NULL);
        CHECK(told == 1);
        bind_set_free(&set);
        inherited_free(&inherited);
    }
}

/* As an upgrade does it, to fewer and to more edge threads. */
static void several_sockets(void)
{
    static const struct {
        uint32_t edges, sockets, of_first, of_last;
    } cases[] = {{3, 3, 1, 1}, {2, 3, 2, 1}, {5, 5, 1, 1}};
    for (size_t i = 0; i < 3; i++) {
        place.size = 0;
        int fds[] = {listen_at(BIND_SHARED), listen_at(BIND_SHARED),
                     listen_at(BIND_SHARED)};
        own(mem) char *name = inherited_name_for("127.0.0.1:0");
        char passed[200];
        (void)snprintf(passed, sizeof passed, "%s:%s:%s", name, name, name);
        struct inherited *inherited = pass(fds, 3, passed);
        struct bind_set *set = open_set(cases[i].edges, inherited, "127.0.0.1:0");
        CHECK(count_copies(set, 0) == cases[i].of_first);
        CHECK(count_copies(set, cases[i].edges - 1) == cases[i].of_last);
        told = 0;
        told_name = name;
        bind_set_tell_sockets(set, count_socket, NULL);
        CHECK(told == cases[i].sockets);
        bind_set_free(&set);
        inherited_free(&inherited);
    }
}

static void descriptors_are_found_by_their_names(void **state)
{
    (void)state;
    in_a_process(names);
}

static void one_socket_is_one_edges(void **state)
{
    (void)state;
    in_a_process(one_socket);
}

static void several_sockets_are_dealt_out(void **state)
{
    (void)state;
    in_a_process(several_sockets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_are_found_by_their_names),
        cmocka_unit_test(one_socket_is_one_edges),
        cmocka_unit_test(several_sockets_are_dealt_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
