/* SPDX-License-Identifier: MIT
 * Answers: whole, streamed, aborted, and what ends them early. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "protocol/header_names.h"
#include "tests/unit/appserver/core/harness.h"

/* What a handler found; read after its answer came or its app was stopped. */
struct found {
    struct gate gate;
    enum err e;
    enum step step;
    char text[512];
};

static char big[600 * 1024];

static void fill_big(void)
{
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 7 + i / 251);
}

static void
start(struct app *a, struct proxy *p, handler_fn *handler, struct found *found)
{
    memset(found, 0, sizeof(*found));
    gate_init(&found->gate);
    app_init(a, 2, handler, found);
    app_start(a);
    proxy_open(p, a->endpoint);
}

static void stop(struct app *a, struct proxy *p)
{
    app_stop(a);
    proxy_close(p);
}

static void handle_view(struct request *r, void *arg)
{
    struct found *found = arg;
    const struct frame_request *f = request_frame(r);
    struct header_list list = f->headers;
    struct header h;

    (void)snprintf(found->text, sizeof(found->text),
                   "%.*s %.*s %.*s %.*s:%u %.*s:%u %s", SLICE_FMT(f->method),
                   SLICE_FMT(f->target), SLICE_FMT(f->scheme),
                   SLICE_FMT(f->client_addr), f->client_port, SLICE_FMT(f->server_addr),
                   f->server_port, request_id(r));
    while (header_next(&list, &h))
        (void)snprintf(found->text + strlen(found->text),
                       sizeof(found->text) - strlen(found->text), " %.*s=%.*s",
                       SLICE_FMT(h.name), SLICE_FMT(h.value));
    respond(r, SLICE(""));
}

static void a_handler_sees_the_whole_request(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct buf headers;
    struct header_writer w;

    (void)state;
    start(&a, &p, handle_view, &found);
    buf_init(&headers, 0);
    header_begin(&w, &headers);
    header_put(&w, HEADER_HOST, SLICE("host"), SLICE("example.org"));
    header_put(&w, HEADER_NONE, SLICE("x-trace"), SLICE("abc"));
    header_end(&w);
    struct frame_request r = {
        .method = SLICE("GET"),
        .target = SLICE("/a?b=c"),
        .minor = 1,
        .scheme = SLICE("https"),
        .client_addr = SLICE("192.0.2.1"),
        .client_port = 4321,
        .server_addr = SLICE("192.0.2.2"),
        .server_port = 443,
        .id = SLICE("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    };
    frame_pack_request(&p.out, 1, &r, buf_slice(&headers));
    proxy_send(&p);
    (void)proxy_expect_response(&p, 1);
    assert_string_equal(
        found.text, "GET /a?b=c https 192.0.2.1:4321 192.0.2.2:443 "
                    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef "
                    "host=example.org x-trace=abc");
    buf_fini(&headers);
    stop(&a, &p);
}

static void handle_big(struct request *r, void *arg)
{
    struct found *found = arg;
    found->e =
        request_respond(r, 200, SLICE(""), HEADERS_NONE, slice_of(big, sizeof(big)));
}

/* Reads a streamed answer, granting windows as it goes; returns its bytes. */
static size_t read_stream(struct proxy *p, uint32_t stream, uint64_t window)
{
    uint64_t allowed = window, unreported = 0;
    size_t got = 0;
    struct frame f;

    proxy_next(p, &f);
    assert_int_equal(f.kind, FRAME_HEAD);
    for (;;) {
        proxy_next(p, &f);
        assert_int_equal(f.stream, stream);
        if (f.kind == FRAME_END)
            return got;
        struct slice piece = proxy_body(p, &f);
        assert_in_range(piece.len, 1, allowed);
        assert_memory_equal(piece.ptr, big + got, piece.len);
        got += piece.len;
        allowed -= piece.len;
        unreported += piece.len;
        if (unreported >= window / 2) {
            frame_pack_window(&p->out, stream, unreported);
            proxy_send(p);
            allowed += unreported;
            unreported = 0;
        }
    }
}

static void a_large_answer_is_streamed_within_the_window(void **state)
{
    static const uint64_t windows[] = {1000, 50 * 1024, 256 * 1024};
    struct found found;
    struct app a;

    (void)state;
    fill_big();
    for (size_t i = 0; i < 3; i++) {
        struct proxy p;
        memset(&found, 0, sizeof(found));
        app_init(&a, 2, handle_big, &found);
        app_start(&a);
        proxy_connect(&p, NULL, a.endpoint);
        proxy_hello(&p, windows[i]);
        proxy_request(&p, 1, "/big");
        proxy_send(&p);
        assert_int_equal(read_stream(&p, 1, windows[i]), sizeof(big));
        stop(&a, &p);
        assert_int_equal(found.e, ERR_NONE);
    }
}

static void handle_chunks(struct request *r, void *arg)
{
    struct found *found = arg;
    size_t at = 0, n = 1;

    found->e = request_head(r, 200, SLICE(""), HEADERS_NONE, false, 0);
    while (found->e == ERR_NONE && at < sizeof(big)) {
        if (n > sizeof(big) - at)
            n = sizeof(big) - at;
        found->e = request_write(r, slice_of(big + at, n));
        at += n;
        n = n * 2 + 1;
    }
    if (found->e == ERR_NONE)
        found->e = request_end(r);
}

static void pieces_of_all_sizes_arrive_in_order(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;

    (void)state;
    fill_big();
    start(&a, &p, handle_chunks, &found);
    proxy_request(&p, 1, "/chunks");
    proxy_send(&p);
    assert_int_equal(read_stream(&p, 1, FRAME_DEFAULT_WINDOW), sizeof(big));
    stop(&a, &p);
    assert_int_equal(found.e, ERR_NONE);
}

static void handle_two_chunks(struct request *r, void *arg)
{
    struct found *found = arg;

    (void)!request_head(r, 200, SLICE(""), HEADERS_NONE, false, 0);
    (void)!request_write(r, SLICE("first"));
    gate_pass(&found->gate);
    (void)!request_write(r, SLICE("second"));
    (void)!request_end(r);
}

static void a_piece_is_on_its_way_before_the_next_is_made(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, &p, handle_two_chunks, &found);
    proxy_request(&p, 1, "/two");
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_HEAD);
    proxy_next(&p, &f);
    assert_true(slice_eq(proxy_body(&p, &f), SLICE("first")));
    gate_open(&found.gate);
    proxy_next(&p, &f);
    assert_true(slice_eq(proxy_body(&p, &f), SLICE("second")));
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_END);
    stop(&a, &p);
}

