/* SPDX-License-Identifier: MIT
 * proxy/upstream/pool.c: requests that go back to the app server they were at. */
#include "proxy/upstream/pool_report.h"
#include "tests/unit/proxy/upstream/sticky_pool.h"

static void a_request_goes_to_the_one_its_cookie_names(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[2 * MANY];
    two(&f, 100);
    for (int i = 0; i < 2 * MANY; i++)
        ask_own(&f, &a[i], 1, "/");
    UNTIL(&f, f.apps[1].count == 2 * MANY);
    assert_int_equal(f.apps[0].count, 0);
    assert_true(a[0].ticket.went_to == key_of(1));
    assert_int_equal(pool_stats(f.pool)->sticky_moved, 0);
    finish(&f, a, 2 * MANY);
}

static void without_room_there_it_waits_and_nobody_waits_behind_it(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[MANY];
    two(&f, 1);
    ask_own(&f, &a[0], 0, "/first");
    ask_own(&f, &a[1], 0, "/second");
    ask_own(&f, &a[2], 0, "/third");
    ask_any(&f, &a[3], "/any");
    UNTIL(&f, f.apps[0].count == 1 && f.apps[1].count == 1);
    ASSERT_SEEN(&f, 0, 0, "/first");
    ASSERT_SEEN(&f, 1, 0, "/any");
    for (uint32_t n = 1; n < 4; n++) {
        answer(&f, 1, n - 1);
        ask_any(&f, &a[3 + n], "/any");
        UNTIL(&f, f.apps[1].count == n + 1);
    }
    fixture_settle(&f);
    assert_int_equal(f.apps[0].count, 1);
    assert_string_equal(ticket_waits_for(&a[1].ticket), "b0");
    assert_null(ticket_waits_for(&a[0].ticket));
    clock_set(clock_now_us() + SECOND_US);
    struct pool_report report;
    pool_report(f.pool, clock_now_us(), &report);
    assert_int_equal(report.backends[0].view.waiting, 2);
    assert_int_equal(report.backends[0].max_wait_us, SECOND_US);
    assert_int_equal(report.max_wait_us, SECOND_US);
    assert_int_equal(report.backends[1].view.waiting, 0);
    pool_report_fini(&report);
    answer(&f, 0, 0);
    UNTIL(&f, f.apps[0].count == 2);
    ASSERT_SEEN(&f, 0, 1, "/second");
    answer(&f, 0, 1);
    UNTIL(&f, f.apps[0].count == 3);
    ASSERT_SEEN(&f, 0, 2, "/third");
    finish(&f, a, 7);
}

static void the_older_one_goes_first_whichever_it_is(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[MANY];
    fixture_init_with(&f, 100, &POLICY);
    fixture_up(&f, 0, 1);
    static const char *const targets[] = {"/0", "/1", "/2", "/3",
                                          "/4", "/5", "/6", "/7"};
    for (int i = 0; i < MANY; i++) {
        clock_set(clock_now_us() + 1000);
        if (i % 3 == 1)
            ask_own(&f, &a[i], 0, targets[i]);
        else
            ask_any(&f, &a[i], targets[i]);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        UNTIL(&f, f.apps[0].count == i + 1);
        assert_string_equal(f.apps[0].seen[i].text + 4, targets[i]);
        answer(&f, 0, i);
    }
    UNTIL(&f, pool_busy(f.pool) == 0);
    finish(&f, a, MANY);
}

static void neither_kind_starves_under_a_stream_of_the_other(void **state)
{
    (void)state;
    for (int is_own_alone = 0; is_own_alone < 2; is_own_alone++) {
        struct fixture f;
        static struct asker alone, runs, others[4 * MANY];
        fixture_init_with(&f, 100, &POLICY);
        fixture_up(&f, 0, 1);
        ask_any(&f, &runs, "/runs");
        UNTIL(&f, f.apps[0].count == 1);
        for (uint32_t i = 0; i < 4 * MANY; i++) {
            clock_set(clock_now_us() + 1000);
            if (i == 3 && is_own_alone)
                ask_own(&f, &alone, 0, "/alone");
            else if (i == 3)
                ask_any(&f, &alone, "/alone");
            clock_set(clock_now_us() + 1000);
            if (is_own_alone)
                ask_any(&f, &others[i], "/other");
            else
                ask_own(&f, &others[i], 0, "/other");
        }
        for (uint32_t n = 0; n < 5; n++) {
            UNTIL(&f, f.apps[0].count == n + 1);
            answer(&f, 0, n);
        }
        ASSERT_SEEN(&f, 0, 4, "/alone");
        asker_fini(&alone);
        asker_fini(&runs);
        finish(&f, others, 4 * MANY);
    }
}

