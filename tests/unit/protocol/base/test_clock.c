/* SPDX-License-Identifier: MIT
 * The clock and the hand that stops it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/base/clock.h"

static void time_does_not_run_backwards(void **state)
{
    (void)state;
    uint64_t last = clock_now_us();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_now_us();
        assert_true(now >= last);
        last = now;
    }
}

static void a_set_clock_stands_until_it_is_released(void **state)
{
    (void)state;
    clock_set(0);
    assert_int_equal(clock_now_us(), 0);
    clock_set(12345);
    assert_int_equal(clock_now_us(), 12345);
    clock_release();
    assert_int_not_equal(clock_now_us(), 12345);
}

static void poll_waits_until_then(void **state)
{
    (void)state;
    clock_set(1000 * 1000);
    assert_int_equal(clock_poll_ms(UINT64_MAX), -1);
    assert_int_equal(clock_poll_ms(0), 0);
    assert_int_equal(clock_poll_ms(1000 * 1000), 0);
    assert_int_equal(clock_poll_ms(1000 * 1000 + 1), 1);
    assert_int_equal(clock_poll_ms(1000 * 1000 + 2500), 3);
    assert_int_equal(clock_poll_ms(3600ull * 1000 * 1000), 60 * 1000);
    clock_release();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_does_not_run_backwards),
        cmocka_unit_test(a_set_clock_stands_until_it_is_released),
        cmocka_unit_test(poll_waits_until_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