static void handle_inform(struct request *r, void *arg)
{
    (void)arg;
    (void)!request_inform(r, 103, HEADERS_NONE);
    respond(r, SLICE("x"));
}

static void an_interim_answer_comes_first(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, &p, handle_inform, &found);
    proxy_request(&p, 1, "/hints");
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_INFORM);
    assert_int_equal(f.response.status, 103);
    (void)proxy_expect_response(&p, 1);
    stop(&a, &p);
}

enum { CRUMBS = 30000, CRUMB_BYTES = 7 };

static void handle_crumbs(struct request *r, void *arg)
{
    struct found *found = arg;

    found->e = request_head(r, 200, SLICE(""), HEADERS_NONE, false, 0);
    for (size_t i = 0; i < CRUMBS && found->e == ERR_NONE; i++)
        found->e = request_write(r, slice_of(big + i * CRUMB_BYTES, CRUMB_BYTES));
    if (found->e == ERR_NONE)
        found->e = request_end(r);
}

static void a_proxy_that_does_not_read_stops_nobody_else(void **state)
{
    struct found found;
    struct app a;
    struct proxy p, other;
    struct frame f;
    size_t got = 0;

    (void)state;
    fill_big();
    start(&a, &p, handle_crumbs, &found);
    proxy_open(&other, a.endpoint);
    /* Each crumb is a message of its own: far more than the link queues. */
    proxy_request(&p, 1, "/crumbs");
    proxy_send(&p);
    for (int i = 0; i < 100; i++) {
        unsigned before = other.loads;
        frame_pack_ping(&other.out, other.epoch, 5, clock_now_us());
        proxy_send(&other);
        while (other.loads == before)
            assert_false(proxy_try_next(&other, 1000, &f));
        (void)usleep(1000);
    }
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_HEAD);
    for (proxy_next(&p, &f); f.kind == FRAME_BODY; proxy_next(&p, &f)) {
        struct slice piece = proxy_body(&p, &f);
        assert_memory_equal(piece.ptr, big + got, piece.len);
        got += piece.len;
    }
    assert_int_equal(f.kind, FRAME_END);
    assert_int_equal(got, CRUMBS * CRUMB_BYTES);
    stop(&a, &p);
    proxy_close(&other);
    assert_int_equal(found.e, ERR_NONE);
}

