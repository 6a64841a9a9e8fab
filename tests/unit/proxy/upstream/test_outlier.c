/* SPDX-License-Identifier: MIT
 * proxy/upstream/outlier.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "proxy/upstream/outlier.h"

enum { SECOND_US = 1000 * 1000 };
static const uint64_t START = 5000 * (uint64_t)SECOND_US;
static const struct pool_policy POLICY = {.eject_after = 5, .eject_rate_percent = 40};

struct pair {
    struct outlier it;
    struct tally all;
};

static enum outlier_verdict end_with(struct pair *p,
                                     const struct pool_policy *policy,
                                     bool is_good,
                                     uint64_t now_us)
{
    tally_note(&p->all, is_good, now_us);
    return outlier_note(&p->it, &p->all, policy, is_good, now_us);
}

static enum outlier_verdict end(struct pair *p, bool is_good)
{
    return end_with(p, &POLICY, is_good, START);
}

static void others(struct pair *p, int good, int bad)
{
    while (good-- > 0)
        tally_note(&p->all, true, START);
    while (bad-- > 0)
        tally_note(&p->all, false, START);
}

static void five_in_a_row_are_enough_when_the_others_are_well(void **state)
{
    (void)state;
    struct pair p = {0};
    others(&p, 1000, 0);
    for (int n = 0; n < 1000; n++)
        assert_int_equal(end(&p, true), OUTLIER_NONE);
    for (int n = 0; n < 4; n++)
        assert_int_equal(end(&p, false), OUTLIER_NONE);
    assert_int_equal(end(&p, true), OUTLIER_NONE);
    for (int n = 0; n < 4; n++)
        assert_int_equal(end(&p, false), OUTLIER_NONE);
    assert_int_equal(end(&p, false), OUTLIER_IN_ROW);
}

static void when_nothing_is_known_of_the_others_five_are_enough_too(void **state)
{
    (void)state;
    struct pair p = {0};
    for (int n = 0; n < 4; n++)
        assert_int_equal(end(&p, false), OUTLIER_NONE);
    assert_int_equal(end(&p, false), OUTLIER_IN_ROW);
}

static void what_all_of_them_do_is_the_applications_fault(void **state)
{
    (void)state;
    struct pair p = {0};
    others(&p, 300, 700);
    for (int n = 0; n < 50; n++)
        assert_int_equal(end(&p, false), OUTLIER_NONE);
    others(&p, 0, 1000000);
    for (int n = 0; n < 10000; n++)
        assert_int_equal(end(&p, false), OUTLIER_NONE);
}

static void the_more_the_others_fail_the_more_in_a_row_it_takes(void **state)
{
    static const struct {
        int good, bad;
        uint32_t least;
    } cases[] = {{990, 10, 5}, {900, 100, 9}, {700, 300, 18}, {500, 500, 30}};
    (void)state;
    const struct pool_policy in_row = {.eject_after = 5};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pair p = {0};
        others(&p, cases[i].good, cases[i].bad);
        uint32_t n = 1;
        while (end_with(&p, &in_row, false, START) == OUTLIER_NONE)
            n++;
        assert_in_range(n, cases[i].least, cases[i].least + 1);
    }
}

static void a_rate_far_above_the_others_is_noticed(void **state)
{
    (void)state;
    struct pair p = {0};
    others(&p, 90, 10);
    enum outlier_verdict verdict = OUTLIER_NONE;
    int ends = 0;
    for (; verdict == OUTLIER_NONE && ends < 1000; ends++)
        verdict = end(&p, ends % 3 == 0); /* two thirds fail */
    assert_int_equal(verdict, OUTLIER_RATE);
    assert_in_range(ends, OUTLIER_MIN_REQUESTS, OUTLIER_MIN_REQUESTS + 1);

    p = (struct pair){0};
    others(&p, 70, 30);
    for (int n = 0; n < 999; n++) /* as often again as the others, and a bit */
        assert_int_equal(end(&p, n % 3 == 0), OUTLIER_NONE);
}

static void a_few_requests_make_no_rate(void **state)
{
    (void)state;
    struct pair p = {0};
    others(&p, OUTLIER_MIN_REQUESTS - 1, 0);
    for (int n = 0; n < 100; n++)
        assert_int_equal(end(&p, n % 3 == 0), OUTLIER_NONE);
}

static void the_window_is_ten_seconds(void **state)
{
    (void)state;
    struct tally t = {0};
    for (int second = 0; second < 10; second++)
        tally_note(&t, second % 2 == 0, START + (uint64_t)second * SECOND_US);
    struct tally_sum sum = tally_sum(&t, START + 9 * (uint64_t)SECOND_US);
    assert_int_equal(sum.good, 5);
    assert_int_equal(sum.bad, 5);
    sum = tally_sum(&t, START + 12 * (uint64_t)SECOND_US);
    assert_int_equal(sum.good, 3);
    assert_int_equal(sum.bad, 4);
    sum = tally_sum(&t, START + 100 * (uint64_t)SECOND_US);
    assert_int_equal(sum.good + sum.bad, 0);
}

static void without_a_rule_nobody_is_one(void **state)
{
    (void)state;
    struct pair p = {0};
    others(&p, 1000, 0);
    for (int n = 0; n < 1000; n++)
        assert_int_equal(end_with(&p, &(struct pool_policy){0}, false, START),
                         OUTLIER_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_in_a_row_are_enough_when_the_others_are_well),
        cmocka_unit_test(when_nothing_is_known_of_the_others_five_are_enough_too),
        cmocka_unit_test(what_all_of_them_do_is_the_applications_fault),
        cmocka_unit_test(the_more_the_others_fail_the_more_in_a_row_it_takes),
        cmocka_unit_test(a_rate_far_above_the_others_is_noticed),
        cmocka_unit_test(a_few_requests_make_no_rate),
        cmocka_unit_test(the_window_is_ten_seconds),
        cmocka_unit_test(without_a_rule_nobody_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
