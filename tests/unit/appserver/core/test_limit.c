/* SPDX-License-Identifier: MIT
 * The operator's limit: nothing beyond it is started, whatever the links do. Requests
 * of a loop whose bodies follow are never handed back, so what waits stays
 * (send_streamed).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "tests/unit/appserver/core/loop_fixture.h"

enum { MOST = 16, SECOND_US = 1000000 };

/* ---- with a loop: the test sees every start ---- */

static void limit(struct proxy *p, uint32_t running)
{
    frame_pack_limit(&p->out, p->epoch, running);
    proxy_send(p);
}

/* Reads link frames until a LOAD says so. */
static void wait_for_slots(struct proxy *p, uint32_t slots)
{
    uint64_t until = clock_now_us() + HARNESS_WAIT_US;
    struct frame f;

    while (p->load_slots != slots) {
        assert_true(clock_now_us() < until);
        assert_false(proxy_try_next(p, 1000, &f));
    }
}

static uint32_t here(struct app *a)
{
    struct core_stats s = app_stats(a);
    return s.running + s.waiting;
}

/* `count` requests more, until all are there. */
static void send_more(struct app *a, struct proxy *p, uint32_t count)
{
    uint64_t until = clock_now_us() + HARNESS_WAIT_US;
    uint32_t wanted = here(a) + count;

    for (uint32_t i = 0; i < count; i++)
        send_streamed(p, ++p->stream, 0);
    while (here(a) < wanted) {
        assert_true(clock_now_us() < until);
        (void)app_try_turn(a, 1000);
    }
    settle(a);
}

static struct request *started(struct app *a)
{
    return app_expect_news(a, NEWS_STARTED);
}

static void expect_no_start(struct app *a)
{
    settle(a);
    assert_false(app_has_news(a));
}

static void a_limit_before_the_first_request_holds_for_it(void **state)
{
    struct request *r[2];
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, MOST);
    assert_int_equal(p.hello.slots, MOST);
    frame_pack_limit(&p.out, p.epoch, 2); /* leaves with the first requests */
    send_streamed(&p, ++p.stream, 0);
    send_streamed(&p, ++p.stream, 0);
    r[0] = started(&a);
    r[1] = started(&a);
    send_more(&a, &p, 3);
    expect_no_start(&a);
    wait_for_slots(&p, 2);
    assert_int_equal(p.window, 2);
    finish(&a, r[0], "done");
    r[0] = started(&a);
    expect_no_start(&a);
    finish(&a, r[0], "done");
    finish(&a, r[1], "done");
    finish(&a, started(&a), "done");
    finish(&a, started(&a), "done");
    stop(&a, &p);
}

static void what_runs_when_a_limit_is_lowered_goes_on(void **state)
{
    struct request *r[4];
    struct frame f;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 8);
    send_more(&a, &p, 4);
    for (size_t i = 0; i < 4; i++)
        r[i] = started(&a);
    limit(&p, 2);
    wait_for_slots(&p, 2);
    assert_int_equal(p.load_running, 4);
    send_more(&a, &p, 2);
    finish(&a, r[0], "done");
    expect_no_start(&a);
    finish(&a, r[1], "done");
    expect_no_start(&a);
    while (p.load_running != 2) /* it is said when the limit has taken hold */
        assert_false(proxy_try_next(&p, 1000, &f) && f.kind != FRAME_RESPONSE);
    finish(&a, r[2], "done");
    r[2] = started(&a);
    expect_no_start(&a);
    finish(&a, r[2], "done");
    finish(&a, r[3], "done");
    finish(&a, started(&a), "done");
    stop(&a, &p);
}

static void none_lifts_it_at_once(void **state)
{
    struct request *r[4];
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 4);
    limit(&p, 1);
    wait_for_slots(&p, 1);
    send_more(&a, &p, 3);
    r[0] = started(&a);
    expect_no_start(&a);
    limit(&p, 0);
    for (size_t i = 1; i < 3; i++)
        r[i] = started(&a);
    wait_for_slots(&p, 4);
    for (size_t i = 0; i < 3; i++)
        finish(&a, r[i], "done");
    limit(&p, 1000); /* more than its slots */
    send_streamed(&p, ++p.stream, 0);
    finish(&a, started(&a), "done");
    assert_int_equal(p.load_slots, 4);
    stop(&a, &p);
}

