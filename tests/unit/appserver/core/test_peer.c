/* SPDX-License-Identifier: MIT
 * Links: arrival, credit, marks, misbehaviour, departure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "protocol/page.h"
#include "tests/unit/appserver/core/harness.h"

static struct gate gate;

static void handle(struct request *r, void *arg)
{
    struct slice target = request_frame(r)->target;
    atomic_int *gone = arg;

    if (slice_eq(target, SLICE("/wait")))
        gate_pass(&gate);
    if (slice_eq(target, SLICE("/gone"))) {
        gate_pass(&gate);
        enum err e;
        while ((e = request_gone(r)) == ERR_NONE)
            (void)usleep(100);
        atomic_store(gone, (int)e);
    }
    respond(r, SLICE("done"));
}

static void start(struct app *a, unsigned threads, atomic_int *gone)
{
    gate_init(&gate);
    app_init(a, threads, handle, gone);
    app_start(a);
}

static void hello_is_answered_with_hello_and_a_grant(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, 16, NULL);
    proxy_open(&p, a.endpoint);
    assert_int_equal(p.hello.version, PROTOCOL_VERSION);
    assert_true(p.hello.has_app);
    assert_int_equal(p.hello.slots, 16);
    assert_int_equal(p.hello.pid, getpid());
    assert_true(p.window >= 16);
    assert_true(strlen(p.page) > 0);
    app_stop(&a);
    proxy_close(&p);
}

static void marks_show_what_was_started(void **state)
{
    struct app a;
    struct proxy p[2];
    struct page *page = NULL;
    struct frame f;

    (void)state;
    start(&a, 2, NULL);
    proxy_open(&p[0], a.endpoint);
    proxy_open(&p[1], a.endpoint);
    assert_int_equal(page_open(p[0].page, p[0].hello.instance, &page), ERR_NONE);
    assert_int_not_equal(p[0].hello.page_slot, p[1].hello.page_slot);
    assert_true(page_never_started(page, (int)p[0].hello.page_slot, 1));
    proxy_warm(&p[0], 3);
    uint32_t last = p[0].stream;
    int slot = (int)p[0].hello.page_slot;
    assert_false(page_never_started(page, slot, last));
    proxy_request(&p[0], last + 1, "/wait");
    proxy_request(&p[0], last + 2, "/wait");
    proxy_request(&p[0], last + 3, "/wait");
    proxy_send(&p[0]);
    gate_wait_inside(&gate, 2);
    assert_false(page_never_started(page, slot, last + 1));
    assert_false(page_never_started(page, slot, last + 2));
    assert_true(page_never_started(page, slot, last + 3));
    assert_true(page_never_started(page, (int)p[1].hello.page_slot, 1));
    gate_open(&gate);
    /* The third is answered, or was handed back meanwhile. */
    for (int n = 0; n < 3; n++)
        proxy_next(&p[0], &f);
    app_stop(&a);
    page_free(&page);
    proxy_close(&p[0]);
    proxy_close(&p[1]);
}

static void credit_moves_to_the_link_that_needs_it(void **state)
{
    struct app a;
    struct proxy p[2];
    uint32_t stream = 0;

    (void)state;
    start(&a, 16, NULL);
    proxy_open(&p[0], a.endpoint);
    proxy_open(&p[1], a.endpoint);
    while (p[0].window < 16) {
        uint32_t n = p[0].window;
        for (uint32_t i = 0; i < n; i++)
            proxy_request(&p[0], ++stream, "/hello");
        proxy_send(&p[0]);
        for (uint32_t i = 0; i < n; i++)
            (void)proxy_expect_response(&p[0], 0);
    }
    /* The other one needs it now. */
    stream = 0;
    while (p[1].window < 8) {
        uint32_t n = p[1].window;
        for (uint32_t i = 0; i < n; i++)
            proxy_request(&p[1], ++stream, "/hello");
        proxy_send(&p[1]);
        for (uint32_t i = 0; i < n; i++)
            (void)proxy_expect_response(&p[1], 0);
    }
    app_stop(&a);
    proxy_close(&p[0]);
    proxy_close(&p[1]);
}

