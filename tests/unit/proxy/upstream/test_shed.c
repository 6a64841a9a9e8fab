/* SPDX-License-Identifier: MIT
 * proxy/upstream/shed.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "proxy/upstream/shed.h"

enum { MS = 1000, TARGET = 100 * MS, INTERVAL = 200 * MS };
static const uint64_t START = 1000 * 1000 * 1000;

/* One leaves each millisecond from `from` to `to`, after `delay`. */
static void leave(struct shed *s, uint64_t from, uint64_t to, uint64_t delay)
{
    for (uint64_t at = from; at <= to; at += MS)
        shed_left(s, delay, START + at);
}

static void a_burst_is_no_overload(void **state)
{
    (void)state;
    struct shed s;
    shed_init(&s, TARGET, INTERVAL);
    for (uint64_t at = 0; at < 10 * 1000 * MS; at += 200 * MS) {
        leave(&s, at, at + 190 * MS, 5 * TARGET);
        shed_left(&s, TARGET, START + at + 199 * MS);
    }
    assert_int_equal(shed_room(&s), UINT32_MAX);
    assert_false(shed_is_late(&s, 10 * TARGET));
}

static void a_delay_that_stays_is_one(void **state)
{
    (void)state;
    struct shed s;
    shed_init(&s, TARGET, INTERVAL);
    leave(&s, 0, INTERVAL - MS, TARGET + 1);
    assert_int_equal(shed_room(&s), UINT32_MAX);
    leave(&s, INTERVAL, INTERVAL, TARGET + 1);
    /* One each millisecond: a hundred within the target, less some. */
    assert_in_range(shed_room(&s), 79, 81);
    assert_false(shed_is_late(&s, TARGET));
    assert_true(shed_is_late(&s, TARGET + 1));
}

static void a_queue_that_stands_still_is_one_too(void **state)
{
    (void)state;
    struct shed s;
    shed_init(&s, TARGET, INTERVAL);
    for (uint64_t at = 0; at <= 4; at++)
        shed_tick(&s, 2 * TARGET, START + at * TARGET);
    assert_int_equal(shed_room(&s), 1);
}

static void it_ends_when_nothing_had_to_be_refused(void **state)
{
    (void)state;
    struct shed s;
    shed_init(&s, TARGET, INTERVAL);
    leave(&s, 0, INTERVAL, TARGET + 1);
    for (uint64_t at = INTERVAL; at < 2000 * MS; at += MS) {
        shed_refused(&s, START + at);
        shed_left(&s, TARGET / 2, START + at);
    }
    assert_in_range(shed_room(&s), 78, 82);
    leave(&s, 2000 * MS, 2198 * MS, TARGET / 2);
    assert_int_not_equal(shed_room(&s), UINT32_MAX);
    leave(&s, 2199 * MS, 2199 * MS, TARGET / 2);
    assert_int_equal(shed_room(&s), UINT32_MAX);
}

static void the_room_follows_what_the_app_servers_can_do(void **state)
{
    (void)state;
    struct shed s;
    shed_init(&s, TARGET, INTERVAL);
    leave(&s, 0, INTERVAL, TARGET + 1);
    for (uint64_t at = INTERVAL; at < 3000 * MS; at += MS) {
        shed_refused(&s, START + at);
        for (int n = 0; n < 5; n++)
            shed_left(&s, TARGET / 2, START + at);
    }
    assert_in_range(shed_room(&s), 380, 410);
    for (uint64_t at = 3000 * MS; at < 6000 * MS; at += 10 * MS) {
        shed_refused(&s, START + at);
        shed_left(&s, TARGET / 2, START + at);
    }
    assert_in_range(shed_room(&s), 7, 9);
}

static void without_a_target_nothing_is_refused(void **state)
{
    (void)state;
    struct shed s;
    shed_init(&s, 0, INTERVAL);
    leave(&s, 0, 10 * INTERVAL, 1000 * TARGET);
    shed_tick(&s, 1000 * TARGET, START + 20 * INTERVAL);
    assert_int_equal(shed_room(&s), UINT32_MAX);
    assert_false(shed_is_late(&s, 1000 * TARGET));
}

static void a_reset_forgets(void **state)
{
    (void)state;
    struct shed s;
    shed_init(&s, TARGET, INTERVAL);
    leave(&s, 0, INTERVAL, TARGET + 1);
    shed_reset(&s);
    assert_int_equal(shed_room(&s), UINT32_MAX);
    leave(&s, 0, INTERVAL, TARGET + 1);
    assert_int_not_equal(shed_room(&s), UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_no_overload),
        cmocka_unit_test(a_delay_that_stays_is_one),
        cmocka_unit_test(a_queue_that_stands_still_is_one_too),
        cmocka_unit_test(it_ends_when_nothing_had_to_be_refused),
        cmocka_unit_test(the_room_follows_what_the_app_servers_can_do),
        cmocka_unit_test(without_a_target_nothing_is_refused),
        cmocka_unit_test(a_reset_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
