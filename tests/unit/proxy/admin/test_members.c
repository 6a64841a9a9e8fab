/* SPDX-License-Identifier: MIT
 * proxy/admin/members.c and members_file.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <string.h>

#include "proxy/admin/members.h"

static const struct backend_settings plain = {.weight = WEIGHT_DEFAULT};

static void names_may_stand_with_their_pool(void **state)
{
    (void)state;
    assert_string_equal(member_name_check("app-1"), "app-1");
    assert_string_equal(member_name_check("default/app-1"), "app-1");
    static const char *const bad[] = {"",    "default/", "other/a",
                                      "a b", "a/b",      "\xc3\xa4"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_null(member_name_check(bad[i]));
}

static void what_came_with_an_option_stays_away_when_removed(void **state)
{
    (void)state;
    struct members m;
    members_init(&m);
    struct member *a = members_add(&m, "a", "ipc:///a", &plain, SOURCE_OPTION);
    struct member *b = members_add(&m, "b", "ipc:///b", &plain, SOURCE_CLI);
    assert_ptr_equal(members_find(&m, "default/a"), a);
    assert_null(members_find(&m, "c"));
    members_remove(&m, &a);
    members_remove(&m, &b);
    assert_null(a);
    assert_int_equal(m.count, 0);
    assert_true(members_is_removed(&m, "a"));
    assert_false(members_is_removed(&m, "b"));
    a = members_add(&m, "a", "ipc:///a2", &plain, SOURCE_CLI);
    assert_false(members_is_removed(&m, "a"));
    members_remove(&m, &a);
    assert_true(members_is_removed(&m, "a"));
    members_fini(&m);
}

static void save(struct members *m, struct buf *out)
{
    buf_init(out, 0);
    members_save(m, out);
}

static void what_is_saved_is_loaded(void **state)
{
    (void)state;
    struct members m, again;
    struct buf text, second, message;
    members_init(&m);
    members_init(&again);
    buf_init(&message, 0);
    m.generation = 41;
    m.pool =
        (struct pool_settings){.state = POOL_STOPPED, .message = "back \"soon\"\n"};
    m.pool_change = (struct change){.at_ms = 5, .by = "uid 0 pid 1", .what = "stop"};
    struct member *a =
        members_add(&m, "a", "ipc:///tmp/with space", &plain, SOURCE_OPTION);
    a->settings = (struct backend_settings){
        .state = ADMIN_MAINT, .health = HEALTH_DOWN, .limit = 17};
    a->full_weight = 50;
    a->change =
        (struct change){.at_ms = 1763700000123, .by = "uid 7 pid 9", .what = "maint"};
    (void)!members_add(&m, "b", "tcp://127.0.0.1:1", &plain, SOURCE_CLI);
    struct member *joining = members_add(&m, "c", "ipc:///c", &plain, SOURCE_CLI);
    joining->is_joining = true;
    struct member *gone = members_add(&m, "d", "ipc:///d", &plain, SOURCE_OPTION);
    members_remove(&m, &gone);

    save(&m, &text);
    assert_true(members_load(&again, buf_slice(&text), &message));
    assert_int_equal(again.generation, 41);
    assert_int_equal(again.count, 2);
    assert_true(members_is_removed(&again, "d"));
    a = members_find(&again, "a");
    assert_int_equal(a->settings.limit, 17);
    assert_int_equal(a->settings.state, ADMIN_MAINT);
    assert_int_equal(a->full_weight, 50);
    assert_string_equal(again.pool.message, "back \"soon\"\n");
    save(&again, &second);
    assert_true(slice_eq(buf_slice(&text), buf_slice(&second)));
    buf_fini(&second);
    members_fini(&m);

    /* Any part of it is refused, and changes nothing. */
    size_t whole = buf_len(&text);
    for (size_t length = 0; length + 1 < whole; length++) {
        struct slice part = slice_of(buf_slice(&text).ptr, length);
        buf_clear(&message);
        assert_false(members_load(&again, part, &message));
        assert_true(buf_len(&message) > 0);
        assert_int_equal(again.count, 2);
    }
    members_fini(&again);
    buf_fini(&text);
    buf_fini(&message);
}

static void refuses_other_files(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "banyan-state 2 generation=1\nend\n",
        "banyan-state 1\nend\n",
        "pool default serving\nend\n",
        "banyan-state 1 generation=1\nbackend a\nend\n",
        "banyan-state 1 generation=1\nbackend a ipc:///a\nbackend a ipc:///a\nend\n",
        "banyan-state 1 generation=1\nbackend a ipc:///a weight=257\nend\n",
        "banyan-state 1 generation=1\nbackend a ipc:///a frob=1\nend\n",
        "banyan-state 1 generation=1\nbackend a ipc:///a state=gone\nend\n",
        "banyan-state 1 generation=1\npool other serving\nend\n",
        "banyan-state 1 generation=1\nfrob\nend\n",
        "banyan-state 1 generation=1\nend\nend\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct members m;
        struct buf message;
        members_init(&m);
        buf_init(&message, 0);
        assert_false(members_load(&m, slice_from(bad[i]), &message));
        buf_fini(&message);
        members_fini(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_may_stand_with_their_pool),
        cmocka_unit_test(what_came_with_an_option_stays_away_when_removed),
        cmocka_unit_test(what_is_saved_is_loaded),
        cmocka_unit_test(refuses_other_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
