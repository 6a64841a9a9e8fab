/* SPDX-License-Identifier: MIT
 * deploy/banyan/child.c with /bin/sh as the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deploy/banyan/child.h"
#include "protocol/base/clock.h"

static struct child *shell(const char *script, enum child_readiness readiness)
{
    struct child *child = child_new("shell", "/bin/sh", readiness);
    child_add(child, "-c");
    child_add(child, "%s", script);
    return child;
}

static void start(struct child *child)
{
    sigset_t none;
    sigemptyset(&none);
    assert_true(child_start(child, &none));
}

/* Waits for its end; the waitpid(2) status. */
static int end(struct child *child)
{
    int status;
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    child_ended(child, 0);
    return status;
}

static void runs_its_words_as_they_are(void **state)
{
    (void)state;
    struct child *child = shell(
        "test $# = 2 && test \"$1\" = 'a b' && test \"$2\" = '--x=%s'", CHILD_PLAIN);
    child_add(child, "sh");
    child_add(child, "%s %s", "a", "b");
    child_add(child, "--x=%%s");
    start(child);
    assert_int_equal(end(child), 0);
    child_free(&child);
    assert_null(child);
}

static void reads_the_lines_it_says_one_by_one(void **state)
{
    (void)state;
    struct child *child =
        shell("echo first >&3; printf 'se' >&3; echo cond >&3; printf rest >&3",
              CHILD_REPORTS);
    static const char *const WANT[] = {"first", "second"};
    struct buf line;
    size_t got = 0;
    buf_init(&line, 0);
    start(child);
    while (child->ready_fd >= 0) {
        struct pollfd p = {.fd = child->ready_fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
        while (child_read_line(child, &line)) {
            assert_in_range(got, 0, 1);
            assert_int_equal(buf_len(&line), strlen(WANT[got]));
            assert_memory_equal(buf_slice(&line).ptr, WANT[got], strlen(WANT[got]));
            got++;
        }
    }
    assert_int_equal(got, 2);
    assert_int_equal(end(child), 0);
    buf_fini(&line);
    child_free(&child);
}

static void a_line_without_end_takes_no_memory(void **state)
{
    (void)state;
    struct child *child =
        shell("head -c 100000 /dev/zero | tr '\\0' x >&3; echo >&3", CHILD_REPORTS);
    struct buf line;
    buf_init(&line, 0);
    start(child);
    struct pollfd p = {.fd = child->ready_fd, .events = POLLIN};
    do {
        assert_int_equal(poll(&p, 1, 10000), 1);
    } while (!child_read_line(child, &line));
    assert_in_range(buf_len(&line), 1, 4096);
    assert_int_equal(end(child), 0);
    buf_fini(&line);
    child_free(&child);
}

static void has_a_process_group_and_an_input_of_its_own(void **state)
{
    (void)state;
    struct child *child = shell(
        "read x && exit 1; test \"$(cut -d' ' -f5 /proc/$$/stat)\" = $$", CHILD_PLAIN);
    start(child);
    assert_int_equal(end(child), 0);
    child_free(&child);
}

static void gets_signals_and_is_reaped(void **state)
{
    (void)state;
    struct child *child = shell("echo up >&3; exec sleep 1000", CHILD_REPORTS);
    start(child);
    struct pollfd p = {.fd = child->ready_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    child_signal(child, SIGTERM);
    int status = end(child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
    assert_int_equal(child->pid, 0);
    child_signal(child, SIGTERM); /* nobody: nothing happens */
    child_free(&child);
}

static void is_due_again_after_its_delay(void **state)
{
    (void)state;
    struct child *child = shell("exit 7", CHILD_PLAIN);
    start(child);
    int status;
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    clock_set(5000);
    child_ended(child, 300);
    assert_int_equal(child->start_at_us, 5300);
    clock_release();
    start(child);
    assert_int_equal(WEXITSTATUS(end(child)), 7);
    child_free(&child);
}

static void says_that_a_program_cannot_be_run(void **state)
{
    (void)state;
    struct child *child = child_new("missing", "/nonexistent", CHILD_PLAIN);
    start(child);
    assert_int_equal(WEXITSTATUS(end(child)), 127);
    child_free(&child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_its_words_as_they_are),
        cmocka_unit_test(reads_the_lines_it_says_one_by_one),
        cmocka_unit_test(a_line_without_end_takes_no_memory),
        cmocka_unit_test(has_a_process_group_and_an_input_of_its_own),
        cmocka_unit_test(gets_signals_and_is_reaped),
        cmocka_unit_test(is_due_again_after_its_delay),
        cmocka_unit_test(says_that_a_program_cannot_be_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
