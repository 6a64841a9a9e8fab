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

static void
setup_for(struct fixture *f, const struct balancer *balancer, uint32_t ready)
{
    balance_init(&f->set, balancer, 42);
    for (uint32_t i = 0; i < LOADS; i++) {
        load_init(&f->loads[i]);
        f->loads[i].slots = 16;
        if (i < ready)
            balance_update(&f->set, &f->loads[i], true);
    }
}

static void setup(struct fixture *f, uint32_t ready)
{
    setup_for(f, &balance_least_load, ready);
}

static struct load *pick(struct fixture *f)
{
    return balance_pick(&f->set, 0, NULL);
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
    f.loads[1].turn = 7;
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
        {{.in_flight = 5, .slots = 16, .weight = 200},
         {.in_flight = 3, .slots = 16, .weight = 100}},
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
        if (f.loads[0].weight == 0)
            f.loads[0].weight = f.loads[1].weight = WEIGHT_DEFAULT;
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
        assert_ptr_equal(balance_pick(&f.set, 0, &f.loads[0]), &f.loads[1]);
    balance_update(&f.set, &f.loads[1], false);
    assert_ptr_equal(balance_pick(&f.set, 0, &f.loads[0]), &f.loads[0]);
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

/* `n` requests one after the other: how many each gets. */
static void serve(struct fixture *f, int n, uint32_t got[LOADS])
{
    for (uint32_t i = 0; i < LOADS; i++)
        got[i] = 0;
    while (n-- > 0) {
        struct load *l = pick(f);
        l->in_flight++;
        balance_update(&f->set, l, true);
        got[l - f->loads]++;
        l->in_flight--;
        balance_update(&f->set, l, true);
    }
}

static void idle_ones_take_turns_by_their_weight(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t got[LOADS];
    setup(&f, 4);
    serve(&f, 40000, got);
    for (uint32_t i = 0; i < 4; i++)
        assert_in_range(got[i], 9700, 10300);

    f.loads[0].weight = 200;
    f.loads[1].weight = 50;
    f.loads[2].weight = 0;
    balance_update(&f.set, &f.loads[2], true);
    serve(&f, 35000, got);
    assert_in_range(got[0], 19000, 21000);
    assert_in_range(got[1], 4700, 5300);
    assert_int_equal(got[2], 0);
    assert_in_range(got[3], 9500, 10500);
    balance_fini(&f.set);
}

enum { TURN = 257 };

static void one_that_was_kept_from_its_turns_catches_up(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t got[LOADS];
    setup(&f, 3);
    hold(&f, 2, 1); /* it stands still */
    serve(&f, 10 * TURN, got);
    assert_int_equal(got[0], 5 * TURN);
    assert_int_equal(got[1], 5 * TURN);
    hold(&f, 2, 0);
    serve(&f, 5 * TURN, got);
    assert_int_equal(got[2], 5 * TURN);
    serve(&f, 9 * TURN, got);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(got[i], 3 * TURN);

    hold(&f, 2, 1);
    serve(&f, 200 * TURN, got); /* 100 turns missed: that many it cannot have at once */
    hold(&f, 2, 0);
    serve(&f, 40 * TURN, got);
    assert_in_range(got[2], 20 * TURN, 26 * TURN);
    balance_fini(&f.set);
}

static void of_two_alike_the_one_that_had_less_is_picked(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t got[2] = {0};
    setup(&f, 2);
    hold(&f, 0, 3); /* both hold as much, however many come */
    hold(&f, 1, 3);
    for (uint32_t n = 1; n <= 10 * TURN; n++) {
        got[pick(&f) - f.loads]++;
        assert_in_range(got[0] + 1, got[1], got[1] + 2);
    }
    balance_fini(&f.set);
}

static void one_that_begins_is_owed_nothing(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t got[LOADS];
    setup(&f, 2);
    serve(&f, 100 * TURN, got);
    balance_begin(&f.set, &f.loads[2]);
    balance_update(&f.set, &f.loads[2], true);
    serve(&f, 30 * TURN, got);
    assert_in_range(got[2], 9 * TURN, 11 * TURN);
    balance_fini(&f.set);
}

static void a_warm_one_hands_over_at_the_end_of_its_turn(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 2);
    f.loads[0].service_us = f.loads[1].service_us = 1;
    uint32_t got[2] = {0};
    f.loads[0].in_flight = f.loads[1].in_flight = 5;
    balance_update(&f.set, &f.loads[0], true);
    balance_update(&f.set, &f.loads[1], true);
    struct load *last = NULL;
    int changes = 0;
    for (int n = 0; n < 100000; n++) {
        struct load *l = pick(&f);
        changes += l != last;
        last = l;
        got[l - f.loads]++;
    }
    assert_in_range(got[0], 35000, 65000);
    assert_in_range(changes, 10, 1000);
    balance_fini(&f.set);
}

static void round_robin_goes_by_turns(void **state)
{
    (void)state;
    struct fixture f;
    setup_for(&f, &balance_round_robin, 5);
    for (int round = 0; round < 20; round++) {
        uint32_t seen = 0;
        for (int n = 0; n < 5; n++)
            seen |= 1u << (pick(&f) - f.loads);
        assert_int_equal(seen, 31);
    }
    balance_fini(&f.set);
}

