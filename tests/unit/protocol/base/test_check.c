/* SPDX-License-Identifier: MIT
 * Assertions: what they let pass, and how a process ends that found its own bug. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/base/check.h"

enum { THING_MAGIC = 0x7417, OTHER_MAGIC = 0x0743 };

struct thing {
    uint32_t magic;
    int value;
};

/* Runs `body` in a child with its stderr in `said`; returns the signal that ended it.
 */
static int run_child(void (*body)(void), char *said, size_t room)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        body();
        _exit(0);
    }
    (void)close(ends[1]);
    size_t length = 0;
    ssize_t got;
    while (length < room - 1 &&
           (got = read(ends[0], said + length, room - 1 - length)) > 0)
        length += (size_t)got;
    said[length] = '\0';
    (void)close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void assert_a_lie(void)
{
    int apples = 1;
    ASSERT(apples == 2);
}

static void cast_another(void)
{
    struct thing other = {.magic = OTHER_MAGIC};
    void *arg = &other;
    struct thing *t = CAST_OBJ(arg, struct thing, THING_MAGIC);
    t->value = 1;
}

static void cast_nothing(void)
{
    void *arg = NULL;
    struct thing *t = CAST_OBJ(arg, struct thing, THING_MAGIC);
    t->value = 1;
}

static void a_failed_assertion_names_its_place_and_aborts(void **state)
{
    (void)state;
    char said[1024];
    assert_int_equal(run_child(assert_a_lie, said, sizeof said), SIGABRT);
    assert_non_null(strstr(said, "apples == 2"));
    assert_non_null(strstr(said, "test_check.c:"));
    assert_non_null(strstr(said, "assert_a_lie"));
}

static void an_object_of_another_kind_is_not_cast(void **state)
{
    (void)state;
    char said[1024];
    assert_int_equal(run_child(cast_another, said, sizeof said), SIGABRT);
    assert_int_equal(run_child(cast_nothing, said, sizeof said), SIGABRT);
}

static void what_holds_passes(void **state)
{
    (void)state;
    struct thing thing = {.magic = THING_MAGIC, .value = 7};
    void *arg = &thing;
    ASSERT(thing.value == 7);
    struct thing *t = CAST_OBJ(arg, struct thing, THING_MAGIC);
    assert_ptr_equal(t, &thing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_assertion_names_its_place_and_aborts),
        cmocka_unit_test(an_object_of_another_kind_is_not_cast),
        cmocka_unit_test(what_holds_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