static void the_lowest_of_all_links_holds_as_long_as_it_lives(void **state)
{
    struct request *r[2];
    struct app a;
    struct proxy p, q, s;

    (void)state;
    start(&a, &p, 8);
    proxy_open_loop(&q, &a, FRAME_DEFAULT_WINDOW);
    proxy_open_loop(&s, &a, FRAME_DEFAULT_WINDOW); /* says nothing of a limit */
    limit(&p, 3);
    limit(&q, 1);
    wait_for_slots(&s, 1);
    wait_for_slots(&p, 1);
    wait_for_slots(&q, 1);
    assert_int_equal(p.window + q.window + s.window, 3); /* each has one */
    send_more(&a, &p, 1);
    send_more(&a, &s, 1);
    r[0] = started(&a);
    expect_no_start(&a);
    proxy_close(&q);
    r[1] = started(&a);
    wait_for_slots(&s, 3);
    frame_pack_bye(&p.out, p.epoch, SLICE("SHUTTING_DOWN"));
    proxy_send(&p);
    wait_for_slots(&s, 8);
    finish(&a, r[0], "done");
    finish(&a, r[1], "done");
    stop(&a, &p);
    proxy_close(&s);
}

static void a_link_that_begins_anew_states_no_limit_until_it_says_so(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, 8);
    limit(&p, 1);
    wait_for_slots(&p, 1);
    p.old_epoch = p.epoch++;
    p.hello.version = 0;
    p.grants = 0;
    proxy_hello(&p, FRAME_DEFAULT_WINDOW);
    assert_int_equal(p.hello.slots, 8);
    frame_pack_limit(&p.out, p.old_epoch, 2); /* late: dropped */
    limit(&p, 3);
    wait_for_slots(&p, 3);
    stop(&a, &p);
}

/* One that waits, as an edge would send it that had read it at `queued_us`. */
static void
send_of_age(struct app *a, struct proxy *p, uint32_t flags, uint64_t queued_us)
{
    uint64_t until = clock_now_us() + HARNESS_WAIT_US;
    struct frame_request r = {
        .flags = flags,
        .method = SLICE("POST"),
        .target = SLICE("/up"),
        .body_form = BODY_UNKNOWN,
        .queued_us = queued_us,
    };
    uint32_t wanted = here(a) + 1;

    proxy_request_frame(p, ++p->stream, &r);
    proxy_send(p);
    while (here(a) < wanted) {
        assert_true(clock_now_us() < until);
        (void)app_try_turn(a, 1000);
    }
}

static void what_comes_back_takes_its_place_by_its_age(void **state)
{
    static const uint64_t order[] = {10, 40, 60, 50, 70, 65, 90};
    uint64_t base = clock_now_us();
    struct app a;
    struct proxy p, q;

    (void)state;
    start(&a, &p, MOST);
    proxy_open_loop(&q, &a, FRAME_DEFAULT_WINDOW);
    limit(&p, 1);
    wait_for_slots(&q, 1);
    send_of_age(&a, &p, 0, base + 10 * SECOND_US);
    struct request *r = started(&a);
    send_of_age(&a, &p, 0, base + 70 * SECOND_US);
    send_of_age(&a, &q, REQUEST_RETRY,
                base + 40 * SECOND_US); /* before one that came earlier */
    send_of_age(&a, &q, REQUEST_RETRY, base + 60 * SECOND_US);
    send_of_age(&a, &q, REQUEST_RETRY,
                base + 50 * SECOND_US);            /* but not of its own link */
    send_of_age(&a, &p, 0, base + 65 * SECOND_US); /* and only if it came back */
    send_of_age(&a, &q, REQUEST_RETRY, base + 90 * SECOND_US);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        assert_int_equal(request_frame(r)->queued_us, base + order[i] * SECOND_US);
        finish(&a, r, "done");
        if (i + 1 < sizeof(order) / sizeof(order[0]))
            r = started(&a);
    }
    stop(&a, &p);
    proxy_close(&q);
}

/* ---- with threads ---- */

static struct gate gate;

