/* SPDX-License-Identifier: MIT
 * proxy/upstream/backend.c: the life of a link, against a ROUTER that keeps the
 * protocol. */
#include "proxy/upstream/backend.h"
#include "tests/unit/proxy/upstream/fake_app.h"

static void pack_garbage(struct buf *to, uint32_t stream)
{
    (void)stream;
    buf_add(to, SLICE("\xc1\xc1garbage"));
}

static void a_state_is_left_only_as_the_table_says(void **state)
{
    /* From each row's state to CLOSED, CONNECTING, GREETING, UP, DRAINING. */
    static const bool want[BACKEND_STATE_COUNT][BACKEND_STATE_COUNT] = {
        [BACKEND_CLOSED] = {false, true, false, false, false},
        [BACKEND_CONNECTING] = {true, false, true, false, false},
        [BACKEND_GREETING] = {true, true, false, true, false},
        [BACKEND_UP] = {true, true, false, false, true},
        [BACKEND_DRAINING] = {true, true, false, false, false},
    };
    (void)state;
    for (enum backend_state from = 0; from < BACKEND_STATE_COUNT; from++)
        for (enum backend_state to = 0; to < BACKEND_STATE_COUNT; to++)
            assert_int_equal(backend_state_may_become(from, to), want[from][to]);
    assert_string_equal(backend_state_name(BACKEND_GREETING), "greeting");
}

static void nothing_is_sent_before_the_hello_is_answered(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_bind(&f, 0, 0); /* does not answer */
    fixture_add(&f, 0);
    struct asker a;
    ask(&f, &a, "GET");
    struct app *app = &f.apps[0];
    UNTIL(&f, app->hellos == 1);
    fixture_settle(&f);
    assert_int_equal(app->messages, 1);

    app->window = 3;
    app_say_hello(app);
    UNTIL(&f, app->count == 1);
    end(&f, &a);
}

static void set_limit(struct fixture *f, uint32_t limit)
{
    struct backend_settings settings = BACKEND_SETTINGS;
    settings.limit = limit;
    assert_true(pool_set(f->pool, "b0", &settings));
}

static void expect_limit(struct fixture *f, uint32_t count, uint32_t limit)
{
    struct app *app = &f->apps[0];
    UNTIL(f, app->count == count);
    assert_int_equal(app->seen[count - 1].kind, FRAME_LIMIT);
    assert_int_equal(app->seen[count - 1].bytes, limit);
}

static void a_limit_is_told_right_behind_hello_and_when_it_changes(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_bind(&f, 0, 0); /* does not answer */
    fixture_add(&f, 0);
    set_limit(&f, 3);
    struct app *app = &f.apps[0];
    expect_limit(&f, 1, 3);
    assert_int_equal(app->hellos, 1);
    assert_int_equal(app->messages, 1);
    set_limit(&f, 5);
    expect_limit(&f, 2, 5);
    app->window = 9;
    app_say_hello(app);
    UNTIL(&f, pool_up(f.pool) == 1);
    set_limit(&f, 0);
    expect_limit(&f, 3, 0);
    set_limit(&f, 0);
    fixture_settle(&f);
    assert_int_equal(app->count, 3);
    /* The window is the app server's to say. */
    set_limit(&f, 1);
    struct asker a[2];
    ask(&f, &a[0], "GET");
    ask(&f, &a[1], "GET");
    UNTIL(&f, app->count == 6);
    asker_fini(&a[1]);
    end(&f, &a[0]);
}

static void the_next_process_hears_of_the_limit_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 4);
    set_limit(&f, 2);
    expect_limit(&f, 1, 2);
    struct app *app = &f.apps[0];
    app->messages = 0;
    link_free(&app->link);
    fixture_bind(&f, 0, 4);
    UNTIL(&f, app->hellos == 2 && app->count == 2);
    assert_int_equal(app->messages, 1);
    expect_limit(&f, 2, 2);
    fixture_fini(&f);
}

static void a_greeting_that_is_not_answered_is_tried_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_bind(&f, 0, 0);
    fixture_add(&f, 0);
    struct app *app = &f.apps[0];
    UNTIL(&f, app->hellos == 1);
    uint64_t epoch = app->epoch;
    app->window = 4; /* it answers the next one, whenever that comes */
    fixture_pass(&f, 4 * (uint64_t)SECOND_US);
    UNTIL(&f, app->hellos == 2 && pool_up(f.pool) == 1);
    assert_int_not_equal(app->epoch, epoch);
    fixture_fini(&f);
}

static void another_version_is_refused_with_bye(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    f.apps[0].version = 2;
    fixture_bind(&f, 0, 4);
    fixture_add(&f, 0);
    UNTIL(&f, f.apps[0].byes == 1);
    assert_int_equal(pool_up(f.pool), 0);
    assert_int_equal(pool_stats(f.pool)->bad_frames, 1);
    fixture_fini(&f);
}

