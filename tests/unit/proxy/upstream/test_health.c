/* SPDX-License-Identifier: MIT
 * proxy/upstream/health.c on a clock that stands still until told. */
#include "proxy/upstream/backend.h"
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

static void one_that_does_not_answer_at_once_gets_nothing_new(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a, second, third;
    struct app *app = begin(&f, &a, "POST");
    fixture_pass(&f, 1100 * 1000);
    UNTIL(&f, app->ping_sequence == 1);
    uint64_t sent = pool_stats(f.pool)->requests;
    ask(&f, &second, "POST"); /* asked just now: it has time */
    fixture_turn(&f);
    assert_string_equal(second.heard, "sent");
    fixture_pass(&f, 300 * 1000);
    ask(&f, &third, "POST");
    fixture_pass(&f, 200 * 1000);
    assert_string_equal(third.heard, "");
    assert_int_equal(pool_stats(f.pool)->requests, sent + 2);
    assert_int_equal(pool_up(f.pool), 1); /* nobody says that it is down */

    struct frame load = {.load = {.sequence = 1, .slots = 16, .service_us = 50}};
    APP_SAY(app, frame_pack_load, app->epoch, &load);
    UNTIL(&f, strcmp(third.heard, "sent") == 0);
    asker_fini(&third);
    asker_fini(&second);
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

/* ---- ejection ---- */

static const struct pool_policy EJECTING = {
    .eject_after = 5,
    .eject_most_percent = 50,
    .eject_us = 10 * (uint64_t)SECOND_US,
    .panic_percent = 50,
};

static struct backend_view view_of(struct fixture *f, uint32_t at);

static void answer(struct app *app, uint32_t stream, uint16_t status)
{
    APP_SAY(app, frame_pack_response, stream, status, SLICE(""), HEADERS_NONE,
            SLICE("x"));
}

/* One request; the first app server answers it with `of_first`, the others with 200.
 * Returns who had it. */
static uint32_t serve(struct fixture *f, uint32_t apps, uint16_t of_first)
{
    struct asker a;
    uint32_t before[MAX_APPS], who = MAX_APPS;
    for (uint32_t i = 0; i < apps; i++)
        before[i] = f->apps[i].count;
    ask(f, &a, "GET");
    while (who == MAX_APPS) {
        fixture_turn(f);
        for (uint32_t i = 0; i < apps; i++)
            if (f->apps[i].count > before[i])
                who = i;
    }
    struct app *app = &f->apps[who];
    answer(app, app->seen[app->count - 1].stream, who == 0 ? of_first : 200);
    UNTIL(f, strstr(a.heard, "done") != NULL);
    asker_fini(&a);
    return who;
}

static void serve_until_ejected(struct fixture *f, uint32_t apps, uint64_t times)
{
    for (int n = 0; view_of(f, 0).stats.ejections < times; n++) {
        assert_true(n < 2000);
        (void)serve(f, apps, 500);
    }
}

static void pair_up(struct fixture *f)
{
    fixture_init_with(f, 10, &EJECTING);
    fixture_up(f, 0, 5);
    fixture_up(f, 1, 5);
}

static void one_that_fails_gets_nothing_for_a_while(void **state)
{
    (void)state;
    struct fixture f;
    pair_up(&f);
    serve_until_ejected(&f, 2, 1);
    assert_int_equal(view_of(&f, 0).stats.errors, 5);
    assert_true(view_of(&f, 0).ejected_until_us > clock_now_us());
    for (int n = 0; n < 300; n++)
        assert_int_equal(serve(&f, 2, 500), 1);

    /* It is tried again, and is out for twice as long. */
    fixture_pass(&f, 10 * (uint64_t)SECOND_US);
    assert_int_equal(view_of(&f, 0).ejected_until_us, 0);
    serve_until_ejected(&f, 2, 2);
    fixture_pass(&f, 19 * (uint64_t)SECOND_US);
    assert_int_not_equal(view_of(&f, 0).ejected_until_us, 0);
    fixture_pass(&f, SECOND_US);
    assert_int_equal(view_of(&f, 0).ejected_until_us, 0);

    /* Good behaviour is remembered, too. */
    fixture_pass(&f, 30 * (uint64_t)SECOND_US);
    serve_until_ejected(&f, 2, 3);
    fixture_pass(&f, 10 * (uint64_t)SECOND_US);
    assert_int_equal(view_of(&f, 0).ejected_until_us, 0);
    fixture_fini(&f);
}

static void an_operator_can_overrule_it(void **state)
{
    (void)state;
    struct fixture f;
    pair_up(&f);
    serve_until_ejected(&f, 2, 1);
    struct backend_settings up = BACKEND_SETTINGS;
    up.health = HEALTH_UP;
    assert_true(pool_set(f.pool, "b0", &up));
    uint32_t first = 0;
    for (int n = 0; n < 600; n++)
        first += serve(&f, 2, 500) == 0;
    assert_true(first > 100);
    fixture_fini(&f);
}

static void another_process_starts_with_a_clean_sheet(void **state)
{
    (void)state;
    struct fixture f;
    pair_up(&f);
    serve_until_ejected(&f, 2, 1);
    link_free(&f.apps[0].link);
    UNTIL(&f, pool_up(f.pool) == 1);
    f.apps[0].instance = APP_INSTANCE + 1;
    fixture_bind(&f, 0, 4);
    UNTIL(&f, pool_up(f.pool) == 2);
    assert_int_equal(view_of(&f, 0).ejected_until_us, 0);
    fixture_fini(&f);
}

static void the_only_one_is_never_ejected(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_with(&f, 10, &EJECTING);
    fixture_up(&f, 0, 4);
    for (int n = 0; n < 50; n++)
        (void)serve(&f, 1, 500);
    assert_int_equal(pool_stats(f.pool)->ejections, 0);
    assert_true(pool_stats(f.pool)->ejections_refused > 0);
    fixture_fini(&f);
}

static void when_too_few_are_healthy_all_are_used(void **state)
{
    (void)state;
    struct fixture f;
    pair_up(&f);
    fixture_up(&f, 2, 4);
    serve_until_ejected(&f, 3, 1);
    /* One of three is out. Another is taken out by hand: a third is too little. */
    struct backend_settings down = BACKEND_SETTINGS;
    down.health = HEALTH_DOWN;
    assert_true(pool_set(f.pool, "b1", &down));
    fixture_pass(&f, 100 * 1000);
    assert_int_equal(pool_stats(f.pool)->panics, 1);
    uint32_t got[3] = {0};
    for (int n = 0; n < 1000; n++)
        got[serve(&f, 3, 200)]++;
    assert_true(got[0] > 100 && got[2] > 100);
    assert_int_equal(got[1], 0); /* that one was said by a person */

    assert_true(pool_set(f.pool, "b1", &BACKEND_SETTINGS));
    fixture_pass(&f, 100 * 1000);
    for (int n = 0; n < 300; n++)
        assert_int_not_equal(serve(&f, 3, 200), 0);
    fixture_fini(&f);
}

static void a_silence_is_one_failure_whatever_was_there(void **state)
{
    (void)state;
    struct fixture f;
    struct asker askers[10]; /* as many as both take */
    pair_up(&f);
    for (int i = 0; i < 40; i++)
        (void)serve(&f, 2, 200); /* so that five failures are no chance */
    uint32_t before[2] = {f.apps[0].count, f.apps[1].count};
    for (size_t i = 0; i < 10; i++)
        ask(&f, &askers[i], "POST");
    UNTIL(&f, f.apps[0].count == before[0] + 5 && f.apps[1].count == before[1] + 5);
    for (uint32_t i = 0; i < 5; i++)
        answer(&f.apps[1], f.apps[1].seen[before[1] + i].stream, 200);
    f.apps[0].window = 0; /* answers no HELLO: it stays lost */
    fixture_pass(&f, 4 * (uint64_t)SECOND_US);
    assert_int_equal(view_of(&f, 0).stats.lost, 5);
    assert_int_equal(pool_stats(f.pool)->ejections, 0);
    assert_int_equal(pool_stats(f.pool)->ejections_refused, 0);
    for (size_t i = 0; i < 10; i++)
        asker_fini(&askers[i]);
    fixture_fini(&f);
}

static void requests_that_time_out_are_failures(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a[5];
    fixture_init_with(&f, 10, &EJECTING);
    fixture_up(&f, 0, 6);
    for (int i = 0; i < 5; i++)
        ask(&f, &a[i], "GET");
    fixture_up(&f, 1, 5);
    ticket_cancel(&a[0].ticket, ERR_CLIENT_GONE);
    for (int i = 1; i < 5; i++)
        ticket_cancel(&a[i].ticket, ERR_REQUEST_TIMEOUT);
    assert_int_equal(pool_stats(f.pool)->ejections, 0);
    UNTIL(&f, f.apps[0].count == 10); /* five REQUESTs, five CANCELs */
    for (uint32_t stream = 1; stream <= 5; stream++)
        answer(&f.apps[0], stream, 200); /* nobody hears that */
    fixture_settle(&f);
    serve_until_ejected(&f, 2, 1);
    assert_int_equal(view_of(&f, 0).stats.errors, 1);
    for (int i = 0; i < 5; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

static uint32_t share_of_first(struct fixture *f)
{
    uint32_t first = 0;
    for (int n = 0; n < 600; n++)
        first += serve(f, 2, 200) == 0;
    return first;
}

static void one_that_comes_up_starts_slowly(void **state)
{
    (void)state;
    struct fixture f;
    struct pool_policy slow = {.slow_start_us = 10 * (uint64_t)SECOND_US};
    fixture_init_with(&f, 10, &slow);
    fixture_up(&f, 1, 4);
    fixture_pass(&f, 11 * (uint64_t)SECOND_US);
    fixture_up(&f, 0, 4); /* b0 comes second */
    assert_in_range(share_of_first(&f), 0, 40);
    fixture_pass(&f, 5 * (uint64_t)SECOND_US);
    assert_in_range(share_of_first(&f), 60, 250);
    fixture_pass(&f, 5 * (uint64_t)SECOND_US);
    assert_true(share_of_first(&f) > 200);

    /* Also when an operator lets it have requests again. */
    struct backend_settings settings = BACKEND_SETTINGS;
    settings.state = ADMIN_DRAIN;
    assert_true(pool_set(f.pool, "b0", &settings));
    assert_true(pool_set(f.pool, "b0", &BACKEND_SETTINGS));
    assert_in_range(share_of_first(&f), 0, 40);
    fixture_fini(&f);
}

static void copy_view(struct backend *b, void *arg)
{
    struct backend_view **next = arg;
    backend_view(b, (*next)++);
}

static struct backend_view view_of(struct fixture *f, uint32_t at)
{
    struct backend_view views[MAX_APPS], *next = views;
    pool_each(f->pool, copy_view, &next);
    assert_true(next > views + at);
    return views[at];
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_backend_is_asked_and_then_given_up),
        cmocka_unit_test(one_that_does_not_answer_at_once_gets_nothing_new),
        cmocka_unit_test(an_idle_local_backend_is_not_asked),
        cmocka_unit_test(nobody_is_blamed_when_our_own_loop_stood_still),
        cmocka_unit_test(one_that_comes_up_starts_slowly),
        cmocka_unit_test(one_that_fails_gets_nothing_for_a_while),
        cmocka_unit_test(an_operator_can_overrule_it),
        cmocka_unit_test(another_process_starts_with_a_clean_sheet),
        cmocka_unit_test(the_only_one_is_never_ejected),
        cmocka_unit_test(when_too_few_are_healthy_all_are_used),
        cmocka_unit_test(a_silence_is_one_failure_whatever_was_there),
        cmocka_unit_test(requests_that_time_out_are_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
