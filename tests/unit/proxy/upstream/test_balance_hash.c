/* SPDX-License-Identifier: MIT
 * proxy/upstream/balance_hash.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>
#include <stdio.h>

#include "proxy/upstream/balance.h"
#include "proxy/upstream/key.h"

enum { LOADS = 10, KEYS = 10000, MANY = 1000 };

struct fixture {
    struct balance_set set;
    struct load loads[LOADS];
    struct load *owner[KEYS];
};

static uint64_t numbered(const char *what, uint32_t number)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%s%u", what, number);
    return balance_key(slice_of(text, (size_t)length));
}

static void join(struct fixture *f, uint32_t at)
{
    load_init(&f->loads[at]);
    f->loads[at].key = numbered("b", at);
    f->loads[at].slots = 4;
    balance_join(&f->set, &f->loads[at]);
    balance_update(&f->set, &f->loads[at], true);
}

static void setup(struct fixture *f, uint32_t seed)
{
    balance_init(&f->set, &balance_hash, seed);
    for (uint32_t i = 0; i < LOADS; i++)
        join(f, i);
}

static struct load *pick(struct fixture *f, uint32_t key)
{
    return balance_pick(&f->set, numbered("key", key), NULL);
}

/* How many keys have moved since the last time. */
static uint32_t look(struct fixture *f)
{
    uint32_t moved = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        struct load *load = pick(f, k);
        moved += load != f->owner[k];
        f->owner[k] = load;
    }
    return moved;
}

static uint32_t keys_of(const struct fixture *f, uint32_t at)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < KEYS; k++)
        n += f->owner[k] == &f->loads[at];
    return n;
}

static struct fixture f, g;

static void keys_are_spread_and_stay(void **state)
{
    (void)state;
    setup(&f, 1);
    (void)look(&f);
    for (uint32_t i = 0; i < LOADS; i++)
        assert_in_range(keys_of(&f, i), KEYS / LOADS * 85 / 100,
                        KEYS / LOADS * 115 / 100);
    assert_int_equal(look(&f), 0);
    balance_fini(&f.set);
}

static void every_edge_thread_sends_them_to_the_same(void **state)
{
    (void)state;
    setup(&f, 1);
    balance_init(&g.set, &balance_hash, 2);
    for (uint32_t i = LOADS; i-- > 0;)
        join(&g, i);
    for (uint32_t k = 0; k < KEYS; k++)
        assert_int_equal(pick(&f, k) - f.loads, pick(&g, k) - g.loads);
    balance_fini(&f.set);
    balance_fini(&g.set);
}

static void one_that_is_away_has_its_keys_again_when_it_is_back(void **state)
{
    (void)state;
    setup(&f, 1);
    (void)look(&f);
    uint32_t had = keys_of(&f, 3);
    balance_update(&f.set, &f.loads[3], false);
    assert_int_equal(look(&f), had); /* nobody else's moved */
    for (uint32_t i = 0; i < LOADS; i++)
        if (i != 3)
            assert_in_range(keys_of(&f, i), KEYS / 9 * 8 / 10, KEYS / 9 * 12 / 10);
    balance_update(&f.set, &f.loads[3], true);
    assert_int_equal(look(&f), had);
    assert_int_equal(keys_of(&f, 3), had);
    balance_fini(&f.set);
}

static void few_keys_move_when_one_leaves_for_good_or_joins(void **state)
{
    (void)state;
    setup(&f, 1);
    (void)look(&f);
    uint32_t had = keys_of(&f, 3);
    balance_leave(&f.set, &f.loads[3]);
    assert_in_range(look(&f), had, had * 2);
    join(&f, 3);
    assert_in_range(look(&f), had / 2, had * 2);
    balance_fini(&f.set);
}

static void shares_follow_the_weights(void **state)
{
    (void)state;
    setup(&f, 1);
    for (uint32_t i = 0; i < LOADS; i++) {
        f.loads[i].weight = i == 0 ? 0 : i == 1 ? 200 : 100;
        balance_update(&f.set, &f.loads[i], true);
    }
    (void)look(&f);
    assert_int_equal(keys_of(&f, 0), 0);
    assert_in_range(keys_of(&f, 1), 1700, 2300);
    assert_in_range(keys_of(&f, 2), 850, 1150);
    balance_fini(&f.set);
}

static void one_that_just_began_takes_its_keys_bit_by_bit(void **state)
{
    (void)state;
    setup(&f, 1);
    (void)look(&f);
    uint32_t whole = keys_of(&f, 3), had = 0;
    for (uint32_t ramp = 32; ramp < RAMP_WHOLE; ramp += 32) {
        f.loads[3].ramp = ramp;
        uint32_t moved = look(&f), has = keys_of(&f, 3);
        if (had > 0)
            assert_int_equal(moved, has - had);
        assert_in_range(has, whole * ramp / RAMP_WHOLE * 7 / 10,
                        whole * ramp / RAMP_WHOLE * 13 / 10);
        had = has;
    }
    balance_fini(&f.set);
}

static void a_popular_key_overflows_to_others(void **state)
{
    (void)state;
    setup(&f, 1);
    struct load *first = pick(&f, 7);
    for (uint32_t n = 0; n < 4; n++) { /* its slots */
        assert_ptr_equal(pick(&f, 7), first);
        first->in_flight++;
        balance_update(&f.set, first, true);
    }
    for (uint32_t n = 0; n < 1000; n++) {
        struct load *load = pick(&f, 7);
        load->in_flight++;
        balance_update(&f.set, load, true);
    }
    for (uint32_t i = 0; i < LOADS; i++)
        assert_true(f.loads[i].in_flight <= 128);
    assert_true(first->in_flight >= 120);
    balance_fini(&f.set);
}

static void without_a_key_the_idle_one_is_taken(void **state)
{
    (void)state;
    setup(&f, 1);
    for (uint32_t i = 0; i < LOADS; i++) {
        f.loads[i].in_flight = i == 6 ? 0 : 1;
        balance_update(&f.set, &f.loads[i], true);
    }
    for (int n = 0; n < 20; n++)
        assert_ptr_equal(balance_pick(&f.set, 0, NULL), &f.loads[6]);
    balance_fini(&f.set);
}

static void all_are_found_when_hardly_anybody_is_there(void **state)
{
    (void)state;
    static struct load loads[MANY];
    struct balance_set set;
    balance_init(&set, &balance_hash, 1);
    for (uint32_t i = 0; i < MANY; i++) {
        load_init(&loads[i]);
        loads[i].key = numbered("many", i);
        balance_join(&set, &loads[i]);
    }
    assert_null(balance_pick(&set, 5, NULL));
    balance_update(&set, &loads[500], true);
    for (uint32_t k = 0; k < 100; k++)
        assert_ptr_equal(balance_pick(&set, numbered("k", k), NULL), &loads[500]);
    for (uint32_t i = 0; i < MANY; i++)
        balance_leave(&set, &loads[i]);
    assert_null(balance_pick(&set, 5, NULL));
    balance_fini(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_spread_and_stay),
        cmocka_unit_test(every_edge_thread_sends_them_to_the_same),
        cmocka_unit_test(one_that_is_away_has_its_keys_again_when_it_is_back),
        cmocka_unit_test(few_keys_move_when_one_leaves_for_good_or_joins),
        cmocka_unit_test(shares_follow_the_weights),
        cmocka_unit_test(one_that_just_began_takes_its_keys_bit_by_bit),
        cmocka_unit_test(a_popular_key_overflows_to_others),
        cmocka_unit_test(without_a_key_the_idle_one_is_taken),
        cmocka_unit_test(all_are_found_when_hardly_anybody_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