static void one_of_another_pool_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_named(&f, "web", 10, &(struct pool_policy){0});
    fixture_bind(&f, 0, 4);
    fixture_add(&f, 0);
    UNTIL(&f, f.apps[0].byes == 1);
    assert_int_equal(pool_up(f.pool), 0);
    fixture_fini(&f);

    /* As it says. */
    fixture_init_named(&f, "default", 10, &(struct pool_policy){0});
    fixture_up(&f, 0, 4);
    assert_int_equal(pool_up(f.pool), 1);
    fixture_fini(&f);
}

static void frames_of_an_old_epoch_are_dropped(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *app = begin(&f, &a, "GET");
    APP_SAY(app, frame_pack_grant, app->epoch - 1, 0);
    APP_SAY(app, frame_pack_drain, app->epoch - 1);
    APP_SAY(app, frame_pack_bye, app->epoch + 1, SLICE(""));
    UNTIL(&f, pool_stats(f.pool)->stale_epoch == 3);
    assert_int_equal(pool_up(f.pool), 1);
    end(&f, &a);
}

static void an_answer_to_a_stream_of_an_earlier_link_is_dropped(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *app = begin(&f, &a, "GET");
    uint32_t old = app->seen[0].stream;
    link_free(&app->link);
    UNTIL(&f, pool_up(f.pool) == 0);
    app->count = 0;
    fixture_bind(&f, 0, 4);
    UNTIL(&f, app->count == 1);
    assert_int_not_equal(app->seen[0].stream, old);
    app_respond(app, old, "stale");
    app_respond(app, app->seen[0].stream, "fresh");
    UNTIL(&f, strcmp(a.heard, "sent sent head 200 fresh done") == 0);
    assert_int_equal(pool_stats(f.pool)->unknown_stream, 1);
    end(&f, &a);
}

static void after_drain_nothing_new_comes_and_what_runs_ends(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a, b;
    struct app *app = begin(&f, &a, "GET");
    APP_SAY(app, frame_pack_drain, app->epoch);
    UNTIL(&f, pool_up(f.pool) == 0);
    app_grant(app, 4);
    ask(&f, &b, "GET");
    fixture_settle(&f);
    assert_int_equal(app->count, 1);
    app_respond(app, app->seen[0].stream, "x");
    UNTIL(&f, strcmp(a.heard, "sent head 200 x done") == 0);

    /* After BYE the link is opened anew; a successor may answer there. */
    struct buf frames;
    buf_init(&frames, 0);
    frame_pack_grant(&frames, app->epoch - 1, 0); /* counted: they have arrived */
    frame_pack_bye(&frames, app->epoch, SLICE("SHUTTING_DOWN"));
    app_send(app, &frames, SLICE(""));
    UNTIL(&f, pool_stats(f.pool)->stale_epoch == 1);
    assert_int_equal(app->hellos, 1);
    fixture_pass(&f, SECOND_US);
    UNTIL(&f, app->hellos == 2 && app->count == 2);
    asker_fini(&b);
    end(&f, &a);
}

static void a_successor_of_one_that_took_its_leave_is_asked_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *app = begin(&f, &a, "GET");
    app_respond(app, app->seen[0].stream, "x");
    UNTIL(&f, strcmp(a.heard, "sent head 200 x done") == 0);
    fixture_pass(&f, 2 * SECOND_US);
    APP_SAY(app, frame_pack_bye, app->epoch, SLICE("SHUTTING_DOWN"));
    UNTIL(&f, app->hellos == 2); /* no time passes */
    end(&f, &a);
}

static void a_window_of_zero_stops_requests_until_it_opens(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a, b;
    struct app *app = begin(&f, &a, "GET");
    app_grant(app, 0);
    UNTIL(&f, pool_up(f.pool) == 0);
    ask(&f, &b, "GET");
    fixture_settle(&f);
    assert_int_equal(app->count, 1);
    app_grant(app, 2);
    UNTIL(&f, app->count == 2);
    asker_fini(&b);
    end(&f, &a);
}

static void it_works_within_one_process_too(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    struct app *app = &f.apps[0];
    app->window = 4;
    app->window_bytes = 1024;
    assert_int_equal(link_bind(f.context, "inproc://app", LINK_LOCAL_ONLY, &app->link),
                     ERR_NONE);
    assert_int_equal(pool_add(f.pool, "in", "inproc://app"), ERR_NONE);
    struct asker a;
    ask(&f, &a, "GET");
    UNTIL(&f, app->count == 1);
    app_respond(app, app->seen[0].stream, "near");
    UNTIL(&f, strcmp(a.heard, "sent head 200 near done") == 0);
    end(&f, &a);
}