static void what_comes_beyond_the_window_is_returned(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, 1, NULL);
    proxy_open(&p, a.endpoint);
    uint32_t window = p.window;
    for (uint32_t i = 1; i <= window + 5; i++)
        proxy_request(&p, i, "/wait");
    proxy_send(&p);
    for (uint32_t i = 1; i <= 5; i++) {
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_RETURN);
        assert_int_equal(f.stop.reason, ERR_QUEUE_FULL);
        assert_int_equal(f.stream, window + i);
    }
    gate_open(&gate);
    for (uint32_t i = 1; i <= window; i++)
        (void)proxy_expect_response(&p, i);
    app_stop(&a);
    proxy_close(&p);
}

static void a_service_time_is_known_however_short_it_is(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    app_init_loop(&a, 2);
    app_start_loop(&a);
    proxy_open_loop(&p, &a, FRAME_DEFAULT_WINDOW);
    for (uint32_t i = 0; i < 2; i++) {
        frame_pack_ping(&p.out, p.epoch, i + 1, clock_now_us());
        proxy_send(&p);
        while (p.load_sequence != i + 1)
            (void)!proxy_try_next(&p, 1000, &f);
        if (i == 0) {
            assert_int_equal(p.load_service_us, 0);
            proxy_request(&p, 1, "/hello");
            proxy_send(&p);
            clock_set(clock_now_us()); /* it takes no time at all */
            struct request *r = app_expect_news(&a, NEWS_STARTED);
            respond(r, SLICE("done"));
            request_finish(&r);
            clock_release();
            core_loop_flush(a.core);
        }
    }
    assert_true(p.load_service_us > 0);
    app_stop(&a);
    proxy_close(&p);
}

static void a_cancelled_request_is_returned_or_aborted(void **state)
{
    atomic_int gone = ERR_NONE;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, 1, &gone);
    proxy_open(&p, a.endpoint);
    proxy_warm(&p, 3);
    proxy_request(&p, p.stream + 1, "/gone");
    proxy_request(&p, p.stream + 2, "/hello");
    frame_pack_cancel(&p.out, p.stream + 2, ERR_CLIENT_GONE);
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_RETURN);
    assert_int_equal(f.stream, p.stream + 2);
    assert_int_equal(f.stop.reason, ERR_CLIENT_GONE);
    gate_wait_inside(&gate, 1);
    gate_open(&gate);
    frame_pack_cancel(&p.out, p.stream + 1, ERR_REQUEST_TIMEOUT);
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_ABORT);
    assert_int_equal(f.stream, p.stream + 1);
    assert_int_equal(f.stop.reason, ERR_REQUEST_TIMEOUT);
    /* One that has ended already: nothing happens. */
    frame_pack_cancel(&p.out, p.stream + 1, ERR_CLIENT_GONE);
    proxy_send(&p);
    assert_false(proxy_try_next(&p, 2000, &f));
    app_stop(&a);
    proxy_close(&p);
    assert_int_equal(gone, ERR_REQUEST_TIMEOUT);
}

static void frames_of_an_old_epoch_are_dropped(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, 1, NULL);
    proxy_open(&p, a.endpoint);
    uint64_t dropped = app_stats(&a).dropped_frames;
    frame_pack_ping(&p.out, p.epoch + 1, 5, 0);
    frame_pack_drain(&p.out, p.epoch - 1);
    proxy_request(&p, 1, "/hello");
    proxy_send(&p);
    (void)proxy_expect_response(&p, 1);
    assert_int_not_equal(p.load_sequence, 5);
    assert_int_equal(app_stats(&a).dropped_frames, dropped + 2);
    assert_false(proxy_try_next(&p, 1000, &f));
    app_stop(&a);
    proxy_close(&p);
}