static void handle(struct request *r, void *arg)
{
    (void)arg;
    if (slice_eq(request_frame(r)->target, SLICE("/wait")))
        gate_pass(&gate);
    respond(r, SLICE("done"));
}

/* What came back is sent again, as an edge does. */
static void take_answers(struct proxy *p, uint32_t count)
{
    struct frame f;

    while (count > 0) {
        proxy_next(p, &f);
        if (f.kind == FRAME_RETURN) {
            proxy_request_body(p, ++p->stream, "/wait", BODY_NONE, SLICE(""), 0,
                               REQUEST_RETRY);
            proxy_send(p);
            continue;
        }
        assert_int_equal(f.kind, FRAME_RESPONSE);
        count--;
    }
}

static void free_threads_take_no_more_than_the_limit(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    gate_init(&gate);
    app_init(&a, 32, handle, NULL);
    app_start(&a);
    proxy_open(&p, a.endpoint);
    frame_pack_limit(&p.out, p.epoch, 3);
    for (uint32_t i = 0; i < 32; i++) /* they cross its GRANT */
        proxy_request(&p, ++p.stream, "/wait");
    proxy_send(&p);
    gate_wait_inside(&gate, 3);
    /* Threads are free and requests wait: somebody reads all the same. */
    for (int i = 0; i < 10; i++) {
        unsigned before = p.loads;
        frame_pack_ping(&p.out, p.epoch, 77, clock_now_us());
        proxy_send(&p);
        while (p.loads == before)
            if (proxy_try_next(&p, 1000, &f)) {
                assert_int_equal(f.kind, FRAME_RETURN);
                proxy_request_body(&p, ++p.stream, "/wait", BODY_NONE, SLICE(""), 0,
                                   REQUEST_RETRY);
                proxy_send(&p);
            }
        assert_int_equal(app_stats(&a).running, 3);
    }
    gate_open(&gate);
    take_answers(&p, 32);
    assert_int_equal(gate.most, 3);
    app_stop(&a);
    proxy_close(&p);
}

static void lifting_it_wakes_the_threads_that_sleep(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    gate_init(&gate);
    app_init(&a, 8, handle, NULL);
    app_start(&a);
    proxy_open(&p, a.endpoint);
    limit(&p, 1);
    for (uint32_t i = 0; i < 8; i++)
        proxy_request(&p, ++p.stream, "/wait");
    proxy_send(&p);
    gate_wait_inside(&gate, 1);
    limit(&p, 0);
    while (app_stats(&a).running < 8)
        if (proxy_try_next(&p, 1000, &f)) {
            assert_int_equal(f.kind, FRAME_RETURN);
            proxy_request(&p, ++p.stream, "/wait");
            proxy_send(&p);
        }
    gate_open(&gate);
    take_answers(&p, 8);
    app_stop(&a);
    proxy_close(&p);
}

static void wait_for_window(struct proxy *p, uint32_t window)
{
    struct frame f;

    while (p->window != window)
        assert_false(proxy_try_next(p, 1000, &f));
}

/* Threads can be grown, and one request more may wait so that it is seen to be needed;
 * but not where the limit has them all. */
static void no_window_is_for_a_thread_beyond_the_limit(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    app_init(&a, 2, handle, NULL);
    a.options.threads_max = 8;
    app_start(&a);
    proxy_open(&p, a.endpoint);
    assert_int_equal(p.window, 3);
    limit(&p, 1);
    wait_for_window(&p, 1);
    limit(&p, 3);
    wait_for_window(&p, 3);
    app_stop(&a);
    proxy_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_before_the_first_request_holds_for_it),
        cmocka_unit_test(what_runs_when_a_limit_is_lowered_goes_on),
        cmocka_unit_test(none_lifts_it_at_once),
        cmocka_unit_test(the_lowest_of_all_links_holds_as_long_as_it_lives),
        cmocka_unit_test(a_link_that_begins_anew_states_no_limit_until_it_says_so),
        cmocka_unit_test(what_comes_back_takes_its_place_by_its_age),
        cmocka_unit_test(free_threads_take_no_more_than_the_limit),
        cmocka_unit_test(lifting_it_wakes_the_threads_that_sleep),
        cmocka_unit_test(no_window_is_for_a_thread_beyond_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
