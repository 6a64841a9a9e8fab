/* SPDX-License-Identifier: MIT
 * proxy/deadline.c: order, arming anew, durations of 0, arming inside an expiry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "proxy/deadline.h"

enum { SECOND_US = 1000000, START_US = 50 * SECOND_US };

struct thing {
    struct deadline deadline;
    struct deadlines *all;
    char name;
    int again; /* times it arms itself when it expires */
};

static char heard[16]; /* names in the order of their expiry */

static void on_expired(struct deadline *d)
{
    struct thing *t = NODE_OF(d, struct thing, deadline);
    heard[strlen(heard)] = t->name;
    if (t->again-- > 0)
        deadline_arm(t->all, DEADLINE_HEADER, &t->deadline);
}

static struct deadlines *begin(void)
{
    memset(heard, 0, sizeof(heard));
    clock_set(START_US);
    struct deadlines *all = deadlines_new();
    deadlines_set(all, DEADLINE_HEADER, 10 * SECOND_US, on_expired);
    deadlines_set(all, DEADLINE_BODY, 5 * SECOND_US, on_expired);
    deadlines_set(all, DEADLINE_REQUEST, 0, on_expired);
    return all;
}

static void at(struct deadlines *all, uint64_t us)
{
    clock_set(START_US + us);
    deadlines_turn(all);
    deadlines_expire(all);
}

static void end(struct deadlines *all)
{
    deadlines_free(&all);
    clock_release();
}

static void expires_in_the_order_of_arming_and_not_before_its_time(void **state)
{
    (void)state;
    struct deadlines *all = begin();
    struct thing a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
    deadline_arm(all, DEADLINE_HEADER, &a.deadline);
    deadline_arm(all, DEADLINE_BODY, &b.deadline);
    at(all, SECOND_US);
    deadline_arm(all, DEADLINE_HEADER, &c.deadline);

    at(all, 5 * SECOND_US - 1);
    assert_string_equal(heard, "");
    at(all, 5 * SECOND_US);
    assert_string_equal(heard, "b");
    at(all, 10 * SECOND_US);
    assert_string_equal(heard, "ba");
    assert_false(deadline_is_armed(&a.deadline));
    at(all, 11 * SECOND_US);
    assert_string_equal(heard, "bac");
    assert_false(deadlines_has_armed(all));
    end(all);
}

static void arming_again_starts_anew_and_disarming_forgets(void **state)
{
    (void)state;
    struct deadlines *all = begin();
    struct thing a = {.name = 'a'}, b = {.name = 'b'};
    deadline_arm(all, DEADLINE_HEADER, &a.deadline);
    deadline_arm(all, DEADLINE_HEADER, &b.deadline);
    at(all, 9 * SECOND_US);
    deadline_arm(all, DEADLINE_HEADER, &a.deadline);
    at(all, 12 * SECOND_US);
    assert_string_equal(heard, "b");
    deadline_disarm(&a.deadline);
    deadline_disarm(&a.deadline);
    at(all, 100 * SECOND_US);
    assert_string_equal(heard, "b");
    end(all);
}

static void a_kind_without_duration_is_never_armed(void **state)
{
    (void)state;
    struct deadlines *all = begin();
    struct thing a = {.name = 'a'};
    deadline_arm(all, DEADLINE_HEADER, &a.deadline);
    deadline_arm(all, DEADLINE_REQUEST, &a.deadline);
    assert_false(deadline_is_armed(&a.deadline));
    at(all, 1000 * (uint64_t)SECOND_US);
    assert_string_equal(heard, "");
    end(all);
}

static void one_that_arms_itself_waits_its_full_time_again(void **state)
{
    (void)state;
    struct deadlines *all = begin();
    struct thing a = {.name = 'a', .all = all, .again = 1};
    deadline_arm(all, DEADLINE_HEADER, &a.deadline);
    at(all, 30 * SECOND_US);
    assert_string_equal(heard, "a");
    at(all, 39 * SECOND_US);
    assert_string_equal(heard, "a");
    at(all, 40 * SECOND_US);
    assert_string_equal(heard, "aa");
    end(all);
}

static void a_shorter_duration_overtakes_a_longer_one(void **state)
{
    (void)state;
    struct deadlines *all = begin();
    struct thing a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
    deadline_arm_for(all, DEADLINE_HEADER, &a.deadline, 30 * SECOND_US);
    deadline_arm_for(all, DEADLINE_HEADER, &b.deadline, 20 * SECOND_US);
    deadline_arm(all, DEADLINE_HEADER, &c.deadline);
    at(all, 25 * SECOND_US);
    assert_string_equal(heard, "cb");
    deadline_arm_for(all, DEADLINE_HEADER, &c.deadline, 0);
    assert_false(deadline_is_armed(&c.deadline));
    at(all, 40 * SECOND_US);
    assert_string_equal(heard, "cba");
    end(all);
}

static void the_time_stands_within_a_turn(void **state)
{
    (void)state;
    struct deadlines *all = begin();
    assert_int_equal(deadlines_now(all), START_US);
    clock_set(START_US + 7);
    assert_int_equal(deadlines_now(all), START_US);
    deadlines_turn(all);
    assert_int_equal(deadlines_now(all), START_US + 7);
    end(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expires_in_the_order_of_arming_and_not_before_its_time),
        cmocka_unit_test(arming_again_starts_anew_and_disarming_forgets),
        cmocka_unit_test(a_kind_without_duration_is_never_armed),
        cmocka_unit_test(one_that_arms_itself_waits_its_full_time_again),
        cmocka_unit_test(a_shorter_duration_overtakes_a_longer_one),
        cmocka_unit_test(the_time_stands_within_a_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
