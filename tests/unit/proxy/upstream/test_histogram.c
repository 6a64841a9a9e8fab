/* SPDX-License-Identifier: MIT
 * proxy/upstream/histogram.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "proxy/upstream/histogram.h"

static void nothing_has_no_quantile(void **state)
{
    (void)state;
    struct histogram h = {0};
    assert_int_equal(histogram_quantile(&h, 99), 0);
}

static void a_quantile_is_at_most_a_quarter_too_long(void **state)
{
    (void)state;
    for (uint64_t us = 1; us < 3600000000u; us = us * 17 / 16 + 1) {
        struct histogram h = {0};
        histogram_add(&h, us);
        uint64_t found = histogram_quantile(&h, 50);
        assert_true(found >= us && found <= us + us / 4);
    }
}

static void quantiles_count_from_the_shortest(void **state)
{
    (void)state;
    struct histogram h = {0};
    for (unsigned i = 0; i < 98; i++)
        histogram_add(&h, 3);
    histogram_add(&h, 1000);
    histogram_add(&h, UINT64_MAX);
    assert_int_equal(h.count, 100);
    assert_int_equal(histogram_quantile(&h, 50), 3);
    assert_int_equal(histogram_quantile(&h, 98), 3);
    assert_in_range(histogram_quantile(&h, 99), 1000, 1250);
    assert_true(histogram_quantile(&h, 100) > 3600000000u);
}

static void merging_adds_and_below_counts(void **state)
{
    (void)state;
    struct histogram a = {0}, b = {0};
    histogram_add(&a, 2);
    histogram_add(&b, 100);
    histogram_add(&b, 5000);
    histogram_merge(&a, &b);
    assert_int_equal(a.count, 3);
    assert_int_equal(a.sum_us, 5102);
    assert_int_equal(histogram_below(&a, 1), 0);
    assert_int_equal(histogram_below(&a, 2), 1);
    assert_int_equal(histogram_below(&a, 200), 2);
    assert_int_equal(histogram_below(&a, UINT64_MAX), 3);
}

static void bucket_ends_grow(void **state)
{
    (void)state;
    for (unsigned i = 1; i < HISTOGRAM_BUCKETS; i++)
        assert_true(histogram_bucket_end(i) > histogram_bucket_end(i - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_has_no_quantile),
        cmocka_unit_test(a_quantile_is_at_most_a_quarter_too_long),
        cmocka_unit_test(quantiles_count_from_the_shortest),
        cmocka_unit_test(merging_adds_and_below_counts),
        cmocka_unit_test(bucket_ends_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