static void after_sticky_wait_it_goes_elsewhere(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[3];
    two(&f, 1);
    struct backend_settings settings = BACKEND_SETTINGS;
    settings.health = HEALTH_UP; /* it may be silent for as long as it likes */
    set(&f, 0, settings);
    set(&f, 1, settings);
    ask_own(&f, &a[0], 0, "/runs");
    ask_own(&f, &a[1], 0, "/waits");
    fixture_pass(&f, 4900 * 1000);
    assert_string_equal(a[1].heard, "");
    fixture_pass(&f, 200 * 1000);
    UNTIL(&f, f.apps[1].count == 1);
    ASSERT_SEEN(&f, 1, 0, "/waits");
    assert_true(a[1].ticket.went_to == key_of(1));
    assert_int_equal(pool_stats(f.pool)->sticky_moved, 1);

    /* Nobody else has room either: its own one may still be the first. */
    ask_own(&f, &a[2], 0, "/later");
    fixture_pass(&f, 6 * (uint64_t)SECOND_US);
    answer(&f, 0, 0);
    UNTIL(&f, f.apps[0].count == 2);
    ASSERT_SEEN(&f, 0, 1, "/later");
    assert_int_equal(pool_stats(f.pool)->sticky_moved, 1);
    finish(&f, a, 3);
}

static void without_sticky_wait_it_goes_elsewhere_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[2];
    struct pool_policy policy = POLICY;
    policy.sticky.wait_us = 0;
    fixture_init_with(&f, 100, &policy);
    fixture_up(&f, 0, 1);
    fixture_up(&f, 1, 1);
    ask_own(&f, &a[0], 0, "/first");
    ask_own(&f, &a[1], 0, "/second");
    UNTIL(&f, f.apps[0].count == 1 && f.apps[1].count == 1);
    ASSERT_SEEN(&f, 0, 0, "/first");
    finish(&f, a, 2);
}

static void the_queue_timeout_holds_for_it_as_for_others(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[2];
    two(&f, 1);
    ask_own(&f, &a[0], 0, "/runs");
    asker_init(&a[1], "GET", "/waits");
    a[1].ticket.sticks_to = key_of(0);
    a[1].ticket.queue_deadline_us = clock_now_us() + 2 * (uint64_t)SECOND_US;
    pool_submit(f.pool, &a[1].ticket);
    fixture_pass(&f, 2200 * 1000);
    assert_string_equal(a[1].heard, "failed QUEUE_TIMEOUT");
    assert_int_equal(f.apps[1].count, 0);
    finish(&f, a, 2);
}

static void a_client_that_leaves_takes_its_place_along(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[3];
    two(&f, 1);
    for (int i = 0; i < 3; i++)
        ask_own(&f, &a[i], 0, i == 2 ? "/last" : "/");
    ticket_cancel(&a[1].ticket, ERR_CLIENT_GONE);
    assert_int_equal(a[1].ticket.state, TICKET_IDLE);
    UNTIL(&f, f.apps[0].count == 1);
    answer(&f, 0, 0);
    UNTIL(&f, f.apps[0].count == 2);
    ASSERT_SEEN(&f, 0, 1, "/last");
    finish(&f, a, 3);
}

static void a_key_of_nobody_is_as_none(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    two(&f, 1);
    ask_own(&f, &a, 3, "/");
    UNTIL(&f, f.apps[0].count + f.apps[1].count == 1);
    assert_int_equal(pool_stats(f.pool)->sticky_moved, 1);
    finish(&f, &a, 1);
}

/* ---- what an operator wants ---- */

static void weight_0_and_a_drain_that_allows_it_keep_their_own(void **state)
{
    (void)state;
    for (int n = 0; n < 2; n++) {
        struct fixture f;
        struct asker a[MANY];
        struct backend_settings settings = BACKEND_SETTINGS;
        two(&f, 2);
        if (n == 0)
            settings.weight = 0;
        else
            settings.state = ADMIN_DRAIN;
        settings.keeps_sticky = n == 1;
        set(&f, 0, settings);
        for (int i = 0; i < 3; i++)
            ask_own(&f, &a[i], 0, "/own");
        ask_any(&f, &a[3], "/any");
        ask_any(&f, &a[4], "/any");
        UNTIL(&f, f.apps[0].count == 2 && f.apps[1].count == 2);
        ASSERT_SEEN(&f, 0, 1, "/own");
        ASSERT_SEEN(&f, 1, 1, "/any");
        answer(&f, 0, 0);
        UNTIL(&f, f.apps[0].count == 3);
        ASSERT_SEEN(&f, 0, 2, "/own");
        answer(&f, 0, 1);
        answer(&f, 0, 2);
        ask_any(&f, &a[5], "/any");
        fixture_settle(&f);
        assert_int_equal(f.apps[0].count, 3); /* the other one is full */
        finish(&f, a, 6);
    }
}