static void round_robin_heeds_weights_and_spreads_them(void **state)
{
    (void)state;
    struct fixture f;
    setup_for(&f, &balance_round_robin, 4);
    f.loads[0].weight = 256;
    f.loads[1].weight = 128;
    f.loads[2].weight = 1;
    f.loads[3].weight = 0;
    for (uint32_t i = 0; i < 4; i++)
        balance_update(&f.set, &f.loads[i], true);
    uint32_t got[LOADS] = {0}, run = 0, longest = 0;
    for (int n = 0; n < 38500; n++) {
        struct load *l = pick(&f);
        got[l - f.loads]++;
        run = l == &f.loads[0] ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    assert_in_range(got[0], 25550, 25650);
    assert_in_range(got[1], 12750, 12850);
    assert_in_range(got[2], 95, 105);
    assert_int_equal(got[3], 0);
    assert_in_range(longest, 2, 4);
    balance_fini(&f.set);
}

static void round_robin_owes_nothing_to_one_that_was_away(void **state)
{
    (void)state;
    struct fixture f;
    setup_for(&f, &balance_round_robin, 3);
    balance_update(&f.set, &f.loads[2], false);
    for (int n = 0; n < 1000; n++)
        assert_ptr_not_equal(pick(&f), &f.loads[2]);
    balance_update(&f.set, &f.loads[2], true);
    uint32_t got = 0;
    for (int n = 0; n < 30; n++)
        got += pick(&f) == &f.loads[2];
    assert_in_range(got, 10, 11);
    balance_fini(&f.set);
}

static void round_robin_stays_in_order_while_loads_come_and_go(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    static struct load loads[MANY];
    static uint32_t got[MANY];
    struct balance_set set;
    balance_init(&set, &balance_round_robin, 7);
    for (uint32_t i = 0; i < MANY; i++) {
        load_init(&loads[i]);
        balance_update(&set, &loads[i], true);
    }
    for (int n = 0; n < 100 * MANY; n++) {
        uint32_t at = (uint32_t)(balance_random(&set) >> 20) % MANY;
        balance_update(&set, &loads[at], false);
        uint32_t other = (uint32_t)(balance_pick(&set, 0, NULL) - loads);
        assert_int_not_equal(other, at);
        got[other]++;
        balance_update(&set, &loads[at], true);
    }
    for (uint32_t i = 0; i < MANY; i++)
        assert_in_range(got[i], 90, 110);
    balance_fini(&set);
}

static void one_that_just_began_gets_a_part_of_its_share(void **state)
{
    (void)state;
    static const struct balancer *const policies[] = {
        &balance_least_load, &balance_round_robin, &balance_hash};
    for (size_t p = 0; p < sizeof policies / sizeof policies[0]; p++) {
        struct fixture f;
        uint32_t got[LOADS];
        setup_for(&f, policies[p], 4);
        f.loads[2].ramp = RAMP_WHOLE / 4;
        serve(&f, 40000, got);
        assert_in_range(got[2], 1500, 3500);
        for (uint32_t i = 0; i < 4; i++)
            if (i != 2)
                assert_in_range(got[i], 11000, 14000);
        f.loads[2].ramp = 0;
        serve(&f, 40000, got);
        assert_in_range(got[2], 9500, 10500);
        balance_fini(&f.set);
    }
}

static void the_only_idle_one_is_spared_when_it_just_began(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 2);
    f.loads[0].ramp = RAMP_WHOLE / 4;
    hold(&f, 1, 1);
    uint32_t got = 0;
    for (int n = 0; n < 4000; n++)
        got += pick(&f) == &f.loads[0];
    assert_in_range(got, 800, 1200);
    balance_fini(&f.set);
}

static void when_all_just_began_they_share_as_ever(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t got[LOADS];
    setup(&f, 4);
    for (uint32_t i = 0; i < 4; i++)
        f.loads[i].ramp = 1;
    serve(&f, 40000, got);
    for (uint32_t i = 0; i < 4; i++)
        assert_in_range(got[i], 8000, 12000);

    /* And one that is alone has to. */
    for (uint32_t i = 1; i < 4; i++)
        balance_update(&f.set, &f.loads[i], false);
    assert_ptr_equal(pick(&f), &f.loads[0]);
    balance_fini(&f.set);
}

static void policies_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(balance_find("least_load"), &balance_least_load);
    assert_ptr_equal(balance_find(NULL), &balance_least_load);
    assert_ptr_equal(balance_find("round_robin"), &balance_round_robin);
    assert_ptr_equal(balance_find("hash"), &balance_hash);
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
        cmocka_unit_test(idle_ones_take_turns_by_their_weight),
        cmocka_unit_test(one_that_was_kept_from_its_turns_catches_up),
        cmocka_unit_test(of_two_alike_the_one_that_had_less_is_picked),
        cmocka_unit_test(one_that_begins_is_owed_nothing),
        cmocka_unit_test(a_warm_one_hands_over_at_the_end_of_its_turn),
        cmocka_unit_test(round_robin_goes_by_turns),
        cmocka_unit_test(round_robin_heeds_weights_and_spreads_them),
        cmocka_unit_test(round_robin_owes_nothing_to_one_that_was_away),
        cmocka_unit_test(round_robin_stays_in_order_while_loads_come_and_go),
        cmocka_unit_test(one_that_just_began_gets_a_part_of_its_share),
        cmocka_unit_test(the_only_idle_one_is_spared_when_it_just_began),
        cmocka_unit_test(when_all_just_began_they_share_as_ever),
        cmocka_unit_test(policies_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
