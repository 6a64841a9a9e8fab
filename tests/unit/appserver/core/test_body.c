/* SPDX-License-Identifier: MIT
 * Bodies of requests on their way to the handler. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/appserver/core/harness.h"

enum { BIG = 1000 * 1024 };

static char sent[BIG], got[BIG];

/* What the reading handler found. */
struct found {
    size_t bytes, max;
    enum step end;
    enum err e;
    struct gate gate;
};

static void handle_read(struct request *r, void *arg)
{
    struct found *found = arg;
    struct slice piece;

    found->bytes = 0;
    found->e = ERR_NONE;
    while ((found->end = request_read(r, found->max, &piece, &found->e)) == STEP_DONE) {
        if (found->bytes + piece.len <= sizeof(got))
            memcpy(got + found->bytes, piece.ptr, piece.len);
        found->bytes += piece.len;
    }
    if (found->end == STEP_MORE)
        respond(r, SLICE("read"));
}

static void handle_read_later(struct request *r, void *arg)
{
    struct found *found = arg;

    gate_pass(&found->gate);
    handle_read(r, arg);
}

static void start(struct app *a,
                  struct proxy *p,
                  handler_fn *handler,
                  unsigned threads,
                  struct found *found)
{
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (char)(i * 11 + i / 253);
    memset(got, 0, sizeof(got));
    *found = (struct found){.max = 100000};
    gate_init(&found->gate);
    app_init(a, threads, handler, found);
    app_start(a);
    proxy_open(p, a->endpoint);
}

static void stop(struct app *a, struct proxy *p)
{
    app_stop(a);
    proxy_close(p);
}

static void an_inline_body_never_waits(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, handle_read, 1, &found);
    found.max = 1000;
    proxy_request_body(&p, 1, "/read", BODY_INLINE, slice_of(sent, 32 * 1024),
                       32 * 1024, 0);
    proxy_send(&p);
    (void)proxy_expect_response(&p, 1);
    assert_int_equal(found.bytes, 32 * 1024);
    assert_memory_equal(got, sent, found.bytes);
    proxy_request(&p, 2, "/read");
    proxy_send(&p);
    (void)proxy_expect_response(&p, 2);
    assert_int_equal(found.bytes, 0);
    stop(&a, &p);
}

/* Sends `sent` in pieces of `piece` bytes within the window, then END. */
static void send_body(struct proxy *p, uint32_t stream, size_t piece, uint64_t window)
{
    size_t at = 0;
    struct frame f;

    while (at < BIG) {
        size_t n = BIG - at < piece ? BIG - at : piece;
        while (window < n) {
            proxy_next(p, &f);
            assert_int_equal(f.kind, FRAME_WINDOW);
            assert_int_equal(f.stream, stream);
            window += f.bytes;
        }
        if (n > FRAME_MAX_INLINE_BODY) {
            proxy_send_bulk(p, stream, slice_of(sent + at, n));
        } else {
            frame_pack_body(&p->out, stream, slice_of(sent + at, n));
            if (buf_len(&p->out) > FRAME_BATCH_BYTES)
                proxy_send(p);
        }
        at += n;
        window -= n;
        if (window < piece && buf_len(&p->out) > 0)
            proxy_send(p);
    }
    frame_pack_end(&p->out, stream, SLICE(""));
    proxy_send(p);
}

static void expect_response_after_windows(struct proxy *p)
{
    struct frame f;

    do
        proxy_next(p, &f);
    while (f.kind == FRAME_WINDOW);
    assert_int_equal(f.kind, FRAME_RESPONSE);
}

static void a_body_streams_through_its_window(void **state)
{
    static const struct {
        size_t piece, max;
        unsigned threads;
    } cases[] = {{100, 100000, 1},   {5000, 1000, 2},        {32 * 1024, 70000, 2},
                 {128 * 1024, 1, 1}, {128 * 1024, 99999, 1}, {100000, 1000000, 4}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct found found;
        struct app a;
        struct proxy p;
        start(&a, &p, handle_read, cases[i].threads, &found);
        found.max = cases[i].max;
        proxy_request_body(&p, 1, "/read", i % 2 ? BODY_LENGTH : BODY_UNKNOWN,
                           SLICE(""), BIG, 0);
        proxy_send(&p);
        send_body(&p, 1, cases[i].piece, FRAME_DEFAULT_WINDOW);
        expect_response_after_windows(&p);
        assert_int_equal(found.bytes, BIG);
        assert_memory_equal(got, sent, BIG);
        stop(&a, &p);
    }
}

