/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "appserver/core/sleeper.h"
#include "protocol/base/clock.h"

static void a_wake_that_comes_first_is_kept(void **state)
{
    struct sleeper s;

    (void)state;
    sleeper_init(&s);
    sleeper_wake(&s);
    sleeper_wake(&s);
    assert_true(sleeper_wait(&s, SLEEP_FOREVER));
    assert_false(sleeper_wait(&s, clock_now_us()));
}

static void the_time_ends_a_sleep(void **state)
{
    struct sleeper s;

    (void)state;
    sleeper_init(&s);
    assert_false(sleeper_wait(&s, 0));
    assert_false(sleeper_wait(&s, clock_now_us() + 1000));
}

static void *wait_and_wake(void *arg)
{
    struct sleeper *s = arg;
    for (int i = 0; i < 1000; i++) {
        (void)sleeper_wait(&s[0], SLEEP_FOREVER);
        sleeper_wake(&s[1]);
    }
    return NULL;
}

static void no_wake_is_lost_between_threads(void **state)
{
    struct sleeper s[2];
    pthread_t thread;

    (void)state;
    sleeper_init(&s[0]);
    sleeper_init(&s[1]);
    assert_int_equal(pthread_create(&thread, NULL, wait_and_wake, s), 0);
    for (int i = 0; i < 1000; i++) {
        sleeper_wake(&s[0]);
        assert_true(sleeper_wait(&s[1], SLEEP_FOREVER));
    }
    (void)pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wake_that_comes_first_is_kept),
        cmocka_unit_test(the_time_ends_a_sleep),
        cmocka_unit_test(no_wake_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
