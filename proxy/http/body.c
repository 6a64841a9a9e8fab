/* SPDX-License-Identifier: MIT
 * The body's reader: by length, or chunked with every line end, extension and trailer
 * checked. Framing bytes go through one state machine; data is passed on by pieces. */
#include "proxy/http/chars.h"
#include "proxy/http/parse.h"

enum {
    CHUNK_MAX_DIGITS = 16,
    /* Framing that any body may have; beyond it, at most twice as much as data. */
    CHUNK_FREE_OVERHEAD = 16384,
};

/*
 *   SIZE_START -> SIZE -+-> SIZE_LF -+-> DATA -> DATA_CR -> DATA_LF -> SIZE_START
 *                       |      ^     |
 *                       v      |     +-> LINE_START -> NAME -> VALUE -> LINE_LF -+
 *                   EXT_* -----+          |  ^                                   |
 *                                         |  +-----------------------------------+
 *                                         +-> LAST_LF -> OVER
 *
 * EXT_*: ";" name [ "=" token or quoted string ], with blanks (BWS of the grammar)
 * behind
 * ";" and around "=", never before the line's end.
 */
enum body_state {
    DATA,
    SIZE_START,
    SIZE,
    SIZE_LF,
    EXT_START,
    EXT_NAME,
    EXT_NAME_END,
    EXT_VALUE_START,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_QUOTED_PAIR,
    EXT_QUOTED_END,
    DATA_CR,
    DATA_LF,
    LINE_START,
    LINE_NAME,
    LINE_VALUE,
    LINE_LF,
    LAST_LF,
    OVER,
};

static bool take_framing(struct body_reader *r,
                         const struct http_limits *limits,
                         struct slice *input,
                         enum err *ret_err);
static bool step_size(struct body_reader *r, char c);
static bool step_extension(struct body_reader *r, char c);
static bool step_trailer(struct body_reader *r, char c);

void body_reader_length(struct body_reader *r, uint64_t bytes)
{
    *r = (struct body_reader){.state = bytes > 0 ? DATA : OVER, .left = bytes};
}

void body_reader_chunked(struct body_reader *r)
{
    *r = (struct body_reader){.chunked = true, .state = SIZE_START};
}

static struct slice take_data(struct body_reader *r, struct slice *input, size_t room)
{
    size_t bytes = input->len < room ? input->len : room;
    if (bytes > r->left)
        bytes = (size_t)r->left;

    struct slice data = slice_of(input->ptr, bytes);
    input->ptr += bytes;
    input->len -= bytes;
    r->left -= bytes;
    r->total += bytes;
    if (r->left == 0)
        r->state = r->chunked ? DATA_CR : OVER;
    return data;
}

enum step body_read(struct body_reader *r,
                    const struct http_limits *limits,
                    struct slice *input,
                    size_t room,
                    struct slice *ret_data,
                    enum err *ret_err)
{
    *ret_data = slice_of(input->ptr, 0);
    if (r->state != DATA && r->state != OVER &&
        !take_framing(r, limits, input, ret_err))
        return STEP_BAD;
    if (r->state == DATA) {
        struct slice data = take_data(r, input, room);
        /* What follows the piece may already be here, the body's end above all. */
        if (r->state != DATA && r->state != OVER &&
            !take_framing(r, limits, input, ret_err))
            return STEP_BAD;
        *ret_data = data;
    }
    return r->state == OVER ? STEP_DONE : STEP_MORE;
}

static bool fail(enum err err, enum err *ret_err)
{
    *ret_err = err;
    return false;
}

