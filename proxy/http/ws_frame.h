/* SPDX-License-Identifier: MIT
 * WebSocket frames (RFC 6455 section 5): those of a client are checked, unmasked where
 * they stand and handed out piece by piece, those of the server are headed. Knows
 * nothing of text or compression beyond the bits that announce them. Pure. */
#ifndef HTTP_WS_FRAME_H
#define HTTP_WS_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"

enum ws_opcode {
    WS_OP_CONTINUATION = 0,
    WS_OP_TEXT = 1,
    WS_OP_BINARY = 2,
    WS_OP_CLOSE = 8,
    WS_OP_PING = 9,
    WS_OP_PONG = 10,
};

/* Close codes that the edge uses (RFC 6455 section 7.4.1 and IANA's registry). */
enum ws_code {
    WS_CODE_NONE = 0, /* a Close without a code */
    WS_CODE_NORMAL = 1000,
    WS_CODE_GOING_AWAY = 1001,
    WS_CODE_PROTOCOL_ERROR = 1002,
    WS_CODE_BAD_DATA = 1007,
    WS_CODE_TOO_BIG = 1009,
    WS_CODE_INTERNAL = 1011,
    WS_CODE_RESTART = 1012,
};

enum {
    WS_MAX_CONTROL = 125, /* payload bytes of a control frame */
    WS_MAX_REASON = 123,  /* bytes of a Close's reason */
    WS_MAX_HEAD = 10,     /* bytes of a frame's head, without a mask */
};

struct ws_limits {
    uint64_t max_message; /* bytes of a message */
    bool has_deflate;     /* RSV1 may be set on a message's first frame */
};

/* One connection's input. Zeroed: at the first frame's first byte. */
struct ws_reader {
    uint64_t left;    /* payload bytes of the frame that were not taken */
    uint64_t message; /* payload bytes of the message in frames so far */
    uint8_t mask[4];
    uint8_t mask_at;    /* of the next payload byte */
    uint8_t opcode;     /* of the message that is not complete; 0: none */
    bool in_payload;    /* of a data frame */
    bool fin;           /* of that frame */
    bool is_compressed; /* the message */
};

/* A piece of a message, or a whole control frame. */
struct ws_input {
    enum ws_opcode opcode; /* of the message: never CONTINUATION */
    struct slice data;     /* unmasked; stands in the input */
    bool fin;              /* the message's last piece */
    bool is_compressed;
};

/* Takes the next piece or control frame off *input (`*length` bytes, which it may write
 * to). `room`: most bytes of a data piece; 0: no data frame is handed out, not even an
 * empty one. DONE: ret_input, its data (may be empty) borrowed from the input. MORE:
 * more input is needed, or room: ws_is_blocked tells. BAD: ret_code is what to close
 * with; the reader is not used again. */
MUST_CHECK enum step ws_read(struct ws_reader *r,
                             const struct ws_limits *limits,
                             char **input,
                             size_t *length,
                             size_t room,
                             struct ws_input *ret_input,
                             enum ws_code *ret_code);
/* After MORE: it is room that is missing, `length` being what is left of the input. */
static inline bool ws_is_blocked(const struct ws_reader *r, size_t length)
{
    return r->in_payload && (length > 0 || r->left == 0);
}

/* Puts the last `bytes` of the data piece that ws_read has just handed out back. */
void ws_unread(struct ws_reader *r,
               const struct ws_input *piece,
               char **input,
               size_t *length,
               size_t bytes);

/* In place, `at` (0 to 3) being the place of data's first byte in the mask. */
void ws_unmask(char *data, size_t length, const uint8_t mask[4], unsigned at);

/* May stand in a Close frame. */
bool ws_code_is_valid(unsigned code);
/* What a Close frame's payload says. False: ret_code is what to close with. */
MUST_CHECK bool
ws_read_close(struct slice payload, unsigned *ret_code, struct slice *ret_reason);

struct ws_head {
    enum ws_opcode opcode;
    bool fin, is_compressed;
};
/* Appends the head of an unmasked frame; its payload follows. */
void ws_write_head(struct buf *out, struct ws_head head, uint64_t length);
/* A whole control frame; at most WS_MAX_CONTROL bytes. */
void ws_write_control(struct buf *out, enum ws_opcode opcode, struct slice payload);
/* WS_CODE_NONE: without a code. A reason that is too long is cut, between characters;
 * one that is not UTF-8 is left out. */
void ws_write_close(struct buf *out, unsigned code, struct slice reason);

#endif
