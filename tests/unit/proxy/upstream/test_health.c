/* SPDX-License-Identifier: MIT
 * proxy/upstream/health.c on a clock that stands still until told. */
#include "tests/unit/proxy/upstream/fake_app.h"

static void a_silent_backend_is_asked_and_then_given_up(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *app = begin(&f, &a, "POST");
    fixture_pass(&f, 800 * 1000);
    fixture_settle(&f);
    assert_int_equal(app->ping_sequence, 0);
    fixture_pass(&f, 500 * 1000);
    UNTIL(&f, app->ping_sequence == 1);

    /* Its LOAD is a sign of life. */
    struct frame load = {.load = {.sequence = 1, .slots = 16, .service_us = 50}};
    uint64_t frames = pool_stats(f.pool)->frames_in;
    APP_SAY(app, frame_pack_load, app->epoch, &load);
    UNTIL(&f, pool_stats(f.pool)->frames_in == frames + 1);
    fixture_pass(&f, 2500 * 1000);
    assert_string_equal(a.heard, "sent");
    app->window = 0; /* answers no HELLO: it stays lost */
    fixture_pass(&f, 700 * 1000);
    assert_string_equal(a.heard, "sent failed BACKEND_LOST");
    assert_int_equal(pool_up(f.pool), 0);
    end(&f, &a);
}

static void an_idle_local_backend_is_not_asked(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 4);
    fixture_pass(&f, 30 * (uint64_t)SECOND_US);
    fixture_settle(&f);
    assert_int_equal(f.apps[0].ping_sequence, 0);
    assert_int_equal(pool_up(f.pool), 1);

    /* And its long silence is not held against it when work comes. */
    struct asker a;
    ask(&f, &a, "POST");
    fixture_pass(&f, 200 * 1000);
    UNTIL(&f, f.apps[0].count == 1);
    assert_string_equal(a.heard, "sent");
    end(&f, &a);
}

static void nobody_is_blamed_when_our_own_loop_stood_still(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    (void)begin(&f, &a, "POST");
    clock_set(clock_now_us() + 60 * (uint64_t)SECOND_US);
    pool_tick(f.pool, clock_now_us());
    assert_string_equal(a.heard, "sent");
    fixture_pass(&f, 2 * (uint64_t)SECOND_US);
    assert_string_equal(a.heard, "sent");
    end(&f, &a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_backend_is_asked_and_then_given_up),
        cmocka_unit_test(an_idle_local_backend_is_not_asked),
        cmocka_unit_test(nobody_is_blamed_when_our_own_loop_stood_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
