/* SPDX-License-Identifier: MIT
 * What is done for a loop while it is busy, and how it drains. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "tests/unit/appserver/core/loop_fixture.h"

static void a_drain_starts_only_what_cannot_be_sent_again(void **state)
{
    struct slice data;
    struct frame f;
    struct app a;
    struct proxy p;
    enum err e;

    (void)state;
    start(&a, &p, 5);
    proxy_request(&p, 1, "/slow");
    proxy_send(&p);
    struct request *running = app_expect_news(&a, NEWS_STARTED);
    /* The loop is busy; what comes is read, and waits. */
    p.app = NULL;
    proxy_request_body(&p, 2, "/up", BODY_LENGTH, SLICE(""), 3, 0);
    frame_pack_body(&p.out, 2, SLICE("abc"));
    frame_pack_end(&p.out, 2, SLICE(""));
    proxy_request(&p, 3, "/returned");
    proxy_request_body(&p, 4, "/expect", BODY_LENGTH, SLICE(""), 3, REQUEST_EXPECT);
    proxy_send(&p);
    while (app_stats(&a).waiting + app_stats(&a).returned < 3)
        (void)usleep(1000);
    assert_false(core_is_draining(a.core));
    core_drain(a.core);
    assert_true(core_is_draining(a.core));
    for (uint32_t stream = 3; stream <= 4; stream++) {
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_RETURN);
        assert_int_equal(f.stream, stream);
    }
    proxy_wait_flag(&p, &p.draining);
    assert_false(core_wait_drained(a.core, 1000));

    p.app = &a;
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    finish(&a, running, "done");
    (void)proxy_expect_response(&p, 1);
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_DATA);
    assert_true(slice_eq(data, SLICE("abc")));
    assert_int_equal(request_take(r, 100, &data, &e), TAKE_END);
    /* The same for one that crosses the DRAIN. */
    proxy_request(&p, 5, "/returned");
    send_streamed(&p, 6, 0);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_RETURN);
    assert_int_equal(f.stream, 5);
    finish(&a, app_expect_news(&a, NEWS_STARTED), "crossed");
    (void)proxy_expect_response(&p, 6);
    finish(&a, r, "up");
    (void)proxy_expect_response(&p, 2);
    assert_true(core_wait_drained(a.core, HARNESS_WAIT_US));
    proxy_wait_flag(&p, &p.bye);
    stop(&a, &p);
}

static void a_drain_wakes_a_loop_that_has_nothing_to_do(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 1);
    settle(&a);
    core_drain(a.core);
    assert_true(app_try_turn(&a, HARNESS_WAIT_US));
    assert_true(core_is_draining(a.core));
    while (!core_is_drained(a.core))
        assert_true(app_try_turn(&a, HARNESS_WAIT_US));
    assert_true(core_wait_drained(a.core, 0));
    stop(&a, &p);
}

/* From here on the loop is inside something long: it does not turn. */

static void a_ping_is_answered_while_the_loop_is_busy(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 5);
    proxy_request(&p, 1, "/slow");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    settle(&a);
    p.app = NULL;
    unsigned before = p.loads;
    frame_pack_ping(&p.out, p.epoch, 5, clock_now_us());
    proxy_send(&p);
    bool answered = false;
    while (!answered) {
        struct frame f;
        assert_false(proxy_try_next(&p, 1000, &f));
        answered = p.loads > before;
    }
    /* What came is news as soon as it looks again. */
    frame_pack_cancel(&p.out, 1, ERR_CLIENT_GONE);
    proxy_send(&p);
    while (request_gone(r) == ERR_NONE)
        (void)usleep(1000);
    p.app = &a;
    assert_ptr_equal(app_expect_news(&a, NEWS_GONE), r);
    request_finish(&r);
    stop(&a, &p);
}

static void what_waits_for_a_busy_loop_goes_back(void **state)
{
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 50);
    uint32_t window = p.window;
    assert_in_range(window, 50, 51);
    proxy_request(&p, 1, "/slow");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    settle(&a);
    p.app = NULL;
    send_streamed(&p, 2, 0);
    proxy_request(&p, 3, "/waits");
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_RETURN);
    assert_int_equal(f.stream, 3);
    assert_int_equal(f.stop.reason, ERR_QUEUE_FULL);
    /* No more of them until it looks again. */
    assert_int_equal(p.window, 1);
    p.app = &a;
    finish(&a, r, "slow");
    (void)proxy_expect_response(&p, 1);
    finish(&a, app_expect_news(&a, NEWS_STARTED), "up");
    (void)proxy_expect_response(&p, 2);
    while (p.window < window)
        (void)proxy_try_next(&p, 1000, &f);
    stop(&a, &p);
}

static void what_a_busy_loop_left_behind_is_sent(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 5);
    proxy_request(&p, 1, "/x");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    respond(r, SLICE("x"));
    p.app = NULL;
    (void)proxy_expect_response(&p, 1);
    request_finish(&r);
    p.app = &a;
    stop(&a, &p);
}

static _Atomic unsigned stuck_calls, stuck_again_calls;

static void on_stuck(void *arg, uint64_t thread_tag, const char *request_id)
{
    (void)arg;
    if (thread_tag == 77 && request_id[0] == '\0')
        stuck_calls++;
}

static void on_stuck_again(void *arg, const char *request_id)
{
    (void)arg;
    (void)request_id;
    stuck_again_calls++;
}

static void a_loop_that_does_not_look_at_its_work_is_stuck(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    stuck_calls = stuck_again_calls = 0;
    app_init_loop(&a, 5);
    a.options.request_timeout_s = 0.1;
    a.events.stuck = on_stuck;
    a.events.stuck_again = on_stuck_again;
    app_start_loop(&a);
    proxy_open_loop(&p, &a, FRAME_DEFAULT_WINDOW);
    proxy_request(&p, 1, "/slow");
    proxy_send(&p);
    struct request *r = app_expect_news(&a, NEWS_STARTED);
    settle(&a);
    /* Busy, but with nothing to do for it here: that is its own affair. */
    (void)usleep(800000);
    assert_int_equal(stuck_calls, 0);
    proxy_request(&p, 2, "/waits");
    proxy_send(&p);
    for (uint64_t until = clock_now_us() + HARNESS_WAIT_US; stuck_again_calls == 0;) {
        assert_true(clock_now_us() < until);
        (void)usleep(1000);
    }
    assert_int_equal(stuck_calls, 1);
    /* It looks again: over, and a later one is a new one. */
    p.stream = 2;
    replace(&a, &p, &r);
    proxy_request(&p, ++p.stream, "/waits");
    proxy_send(&p);
    for (uint64_t until = clock_now_us() + HARNESS_WAIT_US; stuck_calls == 1;) {
        assert_true(clock_now_us() < until);
        (void)usleep(1000);
    }
    replace(&a, &p, &r);
    finish(&a, r, "waited");
    stop(&a, &p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drain_starts_only_what_cannot_be_sent_again),
        cmocka_unit_test(a_drain_wakes_a_loop_that_has_nothing_to_do),
        cmocka_unit_test(a_ping_is_answered_while_the_loop_is_busy),
        cmocka_unit_test(what_waits_for_a_busy_loop_goes_back),
        cmocka_unit_test(what_a_busy_loop_left_behind_is_sent),
        cmocka_unit_test(a_loop_that_does_not_look_at_its_work_is_stuck),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