static void a_body_comes_in_while_the_only_thread_is_inside(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;

    (void)state;
    start(&a, &p, handle_read_later, 1, &found);
    proxy_request_body(&p, 1, "/read", BODY_LENGTH, SLICE(""), 200000, 0);
    proxy_send_bulk(&p, 1, slice_of(sent, 100000));
    gate_wait_inside(&found.gate, 1);
    proxy_send_bulk(&p, 1, slice_of(sent + 100000, 100000));
    frame_pack_end(&p.out, 1, SLICE(""));
    proxy_send(&p);
    gate_open(&found.gate);
    expect_response_after_windows(&p);
    assert_int_equal(found.bytes, 200000);
    assert_memory_equal(got, sent, 200000);
    stop(&a, &p);
}

static void the_first_read_asks_for_an_expected_body(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, &p, handle_read_later, 2, &found);
    proxy_request_body(&p, 1, "/read", BODY_LENGTH, SLICE(""), BIG, REQUEST_EXPECT);
    proxy_send(&p);
    gate_wait_inside(&found.gate, 1);
    assert_false(proxy_try_next(&p, 2000, &f));
    gate_open(&found.gate);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_WINDOW);
    assert_int_equal(f.bytes, FRAME_DEFAULT_WINDOW);
    send_body(&p, 1, 50000, f.bytes);
    expect_response_after_windows(&p);
    assert_int_equal(found.bytes, BIG);
    stop(&a, &p);
}

static void a_cancelled_upload_fails_the_read(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    for (unsigned threads = 1; threads <= 2; threads++) {
        start(&a, &p, handle_read, threads, &found);
        proxy_request_body(&p, 1, "/read", BODY_LENGTH, SLICE(""), 1000, 0);
        frame_pack_body(&p.out, 1, slice_of(sent, 3));
        proxy_send(&p);
        while (app_stats(&a).running == 0)
            (void)usleep(100);
        assert_false(proxy_try_next(&p, 2000, &f));
        frame_pack_cancel(&p.out, 1, ERR_CLIENT_GONE);
        proxy_send(&p);
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_ABORT);
        assert_int_equal(f.stop.reason, ERR_CLIENT_GONE);
        stop(&a, &p);
        assert_int_equal(found.end, STEP_BAD);
        assert_int_equal(found.e, ERR_CLIENT_GONE);
    }
}

static void a_body_that_breaks_its_bounds_ends_the_link(void **state)
{
    static const char *const names[] = {"past the length", "short of it",
                                        "after its end", "past the window", "unasked"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct found found;
        struct app a;
        struct proxy p;
        start(&a, &p, handle_read_later, 1, &found);
        proxy_request_body(&p, 1, "/read", i == 3 ? BODY_UNKNOWN : BODY_LENGTH,
                           SLICE(""), 10, i == 4 ? REQUEST_EXPECT : 0);
        if (i == 0)
            frame_pack_body(&p.out, 1, slice_of(sent, 11));
        if (i == 1 || i == 4)
            frame_pack_body(&p.out, 1, slice_of(sent, 9));
        if (i == 2)
            frame_pack_body(&p.out, 1, slice_of(sent, 10));
        if (i == 1 || i == 2)
            frame_pack_end(&p.out, 1, SLICE(""));
        if (i == 2)
            frame_pack_end(&p.out, 1, SLICE(""));
        proxy_send(&p);
        for (size_t k = 0; i == 3 && k < 3; k++)
            proxy_send_bulk(&p, 1, slice_of(sent, 128 * 1024));
        proxy_wait_flag(&p, &p.bye);
        assert_string_equal(p.bye_reason, "BAD_FRAME");
        gate_open(&found.gate);
        stop(&a, &p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_inline_body_never_waits),
        cmocka_unit_test(a_body_streams_through_its_window),
        cmocka_unit_test(a_body_comes_in_while_the_only_thread_is_inside),
        cmocka_unit_test(the_first_read_asks_for_an_expected_body),
        cmocka_unit_test(a_cancelled_upload_fails_the_read),
        cmocka_unit_test(a_body_that_breaks_its_bounds_ends_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
