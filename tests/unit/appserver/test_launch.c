/* SPDX-License-Identifier: MIT
 * appserver/launch.c: which interpreter is taken. */
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
#include <sys/stat.h>
#include <unistd.h>

#include "appserver/launch.h"
#include "protocol/base/mem.h"

static char tree[] = "/tmp/test-launch-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(tree));
    assert_int_equal(chdir(tree), 0);
    assert_int_equal(mkdir("venv", 0700), 0);
    assert_int_equal(mkdir("venv/bin", 0700), 0);
    assert_int_equal(mkdir("path", 0700), 0);
    (void)close(open("venv/bin/python", O_CREAT | O_RDWR, 0700));
    (void)close(open("path/python3", O_CREAT | O_RDWR, 0700));
    (void)close(open("path/python3.99", O_CREAT | O_RDWR, 0700));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink("venv/bin/python");
    (void)unlink("path/python3");
    (void)unlink("path/python3.99");
    (void)rmdir("venv/bin");
    (void)rmdir("venv");
    (void)rmdir("path");
    return rmdir(tree);
}

static void takes_the_interpreter_that_is_asked_for_or_the_nearest(void **state)
{
    (void)state;
    static const struct {
        const char *asked, *environment, *path, *want, *complaint;
    } CASES[] = {
        {NULL, "venv", "path", "venv/bin/python", NULL},
        {NULL, "", "path", "path/python3", NULL},
        {NULL, "gone", "path", "path/python3", NULL},
        {NULL, "", "/nowhere", NULL, "--embedded"},
        {"python3.99", "venv", "path", "path/python3.99", NULL},
        {"path/python3", "venv", "/nowhere", "path/python3", NULL},
        {"path/missing", "venv", "path", NULL, "--python path/missing"},
        {"missing", "venv", "path", NULL, "--python missing"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct buf message;
        buf_init(&message, 0);
        assert_int_equal(setenv("VIRTUAL_ENV", CASES[i].environment, 1), 0);
        assert_int_equal(setenv("PATH", CASES[i].path, 1), 0);
        own(mem) char *python = launch_find_python(CASES[i].asked, &message);
        if (CASES[i].want != NULL) {
            assert_string_equal(python, CASES[i].want);
            assert_int_equal(buf_len(&message), 0);
        } else {
            assert_null(python);
            buf_add(&message, slice_of("", 1));
            assert_non_null(strstr(buf_slice(&message).ptr, CASES[i].complaint));
        }
        buf_fini(&message);
    }
}

static void says_where_it_looked_for_the_package(void **state)
{
    (void)state;
    struct buf message;
    buf_init(&message, 0);
    own(mem) char *package = launch_find_package(&message);
    if (package == NULL) {
        buf_add(&message, slice_of("", 1));
        assert_non_null(strstr(buf_slice(&message).ptr, "../pkg"));
    } else {
        own(mem) char *file = mem_printf("%s/banyan/__init__.py", package);
        assert_int_equal(access(file, R_OK), 0);
    }
    buf_fini(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_interpreter_that_is_asked_for_or_the_nearest),
        cmocka_unit_test(says_where_it_looked_for_the_package),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
