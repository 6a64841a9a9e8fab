/* SPDX-License-Identifier: MIT
 * proxy/upstream/balance.c and its policies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "proxy/upstream/balance.h"

enum { LOADS = 8 };

struct fixture {
    struct balance_set set;
    struct load loads[LOADS];
};

static void setup(struct fixture *f, uint32_t ready)
{
    balance_init(&f->set, 42);
    for (uint32_t i = 0; i < LOADS; i++) {
        load_init(&f->loads[i]);
        f->loads[i].slots = 16;
        if (i < ready)
            balance_update(&f->set, &f->loads[i], true);
    }
}

static struct load *pick(struct fixture *f)
{
    return balance_pick(&balance_least_load, &f->set, NULL);
}

/* The load now holds `requests`. */
static void hold(struct fixture *f, uint32_t at, uint32_t requests)
{
    f->loads[at].in_flight = requests;
    balance_update(&f->set, &f->loads[at], true);
}

static void an_empty_set_picks_nobody(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0);
    assert_null(pick(&f));
    balance_fini(&f.set);
}

static void an_idle_one_comes_first(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, LOADS);
    for (uint32_t i = 0; i < LOADS; i++)
        if (i != 5)
            hold(&f, i, 1);
    for (int n = 0; n < 100; n++)
        assert_ptr_equal(pick(&f), &f.loads[5]);
    balance_fini(&f.set);
}

static void the_last_one_to_become_idle_comes_before_the_others(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 3);
    hold(&f, 1, 1);
    hold(&f, 1, 0);
    assert_ptr_equal(pick(&f), &f.loads[1]);
    balance_fini(&f.set);
}

static void the_fuller_of_two_is_never_picked(void **state)
{
    static const struct {
        struct load better, worse;
    } cases[] = {
        {{.in_flight = 1, .slots = 16}, {.in_flight = 2, .slots = 16}},
        {{.in_flight = 5, .slots = 16}, {.in_flight = 3, .slots = 4}},
        {{.in_flight = 9, .slots = 16, .service_us = 100},
         {.in_flight = 1, .slots = 16, .service_us = 900}},
        {{.in_flight = 1, .slots = 16}, {.in_flight = 2, .slots = 16, .service_us = 1}},
        {{.in_flight = 65535, .slots = UINT32_MAX, .service_us = 1},
         {.in_flight = UINT32_MAX, .slots = 1, .service_us = UINT64_MAX}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        setup(&f, 0);
        f.loads[0] = cases[i].better;
        f.loads[1] = cases[i].worse;
        f.loads[0].place = f.loads[1].place = LOAD_NOT_READY;
        balance_update(&f.set, &f.loads[i % 2], true);
        balance_update(&f.set, &f.loads[1 - i % 2], true);
        for (int n = 0; n < 50; n++)
            assert_ptr_equal(pick(&f), &f.loads[0]);
        balance_fini(&f.set);
    }
}

static void all_of_many_equal_ones_get_their_share(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, LOADS);
    for (uint32_t i = 0; i < LOADS; i++)
        hold(&f, i, 1);
    for (int n = 0; n < 8000; n++) {
        struct load *l = pick(&f);
        hold(&f, (uint32_t)(l - f.loads), l->in_flight + 1);
    }
    for (uint32_t i = 0; i < LOADS; i++)
        assert_in_range(f.loads[i].in_flight, 990, 1012);
    balance_fini(&f.set);
}

static void the_one_to_avoid_is_picked_only_when_it_is_alone(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 2);
    for (int n = 0; n < 50; n++)
        assert_ptr_equal(balance_pick(&balance_least_load, &f.set, &f.loads[0]),
                         &f.loads[1]);
    balance_update(&f.set, &f.loads[1], false);
    assert_ptr_equal(balance_pick(&balance_least_load, &f.set, &f.loads[0]),
                     &f.loads[0]);
    balance_fini(&f.set);
}

static void one_that_left_is_not_picked(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, LOADS);
    for (uint32_t i = 0; i + 1 < LOADS; i++) {
        balance_update(&f.set, &f.loads[i], false);
        balance_update(&f.set, &f.loads[i], false);
        assert_int_equal(f.set.count, LOADS - 1 - i);
    }
    for (int n = 0; n < 50; n++)
        assert_ptr_equal(pick(&f), &f.loads[LOADS - 1]);
    balance_fini(&f.set);
}

static void short_requests_follow_each_other_until_it_is_a_wait(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 2);
    f.loads[0].service_us = f.loads[1].service_us = 20;
    struct load *first = pick(&f);
    struct load *other = first == &f.loads[0] ? &f.loads[1] : &f.loads[0];
    for (uint32_t n = 1; n < 5; n++) {
        hold(&f, (uint32_t)(first - f.loads), n);
        assert_ptr_equal(pick(&f), first);
    }
    hold(&f, (uint32_t)(first - f.loads), 5);
    assert_ptr_equal(pick(&f), other);

    /* One that takes no more is warm no longer. */
    hold(&f, (uint32_t)(other - f.loads), 1);
    assert_ptr_equal(pick(&f), other);
    balance_update(&f.set, other, false);
    assert_ptr_equal(pick(&f), first);
    balance_fini(&f.set);
}

static void long_requests_wake_the_idle_one(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 2);
    f.loads[0].service_us = f.loads[1].service_us = 1000;
    struct load *first = pick(&f);
    hold(&f, (uint32_t)(first - f.loads), 1);
    assert_ptr_not_equal(pick(&f), first);
    balance_fini(&f.set);
}

static void policies_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(balance_find("least_load"), &balance_least_load);
    assert_ptr_equal(balance_find(NULL), &balance_least_load);
    assert_null(balance_find("best"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_set_picks_nobody),
        cmocka_unit_test(an_idle_one_comes_first),
        cmocka_unit_test(the_last_one_to_become_idle_comes_before_the_others),
        cmocka_unit_test(the_fuller_of_two_is_never_picked),
        cmocka_unit_test(all_of_many_equal_ones_get_their_share),
        cmocka_unit_test(the_one_to_avoid_is_picked_only_when_it_is_alone),
        cmocka_unit_test(one_that_left_is_not_picked),
        cmocka_unit_test(short_requests_follow_each_other_until_it_is_a_wait),
        cmocka_unit_test(long_requests_wake_the_idle_one),
        cmocka_unit_test(policies_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
