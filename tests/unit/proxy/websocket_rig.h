/* SPDX-License-Identifier: MIT
 * A WebSocket over the rig's connection: frames of the client, what it received, what
 * the app server heard. Include behind cmocka.h. */
#ifndef UNIT_PROXY_WEBSOCKET_RIG_H
#define UNIT_PROXY_WEBSOCKET_RIG_H

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/http/ws_frame.h"
#include "tests/support/assert_slice.h"
#include "tests/unit/proxy/edge_rig.h"

#define HANDSHAKE                                                                      \
    "GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"   \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define OFFER "Sec-WebSocket-Extensions: permessage-deflate\r\n"
#define ACCEPTED                                                                       \
    "HTTP/1.1 101 Switching Protocols\r\nDate: *\r\nServer: banyan\r\n"                \
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"                                    \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static inline void send_bytes(struct rig *rig, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(rig->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n > 0)
            bytes = slice_of(bytes.ptr + n, bytes.len - (size_t)n);
        rig_run(rig);
        if (n < 0)
            return; /* the edge does not read on */
    }
}

static inline void add_frame(struct buf *out, unsigned first, struct slice payload)
{
    char head[14] = {(char)first};
    size_t size = 2;
    if (payload.len < 126) {
        head[1] = (char)(0x80 | payload.len);
    } else {
        head[1] = (char)(0x80 | 126);
        head[2] = (char)(payload.len >> 8);
        head[3] = (char)payload.len;
        size = 4;
    }
    static const uint8_t mask[4] = {1, 2, 3, 4};
    memcpy(head + size, mask, 4);
    buf_add(out, slice_of(head, size + 4));
    size_t at = buf_len(out);
    buf_add(out, payload);
    ws_unmask(out->data + out->start + at, payload.len, mask, 0);
}

static inline void send_frame(struct rig *rig, unsigned first, struct slice payload)
{
    struct buf out;
    buf_init(&out, 0);
    add_frame(&out, first, payload);
    send_bytes(rig, buf_slice(&out));
    buf_fini(&out);
}

/* All that the client received since must be `want`. Forgets it. */
static inline void expect_bytes(struct rig *rig, struct slice want)
{
    struct slice got = buf_slice(&rig->received);
    if (!slice_eq(got, want)) {
        for (size_t i = 0; i < got.len; i++)
            print_error("%02x ", (unsigned char)got.ptr[i]);
        fail_msg("%zu bytes instead of %zu", got.len, want.len);
    }
    buf_clear(&rig->received);
}

static inline void expect_said(const char *want)
{
    struct buf *said = &rig_latest()->said;
    if (!slice_eq(buf_slice(said), slice_from(want)))
        fail_msg("the app server heard \"%.*s\" instead of \"%s\"",
                 SLICE_FMT(buf_slice(said)), want);
    buf_clear(said);
}

static inline void shake_hands(struct rig *rig)
{
    rig_send(rig, HANDSHAKE "\r\n");
    assert_int_equal(rig_latest()->frame.request.flags, REQUEST_WEBSOCKET);
    rig_accept(rig_latest());
    rig_run(rig);
    rig_expect(rig, ACCEPTED "\r\n");
}

static inline void begin(struct rig *rig)
{
    rig_init(rig);
    rig_start(rig);
    rig_connect(rig);
    shake_hands(rig);
}

/* The connection ends as RFC 6455 wants it: by us, after what we had to say. */
static inline void expect_end(struct rig *rig)
{
    rig_run(rig);
    assert_true(rig->saw_eof);
    assert_false(rig->saw_reset);
    assert_int_equal(rig->stats.websockets_open, 0);
}

#endif
