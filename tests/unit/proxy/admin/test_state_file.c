/* SPDX-License-Identifier: MIT
 * proxy/admin/state_file.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/admin/state_file.h"

static void what_is_written_is_read(void **state)
{
    (void)state;
    char directory[] = "/tmp/test-state-XXXXXX", path[64];
    struct buf text;
    struct stat st;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/state", directory);
    buf_init(&text, 0);
    assert_false(state_file_read(path, &text));
    assert_int_equal(errno, ENOENT);
    assert_true(state_file_write(path, SLICE("a longer text\n")));
    assert_true(state_file_write(path, SLICE("second\n")));
    assert_true(state_file_read(path, &text));
    assert_true(slice_eq(buf_slice(&text), SLICE("second\n")));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0); /* nothing was left beside it */
    buf_fini(&text);
}

static void a_write_that_fails_leaves_the_old_one(void **state)
{
    (void)state;
    char directory[] = "/tmp/test-state-XXXXXX", path[64], beside[80];
    struct buf text;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/state", directory);
    (void)snprintf(beside, sizeof beside, "%s.new", path);
    assert_true(state_file_write(path, SLICE("old\n")));
    assert_int_equal(mkdir(beside, 0700), 0); /* in the way */
    assert_false(state_file_write(path, SLICE("new\n")));
    buf_init(&text, 0);
    assert_true(state_file_read(path, &text));
    assert_true(slice_eq(buf_slice(&text), SLICE("old\n")));
    buf_fini(&text);
    assert_int_equal(rmdir(beside), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
    assert_false(state_file_write(path, SLICE("new\n")));
    assert_int_equal(errno, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_write_that_fails_leaves_the_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
