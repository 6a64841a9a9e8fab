/* SPDX-License-Identifier: MIT */
#include "protocol/quiet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>
#include <stdio.h>

enum { PERIOD = 1000, START = 5000 };

static void each_address_once_in_a_period(void **state)
{
    (void)state;
    static struct quiet q;
    uint32_t kept = 99;
    quiet_init(&q, PERIOD);
    assert_true(quiet_permits(&q, "a", START, &kept));
    assert_int_equal(kept, 0);
    assert_false(quiet_permits(&q, "a", START + 1, &kept));
    assert_true(quiet_permits(&q, "b", START + 2, &kept));
    assert_int_equal(kept, 0);
    assert_false(quiet_permits(&q, "a", START + PERIOD - 1, &kept));
    assert_true(quiet_permits(&q, "a", START + PERIOD, &kept));
    assert_int_equal(kept, 2);
    assert_true(quiet_permits(&q, "a", START + 2 * PERIOD, &kept));
    assert_int_equal(kept, 0);
}

static void many_addresses_do_not_flood(void **state)
{
    (void)state;
    static struct quiet q;
    uint32_t kept = 0, said = 0, counted = 0;
    quiet_init(&q, PERIOD);
    for (unsigned i = 0; i < 1000; i++) {
        char address[16];
        (void)snprintf(address, sizeof address, "10.0.%u.%u", i / 256, i % 256);
        said += quiet_permits(&q, address, START, &kept);
    }
    assert_int_equal(said, QUIET_LINES);
    /* None is lost: they are told with the next line. */
    assert_true(quiet_permits(&q, "x", START + PERIOD, &counted));
    assert_in_range(counted, 1000 - QUIET_LINES - QUIET_ADDRESSES, 1000 - QUIET_LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_once_in_a_period),
        cmocka_unit_test(many_addresses_do_not_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
