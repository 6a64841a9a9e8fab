/* SPDX-License-Identifier: MIT
 * Who reads and who runs. Handlers choose what to do by their target. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "tests/unit/appserver/core/harness.h"

static struct gate gate;
/* core_options.processors: all tests run as without and as under a GIL. */
static uint32_t processors;

/* "/wait...": at the gate; "/sleep": 2 ms; "/spin": 2 ms; else at once. */
static void handle(struct request *r, void *arg)
{
    struct slice target = request_frame(r)->target;

    (void)arg;
    if (target.len >= 5 && memcmp(target.ptr, "/wait", 5) == 0)
        gate_pass(&gate);
    if (slice_eq(target, SLICE("/sleep")))
        (void)usleep(2000);
    if (slice_eq(target, SLICE("/spin")))
        for (uint64_t end = clock_now_us() + 2000; clock_now_us() < end;)
            continue;
    respond(r, SLICE("done"));
}

static void setup(struct app *a, struct proxy *p, unsigned threads)
{
    gate_init(&gate);
    app_init(a, threads, handle, NULL);
    a->options.processors = processors;
    app_start(a);
    proxy_open(p, a->endpoint);
}

static void teardown(struct app *a, struct proxy *p)
{
    gate_open(&gate);
    app_stop(a);
    proxy_close(p);
}

static void one_worker_answers_in_order(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    setup(&a, &p, 1);
    for (uint32_t i = 1; i <= 100; i++) {
        proxy_request(&p, i, "/hello");
        proxy_send(&p);
        (void)proxy_expect_response(&p, i);
    }
    assert_int_equal(app_stats(&a).requests, 100);
    teardown(&a, &p);
}

static void many_answers_travel_in_few_messages(void **state)
{
    struct app a;
    struct proxy p;
    uint32_t stream = 1;

    (void)state;
    setup(&a, &p, 64);
    unsigned before = p.messages;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 40; i++)
            proxy_request(&p, stream++, "/hello");
        proxy_send(&p);
        for (int i = 0; i < 40; i++)
            (void)proxy_expect_response(&p, 0);
    }
    assert_in_range(p.messages - before, 1, 2000 / 2);
    teardown(&a, &p);
}

static void handlers_that_wait_run_all_at_once(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    setup(&a, &p, 256);
    for (uint32_t i = 1; i <= 256; i++)
        proxy_request(&p, i, "/wait");
    proxy_send(&p);
    gate_wait_inside(&gate, 256);
    gate_open(&gate);
    for (int i = 0; i < 256; i++)
        (void)proxy_expect_response(&p, 0);
    teardown(&a, &p);
}

static void handlers_that_wait_run_all_at_once_on_many_routes(void **state)
{
    static const char *const routes[] = {"/wait/a", "/wait/b", "/wait/c", "/wait/d"};
    struct app a;
    struct proxy p;

    (void)state;
    setup(&a, &p, 32);
    for (uint32_t i = 1; i <= 32; i++) {
        proxy_request(&p, i, routes[i % 4]);
        proxy_send(&p);
    }
    gate_wait_inside(&gate, 32);
    gate_open(&gate);
    for (int i = 0; i < 32; i++)
        (void)proxy_expect_response(&p, 0);
    teardown(&a, &p);
}

static void a_ping_is_answered_while_all_threads_are_inside(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    setup(&a, &p, 2);
    proxy_request(&p, 1, "/wait");
    proxy_request(&p, 2, "/wait");
    proxy_send(&p);
    gate_wait_inside(&gate, 2);
    for (int i = 0; i < 20; i++) {
        unsigned before = p.loads;
        frame_pack_ping(&p.out, p.epoch, 77, clock_now_us());
        proxy_send(&p);
        while (p.loads == before)
            assert_false(proxy_try_next(&p, 10000, &f));
    }
    gate_open(&gate);
    (void)proxy_expect_response(&p, 0);
    (void)proxy_expect_response(&p, 0);
    teardown(&a, &p);
}

static void a_thread_that_waits_holds_back_no_answer(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    setup(&a, &p, 1);
    proxy_warm(&p, 2);
    proxy_request(&p, p.stream + 1, "/hello");
    proxy_request(&p, p.stream + 2, "/wait");
    proxy_send(&p);
    (void)proxy_expect_response(&p, p.stream + 1);
    gate_wait_inside(&gate, 1);
    gate_open(&gate);
    (void)proxy_expect_response(&p, p.stream + 2);
    teardown(&a, &p);
}

