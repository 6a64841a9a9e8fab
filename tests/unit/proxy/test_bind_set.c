/* SPDX-License-Identifier: MIT
 * proxy/bind_set.c: addresses become sockets of this machine, and those of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "proxy/bind_set.h"

static unsigned opened, closed;

static void count_change(void *arg, enum bind_change change, const struct bind_row *row)
{
    (void)arg;
    (void)row;
    opened += change == BIND_OPENED;
    closed += change == BIND_CLOSED;
}

/* These addresses and no others. False: `say` has the reason. */
static bool
follow(struct bind_set *set, const char *one, const char *two, char say[300])
{
    const char *texts[] = {one, two};
    struct buf message;
    buf_init(&message, 0);
    bool ok = bind_set_prepare(set, texts,
                               one == NULL   ? 0
                               : two == NULL ? 1
                                             : 2,
                               &message);
    opened = closed = 0;
    if (ok)
        bind_set_commit(set, count_change, NULL);
    (void)snprintf(say, 300, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return ok;
}

/* How many sockets the edge has at the row; they are closed again. */
static uint32_t sockets_of(const struct bind_row *row, uint32_t edge)
{
    uint32_t count = 0;
    int fd;
    while ((fd = bind_row_copy(row, edge, count)) >= 0) {
        int listens = 0;
        socklen_t size = sizeof listens;
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size), 0);
        assert_true(listens);
        assert_int_equal(close(fd), 0);
        count++;
    }
    assert_int_equal(fd, -1);
    return count;
}

static void all_edges_share_the_port_that_was_free(void **state)
{
    (void)state;
    char say[300], text[32];
    struct bind_set *set = bind_set_new(3, NULL);
    assert_true(follow(set, "127.0.0.1:0", NULL, say));
    assert_int_equal(bind_set_count(set), 1);
    unsigned port;
    const struct bind_row *row = bind_set_first(set);
    assert_int_equal(sscanf(bind_row_name(row), "http://127.0.0.1:%u", &port), 1);
    assert_in_range(port, 1024, 65535);

    /* Nobody else gets it, not even another proxy. */
    snprintf(text, sizeof text, "127.0.0.1:%u", port);
    for (uint32_t edges = 1; edges <= 2; edges++) {
        struct bind_set *other = bind_set_new(edges, NULL);
        assert_false(follow(other, text, NULL, say));
        assert_non_null(strstr(say, "another program listens there"));
        assert_non_null(strstr(say, text));
        bind_set_free(&other);
    }
    assert_false(bind_row_is_shared(row));
    for (uint32_t edge = 0; edge < 3; edge++)
        assert_int_equal(sockets_of(row, edge), 1);
    bind_set_free(&set);
}

static void addresses_that_are_not_ours_are_refused(void **state)
{
    (void)state;
    char say[300];
    struct bind_set *set = bind_set_new(1, NULL);
    assert_false(follow(set, "192.0.2.1:8000", NULL, say));
    assert_non_null(strstr(say, "no such address"));
    assert_false(follow(set, "unix:/nonexistent/dir/x.sock", NULL, say));
    assert_non_null(strstr(say, "create it"));
    assert_false(follow(set, "fd:web", NULL, say));
    assert_non_null(strstr(say, "no socket of that name was passed"));
    assert_int_equal(bind_set_count(set), 0);
    bind_set_free(&set);
}

static void a_dead_unix_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    (void)state;
    char dir[] = "/tmp/banyan-test-XXXXXX", text[64], say[300];
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text, "unix:%s/web.sock", dir);
    const char *path = text + 5;

    mode_t mask = umask(027);
    struct bind_set *first = bind_set_new(2, NULL), *second = bind_set_new(1, NULL);
    assert_true(follow(first, text, NULL, say));
    (void)umask(mask);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_true(bind_row_is_shared(bind_set_first(first)));
    assert_int_equal(sockets_of(bind_set_first(first), 0), 1);
    assert_int_equal(sockets_of(bind_set_first(first), 1), 0);
    assert_false(follow(second, text, NULL, say));
    assert_non_null(strstr(say, "another program listens there"));

    /* The first one dies without a word: its file stays. */
    bind_set_close(first);
    assert_int_equal(access(path, F_OK), 0);
    assert_true(follow(second, text, NULL, say));

    /* Which is now the second one's, so the first leaves it alone. */
    bind_set_free(&first);
    assert_int_equal(access(path, F_OK), 0);
    bind_set_free(&second);
    assert_int_not_equal(access(path, F_OK), 0);

    /* What is no socket is never removed. */
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fclose(file);
    struct bind_set *third = bind_set_new(1, NULL);
    assert_false(follow(third, text, NULL, say));
    bind_set_free(&third);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void a_change_keeps_what_stays(void **state)
{
    (void)state;
    char dir[] = "/tmp/banyan-test-XXXXXX", text[64], other[64], say[300];
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text, "unix:%s/web.sock", dir);
    struct bind_set *set = bind_set_new(2, NULL);
    assert_true(follow(set, "127.0.0.1:0", text, say));
    assert_int_equal(opened, 2);
    char name[64];
    snprintf(name, sizeof name, "%s", bind_row_name(bind_set_first(set)));

    /* The same, once under another text. */
    snprintf(other, sizeof other, "%s", name + strlen("http://"));
    assert_true(follow(set, other, text, say));
    assert_int_equal(opened + closed, 0);
    assert_string_equal(bind_row_text(bind_set_first(set)), other);

    /* One is wrong: nothing changes. */
    assert_false(follow(set, "127.0.0.1:0", "192.0.2.1:80", say));
    assert_int_equal(bind_set_count(set), 2);
    assert_string_equal(bind_row_name(bind_set_first(set)), name);
    assert_int_equal(sockets_of(bind_set_first(set), 1), 1);

    assert_true(follow(set, text, NULL, say));
    assert_int_equal(opened, 0);
    assert_int_equal(closed, 1);
    assert_int_equal(bind_set_count(set), 1);
    assert_string_equal(bind_row_name(bind_set_first(set)), text);

    /* What was abandoned is the next one's to remove. */
    bind_set_abandon(set);
    bind_set_free(&set);
    assert_int_equal(unlink(text + 5), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_edges_share_the_port_that_was_free),
        cmocka_unit_test(addresses_that_are_not_ours_are_refused),
        cmocka_unit_test(a_dead_unix_socket_is_replaced_and_a_live_one_is_not),
        cmocka_unit_test(a_change_keeps_what_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
