/* SPDX-License-Identifier: MIT
 * deploy/banyan/notices.c, with what sd_notify says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deploy/banyan/notices.h"
#include "protocol/base/notify.h"
#include "tests/support/assert_slice.h"

static void who_says_what_is_known(void **state)
{
    (void)state;
    char directory[] = "/tmp/banyan-test-notices-XXXXXX";
    struct buf text;
    buf_init(&text, 0);
    assert_non_null(mkdtemp(directory));
    struct notices *n = notices_new(directory, &text);
    assert_non_null(n);
    assert_non_null(strstr(notices_path(n), directory));
    pid_t from = 0;
    assert_false(notices_read(n, &from, &text));
    pid_t pid = fork();
    if (pid == 0) {
        setenv("NOTIFY_SOCKET", notices_path(n), 1);
        notify_say("MAINPID=%d\nSTATUS=a=b", 4711);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(notices_read(n, &from, &text));
    assert_int_equal(from, pid);
    assert_slice(notice_value(buf_slice(&text), "MAINPID"), "4711");
    assert_slice(notice_value(buf_slice(&text), "STATUS"), "a=b");
    assert_slice(notice_value(buf_slice(&text), "PID"), "");
    assert_false(notices_read(n, &from, &text));

    struct notices *second = notices_new(directory, &text);
    assert_null(second); /* the path is taken */
    notices_free(&n);
    assert_int_equal(rmdir(directory), 0);
    assert_null(notices_new(directory, &text));
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_says_what_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