static void nothing_is_heard_before_hello(void **state)
{
    static const char *const endpoints[] = {NULL, "inproc://core"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct link_context *context = link_context_new(16);
        struct app a;
        struct proxy p;
        gate_init(&gate);
        app_init(&a, 1, handle, NULL);
        a.options.context = context;
        if (endpoints[i] != NULL)
            a.options.endpoint = endpoints[i];
        app_start(&a);
        proxy_connect(&p, context, a.options.endpoint);
        proxy_request(&p, 1, "/hello");
        proxy_send(&p);
        proxy_hello(&p, FRAME_DEFAULT_WINDOW);
        proxy_request(&p, 2, "/hello");
        proxy_send(&p);
        (void)proxy_expect_response(&p, 2);
        assert_int_equal(app_stats(&a).requests, 1);
        proxy_close(&p);
        app_stop(&a);
        link_context_free(&context);
    }
}

/* Asks until it is answered: a request may come back while those of a proxy that is
 * gone hold the slots. Returns its stream. */
static uint32_t be_served(struct proxy *p)
{
    struct frame f = {.kind = FRAME_RETURN};
    uint32_t stream = 0;

    while (f.kind == FRAME_RETURN) {
        proxy_request(p, ++stream, "/hello");
        proxy_send(p);
        proxy_next(p, &f);
    }
    assert_int_equal(f.kind, FRAME_RESPONSE);
    assert_int_equal(f.stream, stream);
    return stream;
}

/* What a DEALER had written for a process before this one arrives first. */
static void a_hello_of_another_epoch_begins_the_link_anew(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    gate_init(&gate);
    start(&a, 1, NULL);
    proxy_open(&p, a.endpoint);
    proxy_request(&p, 5, "/wait");
    proxy_send(&p);
    gate_wait_inside(&gate, 1);
    p.old_epoch = p.epoch++;
    p.hello.version = 0;
    p.grants = 0;
    proxy_hello(&p, FRAME_DEFAULT_WINDOW);
    assert_in_range(p.window, 1, 1000);
    assert_false(p.bye);
    /* Of the first link nothing is left: its request is answered to nobody. */
    gate_open(&gate);
    (void)be_served(&p);
    assert_false(proxy_try_next(&p, 1000, &f));
    assert_int_equal(app_stats(&a).bad_frames, 0);
    app_stop(&a);
    proxy_close(&p);
}

static void misbehave(struct proxy *p, unsigned how)
{
    switch (how) {
    case 0: /* not a frame */
        buf_add(&p->out, SLICE("\xc1nonsense"));
        break;
    case 1: /* an id that does not grow */
        proxy_request(p, 9, "/hello");
        proxy_request(p, 9, "/hello");
        break;
    case 2: /* an app server's frame */
        frame_pack_grant(&p->out, p->epoch, 3);
        break;
    case 3: /* a second HELLO */
        frame_pack_hello(&p->out, p->epoch,
                         &(struct frame_hello){.version = 1, .role = SLICE("proxy")});
        break;
    case 4: /* a raw part that belongs to no frame */
        frame_pack_ping(&p->out, p->epoch, 1, 1);
        assert_int_equal(link_send(p->link, 0, buf_slice(&p->out), SLICE("raw")),
                         ERR_NONE);
        buf_clear(&p->out);
        return;
    case 5: /* a WINDOW beyond all numbers */
        proxy_request(p, 9, "/wait");
        frame_pack_window(&p->out, 9, UINT64_MAX);
        break;
    default: /* a frame for a WebSocket that was not accepted */
        proxy_request(p, 9, "/wait");
        frame_pack_ws(&p->out, 9, &(struct frame_ws){.op = WS_CLOSE}, HEADERS_NONE);
    }
    proxy_send(p);
}

static void a_peer_that_misbehaves_is_told_bye_and_ignored(void **state)
{
    struct app a;
    struct proxy good;
    struct frame f;

    (void)state;
    start(&a, 2, NULL);
    proxy_open(&good, a.endpoint);
    for (unsigned how = 0; how < 7; how++) {
        struct proxy p;
        proxy_open(&p, a.endpoint);
        misbehave(&p, how);
        gate_open(&gate);
        while (!p.bye)
            (void)proxy_try_next(&p, 10000, &f);
        assert_string_equal(p.bye_reason, "BAD_FRAME");
        proxy_request(&p, 100, "/hello");
        proxy_send(&p);
        assert_false(proxy_try_next(&p, 1000, &f));
        proxy_close(&p);
        assert_int_equal(app_stats(&a).bad_frames, how + 1);
        proxy_request(&good, how + 1, "/hello");
        proxy_send(&good);
        (void)proxy_expect_response(&good, how + 1);
    }
    app_stop(&a);
    proxy_close(&good);
}

