/* SPDX-License-Identifier: MIT
 * proxy/upstream/check.c on a clock that stands still until told. */
#include "proxy/upstream/backend.h"
#include "tests/unit/proxy/upstream/fake_app.h"

static const struct pool_policy CHECKING = {
    .check_path = "/health?deep",
    .check_host = "localhost",
    .check_interval_us = SECOND_US,
    .check_timeout_us = SECOND_US / 2,
    .check_rise = 2,
    .check_fall = 3,
    .panic_percent = 0,
};

static void copy_view(struct backend *b, void *arg)
{
    backend_view(b, arg);
}

static struct backend_view view(struct fixture *f)
{
    struct backend_view it = {0};
    pool_each(f->pool, copy_view, &it);
    return it;
}

/* Waits for the next check of the only app server; its stream. */
static uint32_t next_check(struct fixture *f)
{
    struct app *app = &f->apps[0];
    uint32_t before = app->count;
    for (int n = 0; app->count == before; n++) {
        assert_true(n < 30);
        fixture_pass(f, 100 * 1000);
        fixture_settle(f);
    }
    assert_string_equal(app->seen[before].text, "GET /health?deep");
    return app->seen[before].stream;
}

static void answer(struct fixture *f, uint32_t stream, uint16_t status)
{
    APP_SAY(&f->apps[0], frame_pack_response, stream, status, SLICE(""), HEADERS_NONE,
            SLICE("x"));
    UNTIL(f, pool_busy(f->pool) == 0);
}

static void checks_decide_after_some_in_a_row(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_with(&f, 10, &CHECKING);
    fixture_up(&f, 0, 4);
    static const struct {
        uint16_t status;
        bool has_failed;
    } steps[] = {{200, false}, {500, false}, {404, false}, {302, false},
                 {500, false}, {500, false}, {503, true},  {200, true},
                 {500, true},  {204, true},  {200, false}};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        answer(&f, next_check(&f), steps[i].status);
        assert_int_equal(view(&f).has_failed_check, steps[i].has_failed);
        struct asker a;
        ask(&f, &a, "GET");
        assert_string_equal(a.heard, steps[i].has_failed ? "" : "sent");
        if (!steps[i].has_failed) {
            UNTIL(&f, strcmp(f.apps[0].seen[f.apps[0].count - 1].text, "GET /") == 0);
            app_respond(&f.apps[0], a.ticket.stream, "ok");
            UNTIL(&f, pool_busy(f.pool) == 0);
        }
        asker_fini(&a);
    }
    assert_int_equal(view(&f).stats.checks_failed, 6);
    fixture_fini(&f);
}

static void one_that_does_not_answer_fails(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_with(&f, 10, &CHECKING);
    fixture_up(&f, 0, 4);
    for (int n = 0; n < 3; n++) {
        assert_false(view(&f).has_failed_check);
        uint32_t stream = next_check(&f);
        fixture_pass(&f, SECOND_US / 2);
        UNTIL(&f, f.apps[0].seen[f.apps[0].count - 1].kind == FRAME_CANCEL);
        answer(&f, stream, 200); /* too late */
        fixture_settle(&f);
    }
    assert_true(view(&f).has_failed_check);
    fixture_fini(&f);
}

static void a_check_dies_with_its_connection_and_is_nobodys_fault(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_with(&f, 10, &CHECKING);
    fixture_up(&f, 0, 4);
    (void)next_check(&f);
    fixture_up(&f, 1, 4);
    link_free(&f.apps[0].link);
    UNTIL(&f, pool_up(f.pool) == 1);
    assert_int_equal(pool_busy(f.pool), 0);
    assert_int_equal(pool_stats(f.pool)->requeued + pool_stats(f.pool)->retried, 0);
    assert_int_equal(view(&f).stats.checks_failed, 0);
    fixture_fini(&f);
}

static void without_credit_nobody_is_asked(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    fixture_init_with(&f, 10, &CHECKING);
    fixture_up(&f, 0, 1);
    ask(&f, &a, "GET");
    UNTIL(&f, f.apps[0].count == 1);
    fixture_pass(&f, 2 * (uint64_t)SECOND_US);
    fixture_settle(&f);
    assert_int_equal(f.apps[0].count, 1);
    app_respond(&f.apps[0], a.ticket.stream, "ok");
    UNTIL(&f, pool_busy(f.pool) == 0);
    (void)next_check(&f);
    asker_fini(&a);
    fixture_fini(&f);
}

static void a_new_process_is_innocent(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_with(&f, 10, &CHECKING);
    fixture_up(&f, 0, 4);
    for (int n = 0; n < 3; n++)
        answer(&f, next_check(&f), 500);
    assert_true(view(&f).has_failed_check);
    link_free(&f.apps[0].link);
    UNTIL(&f, pool_up(f.pool) == 0);
    f.apps[0].instance = APP_INSTANCE + 1;
    fixture_bind(&f, 0, 4);
    UNTIL(&f, pool_up(f.pool) == 1);
    assert_false(view(&f).has_failed_check);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_decide_after_some_in_a_row),
        cmocka_unit_test(one_that_does_not_answer_fails),
        cmocka_unit_test(a_check_dies_with_its_connection_and_is_nobodys_fault),
        cmocka_unit_test(without_credit_nobody_is_asked),
        cmocka_unit_test(a_new_process_is_innocent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