static void what_waits_behind_a_long_handler_goes_back(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    setup(&a, &p, 1);
    proxy_warm(&p, 8);
    proxy_request(&p, p.stream + 1, "/wait");
    for (uint32_t i = 2; i <= 5; i++)
        proxy_request(&p, p.stream + i, "/hello");
    proxy_request_body(&p, p.stream + 6, "/hello", BODY_UNKNOWN, SLICE(""), 0, 0);
    proxy_send(&p);
    for (uint32_t i = 2; i <= 5; i++) {
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_RETURN);
        assert_int_equal(f.stream, p.stream + i);
        assert_int_equal(f.stop.reason, ERR_QUEUE_FULL);
    }
    assert_int_equal(p.window, 1);
    gate_open(&gate);
    (void)proxy_expect_response(&p, p.stream + 1);
    /* Its body may be on its way: it stayed. */
    (void)proxy_expect_response(&p, p.stream + 6);
    teardown(&a, &p);
}

static void a_short_request_passes_one_that_waits(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    setup(&a, &p, 2);
    proxy_request(&p, 1, "/wait");
    proxy_request(&p, 2, "/hello");
    proxy_send(&p);
    (void)proxy_expect_response(&p, 2);
    proxy_request(&p, 3, "/hello");
    proxy_send(&p);
    (void)proxy_expect_response(&p, 3);
    gate_open(&gate);
    (void)proxy_expect_response(&p, 1);
    teardown(&a, &p);
}

static atomic_uint running, most;

static void handle_counted(struct request *r, void *arg)
{
    unsigned now = atomic_fetch_add(&running, 1) + 1, seen = atomic_load(&most);

    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
        continue;
    handle(r, arg);
    /* The answer may be out, the request is not finished: it still counts. */
    (void)atomic_fetch_sub(&running, 1);
}

static void never_more_than_the_slots_run_at_once(void **state)
{
    static const char *const targets[] = {"/hello", "/sleep", "/spin", "/hello"};
    struct app a;
    struct proxy p[2];
    uint32_t sent[2] = {0, 0}, done[2] = {0, 0};
    struct frame f;

    (void)state;
    running = most = 0;
    gate_init(&gate);
    app_init(&a, 4, handle_counted, NULL);
    a.options.processors = processors;
    app_start(&a);
    proxy_open(&p[0], a.endpoint);
    proxy_open(&p[1], a.endpoint);
    while (done[0] + done[1] < 1000) {
        for (int k = 0; k < 2; k++) {
            while (sent[k] < 500 && sent[k] - done[k] < p[k].window) {
                sent[k]++;
                proxy_request(&p[k], sent[k], targets[sent[k] % 4]);
            }
            if (buf_len(&p[k].out) > 0)
                proxy_send(&p[k]);
            while (proxy_try_next(&p[k], 500, &f)) {
                /* RETURN: the machine was busy, all were inside for long. */
                assert_true(f.kind == FRAME_RESPONSE || f.kind == FRAME_RETURN);
                done[k]++;
            }
        }
    }
    assert_in_range(most, 1, 4);
    app_stop(&a);
    proxy_close(&p[0]);
    proxy_close(&p[1]);
}

/* Shares nothing with the test that it could have to wait for. */
static void handle_spin(struct request *r, void *arg)
{
    unsigned now = atomic_fetch_add(&running, 1) + 1, seen = atomic_load(&most);

    (void)arg;
    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
        continue;
    request_enter(r);
    for (uint64_t end = clock_now_us() + 2000; clock_now_us() < end;)
        continue;
    request_leave(r);
    (void)atomic_fetch_sub(&running, 1);
    (void)!request_respond(r, 200, SLICE(""), HEADERS_NONE, SLICE("done"));
}

static void handlers_that_compute_do_not_crowd_the_processor(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    running = most = 0;
    gate_init(&gate);
    app_init(&a, 64, handle_spin, NULL);
    a.options.processors = 1;
    app_start(&a);
    proxy_open(&p, a.endpoint);
    for (uint32_t i = 1; i <= 64; i++)
        proxy_request(&p, i, "/spin");
    proxy_send(&p);
    for (uint32_t i = 1; i <= 64; i++)
        (void)proxy_expect_response(&p, 0);
    /* One, and others beside it while locks make it sleep on a crowded machine. */
    assert_in_range(most, 1, 32);
    teardown(&a, &p);
}

static void grow(void *arg)
{
    app_add_worker(arg);
}

