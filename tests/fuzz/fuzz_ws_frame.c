/* SPDX-License-Identifier: MIT
 * Frames of a client with all that reads them: ws_frame.c, ws_deflate.c, utf8.c. The
 * first byte holds options (1: permessage-deflate), the second how the rest is cut: its
 * high half the bytes that arrive at once, its low half the room of a piece. Input that
 * is cut must mean the same as input that comes whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http/utf8.h"
#include "proxy/http/ws_deflate.h"
#include "proxy/http/ws_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MESSAGE = 4096, WHOLE = 1 << 20 };

struct run {
    struct ws_deflate *deflate;
    struct ws_limits limits;
    struct ws_reader reader;
    struct utf8 utf8;
    struct ws_inflater *inflater;
    uint64_t inflated;
    struct buf said; /* opcode, bytes and ends of all messages and control frames */
    uint8_t open;
    enum ws_code code;
};

static void say(struct run *r, uint8_t opcode, struct slice data, bool fin)
{
    bool is_data = opcode == WS_OP_TEXT || opcode == WS_OP_BINARY;
    if (!is_data || r->open != opcode)
        buf_add(&r->said, slice_of(&opcode, 1));
    buf_add(&r->said, data);
    if (fin)
        buf_add(&r->said, SLICE("/"));
    if (is_data)
        r->open = fin ? 0 : opcode;
}

static bool deliver(struct run *r, uint8_t opcode, struct slice data, bool fin)
{
    if (opcode == WS_OP_TEXT &&
        (!utf8_check(&r->utf8, data) || (fin && !utf8_is_whole(&r->utf8)))) {
        r->code = WS_CODE_BAD_DATA;
        return false;
    }
    if (fin)
        r->utf8 = (struct utf8){0};
    say(r, opcode, data, fin);
    return true;
}

static bool inflate_piece(struct run *r, const struct ws_input *in, size_t room)
{
    char out[64];
    struct slice rest = in->data;
    size_t length;
    enum step step;
    if (r->inflater == NULL) {
        r->inflater = ws_inflater_take(r->deflate);
        r->inflated = 0;
    }
    do {
        room = room < sizeof out ? room : sizeof out;
        if (room > MAX_MESSAGE + 1 - r->inflated)
            room = (size_t)(MAX_MESSAGE + 1 - r->inflated);
        step = ws_inflate(r->inflater, &rest, in->fin, out, room, &length);
        ASSERT(length <= room);
        r->inflated += length;
        if (step == STEP_BAD || r->inflated > MAX_MESSAGE) {
            r->code = r->inflated > MAX_MESSAGE ? WS_CODE_TOO_BIG : WS_CODE_BAD_DATA;
            return false;
        }
        if (step == STEP_DONE)
            ws_inflater_give(r->deflate, &r->inflater);
        if (!deliver(r, (uint8_t)in->opcode, slice_of(out, length), step == STEP_DONE))
            return false;
    } while (step == STEP_MORE && length == room);
    ASSERT(rest.len == 0);
    return true;
}

static bool handle(struct run *r, const struct ws_input *in, size_t room)
{
    unsigned code;
    struct slice reason;
    if (in->opcode == WS_OP_CLOSE && !ws_read_close(in->data, &code, &reason)) {
        r->code = (enum ws_code)code;
        return false;
    }
    if (in->opcode >= WS_OP_CLOSE) {
        ASSERT(in->fin && in->data.len <= WS_MAX_CONTROL);
        say(r, (uint8_t)in->opcode, in->data, true);
        return true;
    }
    return in->is_compressed ? inflate_piece(r, in, room)
                             : deliver(r, (uint8_t)in->opcode, in->data, in->fin);
}

static void run(struct run *r,
                struct ws_deflate *deflate,
                const uint8_t *data,
                size_t size,
                bool has_deflate,
                size_t at_once,
                size_t room)
{
    struct buf in;
    enum step step = STEP_MORE;
    *r = (struct run){.deflate = deflate, .limits = {MAX_MESSAGE, has_deflate}};
    buf_init(&r->said, 0);
    buf_init(&in, 0);
    while (step == STEP_MORE && size > 0) {
        size_t n = size < at_once ? size : at_once;
        buf_add(&in, slice_of(data, n));
        data += n;
        size -= n;
        do {
            char *at = in.data + in.start;
            size_t length = buf_len(&in), before = length;
            struct ws_input piece;
            step =
                ws_read(&r->reader, &r->limits, &at, &length, room, &piece, &r->code);
            if (step == STEP_DONE) {
                ASSERT(piece.data.len <= room || piece.opcode >= WS_OP_CLOSE);
                if (room % 2 == 1 && piece.data.len > 1 && piece.opcode < WS_OP_CLOSE) {
                    /* Half of it goes back, and comes again. */
                    size_t back = piece.data.len / 2;
                    ws_unread(&r->reader, &piece, &at, &length, back);
                    piece.data.len -= back;
                    piece.fin = false;
                }
                if (!handle(r, &piece, room))
                    step = STEP_BAD;
            }
            if (step != STEP_BAD)
                buf_consume(&in, before - length);
        } while (step == STEP_DONE);
    }
    ws_inflater_give(deflate, &r->inflater);
    buf_fini(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ws_deflate *deflate;
    struct run whole, cut;
    if (deflate == NULL)
        deflate = ws_deflate_new();
    if (size < 2)
        return 0;
    bool has_deflate = data[0] & 1;
    size_t at_once = (size_t)(data[1] >> 4) + 1, room = (size_t)(data[1] & 15) + 1;
    run(&whole, deflate, data + 2, size - 2, has_deflate, WHOLE, WHOLE);
    run(&cut, deflate, data + 2, size - 2, has_deflate, at_once, room);
    /* Where it is cut decides how much is said before a failure, not whether it is one.
     */
    ASSERT(whole.code == cut.code);
    if (whole.code == WS_CODE_NONE)
        ASSERT(slice_eq(buf_slice(&whole.said), buf_slice(&cut.said)));
    buf_fini(&whole.said);
    buf_fini(&cut.said);
    return 0;
}
