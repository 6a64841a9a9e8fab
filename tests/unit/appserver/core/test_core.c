/* SPDX-License-Identifier: MIT
 * A core's life: draining, inproc://, endpoints that cannot be bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/appserver/core/harness.h"

static struct gate gate;

static void handle(struct request *r, void *arg)
{
    (void)arg;
    if (slice_eq(request_frame(r)->target, SLICE("/wait")))
        gate_pass(&gate);
    respond(r, SLICE("done"));
}

static void a_drain_finishes_what_runs_and_returns_the_rest(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    gate_init(&gate);
    app_init(&a, 1, handle, NULL);
    app_start(&a);
    proxy_open(&p, a.endpoint);
    proxy_warm(&p, 2);
    uint32_t last = p.stream;
    proxy_request(&p, last + 1, "/wait");
    proxy_request(&p, last + 2, "/hello");
    proxy_send(&p);
    gate_wait_inside(&gate, 1);
    core_drain(a.core);
    /* Because of the drain, or just before it as it waited for long. */
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_RETURN);
    assert_int_equal(f.stream, last + 2);
    assert_false(core_wait_drained(a.core, 1000));
    /* One that crossed the DRAIN. */
    proxy_request(&p, last + 3, "/hello");
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_RETURN);
    assert_int_equal(f.stream, last + 3);
    assert_int_equal(f.stop.reason, ERR_SHUTTING_DOWN);
    assert_true(p.draining);
    assert_int_equal(p.window, 0);
    gate_open(&gate);
    (void)proxy_expect_response(&p, last + 1);
    proxy_wait_flag(&p, &p.bye);
    assert_string_equal(p.bye_reason, "SHUTTING_DOWN");
    app_stop(&a);
    proxy_close(&p);
}

/* The edge may not have the bytes of a body any more that it passed on as it came. */
static void what_cannot_be_sent_again_is_run_here(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    gate_init(&gate);
    app_init(&a, 1, handle, NULL);
    app_start(&a);
    proxy_open(&p, a.endpoint);
    proxy_warm(&p, 2);
    uint32_t last = p.stream;
    proxy_request(&p, last + 1, "/wait");
    proxy_request_body(&p, last + 2, "/up", BODY_LENGTH, SLICE(""), 3, 0);
    frame_pack_body(&p.out, last + 2, SLICE("abc"));
    frame_pack_end(&p.out, last + 2, SLICE(""));
    proxy_send(&p);
    gate_wait_inside(&gate, 1);
    /* It does not go back because it waits for long, nor when the process ends. */
    assert_false(proxy_try_next(&p, 30000, &f));
    core_drain(a.core);
    proxy_wait_flag(&p, &p.draining);
    assert_false(core_wait_drained(a.core, 1000));
    gate_open(&gate);
    (void)proxy_expect_response(&p, last + 1);
    (void)proxy_expect_response(&p, last + 2);
    proxy_wait_flag(&p, &p.bye);
    assert_int_equal(app_stats(&a).returned, 0);
    app_stop(&a);
    proxy_close(&p);
}

static void a_link_that_comes_while_draining_gets_no_credit(void **state)
{
    struct app a;
    struct proxy p, late;

    (void)state;
    gate_init(&gate);
    app_init(&a, 2, handle, NULL);
    app_start(&a);
    proxy_open(&p, a.endpoint);
    proxy_request(&p, 1, "/wait");
    proxy_send(&p);
    gate_wait_inside(&gate, 1);
    core_drain(a.core);
    proxy_wait_flag(&p, &p.draining);
    proxy_open(&late, a.endpoint);
    assert_true(late.draining);
    assert_int_equal(late.window, 0);
    gate_open(&gate);
    (void)proxy_expect_response(&p, 1);
    proxy_wait_flag(&late, &late.bye);
    app_stop(&a);
    proxy_close(&p);
    proxy_close(&late);
}

static void an_idle_core_drains_at_once(void **state)
{
    struct app a;

    (void)state;
    for (unsigned threads = 1; threads < 20; threads += 6) {
        app_init(&a, threads, handle, NULL);
        app_start(&a);
        app_stop(&a);
    }
}

static void a_core_without_workers_drains(void **state)
{
    struct app a;

    (void)state;
    app_init(&a, 1, handle, NULL);
    assert_int_equal(core_new(&a.options, &a.events, &a.core), ERR_NONE);
    app_stop(&a);
}

static void proxies_of_the_same_process_meet_over_inproc(void **state)
{
    struct link_context *context = link_context_new(16);
    struct app a;
    struct proxy p;

    (void)state;
    gate_init(&gate);
    app_init(&a, 2, handle, NULL);
    a.options.endpoint = "inproc://core";
    a.options.context = context;
    app_start(&a);
    proxy_connect(&p, context, "inproc://core");
    proxy_hello(&p, FRAME_DEFAULT_WINDOW);
    assert_string_equal(p.page, "");
    for (uint32_t i = 1; i <= 50; i++) {
        proxy_request(&p, i, "/hello");
        proxy_send(&p);
        (void)proxy_expect_response(&p, i);
    }
    proxy_close(&p);
    app_stop(&a);
    link_context_free(&context);
}

static void tcp_serves_as_well(void **state)
{
    struct app a;
    struct proxy p;
    char endpoint[64];
    enum err e = ERR_SYSTEM;

    (void)state;
    gate_init(&gate);
    app_init(&a, 2, handle, NULL);
    a.options.endpoint = endpoint;
    for (int port = 20000 + getpid() % 10000; e != ERR_NONE && port < 40000; port++) {
        (void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", port);
        e = core_new(&a.options, &a.events, &a.core);
    }
    assert_int_equal(e, ERR_NONE);
    app_add_worker(&a);
    proxy_open(&p, endpoint);
    assert_string_equal(p.page, "");
    for (uint32_t i = 1; i <= 50; i++) {
        proxy_request(&p, i, "/hello");
        proxy_send(&p);
        (void)proxy_expect_response(&p, i);
    }
    proxy_close(&p);
    app_stop(&a);
}

static void an_endpoint_that_cannot_be_bound_is_an_error(void **state)
{
    static const struct {
        const char *endpoint;
        enum err e;
    } cases[] = {
        {"ipc:///nonexistent/directory/app", ERR_SYSTEM},
        {"http://127.0.0.1", ERR_BAD_ENDPOINT},
        {"tcp://192.0.2.1:9999", ERR_BAD_ENDPOINT},
    };
    struct app a;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        app_init(&a, 1, handle, NULL);
        a.options.endpoint = cases[i].endpoint;
        assert_int_equal(core_new(&a.options, &a.events, &a.core), cases[i].e);
        (void)rmdir(a.directory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drain_finishes_what_runs_and_returns_the_rest),
        cmocka_unit_test(what_cannot_be_sent_again_is_run_here),
        cmocka_unit_test(a_link_that_comes_while_draining_gets_no_credit),
        cmocka_unit_test(an_idle_core_drains_at_once),
        cmocka_unit_test(a_core_without_workers_drains),
        cmocka_unit_test(proxies_of_the_same_process_meet_over_inproc),
        cmocka_unit_test(tcp_serves_as_well),
        cmocka_unit_test(an_endpoint_that_cannot_be_bound_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