static void a_pause_holds_them_and_their_patience(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[2];
    two(&f, 1);
    struct pool_settings paused = {.state = POOL_PAUSED,
                                   .max_pause_us = 60 * (uint64_t)SECOND_US};
    pool_set_state(f.pool, &paused);
    ask_own(&f, &a[0], 0, "/0");
    ask_own(&f, &a[1], 0, "/1");
    fixture_pass(&f, 20 * (uint64_t)SECOND_US);
    assert_int_equal(f.apps[0].count + f.apps[1].count, 0);
    pool_set_state(f.pool, &(struct pool_settings){.state = POOL_SERVING});
    UNTIL(&f, f.apps[0].count == 1);
    fixture_pass(&f, SECOND_US);
    assert_int_equal(f.apps[1].count, 0);
    pool_set_state(f.pool, &(struct pool_settings){.state = POOL_STOPPED});
    assert_string_equal(a[1].heard, "failed STOPPED");
    finish(&f, a, 2);
}

static void those_that_wait_for_one_do_not_fill_the_queue_of_others(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[MANY];
    fixture_init_with(&f, 2, &POLICY);
    fixture_up(&f, 0, 1);
    fixture_up(&f, 1, 1);
    for (int i = 0; i < 3; i++)
        ask_own(&f, &a[i], 0, "/own");
    UNTIL(&f, f.apps[0].count == 1);

    /* Two wait. Rather than refused the next one is moved, while somebody has room. */
    ask_own(&f, &a[3], 0, "/moved");
    UNTIL(&f, f.apps[1].count == 1);
    ASSERT_SEEN(&f, 1, 0, "/moved");
    ask_own(&f, &a[4], 0, "/refused");
    assert_string_equal(a[4].heard, "failed QUEUE_FULL");
    ask_any(&f, &a[5], "/any");
    ask_any(&f, &a[6], "/any");
    assert_string_equal(a[6].heard, "");
    ask_any(&f, &a[7], "/any");
    assert_string_equal(a[7].heard, "failed QUEUE_FULL");
    answer(&f, 1, 0);
    UNTIL(&f, f.apps[1].count == 2);
    ASSERT_SEEN(&f, 1, 1, "/any");
    finish(&f, a, MANY);
}

static void without_a_queue_it_goes_to_who_has_room(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[3];
    fixture_init_with(&f, 0, &POLICY);
    fixture_up(&f, 0, 1);
    fixture_up(&f, 1, 1);
    ask_own(&f, &a[0], 0, "/");
    ask_own(&f, &a[1], 0, "/");
    assert_string_equal(a[1].heard, "sent");
    assert_true(a[1].ticket.went_to == key_of(1));
    ask_own(&f, &a[2], 0, "/");
    assert_string_equal(a[2].heard, "failed QUEUE_FULL");
    finish(&f, a, 3);
}

static void one_busy_app_server_is_no_overload_of_the_pool(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[4];
    struct pool_policy policy = POLICY;
    policy.queue_target_us = 100 * 1000;
    policy.queue_interval_us = 200 * 1000;
    fixture_init_with(&f, 100, &policy);
    fixture_up(&f, 0, 1);
    fixture_up(&f, 1, 1);
    for (int i = 0; i < 4; i++)
        ask_own(&f, &a[i], 0, "/");
    UNTIL(&f, f.apps[0].count == 1);
    for (uint32_t n = 0; n < 3; n++) {
        fixture_pass(&f, SECOND_US);
        answer(&f, 0, n);
        UNTIL(&f, f.apps[0].count == n + 2);
    }
    assert_int_equal(pool_stats(f.pool)->queue_shed, 0);
    finish(&f, a, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_to_the_one_its_cookie_names),
        cmocka_unit_test(without_room_there_it_waits_and_nobody_waits_behind_it),
        cmocka_unit_test(the_older_one_goes_first_whichever_it_is),
        cmocka_unit_test(neither_kind_starves_under_a_stream_of_the_other),
        cmocka_unit_test(after_sticky_wait_it_goes_elsewhere),
        cmocka_unit_test(without_sticky_wait_it_goes_elsewhere_at_once),
        cmocka_unit_test(the_queue_timeout_holds_for_it_as_for_others),
        cmocka_unit_test(a_client_that_leaves_takes_its_place_along),
        cmocka_unit_test(a_key_of_nobody_is_as_none),
        cmocka_unit_test(weight_0_and_a_drain_that_allows_it_keep_their_own),
        cmocka_unit_test(a_pause_holds_them_and_their_patience),
        cmocka_unit_test(those_that_wait_for_one_do_not_fill_the_queue_of_others),
        cmocka_unit_test(without_a_queue_it_goes_to_who_has_room),
        cmocka_unit_test(one_busy_app_server_is_no_overload_of_the_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