/* Up to the next byte of data, the body's end or the input's. */
static bool take_framing(struct body_reader *r,
                         const struct http_limits *limits,
                         struct slice *input,
                         enum err *ret_err)
{
    while (input->len > 0 && r->state != DATA && r->state != OVER) {
        const char c = *input->ptr++;
        input->len--;
        if (++r->overhead > CHUNK_FREE_OVERHEAD + 2 * r->total)
            return fail(ERR_CHUNK_OVERHEAD, ret_err);
        if (r->state >= LINE_START) {
            if (++r->trailer > limits->max_trailer)
                return fail(ERR_FIELDS_TOO_LARGE, ret_err);
            if (!step_trailer(r, c))
                return fail(ERR_BAD_TRAILER, ret_err);
        } else if (r->state >= EXT_START && r->state <= EXT_QUOTED_END) {
            if (++r->line > limits->max_chunk_ext)
                return fail(ERR_CHUNK_OVERHEAD, ret_err);
            if (!step_extension(r, c))
                return fail(ERR_BAD_CHUNK, ret_err);
        } else if (!step_size(r, c)) {
            return fail(ERR_BAD_CHUNK, ret_err);
        }
    }
    return true;
}

static bool become(struct body_reader *r, enum body_state state)
{
    r->state = (uint8_t)state;
    return true;
}

static unsigned hex_value(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : char_lower(c) - 'a' + 10);
}

static bool step_size(struct body_reader *r, char c)
{
    switch ((enum body_state)r->state) {
    case SIZE_START:
        r->line = 0;
        r->digits = 0;
        r->left = 0;
        return char_is(c, CHAR_HEX) && become(r, SIZE) && step_size(r, c);
    case SIZE:
        if (char_is(c, CHAR_HEX)) {
            r->left = r->left << 4 | hex_value(c);
            return ++r->digits <= CHUNK_MAX_DIGITS && r->left <= INT64_MAX;
        }
        if (c == ';')
            return become(r, EXT_START);
        return c == '\r' && become(r, SIZE_LF);
    case SIZE_LF:
        return c == '\n' && become(r, r->left > 0 ? DATA : LINE_START);
    case DATA_CR:
        return c == '\r' && become(r, DATA_LF);
    case DATA_LF:
        return c == '\n' && become(r, SIZE_START);
    default:
        return false;
    }
}

static bool is_quotable(char c)
{
    return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f);
}

static bool step_extension(struct body_reader *r, char c)
{
    const bool is_blank = char_is(c, CHAR_SPACE), is_token = char_is(c, CHAR_TOKEN);

    switch ((enum body_state)r->state) {
    case EXT_START:
        return is_blank || (is_token && become(r, EXT_NAME));
    case EXT_NAME:
        if (is_token)
            return true;
        if (is_blank)
            return become(r, EXT_NAME_END);
        if (c == '=')
            return become(r, EXT_VALUE_START);
        break;
    case EXT_NAME_END:
        return is_blank || (c == '=' && become(r, EXT_VALUE_START));
    case EXT_VALUE_START:
        if (c == '"')
            return become(r, EXT_QUOTED);
        return is_blank || (is_token && become(r, EXT_VALUE));
    case EXT_VALUE:
        if (is_token)
            return true;
        break;
    case EXT_QUOTED:
        if (c == '"' || c == '\\')
            return become(r, c == '"' ? EXT_QUOTED_END : EXT_QUOTED_PAIR);
        return is_quotable(c);
    case EXT_QUOTED_PAIR:
        return is_quotable(c) && become(r, EXT_QUOTED);
    case EXT_QUOTED_END:
        break;
    default:
        return false;
    }
    /* Behind a complete extension: another one, or the line's end. */
    if (c == ';')
        return become(r, EXT_START);
    return c == '\r' && become(r, SIZE_LF);
}

/* As field lines of the head: a token, a colon, no control bytes, no folding. */
static bool step_trailer(struct body_reader *r, char c)
{
    switch ((enum body_state)r->state) {
    case LINE_START:
        if (c == '\r')
            return become(r, LAST_LF);
        return char_is(c, CHAR_TOKEN) && become(r, LINE_NAME);
    case LINE_NAME:
        return char_is(c, CHAR_TOKEN) || (c == ':' && become(r, LINE_VALUE));
    case LINE_VALUE:
        return is_quotable(c) || (c == '\r' && become(r, LINE_LF));
    case LINE_LF:
        return c == '\n' && become(r, LINE_START);
    case LAST_LF:
        return c == '\n' && become(r, OVER);
    default:
        return false;
    }
}
