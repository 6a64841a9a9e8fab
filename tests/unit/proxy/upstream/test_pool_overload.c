/* SPDX-License-Identifier: MIT
 * proxy/upstream/pool.c: what it does with a queue that stays too slow. */
#include "proxy/upstream/pool.h"
#include "proxy/upstream/pool_priv.h"
#include "tests/unit/proxy/upstream/fake_app.h"

enum { MANY = 100, TICK_US = 100 * 1000 };

static const struct pool_policy POLICY = {.queue_target_us = 100 * 1000,
                                          .queue_interval_us = 200 * 1000};

static uint32_t count(const struct asker *a, uint32_t of, const char *heard)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < of; i++)
        n += strcmp(a[i].heard, heard) == 0;
    return n;
}

/* The app server answers what it has, gets the next one if any waits, and a tick
 * passes.
 */
static void serve_one(struct fixture *f)
{
    struct app *app = &f->apps[0];
    uint32_t count = app->count, busy = pool_busy(f->pool);
    app_respond(app, app->seen[count - 1].stream, "ok");
    UNTIL(f, pool_busy(f->pool) < busy);
    if (busy > 1)
        UNTIL(f, app->count > count);
    fixture_pass(f, TICK_US);
}

static void who_would_wait_for_too_long_is_refused_at_once(void **state)
{
    (void)state;
    struct fixture f;
    static struct asker a[MANY], late;
    fixture_init_with(&f, MANY, &POLICY);
    fixture_up(&f, 0, 1);
    for (int i = 0; i < MANY; i++)
        ask(&f, &a[i], "GET");
    UNTIL(&f, f.apps[0].count == 1);
    assert_int_equal(count(a, MANY, ""), MANY - 1);

    /* Ten a second: one can be served within the target. It takes 0.1 s until the first
     * has waited for too long, and an interval more. */
    for (int i = 0; i < 3; i++) {
        serve_one(&f);
        assert_int_equal(pool_stats(f.pool)->queue_shed, 0);
    }
    serve_one(&f);
    assert_true(count(a, MANY, "failed OVERLOADED") > MANY / 2);
    assert_int_equal(count(a, 4, "sent head 200 ok done"), 4);
    serve_one(&f);
    assert_int_equal(count(a, MANY, ""), 0);

    /* One may wait while another runs, and is served. */
    struct asker runs, waits[5];
    ask(&f, &runs, "GET");
    assert_string_equal(runs.heard, "sent");
    UNTIL(&f, strcmp(f.apps[0].seen[f.apps[0].count - 1].text, "GET /") == 0 &&
                  f.apps[0].seen[f.apps[0].count - 1].stream == runs.ticket.stream);
    for (int n = 0; n < 5; n++) {
        ask(&f, &waits[n], "GET");
        assert_string_equal(waits[n].heard, "");
        ask(&f, &late, "GET");
        assert_string_equal(late.heard, "failed OVERLOADED");
        serve_one(&f);
        assert_string_equal(waits[n].heard, "sent");
        asker_fini(&late);
    }
    asker_fini(&runs);
    for (int n = 0; n < 5; n++)
        asker_fini(&waits[n]);
    for (int i = 0; i < MANY; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

static void while_no_app_server_is_up_all_wait(void **state)
{
    (void)state;
    struct fixture f;
    static struct asker a[MANY];
    fixture_init_with(&f, MANY, &POLICY);
    for (int i = 0; i < MANY; i++)
        ask(&f, &a[i], "GET");
    fixture_pass(&f, 5 * (uint64_t)SECOND_US);
    assert_int_equal(count(a, MANY, ""), MANY);
    fixture_up(&f, 0, MANY);
    UNTIL(&f, f.apps[0].count == MANY);
    assert_int_equal(pool_stats(f.pool)->queue_shed, 0);
    for (int i = 0; i < MANY; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

static void what_an_app_server_handed_back_is_not_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a, b;
    fixture_init_with(&f, MANY, &POLICY);
    fixture_up(&f, 0, 1);
    ask(&f, &a, "POST");
    ask(&f, &b, "POST");
    UNTIL(&f, f.apps[0].count == 1);
    fixture_weigh(&f, 0, 0);
    APP_SAY(&f.apps[0], frame_pack_return, f.apps[0].seen[0].stream, ERR_NONE);
    UNTIL(&f, pool_stats(f.pool)->returned == 1);
    fixture_pass(&f, SECOND_US);
    assert_string_equal(a.heard, "sent");
    assert_string_equal(b.heard, "failed OVERLOADED");
    fixture_weigh(&f, 0, 1);
    UNTIL(&f, strcmp(a.heard, "sent sent") == 0);
    asker_fini(&a);
    asker_fini(&b);
    fixture_fini(&f);
}

/* Its client asks again at once, and is served: that ends the overload. */
static struct asker again;
static void asks_again(struct ticket *t, enum err err, struct slice text)
{
    (void)text;
    hear(t, "failed %s", err_name(err));
    asker_init(&again, "GET", "/");
    pool_submit(t->pool, &again.ticket);
}

static void who_was_late_is_refused_though_the_overload_ends(void **state)
{
    (void)state;
    struct fixture f;
    struct asker timed_out, late;
    struct ticket_events events = *asker_events();
    events.failed = asks_again;
    fixture_init_with(&f, MANY, &POLICY);
    fixture_up(&f, 0, 2);
    fixture_weigh(&f, 0, 0);
    ask(&f, &timed_out, "GET");
    ask(&f, &late, "GET");
    timed_out.ticket.events = &events;
    uint64_t now_us = clock_now_us() + POLICY.queue_target_us + 1;
    timed_out.ticket.queue_deadline_us = now_us;
    f.pool->shed.is_overloaded = true;
    f.pool->shed.refused_us = now_us - POLICY.queue_interval_us;
    f.pool->shed.counted_us = now_us;
    f.pool->shed.per_us = 1;
    clock_set(now_us);
    fixture_weigh(&f, 0, 1); /* there is room, and the turn has not come yet */
    pool_tick(f.pool, now_us);
    assert_string_equal(again.heard, "sent");
    assert_false(f.pool->shed.is_overloaded);
    assert_string_equal(timed_out.heard, "failed QUEUE_TIMEOUT");
    assert_string_equal(late.heard, "failed OVERLOADED");
    asker_fini(&timed_out);
    asker_fini(&late);
    asker_fini(&again);
    fixture_fini(&f);
}

static void a_reload_changes_the_policy(void **state)
{
    (void)state;
    struct fixture f;
    static struct asker a[40];
    fixture_init_with(&f, MANY, &(struct pool_policy){0});
    fixture_up(&f, 0, MANY);
    fixture_up(&f, 1, MANY);
    assert_null(pool_wants_key(f.pool));
    pool_set_policy(f.pool, balance_find("hash"), &POLICY);
    assert_non_null(pool_wants_key(f.pool));
    for (int i = 0; i < 20; i++) {
        asker_init(&a[i], "GET", "/");
        a[i].ticket.key = 4711;
        pool_submit(f.pool, &a[i].ticket);
    }
    UNTIL(&f, f.apps[0].count + f.apps[1].count == 20);
    assert_true(f.apps[0].count >= 16 || f.apps[1].count >= 16); /* its slots */
    pool_set_policy(f.pool, balance_find("round_robin"), &POLICY);
    uint32_t before = f.apps[0].count;
    for (int i = 20; i < 40; i++)
        ask(&f, &a[i], "GET");
    UNTIL(&f, f.apps[0].count + f.apps[1].count == 40);
    assert_int_equal(f.apps[0].count - before, 10);
    for (int i = 0; i < 40; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_would_wait_for_too_long_is_refused_at_once),
        cmocka_unit_test(while_no_app_server_is_up_all_wait),
        cmocka_unit_test(who_was_late_is_refused_though_the_overload_ends),
        cmocka_unit_test(a_reload_changes_the_policy),
        cmocka_unit_test(what_an_app_server_handed_back_is_not_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
