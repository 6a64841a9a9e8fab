/* SPDX-License-Identifier: MIT
 * proxy/http/ws_handshake.c: the answer 101. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/header_names.h"
#include "proxy/http/ws_handshake.h"
#include "tests/support/assert_slice.h"

#define KEY SLICE("dGhlIHNhbXBsZSBub25jZQ==")
#define HEAD "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADE                                                                        \
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"                                    \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

/* The example of RFC 6455 section 1.3. */
static void computes_the_accept_key(void **state)
{
    (void)state;
    char accept[WS_ACCEPT_BYTES];
    ws_accept_key(KEY, accept);
    assert_memory_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", WS_ACCEPT_BYTES);
}

struct row {
    const char *subprotocol;
    uint8_t number; /* of a field */
    const char *name, *value;
    struct ws_terms terms;
    const char *want; /* NULL: refused */
};

static void expect(const struct row *row)
{
    struct buf headers, out;
    struct header_writer w;
    buf_init(&headers, 0);
    buf_init(&out, 0);
    buf_add(&out, SLICE("before "));
    header_begin(&w, &headers);
    if (row->value != NULL)
        header_put(&w, row->number, slice_from(row->name), slice_from(row->value));
    header_end(&w);
    /* Behind an array header of three bytes or one: what a decoder would hand over. */
    struct buf packed;
    buf_init(&packed, 0);
    struct frame_ws ws = {.op = WS_ACCEPT, .data = slice_from(row->subprotocol)};
    frame_pack_ws(&packed, 7, &ws, buf_slice(&headers));
    struct slice rest = buf_slice(&packed);
    struct frame f;
    enum err err;
    assert_int_equal(frame_unpack(&rest, &f, &err), STEP_DONE);

    struct response_to to = {.minor = 1};
    struct response_failure failure;
    bool good = ws_handshake_answer(&f.ws, KEY, &row->terms, &to, &out, &failure);
    assert_int_equal(good, row->want != NULL);
    if (good) {
        buf_consume(&out, strlen("before "));
        assert_slice(buf_slice(&out), row->want);
    } else {
        assert_slice(buf_slice(&out), "before ");
        assert_int_equal(failure.err, ERR_BAD_RESPONSE);
    }
    buf_fini(&headers);
    buf_fini(&packed);
    buf_fini(&out);
}

static void answers_with_what_was_agreed_on(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.subprotocol = "", .want = HEAD UPGRADE "\r\n"},
        {.subprotocol = "chat.v2",
         .want = HEAD UPGRADE "Sec-WebSocket-Protocol: chat.v2\r\n\r\n"},
        {.subprotocol = "",
         .terms = {true, 10},
         .want = HEAD UPGRADE
         "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
         "client_no_context_takeover; server_max_window_bits=10\r\n\r\n"},
        {.subprotocol = "",
         .name = "X-Room",
         .value = "7",
         .want = HEAD "X-Room: 7\r\n" UPGRADE "\r\n"},
        {.subprotocol = "",
         .number = HEADER_SET_COOKIE,
         .value = "a=1",
         .want = HEAD "Set-Cookie: a=1\r\n" UPGRADE "\r\n"},
        /* The edge's own. */
        {.subprotocol = "",
         .number = HEADER_SEC_WEBSOCKET_ACCEPT,
         .value = "forged",
         .want = HEAD UPGRADE "\r\n"},
        {.subprotocol = "",
         .number = HEADER_SEC_WEBSOCKET_EXTENSIONS,
         .value = "x",
         .want = HEAD UPGRADE "\r\n"},
        {.subprotocol = "",
         .number = HEADER_CONTENT_LENGTH,
         .value = "5",
         .want = HEAD UPGRADE "\r\n"},
        {.subprotocol = "",
         .number = HEADER_TRANSFER_ENCODING,
         .value = "chunked",
         .want = HEAD UPGRADE "\r\n"},
        {.subprotocol = "",
         .number = HEADER_CONNECTION,
         .value = "close",
         .want = HEAD UPGRADE "\r\n"},
        /* What no client may see. */
        {.subprotocol = "a, b"},
        {.subprotocol = "a\r\nX: y"},
        {.subprotocol = "", .name = "X-Split", .value = "a\r\nb"},
        {.subprotocol = "", .name = "X Y", .value = "a"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect(&rows[i]);
}

static void date_and_server_are_added(void **state)
{
    (void)state;
    struct buf out;
    struct frame_ws ws = {.op = WS_ACCEPT};
    struct ws_terms terms = {0};
    struct response_to to = {.date = SLICE("now"), .server = SLICE("banyan")};
    struct response_failure failure;
    buf_init(&out, 0);
    assert_true(ws_handshake_answer(&ws, KEY, &terms, &to, &out, &failure));
    assert_slice(buf_slice(&out),
                 HEAD "Date: now\r\nServer: banyan\r\n" UPGRADE "\r\n");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computes_the_accept_key),
        cmocka_unit_test(answers_with_what_was_agreed_on),
        cmocka_unit_test(date_and_server_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