/* "/none": nothing; "/head": HEAD only; "/abort": request_abort. */
static void handle_failing(struct request *r, void *arg)
{
    struct slice target = request_frame(r)->target;

    (void)arg;
    if (slice_eq(target, SLICE("/head")))
        (void)!request_head(r, 200, SLICE(""), HEADERS_NONE, true, 10);
    if (slice_eq(target, SLICE("/abort")))
        request_abort(r, ERR_APP_FAILED, SLICE("ZeroDivisionError"));
    request_finish(&r);
}

static void an_answer_that_is_not_ended_is_aborted(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, &p, handle_failing, &found);
    proxy_request(&p, 1, "/none");
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_ABORT);
    assert_int_equal(f.stop.reason, ERR_APP_FAILED);
    proxy_request(&p, 2, "/head");
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_HEAD);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_ABORT);
    assert_int_equal(f.stop.reason, ERR_RESPONSE_TRUNCATED);
    proxy_request(&p, 3, "/abort");
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_ABORT);
    assert_true(slice_eq(f.stop.text, SLICE("ZeroDivisionError")));
    stop(&a, &p);
}

static void handle_file(struct request *r, void *arg)
{
    struct frame_file file = {SLICE("/srv/x"), 1, 2, 0, 5};
    enum err e;

    (void)arg;
    (void)!request_head(r, 200, SLICE(""), HEADERS_NONE, true, 5);
    if (request_file(r, &file, &e) == STEP_MORE) {
        (void)!request_write(r, SLICE("bytes"));
        (void)!request_end(r);
    }
}

static void a_file_is_taken_or_its_bytes_are_sent(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, &p, handle_file, &found);
    for (uint32_t stream = 1; stream <= 2; stream++) {
        proxy_request(&p, stream, "/file");
        proxy_send(&p);
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_HEAD);
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_FILE);
        assert_true(slice_eq(f.file.path, SLICE("/srv/x")));
        frame_pack_filed(&p.out, stream, stream == 1);
        proxy_send(&p);
        if (stream == 1)
            continue;
        proxy_next(&p, &f);
        assert_true(slice_eq(proxy_body(&p, &f), SLICE("bytes")));
        proxy_next(&p, &f);
        assert_int_equal(f.kind, FRAME_END);
    }
    assert_false(proxy_try_next(&p, 1000, &f));
    stop(&a, &p);
}

static void handle_endless(struct request *r, void *arg)
{
    struct found *found = arg;

    found->e = request_head(r, 200, SLICE(""), HEADERS_NONE, false, 0);
    while (found->e == ERR_NONE)
        found->e = request_write(r, slice_of(big, 10000));
}

static void cancel_ends_a_stream_that_waits_for_its_window(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f = {.kind = FRAME_HEAD};

    (void)state;
    start(&a, &p, handle_endless, &found);
    proxy_request(&p, 1, "/endless");
    proxy_send(&p);
    size_t got = 0;
    while (got < FRAME_DEFAULT_WINDOW) {
        proxy_next(&p, &f);
        if (f.kind == FRAME_BODY)
            got += proxy_body(&p, &f).len;
    }
    assert_false(proxy_try_next(&p, 2000, &f));
    frame_pack_cancel(&p.out, 1, ERR_CLIENT_GONE);
    proxy_send(&p);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_ABORT);
    assert_int_equal(f.stop.reason, ERR_CLIENT_GONE);
    stop(&a, &p);
    assert_int_equal(found.e, ERR_CLIENT_GONE);
}

