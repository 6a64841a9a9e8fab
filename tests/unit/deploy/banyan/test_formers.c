/* SPDX-License-Identifier: MIT
 * deploy/banyan/formers.c, with processes of this one's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deploy/banyan/formers.h"

enum { PATIENCE_MS = 60 * 1000 };

static pid_t start_one(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        for (;;)
            (void)pause();
    return pid;
}

static void await_end(const struct formers *f)
{
    struct pollfd look = {.fd = formers_fd(f), .events = POLLIN};
    assert_int_equal(poll(&look, 1, PATIENCE_MS), 1);
}

static void one_that_ends_is_forgotten_and_reaped(void **state)
{
    (void)state;
    struct formers *f = formers_new();
    assert_non_null(f);
    pid_t first = start_one(), second = start_one();
    formers_add(f, first);
    formers_add(f, second);
    formers_look(f);
    assert_int_equal(formers_count(f), 2);
    assert_int_equal(kill(first, SIGKILL), 0);
    await_end(f);
    formers_look(f);
    assert_int_equal(formers_count(f), 1);
    assert_int_equal(waitpid(first, NULL, 0), -1);
    assert_int_equal(errno, ECHILD);
    formers_signal(f, SIGKILL);
    await_end(f);
    formers_look(f);
    assert_int_equal(formers_count(f), 0);
    formers_free(&f);
}

static void one_that_another_reaps_is_forgotten_too(void **state)
{
    (void)state;
    struct formers *f = formers_new();
    assert_non_null(f);
    pid_t pid = start_one();
    formers_add(f, pid);
    formers_signal(f, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    await_end(f);
    formers_look(f);
    assert_int_equal(formers_count(f), 0);
    formers_add(f, pid); /* it has ended by now */
    assert_int_equal(formers_count(f), 0);
    formers_free(&f);
    assert_null(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_ends_is_forgotten_and_reaped),
        cmocka_unit_test(one_that_another_reaps_is_forgotten_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
