/* SPDX-License-Identifier: MIT
 *
 *   0 1 2 3 4 5 6 7   0 1 ... 7                            (RFC 6455 section 5.2)
 *  |F|R R R|opcode | |M| length | 16 or 64 bit length | mask (4) | payload ...
 *
 * A control frame is handed out whole; a data frame as its payload arrives. */
#include "proxy/http/ws_frame.h"

#include <endian.h>
#include <string.h>

#include "proxy/http/utf8.h"

enum {
    FIN = 0x80,
    RSV = 0x70,
    RSV1 = 0x40,
    OPCODE = 0x0f,
    CONTROL = 0x08,
    MASKED = 0x80,
    LENGTH = 0x7f,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
};

struct frame_head {
    uint8_t first;
    uint64_t length;
    uint8_t mask[4];
    size_t size; /* bytes of the head itself */
};

static enum step fail(enum ws_code code, enum ws_code *ret_code)
{
    *ret_code = code;
    return STEP_BAD;
}

/* The bytes alone, without what they mean in a message. */
static enum step read_head(const struct ws_limits *limits,
                           const char *input,
                           size_t length,
                           struct frame_head *ret_head,
                           enum ws_code *ret_code)
{
    const uint8_t *at = (const uint8_t *)input;
    if (length < 2)
        return STEP_MORE;

    uint8_t first = at[0], code = at[1] & LENGTH;
    bool is_control = (first & CONTROL) != 0;
    if ((first & RSV & ~(limits->has_deflate ? RSV1 : 0)) != 0 || !(at[1] & MASKED) ||
        (is_control && (!(first & FIN) || (first & RSV1) || code > WS_MAX_CONTROL)))
        return fail(WS_CODE_PROTOCOL_ERROR, ret_code);

    size_t size = 2 + (code == LENGTH_16 ? 2u : code == LENGTH_64 ? 8u : 0u) + 4;
    if (length < size)
        return STEP_MORE;
    *ret_head = (struct frame_head){.first = first, .length = code, .size = size};
    if (code == LENGTH_16) {
        uint16_t two;
        memcpy(&two, at + 2, sizeof two);
        ret_head->length = be16toh(two);
    } else if (code == LENGTH_64) {
        uint64_t eight;
        memcpy(&eight, at + 2, sizeof eight);
        ret_head->length = be64toh(eight);
    }
    /* The shortest form only, and 63 bits. */
    if ((code == LENGTH_16 && ret_head->length < LENGTH_16) ||
        (code == LENGTH_64 &&
         (ret_head->length <= UINT16_MAX || ret_head->length > INT64_MAX)))
        return fail(WS_CODE_PROTOCOL_ERROR, ret_code);
    memcpy(ret_head->mask, at + size - 4, 4);
    return STEP_DONE;
}

/* A compressed message that does not get smaller may be a little longer in its frames.
 */
static uint64_t most_in_frames(const struct ws_reader *r, const struct ws_limits *l)
{
    return r->is_compressed ? l->max_message + l->max_message / 64 + 1024
                            : l->max_message;
}

/* A data frame begins. */
static enum step begin_data(struct ws_reader *r,
                            const struct ws_limits *limits,
                            const struct frame_head *head,
                            enum ws_code *ret_code)
{
    uint8_t opcode = head->first & OPCODE;
    bool is_first = opcode != WS_OP_CONTINUATION;
    bool has_rsv1 = (head->first & RSV1) != 0;
    if (opcode > WS_OP_BINARY || is_first != (r->opcode == 0) ||
        (has_rsv1 && !is_first))
        return fail(WS_CODE_PROTOCOL_ERROR, ret_code);
    if (is_first) {
        r->opcode = opcode;
        r->is_compressed = has_rsv1;
        r->message = 0;
    }
    if (head->length > most_in_frames(r, limits) - r->message)
        return fail(WS_CODE_TOO_BIG, ret_code);
    r->message += head->length;
    r->left = head->length;
    r->fin = (head->first & FIN) != 0;
    r->in_payload = true;
    memcpy(r->mask, head->mask, 4);
    r->mask_at = 0;
    return STEP_DONE;
}

static void advance(char **input, size_t *length, size_t bytes)
{
    *input += bytes;
    *length -= bytes;
}

static enum step take_data(struct ws_reader *r,
                           char **input,
                           size_t *length,
                           size_t room,
                           struct ws_input *ret_input)
{
    size_t bytes = *length < room ? *length : room;
    if (bytes > r->left)
        bytes = (size_t)r->left;
    if (room == 0 || (bytes == 0 && r->left > 0))
        return STEP_MORE;

    ws_unmask(*input, bytes, r->mask, r->mask_at);
    r->mask_at = (uint8_t)((r->mask_at + bytes) & 3);
    r->left -= bytes;
    *ret_input = (struct ws_input){
        .opcode = r->opcode,
        .data = slice_of(*input, bytes),
        .fin = r->fin && r->left == 0,
        .is_compressed = r->is_compressed,
    };
    advance(input, length, bytes);
    if (r->left == 0) {
        r->in_payload = false;
        if (r->fin)
            r->opcode = 0;
    }
    return STEP_DONE;
}

