/* SPDX-License-Identifier: MIT
 * proxy/http/outbox.c: order, what waits, files, sockets that fail. */
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

#include "proxy/http/outbox.h"

enum { LARGE = 4 * 1024 * 1024 };

static int ends[2]; /* [0] is written to */
static struct buf received;
static struct outbox box;

static int begin(void **state)
{
    (void)state;
    outbox_init(&box);
    buf_init(&received, 0);
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends);
}

static int end(void **state)
{
    (void)state;
    outbox_fini(&box);
    buf_fini(&received);
    close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
    return 0;
}

static void receive(void)
{
    char data[65536];
    ssize_t n;
    while ((n = recv(ends[1], data, sizeof(data), 0)) > 0)
        buf_add(&received, slice_of(data, (size_t)n));
}

static char *pattern(size_t bytes)
{
    char *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)(i * 7 + i / 251);
    return data;
}

static void bytes_leave_in_order(void **state)
{
    (void)state;
    assert_int_equal(outbox_flush(&box, ends[0]), OUTBOX_EMPTY);
    buf_add(&box.bytes, SLICE("one "));
    assert_int_equal(outbox_pending(&box), 4);
    assert_int_equal(outbox_write(&box, ends[0], SLICE("two ")), OUTBOX_EMPTY);
    assert_int_equal(outbox_pending(&box), 0);
    buf_add(&box.bytes, SLICE("three"));
    assert_int_equal(outbox_flush(&box, ends[0]), OUTBOX_EMPTY);
    receive();
    assert_int_equal(buf_len(&received), 13);
    assert_memory_equal(received.data, "one two three", 13);
}

static void what_the_socket_does_not_take_waits(void **state)
{
    (void)state;
    char *data = pattern(LARGE);
    buf_add(&box.bytes, SLICE("head"));
    assert_int_equal(outbox_write(&box, ends[0], slice_of(data, LARGE)), OUTBOX_WAITS);
    assert_in_range(outbox_pending(&box), 1, LARGE - 1);
    assert_int_equal(outbox_write(&box, ends[0], SLICE("tail")), OUTBOX_WAITS);
    while (outbox_pending(&box) > 0) {
        receive();
        assert_true(outbox_flush(&box, ends[0]) != OUTBOX_FAILED);
    }
    receive();
    assert_int_equal(buf_len(&received), LARGE + 8);
    assert_memory_equal(received.data, "head", 4);
    assert_memory_equal(received.data + 4, data, LARGE);
    assert_memory_equal(received.data + 4 + LARGE, "tail", 4);
    free(data);
}

static FILE *make_file(const char *data, size_t bytes)
{
    FILE *file = tmpfile();
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fflush(file), 0);
    return file;
}

static void a_file_follows_the_bytes_and_others_get_their_turn(void **state)
{
    (void)state;
    char *data = pattern(LARGE);
    FILE *file = make_file(data, LARGE);
    buf_add(&box.bytes, SLICE("head"));
    outbox_put_file(&box, dup(fileno(file)), 5, LARGE - 10);
    assert_int_equal(outbox_pending(&box), LARGE - 6);
    int turns = 0;
    for (; outbox_pending(&box) > 0; turns++) {
        enum outbox_result result = outbox_flush(&box, ends[0]);
        assert_true(result != OUTBOX_FAILED);
        assert_int_equal(result == OUTBOX_EMPTY, outbox_pending(&box) == 0);
        receive();
    }
    assert_in_range(turns, 4, 1000);
    assert_int_equal(box.file, -1);
    assert_int_equal(buf_len(&received), LARGE - 6);
    assert_memory_equal(received.data + 4, data + 5, LARGE - 10);
    free(data);
    fclose(file);
}

static void a_file_that_shrank_is_a_failure(void **state)
{
    (void)state;
    FILE *file = make_file("short", 5);
    outbox_put_file(&box, dup(fileno(file)), 0, 10);
    assert_int_equal(outbox_flush(&box, ends[0]), OUTBOX_FAILED);
    fclose(file);
}

static void a_peer_that_is_gone_is_a_failure_and_no_signal(void **state)
{
    (void)state;
    close(ends[1]);
    ends[1] = -1;
    assert_int_equal(outbox_write(&box, ends[0], SLICE("x")), OUTBOX_FAILED);
    buf_add(&box.bytes, SLICE("y"));
    assert_int_equal(outbox_flush(&box, ends[0]), OUTBOX_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_leave_in_order, begin, end),
        cmocka_unit_test_setup_teardown(what_the_socket_does_not_take_waits, begin,
                                        end),
        cmocka_unit_test_setup_teardown(
            a_file_follows_the_bytes_and_others_get_their_turn, begin, end),
        cmocka_unit_test_setup_teardown(a_file_that_shrank_is_a_failure, begin, end),
        cmocka_unit_test_setup_teardown(a_peer_that_is_gone_is_a_failure_and_no_signal,
                                        begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
