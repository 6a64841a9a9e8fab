/* SPDX-License-Identifier: MIT
 * protocol/base/table.c against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "protocol/base/table.h"

static int things[4096];

static void an_empty_table_has_nothing(void **state)
{
    (void)state;
    struct table t;
    table_init(&t);
    assert_null(table_get(&t, 1));
    assert_null(table_take(&t, 1));
    assert_int_equal(table_count(&t), 0);
    table_clear(&t);
    table_fini(&t);
}

static void finds_what_was_put_and_replaces_it(void **state)
{
    (void)state;
    struct table t;
    table_init(&t);
    table_put(&t, 0, &things[0]);
    table_put(&t, UINT64_MAX, &things[1]);
    assert_ptr_equal(table_get(&t, 0), &things[0]);
    assert_ptr_equal(table_get(&t, UINT64_MAX), &things[1]);
    table_put(&t, 0, &things[2]);
    assert_int_equal(table_count(&t), 2);
    assert_ptr_equal(table_take(&t, 0), &things[2]);
    assert_null(table_get(&t, 0));
    table_fini(&t);
}

static void keeps_old_ids_while_a_window_of_new_ones_passes(void **state)
{
    (void)state;
    struct table t;
    table_init(&t);
    table_put(&t, 1, &things[0]);
    for (uint64_t id = 2; id < 200000; id++) {
        table_put(&t, id, &things[id % 4096]);
        if (id > 100)
            assert_ptr_equal(table_take(&t, id - 64), &things[(id - 64) % 4096]);
    }
    assert_ptr_equal(table_get(&t, 1), &things[0]);
    assert_in_range(t.cap, 128, 512);
    table_fini(&t);
}

/* Keys chosen so that many share a home: removals must keep the runs whole. */
static void agrees_with_an_array_under_random_puts_and_takes(void **state)
{
    (void)state;
    enum { KEYS = 300 };
    void *model[KEYS] = {0};
    uint32_t count = 0;
    uint64_t random = 88172645463325252u;
    struct table t;
    table_init(&t);
    for (int step = 0; step < 200000; step++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        uint32_t at = (uint32_t)(random >> 8) % KEYS;
        uint64_t key = (uint64_t)at << 32 | at % 7;
        if ((random & 3) == 0) {
            count += model[at] == NULL;
            model[at] = &things[step % 4096];
            table_put(&t, key, model[at]);
        } else if ((random & 3) == 1) {
            assert_ptr_equal(table_take(&t, key), model[at]);
            count -= model[at] != NULL;
            model[at] = NULL;
        } else {
            assert_ptr_equal(table_get(&t, key), model[at]);
        }
        assert_int_equal(table_count(&t), count);
    }
    table_clear(&t);
    for (uint32_t at = 0; at < KEYS; at++)
        assert_null(table_get(&t, (uint64_t)at << 32 | at % 7));
    table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_table_has_nothing),
        cmocka_unit_test(finds_what_was_put_and_replaces_it),
        cmocka_unit_test(keeps_old_ids_while_a_window_of_new_ones_passes),
        cmocka_unit_test(agrees_with_an_array_under_random_puts_and_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