static void more_workers_are_asked_for_when_all_wait(void **state)
{
    struct app a;
    struct proxy p;
    uint32_t sent = 0, returned = 0;
    struct frame f;

    (void)state;
    gate_init(&gate);
    app_init(&a, 1, handle, NULL);
    a.options.processors = processors;
    a.options.threads_max = 4;
    a.events.grow = grow;
    a.events.arg = &a;
    app_start(&a);
    proxy_open(&p, a.endpoint);
    while (app_stats(&a).running < 4) {
        while (sent - returned < 5 && sent - returned < p.window) {
            sent++;
            proxy_request(&p, sent, "/wait");
        }
        if (buf_len(&p.out) > 0)
            proxy_send(&p);
        /* One too many waits for long and comes back. */
        if (proxy_try_next(&p, 1000, &f)) {
            assert_int_equal(f.kind, FRAME_RETURN);
            returned++;
        }
    }
    gate_wait_inside(&gate, 4);
    gate_open(&gate);
    while (sent > returned) {
        proxy_next(&p, &f);
        returned++;
    }
    assert_int_equal(gate.most, 4);
    teardown(&a, &p);
}

static atomic_uint stuck_calls, stuck_again_calls;

static void on_stuck(void *arg, uint64_t thread_tag, const char *request_id)
{
    (void)arg;
    if (thread_tag == 0 && strcmp(request_id, "test-1") == 0)
        (void)atomic_fetch_add(&stuck_calls, 1);
}

static void on_stuck_again(void *arg, const char *request_id)
{
    (void)request_id;
    (void)atomic_fetch_add(&stuck_again_calls, 1);
    gate_open(arg);
}

static void a_stuck_request_is_reported_twice(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    stuck_calls = stuck_again_calls = 0;
    gate_init(&gate);
    app_init(&a, 2, handle, NULL);
    a.options.processors = processors;
    a.options.request_timeout_s = 0.02;
    a.events.stuck = on_stuck;
    a.events.stuck_again = on_stuck_again;
    a.events.arg = &gate;
    app_start(&a);
    proxy_open(&p, a.endpoint);
    proxy_request(&p, 1, "/wait");
    proxy_send(&p);
    (void)proxy_expect_response(&p, 1);
    while (stuck_calls == 0) /* from a thread of its own */
        (void)usleep(1000);
    assert_int_equal(stuck_calls, 1);
    assert_int_equal(stuck_again_calls, 1);
    teardown(&a, &p);
}

static void handle_bytes(struct request *r, void *arg)
{
    struct slice byte;
    enum err e;

    while (request_readable(r) < FRAME_DEFAULT_WINDOW)
        (void)usleep(1000);
    core_drain(((struct app *)arg)->core);
    while (request_read(r, 1, &byte, &e) == STEP_DONE)
        continue;
    respond(r, SLICE("read"));
}

/* Whatever the watch does between its look at the clock and its look at the handlers.
 */
static void a_request_that_moves_is_never_stuck(void **state)
{
    static char body[FRAME_DEFAULT_WINDOW];
    struct app a;
    struct proxy p;

    (void)state;
    stuck_calls = stuck_again_calls = 0;
    app_init(&a, 2, handle_bytes, &a);
    a.options.processors = processors;
    a.options.request_timeout_s = 60;
    a.events.stuck = on_stuck;
    a.events.arg = &gate;
    app_start(&a);
    proxy_open(&p, a.endpoint);
    proxy_request_body(&p, 1, "/up", BODY_LENGTH, SLICE(""), sizeof(body), 0);
    for (size_t at = 0; at < sizeof(body); at += FRAME_MAX_BULK)
        proxy_send_bulk(&p, 1, slice_of(body + at, FRAME_MAX_BULK));
    frame_pack_end(&p.out, 1, SLICE(""));
    proxy_send(&p);
    struct frame f;
    do
        proxy_next(&p, &f);
    while (f.kind == FRAME_WINDOW);
    assert_int_equal(f.kind, FRAME_RESPONSE);
    assert_int_equal(stuck_calls, 0);
    teardown(&a, &p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_worker_answers_in_order),
        cmocka_unit_test(many_answers_travel_in_few_messages),
        cmocka_unit_test(handlers_that_wait_run_all_at_once),
        cmocka_unit_test(handlers_that_wait_run_all_at_once_on_many_routes),
        cmocka_unit_test(a_ping_is_answered_while_all_threads_are_inside),
        cmocka_unit_test(a_thread_that_waits_holds_back_no_answer),
        cmocka_unit_test(what_waits_behind_a_long_handler_goes_back),
        cmocka_unit_test(a_short_request_passes_one_that_waits),
        cmocka_unit_test(never_more_than_the_slots_run_at_once),
        cmocka_unit_test(handlers_that_compute_do_not_crowd_the_processor),
        cmocka_unit_test(more_workers_are_asked_for_when_all_wait),
        cmocka_unit_test(a_stuck_request_is_reported_twice),
        cmocka_unit_test(a_request_that_moves_is_never_stuck),
    };
    int failed = cmocka_run_group_tests_name("without a GIL", tests, NULL, NULL);
    processors = 1;
    return failed + cmocka_run_group_tests_name("under a GIL", tests, NULL, NULL);
}