static void another_protocol_version_is_refused(void **state)
{
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, 1, NULL);
    proxy_connect(&p, NULL, a.endpoint);
    frame_pack_hello(&p.out, p.epoch,
                     &(struct frame_hello){.version = 2, .role = SLICE("proxy")});
    proxy_send(&p);
    proxy_wait_flag(&p, &p.bye);
    assert_string_equal(p.bye_reason, "PROTOCOL_VERSION");
    app_stop(&a);
    proxy_close(&p);
}

static void requests_of_a_dead_proxy_are_dropped(void **state)
{
    atomic_int gone = ERR_NONE;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, 1, &gone);
    proxy_open(&p, a.endpoint);
    proxy_warm(&p, 3);
    uint64_t before = app_stats(&a).requests;
    proxy_request(&p, p.stream + 1, "/gone");
    proxy_request(&p, p.stream + 2, "/hello");
    proxy_request(&p, p.stream + 3, "/hello");
    proxy_send(&p);
    gate_wait_inside(&gate, 1);
    proxy_close(&p);
    gate_open(&gate);
    proxy_open(&p, a.endpoint);
    (void)be_served(&p);
    assert_int_equal(gone, ERR_LINK_DOWN);
    assert_int_equal(app_stats(&a).requests, before + 2);
    assert_int_equal(app_stats(&a).waiting, 0);
    app_stop(&a);
    proxy_close(&p);
}

static void many_proxies_come_and_go(void **state)
{
    atomic_int gone = ERR_NONE;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, 4, &gone);
    gate_open(&gate);
    for (uint32_t i = 0; i < 60; i++) {
        proxy_open(&p, a.endpoint);
        assert_true(p.hello.page_slot < 60);
        uint32_t stream = i % 2 == 0 ? be_served(&p) : 0;
        proxy_request(&p, stream + 1, "/gone");
        proxy_send(&p);
        proxy_close(&p);
    }
    proxy_open(&p, a.endpoint);
    (void)be_served(&p);
    app_stop(&a);
    proxy_close(&p);
}

static void a_proxy_may_say_bye(void **state)
{
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, 1, NULL);
    proxy_open(&p, a.endpoint);
    proxy_request(&p, 1, "/hello");
    proxy_send(&p);
    (void)proxy_expect_response(&p, 1);
    frame_pack_bye(&p.out, p.epoch, SLICE("SHUTTING_DOWN"));
    proxy_request(&p, 2, "/hello");
    proxy_send(&p);
    assert_false(proxy_try_next(&p, 2000, &f));
    app_stop(&a);
    proxy_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_is_answered_with_hello_and_a_grant),
        cmocka_unit_test(marks_show_what_was_started),
        cmocka_unit_test(credit_moves_to_the_link_that_needs_it),
        cmocka_unit_test(what_comes_beyond_the_window_is_returned),
        cmocka_unit_test(a_service_time_is_known_however_short_it_is),
        cmocka_unit_test(a_cancelled_request_is_returned_or_aborted),
        cmocka_unit_test(frames_of_an_old_epoch_are_dropped),
        cmocka_unit_test(nothing_is_heard_before_hello),
        cmocka_unit_test(a_hello_of_another_epoch_begins_the_link_anew),
        cmocka_unit_test(a_peer_that_misbehaves_is_told_bye_and_ignored),
        cmocka_unit_test(another_protocol_version_is_refused),
        cmocka_unit_test(requests_of_a_dead_proxy_are_dropped),
        cmocka_unit_test(many_proxies_come_and_go),
        cmocka_unit_test(a_proxy_may_say_bye),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
