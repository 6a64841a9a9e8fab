/* SPDX-License-Identifier: MIT
 * protocol/base/process.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/base/process.h"

/* A waitpid(2) status: exit code in the second byte, signal in the low seven bits. */
static void says_in_words_how_a_process_ended(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *want;
    } CASES[] = {
        {0, "exited with code 0"},
        {3 << 8, "exited with code 3"},
        {SIGKILL, "was killed by SIGKILL"},
        {SIGSEGV | 0x80, "was killed by SIGSEGV (core dumped)"},
        {60, "was killed by signal 60"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char text[PROCESS_REASON_BYTES];
        process_reason(CASES[i].status, text);
        assert_string_equal(text, CASES[i].want);
    }
}

static void restarts_at_once_then_doubles_up_to_five_seconds(void **state)
{
    (void)state;
    static const uint64_t WANT_MS[] = {0,    100,  200,  400,  800,
                                       1600, 3200, 5000, 5000, 5000};
    struct backoff b = {0};
    for (size_t i = 0; i < sizeof WANT_MS / sizeof WANT_MS[0]; i++)
        assert_int_equal(backoff_next(&b, 1000), WANT_MS[i] * 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(backoff_next(&b, 0), BACKOFF_LAST_US);
}

static void forgets_old_deaths_after_ten_seconds_of_life(void **state)
{
    (void)state;
    struct backoff b = {0};
    (void)backoff_next(&b, 0);
    (void)backoff_next(&b, 0);
    assert_int_equal(backoff_next(&b, BACKOFF_RESET_US - 1), 200 * 1000);
    assert_int_equal(backoff_next(&b, BACKOFF_RESET_US), 0);
    assert_int_equal(backoff_next(&b, 0), BACKOFF_FIRST_US);
}

static void reaps_only_the_child_it_is_asked_for(void **state)
{
    (void)state;
    int hold[2], status = -1;
    assert_int_equal(pipe(hold), 0);
    pid_t waiting = fork();
    if (waiting == 0) {
        char byte;
        (void)close(hold[1]);
        (void)!read(hold[0], &byte, 1);
        _exit(5);
    }
    pid_t other = fork();
    if (other == 0)
        _exit(6);
    assert_false(process_reap(waiting, &status));
    (void)close(hold[0]);
    (void)close(hold[1]);
    while (!process_reap(waiting, &status))
        (void)usleep(100);
    assert_int_equal(WEXITSTATUS(status), 5);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(WEXITSTATUS(status), 6);
    assert_true(process_reap(other, &status));
    assert_int_equal(status, 0);
    assert_int_equal(process_reap_any(&status), 0);
}

static void dies_with_its_parent(void **state)
{
    (void)state;
    int life[2];
    assert_int_equal(pipe(life), 0);
    pid_t parent = fork();
    if (parent == 0) {
        pid_t self = getpid();
        int ready[2];
        (void)!pipe(ready);
        if (fork() == 0) {
            if (!process_die_with(self, SIGKILL))
                _exit(1);
            (void)!write(ready[1], "r", 1);
            for (;;)
                (void)pause();
        }
        char byte;
        (void)!read(ready[0], &byte, 1);
        _exit(0);
    }
    (void)close(life[1]);
    char byte;
    /* Both hold the pipe; it ends when both are gone. */
    assert_int_equal(read(life[0], &byte, 1), 0);
    (void)close(life[0]);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
}

static void notices_a_parent_that_is_gone_already(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0)
        _exit(process_die_with(getpid(), SIGKILL) ? 1 : 0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_in_words_how_a_process_ended),
        cmocka_unit_test(restarts_at_once_then_doubles_up_to_five_seconds),
        cmocka_unit_test(forgets_old_deaths_after_ten_seconds_of_life),
        cmocka_unit_test(reaps_only_the_child_it_is_asked_for),
        cmocka_unit_test(dies_with_its_parent),
        cmocka_unit_test(notices_a_parent_that_is_gone_already),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