enum step ws_read(struct ws_reader *r,
                  const struct ws_limits *limits,
                  char **input,
                  size_t *length,
                  size_t room,
                  struct ws_input *ret_input,
                  enum ws_code *ret_code)
{
    if (!r->in_payload) {
        struct frame_head head;
        enum step step = read_head(limits, *input, *length, &head, ret_code);
        if (step != STEP_DONE)
            return step;
        uint8_t opcode = head.first & OPCODE;
        if (opcode > WS_OP_PONG)
            return fail(WS_CODE_PROTOCOL_ERROR, ret_code);
        if (opcode & CONTROL) {
            if (*length - head.size < head.length)
                return STEP_MORE;
            advance(input, length, head.size);
            ws_unmask(*input, (size_t)head.length, head.mask, 0);
            *ret_input = (struct ws_input){
                .opcode = opcode,
                .data = slice_of(*input, (size_t)head.length),
                .fin = true,
            };
            advance(input, length, (size_t)head.length);
            return STEP_DONE;
        }
        step = begin_data(r, limits, &head, ret_code);
        if (step != STEP_DONE)
            return step;
        advance(input, length, head.size);
    }
    return take_data(r, input, length, room, ret_input);
}

void ws_unread(struct ws_reader *r,
               const struct ws_input *piece,
               char **input,
               size_t *length,
               size_t bytes)
{
    ASSERT(bytes <= piece->data.len);
    if (bytes == 0)
        return;
    r->opcode = (uint8_t)piece->opcode;
    *input -= bytes;
    *length += bytes;
    r->left += bytes;
    r->mask_at = (uint8_t)((r->mask_at - bytes) & 3);
    ws_unmask(*input, bytes, r->mask, r->mask_at);
    r->in_payload = true;
}

void ws_unmask(char *data, size_t length, const uint8_t mask[4], unsigned at)
{
    uint8_t turned[8];
    for (unsigned i = 0; i < 8; i++)
        turned[i] = mask[(at + i) & 3];
    uint64_t key;
    memcpy(&key, turned, sizeof key);

    size_t i = 0;
    for (; length - i >= 8; i += 8) {
        uint64_t eight;
        memcpy(&eight, data + i, 8);
        eight ^= key;
        memcpy(data + i, &eight, 8);
    }
    for (; i < length; i++)
        data[i] = (char)(data[i] ^ (char)turned[i & 7]);
}

/* ---- Close ---- */

bool ws_code_is_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

bool ws_read_close(struct slice payload, unsigned *ret_code, struct slice *ret_reason)
{
    *ret_code = WS_CODE_NONE;
    *ret_reason = (struct slice){0};
    if (payload.len == 0)
        return true;
    const uint8_t *at = (const uint8_t *)payload.ptr;
    unsigned code = payload.len < 2 ? 0u : (unsigned)at[0] << 8 | at[1];
    if (!ws_code_is_valid(code)) {
        *ret_code = WS_CODE_PROTOCOL_ERROR;
        return false;
    }
    struct slice reason = slice_of(payload.ptr + 2, payload.len - 2);
    struct utf8 u = {0};
    if (!utf8_check(&u, reason) || !utf8_is_whole(&u)) {
        *ret_code = WS_CODE_BAD_DATA;
        return false;
    }
    *ret_code = code;
    *ret_reason = reason;
    return true;
}

/* ---- what the server sends ---- */

void ws_write_head(struct buf *out, struct ws_head head, uint64_t length)
{
    uint8_t bytes[WS_MAX_HEAD];
    size_t size = 2;
    bytes[0] =
        (uint8_t)(head.opcode | (head.fin ? FIN : 0) | (head.is_compressed ? RSV1 : 0));
    if (length < LENGTH_16) {
        bytes[1] = (uint8_t)length;
    } else if (length <= UINT16_MAX) {
        uint16_t two = htobe16((uint16_t)length);
        bytes[1] = LENGTH_16;
        memcpy(bytes + size, &two, sizeof two);
        size += sizeof two;
    } else {
        uint64_t eight = htobe64(length);
        bytes[1] = LENGTH_64;
        memcpy(bytes + size, &eight, sizeof eight);
        size += sizeof eight;
    }
    buf_add(out, slice_of(bytes, size));
}

void ws_write_control(struct buf *out, enum ws_opcode opcode, struct slice payload)
{
    ASSERT(payload.len <= WS_MAX_CONTROL);
    ws_write_head(out, (struct ws_head){.opcode = opcode, .fin = true}, payload.len);
    buf_add(out, payload);
}

void ws_write_close(struct buf *out, unsigned code, struct slice reason)
{
    char payload[WS_MAX_CONTROL];
    struct utf8 u = {0};
    if (code == WS_CODE_NONE) {
        ws_write_control(out, WS_OP_CLOSE, (struct slice){0});
        return;
    }
    if (reason.len > WS_MAX_REASON) {
        reason.len = WS_MAX_REASON;
        while (reason.len > 0 && ((uint8_t)reason.ptr[reason.len] & 0xc0) == 0x80)
            reason.len--;
    }
    if (!utf8_check(&u, reason) || !utf8_is_whole(&u))
        reason.len = 0;
    payload[0] = (char)(code >> 8);
    payload[1] = (char)(code & 0xff);
    if (reason.len > 0)
        memcpy(payload + 2, reason.ptr, reason.len);
    ws_write_control(out, WS_OP_CLOSE, slice_of(payload, 2 + reason.len));
}
