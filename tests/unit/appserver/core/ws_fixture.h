/* SPDX-License-Identifier: MIT
 * What the tests of WebSockets share: the test's own thread is the loop (harness.h), a
 * proxy that packs WS frames. Included after cmocka.h. */
#ifndef TESTS_CORE_WS_FIXTURE_H
#define TESTS_CORE_WS_FIXTURE_H

#include "protocol/window.h"
#include "tests/unit/appserver/core/harness.h"

enum { BIG = 300 * 1024 };
static char big[BIG];

static inline void start(struct app *a, struct proxy *p, uint64_t window_bytes)
{
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 11 + i / 253);
    app_init_loop(a, 100);
    app_start_loop(a);
    proxy_open_loop(p, a, window_bytes);
}

static inline void stop(struct app *a, struct proxy *p)
{
    app_stop(a);
    proxy_close(p);
}

static inline struct request *
shake_hands(struct app *a, struct proxy *p, uint32_t stream)
{
    proxy_request_body(p, stream, "/ws", BODY_NONE, SLICE(""), 0, REQUEST_WEBSOCKET);
    proxy_send(p);
    struct request *r = app_expect_news(a, NEWS_STARTED);
    assert_true(request_is_websocket(r));
    return r;
}

static inline struct request *open_ws(struct app *a, struct proxy *p, uint32_t stream)
{
    struct request *r = shake_hands(a, p, stream);
    struct frame f;

    assert_int_equal(request_ws_accept(r, SLICE(""), HEADERS_NONE), ERR_NONE);
    core_loop_flush(a->core);
    proxy_next(p, &f);
    assert_int_equal(f.kind, FRAME_WS);
    assert_int_equal(f.ws.op, WS_ACCEPT);
    return r;
}

static inline void finish(struct app *a, struct request *r)
{
    request_finish(&r);
    core_loop_flush(a->core);
}

static inline void
pack(struct proxy *p, uint32_t stream, enum ws_op op, struct slice data, bool fin)
{
    struct frame_ws w = {.op = op, .data = data, .fin = fin};

    frame_pack_ws(&p->out, stream, &w, HEADERS_NONE);
}

static inline void
pack_close(struct proxy *p, uint32_t stream, uint16_t code, const char *text)
{
    struct frame_ws w = {.op = WS_CLOSE, .data = slice_from(text), .code = code};

    frame_pack_ws(&p->out, stream, &w, HEADERS_NONE);
}

static inline void
expect_piece(struct request *r, enum ws_op op, struct slice data, bool fin)
{
    struct ws_piece piece;
    enum err e;

    assert_int_equal(request_ws_take(r, &piece, &e), TAKE_DATA);
    assert_int_equal(piece.op, op);
    assert_int_equal(piece.data.len, data.len);
    assert_memory_equal(piece.data.ptr, data.ptr, data.len);
    assert_int_equal(piece.fin, fin);
}

static inline void expect_close(struct request *r, uint16_t code, const char *reason)
{
    struct ws_piece piece;
    enum err e;

    assert_int_equal(request_ws_take(r, &piece, &e), TAKE_DATA);
    assert_int_equal(piece.op, WS_CLOSE);
    assert_int_equal(piece.code, code);
    assert_true(slice_eq(piece.data, slice_from(reason)));
    assert_int_equal(request_ws_take(r, &piece, &e), TAKE_END);
}

static inline void expect_wait(struct request *r)
{
    struct ws_piece piece;
    enum err e;

    assert_int_equal(request_ws_take(r, &piece, &e), TAKE_WAIT);
}

static inline void expect_gone(struct request *r, enum err reason)
{
    struct ws_piece piece;
    enum err e;

    assert_int_equal(request_ws_take(r, &piece, &e), TAKE_GONE);
    assert_int_equal(e, reason);
}

static inline void expect_frame(struct proxy *p, enum frame_kind kind)
{
    struct frame f;

    proxy_next(p, &f);
    assert_int_equal(f.kind, kind);
}

static inline void put_whole(struct request *r, enum ws_op op, struct slice data)
{
    bool is_done;

    assert_int_equal(request_ws_put(r, op, &data, &is_done), ERR_NONE);
    assert_true(is_done);
    assert_int_equal(data.len, 0);
}

static inline void wait_readable(struct app *a, struct request *r, size_t bytes)
{
    while (request_readable(r) < bytes)
        (void)app_try_turn(a, HARNESS_WAIT_US);
}

#endif
