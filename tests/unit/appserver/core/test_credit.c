/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "appserver/core/credit.h"

enum { MOST = 4 };

static void look_ahead_is_two_hundred_microseconds_of_work(void **state)
{
    static const struct {
        uint32_t service_us16, ahead;
    } cases[] = {{0, 0},        {1, 64},       {16, 64},           {4 * 16, 50},
                 {100 * 16, 2}, {200 * 16, 1}, {20 * 1000 * 16, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(credit_ahead(cases[i].service_us16), cases[i].ahead);
}

static void windows_follow_demand(void **state)
{
    static const struct {
        const char *name;
        uint32_t budget;
        size_t links;
        uint32_t peak[MOST];
        bool hit[MOST];
        uint32_t target[MOST];
    } cases[] = {
        {"one link has it all", 17, 1, {0}, {false}, {17}},
        {"nobody wants anything", 18, 2, {0}, {false}, {9, 9}},
        {"one wants more, one is idle", 18, 2, {5, 0}, {true, false}, {17, 1}},
        {"both want more", 17, 2, {9, 9}, {true, true}, {8, 8}},
        {"a small want is kept", 20, 3, {9, 9, 3}, {true, true, false}, {8, 8, 3}},
        {"what is left is for all", 20, 2, {6, 4}, {false, false}, {11, 9}},
        {"more links than budget",
         2,
         4,
         {1, 1, 1, 1},
         {true, true, true, true},
         {1, 1, 1, 1}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct credit c[MOST] = {{.window = 0}};
        struct list links;
        list_init(&links);
        for (size_t k = 0; k < cases[i].links; k++) {
            c[k].peak = cases[i].peak[k];
            c[k].hit = cases[i].hit[k];
            list_push_back(&links, &c[k].node);
        }
        credit_share(&links, cases[i].budget);
        for (size_t k = 0; k < cases[i].links; k++)
            if (c[k].target != cases[i].target[k])
                fail_msg("%s: link %zu got %u, not %u", cases[i].name, k, c[k].target,
                         cases[i].target[k]);
    }
}

static void a_link_that_hit_its_window_hears_of_more_at_once(void **state)
{
    struct credit c = {.window = 100, .target = 101, .hit = true};

    (void)state;
    assert_true(credit_should_grant(&c));
    c.hit = false;
    assert_false(credit_should_grant(&c));
    c.target = 126;
    assert_true(credit_should_grant(&c));
    c.target = 74;
    assert_true(credit_should_grant(&c));
    c = (struct credit){.window = 0, .target = 1};
    assert_true(credit_should_grant(&c));
}

static void what_crosses_a_lowered_window_is_admitted(void **state)
{
    struct credit c = {.target = 10};

    (void)state;
    credit_granted(&c, 1);
    assert_true(credit_admits(&c, 10));
    assert_false(credit_admits(&c, 11));
    c.target = 2;
    credit_granted(&c, 1000);
    c.target = 3;
    credit_granted(&c, 2000);
    credit_observe(&c, 0, 999 + CREDIT_BELIEF_US);
    assert_true(credit_admits(&c, 10));
    credit_observe(&c, 0, 1000 + CREDIT_BELIEF_US);
    assert_true(credit_admits(&c, 3));
    assert_false(credit_admits(&c, 4));
}

static void demand_is_remembered_for_one_more_period(void **state)
{
    struct credit busy = {.window = 4}, idle = {.window = 4};
    struct list links;

    (void)state;
    list_init(&links);
    list_push_back(&links, &busy.node);
    list_push_back(&links, &idle.node);
    assert_false(credit_admits(&busy, 4)); /* nothing was granted */
    credit_observe(&busy, 0, 1);
    credit_share(&links, 10);
    assert_int_equal(busy.target, 9);
    credit_observe(&busy, 0, 2);
    credit_share(&links, 10);
    assert_int_equal(busy.target, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(look_ahead_is_two_hundred_microseconds_of_work),
        cmocka_unit_test(windows_follow_demand),
        cmocka_unit_test(a_link_that_hit_its_window_hears_of_more_at_once),
        cmocka_unit_test(what_crosses_a_lowered_window_is_admitted),
        cmocka_unit_test(demand_is_remembered_for_one_more_period),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
