/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "appserver/core/route.h"

static uint8_t number_of(const char *method, const char *target)
{
    return route_number(slice_from(method), slice_from(target));
}

static void two_segments_and_the_method_make_a_route(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"/shop/item/1", "/shop/item/2", true},
        {"/shop/item?x=1", "/shop/item?x=2", true},
        {"/shop/item", "/shop/item/", true},
        {"/shop/item", "/shop/cart", false},
        {"/", "/?q=1", true},
        {"/a", "/b", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(number_of("GET", cases[i].a) == number_of("GET", cases[i].b),
                         cases[i].same);
    assert_int_not_equal(number_of("GET", "/a"), number_of("POST", "/a"));
}

static void an_average_moves_towards_its_samples_and_is_never_zero(void **state)
{
    uint32_t a = average16(0, 100, 8);

    (void)state;
    assert_int_equal(a, 1600);
    assert_int_equal(average16(a, 900, 8), 1600 + 12800 / 8);
    for (int i = 0; i < 200; i++)
        a = average16(a, 0, 8);
    assert_int_equal(a, 1);
    assert_int_equal(average16(0, UINT64_MAX, 8), 60000000u * 16);
}

static void an_unknown_route_is_fast(void **state)
{
    struct route r = {0};

    (void)state;
    assert_false(route_is_slow(&r));
    assert_false(route_waits(&r));
}

static void a_handler_that_sleeps_leaves_its_cpu_to_others(void **state)
{
    struct route r = {0};

    (void)state;
    route_took(&r, 20000);
    assert_true(route_is_slow(&r));
    assert_false(route_waits(&r)); /* not weighed yet */
    route_weighed(&r, 30, 1);
    assert_true(route_waits(&r));
}

static void a_handler_that_never_waits_computes_however_long_it_took(void **state)
{
    struct route r = {0};

    (void)state;
    route_took(&r, 5000);
    route_weighed(&r, 1000, 0); /* it was kept off the CPU by others */
    assert_false(route_waits(&r));
}

static void a_handler_that_lasts_is_known_before_it_ends(void **state)
{
    struct route r = {0};

    (void)state;
    route_lasts(&r, 1400, 20, true);
    assert_true(route_is_slow(&r));
    assert_true(route_waits(&r));
    route_lasts(&r, 700, 600, false); /* knows better already */
    assert_true(route_waits(&r));

    struct route busy = {0};
    route_lasts(&busy, 1400, 1300, false);
    assert_true(route_is_slow(&busy));
    assert_false(route_waits(&busy));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_segments_and_the_method_make_a_route),
        cmocka_unit_test(an_average_moves_towards_its_samples_and_is_never_zero),
        cmocka_unit_test(an_unknown_route_is_fast),
        cmocka_unit_test(a_handler_that_sleeps_leaves_its_cpu_to_others),
        cmocka_unit_test(a_handler_that_never_waits_computes_however_long_it_took),
        cmocka_unit_test(a_handler_that_lasts_is_known_before_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
