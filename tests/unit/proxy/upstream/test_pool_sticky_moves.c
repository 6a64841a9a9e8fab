/* SPDX-License-Identifier: MIT
 * proxy/upstream/pool.c: requests whose own app server is not there any more. */
#include "tests/unit/proxy/upstream/sticky_pool.h"

/* One runs at b0, `a[1]` and `a[2]` wait for it; `happens`; then they are elsewhere. */
static void moved_when(void (*happens)(struct fixture *f))
{
    struct fixture f;
    struct asker a[4];
    fixture_init_with(&f, 100, &POLICY);
    fixture_up(&f, 0, 1);
    fixture_up(&f, 1, 2);
    ask_own(&f, &a[0], 0, "/runs");
    ask_own(&f, &a[1], 0, "/one");
    ask_own(&f, &a[2], 0, "/two");
    UNTIL(&f, f.apps[0].count == 1);
    happens(&f);
    UNTIL(&f, f.apps[1].count >= 2);
    ASSERT_SEEN(&f, 1, 0, "/one");
    ASSERT_SEEN(&f, 1, 1, "/two");

    /* A new one does not wait for it either. */
    app_grant(&f.apps[1], 10);
    ask_own(&f, &a[3], 0, "/new");
    UNTIL(&f, strstr(a[3].heard, "sent") != NULL);
    assert_true(a[3].ticket.went_to == key_of(1));
    finish(&f, a, 4);
}

static void drained(struct fixture *f)
{
    struct backend_settings settings = BACKEND_SETTINGS;
    settings.state = ADMIN_DRAIN;
    set(f, 0, settings);
}

static void in_maintenance(struct fixture *f)
{
    struct backend_settings settings = BACKEND_SETTINGS;
    settings.state = ADMIN_MAINT;
    settings.keeps_sticky = true;
    set(f, 0, settings);
}

static void forced_down(struct fixture *f)
{
    struct backend_settings settings = BACKEND_SETTINGS;
    settings.health = HEALTH_DOWN;
    set(f, 0, settings);
}

static void retired(struct fixture *f)
{
    assert_true(pool_retire(f->pool, "b0"));
}

static void draining_itself(struct fixture *f)
{
    APP_SAY(&f->apps[0], frame_pack_drain, f->apps[0].epoch);
}

static void without_any_credit(struct fixture *f)
{
    app_grant(&f->apps[0], 0);
}

static void it_moves_when_its_own_one_takes_nothing(void **state)
{
    (void)state;
    moved_when(drained);
    moved_when(in_maintenance);
    moved_when(forced_down);
    moved_when(retired);
    moved_when(draining_itself);
    moved_when(without_any_credit);
}

static void it_moves_when_its_own_one_is_removed(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[3];
    fixture_init_with(&f, 100, &POLICY);
    fixture_up(&f, 0, 1);
    fixture_up(&f, 1, 2);
    for (int i = 0; i < 3; i++)
        ask_own(&f, &a[i], 0, "/");
    UNTIL(&f, f.apps[0].count == 1);
    assert_true(pool_remove(f.pool, "b0"));
    UNTIL(&f, f.apps[1].count == 2);
    app_respond(&f.apps[1], f.apps[1].seen[0].stream, "");
    UNTIL(&f, f.apps[1].count == 3); /* the one that ran was a GET */

    /* One with its name is the one that cookies name from then on. */
    link_free(&f.apps[0].link);
    f.apps[0].count = 0;
    fixture_up(&f, 0, 1);
    struct asker again;
    ask_own(&f, &again, 0, "/again");
    UNTIL(&f, f.apps[0].count == 1);
    asker_fini(&again);
    finish(&f, a, 3);
}

static void the_name_of_a_retired_one_is_its_successors(void **state)
{
    (void)state;
    struct fixture f;
    struct asker old, new;
    two(&f, 1);
    ask_own(&f, &old, 0, "/old");
    UNTIL(&f, f.apps[0].count == 1);
    assert_true(pool_retire(f.pool, "b0"));
    char endpoint[64];
    fixture_endpoint(&f, 2, endpoint);
    fixture_bind(&f, 2, 4);
    assert_int_equal(pool_add(f.pool, "b0", endpoint), ERR_NONE);
    UNTIL(&f, pool_up(f.pool) == 2);
    answer(&f, 0, 0);
    UNTIL(&f, strstr(old.heard, "done") != NULL);
    fixture_pass(&f, SECOND_US); /* the old one is forgotten */
    ask_own(&f, &new, 0, "/new");
    UNTIL(&f, f.apps[2].count == 1);
    ASSERT_SEEN(&f, 2, 0, "/new");
    asker_fini(&old);
    finish(&f, &new, 1);
}

static void all_wait_for_anyone_when_nobody_is_left(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[MANY];
    fixture_init_with(&f, 100, &POLICY);
    fixture_up(&f, 0, 1);
    for (int i = 0; i < MANY; i++)
        ask_own(&f, &a[i], 0, "/");
    UNTIL(&f, f.apps[0].count == 1);
    link_free(&f.apps[0].link);
    UNTIL(&f, pool_up(f.pool) == 0);
    fixture_settle(&f);
    assert_string_equal(a[1].heard, "");
    fixture_up(&f, 1, 100);
    UNTIL(&f, f.apps[1].count == MANY);
    assert_int_equal(pool_stats(f.pool)->lost, 0);
    finish(&f, a, MANY);
}

static void one_that_dies_gives_its_own_back_in_their_order(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[4];
    two(&f, 2);
    static const char *const targets[] = {"/0", "/1", "/2", "/3"};
    for (int i = 0; i < 4; i++)
        ask_own(&f, &a[i], 0, targets[i]);
    UNTIL(&f, f.apps[0].count == 2);
    app_grant(&f.apps[1], 4);
    link_free(&f.apps[0].link);
    UNTIL(&f, f.apps[1].count == 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(f.apps[1].seen[i].text + 4, targets[i]);
    assert_int_equal(pool_stats(f.pool)->sticky_moved, 4);
    finish(&f, a, 4);
}

static void a_returned_one_goes_there_again_while_it_is_wanted(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    two(&f, 1);
    ask_own(&f, &a, 0, "/");
    UNTIL(&f, f.apps[0].count == 1);
    APP_SAY(&f.apps[0], frame_pack_return, f.apps[0].seen[0].stream, ERR_NONE);
    UNTIL(&f, f.apps[0].count == 2);
    APP_SAY(&f.apps[0], frame_pack_drain, f.apps[0].epoch);
    APP_SAY(&f.apps[0], frame_pack_return, f.apps[0].seen[1].stream, ERR_SHUTTING_DOWN);
    UNTIL(&f, f.apps[1].count == 1);
    finish(&f, &a, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_moves_when_its_own_one_takes_nothing),
        cmocka_unit_test(it_moves_when_its_own_one_is_removed),
        cmocka_unit_test(the_name_of_a_retired_one_is_its_successors),
        cmocka_unit_test(all_wait_for_anyone_when_nobody_is_left),
        cmocka_unit_test(one_that_dies_gives_its_own_back_in_their_order),
        cmocka_unit_test(a_returned_one_goes_there_again_while_it_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