static void request_with_deadline(struct proxy *p,
                                  uint32_t stream,
                                  enum body_form form,
                                  uint64_t deadline_us)
{
    struct frame_request r = {
        .method = SLICE("POST"),
        .target = SLICE("/slow"),
        .scheme = SLICE("http"),
        .body_form = form,
        .deadline_us = deadline_us,
        .id = SLICE("test-1"),
    };
    proxy_request_frame(p, stream, &r);
    proxy_send(p);
}

/* The first frame about a request that was started before its deadline: on a crowded
 * machine it is handed back until it gets enough time. Returns that, in microseconds.
 */
static uint64_t
hear_of_started(struct proxy *p, enum body_form form, struct frame *ret_frame)
{
    uint64_t patience_us = 30000;
    for (uint32_t stream = 1;; stream++, patience_us *= 2) {
        request_with_deadline(p, stream, form, clock_now_us() + patience_us);
        proxy_next(p, ret_frame);
        if (ret_frame->kind != FRAME_RETURN)
            return patience_us;
    }
}

static void handle_upload(struct request *r, void *arg)
{
    struct found *found = arg;
    struct slice piece;

    found->step = request_read(r, 100, &piece, &found->e);
}

static void a_deadline_ends_a_wait_for_the_body(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, &p, handle_upload, &found);
    (void)hear_of_started(&p, BODY_UNKNOWN, &f);
    assert_int_equal(f.kind, FRAME_ABORT);
    assert_int_equal(f.stop.reason, ERR_REQUEST_TIMEOUT);
    stop(&a, &p);
    assert_int_equal(found.step, STEP_BAD);
    assert_int_equal(found.e, ERR_REQUEST_TIMEOUT);
}

static void handle_upload_and_fail(struct request *r, void *arg)
{
    handle_upload(r, arg);
    /* What an exception of the application's framework made of it. */
    request_abort(r, ERR_CLIENT_GONE, SLICE("ClientDisconnected"));
}

static void what_ends_at_its_deadline_is_aborted_as_late(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, &p, handle_upload_and_fail, &found);
    (void)hear_of_started(&p, BODY_UNKNOWN, &f);
    assert_int_equal(f.kind, FRAME_ABORT);
    assert_int_equal(f.stop.reason, ERR_REQUEST_TIMEOUT);
    stop(&a, &p);
}

static void a_deadline_does_not_cut_an_answer_that_has_begun(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, &p, handle_two_chunks, &found);
    uint64_t patience_us = hear_of_started(&p, BODY_NONE, &f);
    assert_int_equal(f.kind, FRAME_HEAD);
    proxy_next(&p, &f);
    (void)usleep((useconds_t)patience_us);
    gate_open(&found.gate);
    proxy_next(&p, &f);
    assert_true(slice_eq(proxy_body(&p, &f), SLICE("second")));
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_END);
    stop(&a, &p);
}

static void what_is_past_its_deadline_is_returned_unstarted(void **state)
{
    struct found found;
    struct app a;
    struct proxy p;
    struct frame f;

    (void)state;
    start(&a, &p, handle_big, &found);
    request_with_deadline(&p, 1, BODY_NONE, clock_now_us() - 10000000);
    proxy_next(&p, &f);
    assert_int_equal(f.kind, FRAME_RETURN);
    assert_int_equal(f.stop.reason, ERR_REQUEST_TIMEOUT);
    stop(&a, &p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handler_sees_the_whole_request),
        cmocka_unit_test(a_large_answer_is_streamed_within_the_window),
        cmocka_unit_test(pieces_of_all_sizes_arrive_in_order),
        cmocka_unit_test(a_piece_is_on_its_way_before_the_next_is_made),
        cmocka_unit_test(a_proxy_that_does_not_read_stops_nobody_else),
        cmocka_unit_test(an_interim_answer_comes_first),
        cmocka_unit_test(an_answer_that_is_not_ended_is_aborted),
        cmocka_unit_test(a_file_is_taken_or_its_bytes_are_sent),
        cmocka_unit_test(cancel_ends_a_stream_that_waits_for_its_window),
        cmocka_unit_test(a_deadline_ends_a_wait_for_the_body),
        cmocka_unit_test(what_ends_at_its_deadline_is_aborted_as_late),
        cmocka_unit_test(a_deadline_does_not_cut_an_answer_that_has_begun),
        cmocka_unit_test(what_is_past_its_deadline_is_returned_unstarted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