static void the_pause_grows_with_every_bad_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *app = begin(&f, &a, "POST");
    static const uint64_t pauses_ms[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
    for (uint32_t i = 0; i < sizeof pauses_ms / sizeof pauses_ms[0]; i++) {
        struct buf frames;
        buf_init(&frames, 0);
        pack_garbage(&frames, 0);
        app_send(app, &frames, SLICE(""));
        UNTIL(&f, app->byes == i + 1);
        fixture_pass(&f, pauses_ms[i] * 1000 - 100 * 1000);
        fixture_settle(&f);
        assert_int_equal(app->hellos, i + 1);
        fixture_pass(&f, 200 * 1000);
        UNTIL(&f, app->hellos == i + 2 && pool_up(f.pool) == 1);
    }
    end(&f, &a);
}

static void view_of(struct backend *b, void *arg)
{
    backend_view(b, arg);
}

static void write_weights(struct backend *b, void *arg)
{
    struct backend_view view;
    backend_view(b, &view);
    char *to = arg;
    sprintf(to + strlen(to), "%s=%u/%llu ", view.name, view.weight,
            (unsigned long long)view.stats.requests);
}

static void a_weight_of_nothing_gets_nothing_new(void **state)
{
    (void)state;
    struct fixture f;
    struct asker old, new, late;
    (void)begin(&f, &old, "GET");
    fixture_weigh(&f, 0, 0);
    ask(&f, &new, "GET");
    assert_string_equal(new.heard, "");
    app_respond(&f.apps[0], 1, "x");
    UNTIL(&f, strcmp(old.heard, "sent head 200 x done") == 0);
    fixture_up(&f, 1, 4);
    UNTIL(&f, f.apps[1].count == 1);
    fixture_weigh(&f, 0, 1000);
    fixture_weigh(&f, 1, 0);
    ask(&f, &late, "GET");
    UNTIL(&f, f.apps[0].count == 2);

    char weights[64] = "";
    pool_each(f.pool, write_weights, weights);
    assert_string_equal(weights, "b0=256/2 b1=0/1 ");
    asker_fini(&new);
    asker_fini(&late);
    end(&f, &old);
}

static void a_backend_counts_what_goes_wrong(void **state)
{
    (void)state;
    struct fixture f;
    struct asker ok, bad, failed, streamed;
    struct app *app = begin(&f, &ok, "GET");
    ask(&f, &bad, "GET");
    ask(&f, &failed, "GET");
    ask(&f, &streamed, "GET");
    UNTIL(&f, app->count == 4);
    app_respond(app, 1, "x");
    APP_SAY(app, frame_pack_response, 2, 500, SLICE(""), HEADERS_NONE, SLICE("oops"));
    APP_SAY(app, frame_pack_abort, 3, ERR_APP_FAILED, SLICE(""));
    APP_SAY(app, frame_pack_head, 4, 599, SLICE(""), HEADERS_NONE, false, 0);
    UNTIL(&f, strcmp(streamed.heard, "sent head 599") == 0);
    link_free(&app->link);
    UNTIL(&f, pool_busy(f.pool) == 0);
    struct backend_view view;
    pool_each(f.pool, view_of, &view);
    assert_int_equal(view.stats.requests, 4);
    assert_int_equal(view.stats.errors, 3);
    assert_int_equal(view.stats.lost, 1);
    assert_int_equal(view.state, BACKEND_CONNECTING);
    assert_int_equal(view.up_since_us, 0);
    asker_fini(&bad);
    asker_fini(&failed);
    asker_fini(&streamed);
    end(&f, &ok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_is_left_only_as_the_table_says),
        cmocka_unit_test(a_limit_is_told_right_behind_hello_and_when_it_changes),
        cmocka_unit_test(the_next_process_hears_of_the_limit_at_once),
        cmocka_unit_test(nothing_is_sent_before_the_hello_is_answered),
        cmocka_unit_test(a_greeting_that_is_not_answered_is_tried_again),
        cmocka_unit_test(another_version_is_refused_with_bye),
        cmocka_unit_test(one_of_another_pool_is_refused),
        cmocka_unit_test(frames_of_an_old_epoch_are_dropped),
        cmocka_unit_test(an_answer_to_a_stream_of_an_earlier_link_is_dropped),
        cmocka_unit_test(after_drain_nothing_new_comes_and_what_runs_ends),
        cmocka_unit_test(a_successor_of_one_that_took_its_leave_is_asked_at_once),
        cmocka_unit_test(a_window_of_zero_stops_requests_until_it_opens),
        cmocka_unit_test(it_works_within_one_process_too),
        cmocka_unit_test(the_pause_grows_with_every_bad_connection),
        cmocka_unit_test(a_weight_of_nothing_gets_nothing_new),
        cmocka_unit_test(a_backend_counts_what_goes_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
