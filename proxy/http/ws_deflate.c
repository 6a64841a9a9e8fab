/* SPDX-License-Identifier: MIT
 * A message's compressed form is raw DEFLATE that ends in an empty stored block, of
 * which the last four bytes, 00 00 ff ff, are not sent (RFC 7692 section 7.2.1). */
#include "proxy/http/ws_deflate.h"

#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#include "protocol/base/mem.h"
#include "proxy/http/chars.h"

enum {
    DEFLATE_MAGIC = 0xdef1a7e0,
    INFLATER_MAGIC = 0x1f1a7e00,
    LEAST_BITS = 9, /* zlib makes no raw stream for a window of 256 bytes */
    MOST_BITS = 15,
    MEM_LEVEL = 5, /* 16 KiB of tables: they are cleared for each message */
    MAX_SPARE = 4, /* inflaters kept for the next message */
    TAIL = 4,
};

static const char tail[TAIL] = {0x00, 0x00, (char)0xff, (char)0xff};

struct ws_inflater {
    uint32_t magic;
    z_stream z;
    uint8_t tail_at; /* bytes of the tail that were fed */
    bool saw_end;    /* a final block; another stream may follow it */
    bool is_between; /* two blocks, as far as was fed */
    struct ws_inflater *next;
};

struct ws_deflate {
    uint32_t magic;
    z_stream *compressors[MOST_BITS + 1]; /* by the bits of their window */
    struct ws_inflater *spare;
    uint32_t spare_count;
    uint32_t taken;
};

/* ---- the offer ---- */

/* 8 to 15 in one form; 0: no such number. */
static uint8_t read_bits(struct slice text)
{
    if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
        text = slice_of(text.ptr + 1, text.len - 2);
    uint64_t value;
    if (!chars_to_length(text, &value) || value < 8 || value > MOST_BITS)
        return 0;
    return (uint8_t)value;
}

/* Takes what stands before the next `separator`, trimmed. False: no more. No value of
 * this extension holds a separator in quotes. */
static bool next_part(struct slice *rest, char separator, struct slice *ret_part)
{
    if (rest->ptr == NULL)
        return false;
    const char *at = rest->len == 0 ? NULL : memchr(rest->ptr, separator, rest->len);
    if (at == NULL) {
        *ret_part = chars_trim(*rest);
        *rest = (struct slice){0};
        return true;
    }
    size_t length = (size_t)(at - rest->ptr);
    *ret_part = chars_trim(slice_of(rest->ptr, length));
    *rest = slice_of(at + 1, rest->len - length - 1);
    return true;
}

/* One parameter of an offer; each at most once. False: the offer cannot be taken. */
static bool read_parameter(struct slice text, unsigned *seen, struct ws_terms *terms)
{
    enum {
        SERVER_NO_TAKEOVER = 1,
        CLIENT_NO_TAKEOVER = 2,
        SERVER_BITS = 4,
        CLIENT_BITS = 8
    };
    static const struct {
        struct slice name;
        unsigned bit;
    } known[] = {
        {{"server_no_context_takeover", 26}, SERVER_NO_TAKEOVER},
        {{"client_no_context_takeover", 26}, CLIENT_NO_TAKEOVER},
        {{"server_max_window_bits", 22}, SERVER_BITS},
        {{"client_max_window_bits", 22}, CLIENT_BITS},
    };
    const char *equals = text.len == 0 ? NULL : memchr(text.ptr, '=', text.len);
    struct slice name = text, value = {0};
    if (equals != NULL) {
        name = chars_trim(slice_of(text.ptr, (size_t)(equals - text.ptr)));
        value = chars_trim(
            slice_of(equals + 1, text.len - (size_t)(equals + 1 - text.ptr)));
    }
    unsigned bit = 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (slice_eq_nocase(name, known[i].name))
            bit = known[i].bit;
    if (bit == 0 || (*seen & bit))
        return false;
    *seen |= bit;
    switch (bit) {
    case SERVER_BITS:
        terms->server_bits = read_bits(value);
        return terms->server_bits >= LEAST_BITS;
    case CLIENT_BITS: /* our window is large enough for any */
        return equals == NULL || read_bits(value) != 0;
    default:
        return equals == NULL;
    }
}

static bool read_offer(struct slice offer, struct ws_terms *ret_terms)
{
    struct ws_terms terms = {.has_deflate = true};
    struct slice part;
    unsigned seen = 0;
    if (!next_part(&offer, ';', &part) ||
        !slice_eq_nocase(part, SLICE("permessage-deflate")))
        return false;
    while (next_part(&offer, ';', &part))
        if (!read_parameter(part, &seen, &terms))
            return false;
    *ret_terms = terms;
    return true;
}

bool ws_deflate_accept(struct slice field, struct ws_terms *ret_terms)
{
    struct slice offer;
    while (next_part(&field, ',', &offer))
        if (read_offer(offer, ret_terms))
            return true;
    return false;
}

void ws_deflate_answer(const struct ws_terms *terms, struct buf *out)
{
    buf_add(out, SLICE("permessage-deflate; server_no_context_takeover; "
                       "client_no_context_takeover"));
    if (terms->server_bits != 0)
        buf_addf(out, "; server_max_window_bits=%u", terms->server_bits);
}

/* ---- contexts ---- */

struct ws_deflate *ws_deflate_new(void)
{
    struct ws_deflate *d = mem_zalloc(sizeof *d);
    d->magic = DEFLATE_MAGIC;
    return d;
}

static void free_inflater(struct ws_inflater *i)
{
    (void)inflateEnd(&i->z);
    i->magic = 0;
    mem_free(&i);
}

void ws_deflate_free(struct ws_deflate **deflate_p)
{
    struct ws_deflate *d = *deflate_p;
    if (d == NULL)
        return;
    CHECK_OBJ(d, DEFLATE_MAGIC);
    ASSERT(d->taken == 0);
    for (size_t bits = 0; bits <= MOST_BITS; bits++) {
        if (d->compressors[bits] == NULL)
            continue;
        (void)deflateEnd(d->compressors[bits]);
        mem_free(&d->compressors[bits]);
    }
    while (d->spare != NULL) {
        struct ws_inflater *next = d->spare->next;
        free_inflater(d->spare);
        d->spare = next;
    }
    d->magic = 0;
    mem_free(deflate_p);
}

struct ws_inflater *ws_inflater_take(struct ws_deflate *d)
{
    CHECK_OBJ(d, DEFLATE_MAGIC);
    struct ws_inflater *i = d->spare;
    d->taken++;
    if (i != NULL) {
        d->spare = i->next;
        d->spare_count--;
        int reset = inflateReset(&i->z);
        ASSERT(reset == Z_OK);
    } else {
        i = mem_zalloc(sizeof *i);
        i->magic = INFLATER_MAGIC;
        int begun = inflateInit2(&i->z, -(int)MOST_BITS);
        ASSERT(begun == Z_OK);
    }
    i->tail_at = 0;
    i->saw_end = i->is_between = false;
    return i;
}

void ws_inflater_give(struct ws_deflate *d, struct ws_inflater **inflater_p)
{
    struct ws_inflater *i = *inflater_p;
    if (i == NULL)
        return;
    CHECK_OBJ(i, INFLATER_MAGIC);
    *inflater_p = NULL;
    d->taken--;
    if (d->spare_count == MAX_SPARE) {
        free_inflater(i);
        return;
    }
    i->next = d->spare;
    d->spare = i;
    d->spare_count++;
}

/* ---- compressing ---- */

static z_stream *compressor_of(struct ws_deflate *d, const struct ws_terms *terms)
{
    int bits = terms->server_bits == 0 ? MOST_BITS : terms->server_bits;
    z_stream *z = d->compressors[bits];
    if (z != NULL) {
        int reset = deflateReset(z);
        ASSERT(reset == Z_OK);
        return z;
    }
    z = d->compressors[bits] = mem_zalloc(sizeof *z);
    int begun =
        deflateInit2(z, Z_BEST_SPEED, Z_DEFLATED, -bits, MEM_LEVEL, Z_DEFAULT_STRATEGY);
    ASSERT(begun == Z_OK);
    return z;
}

void ws_deflate_piece(struct ws_deflate *d,
                      const struct ws_terms *terms,
                      struct slice piece,
                      bool is_last,
                      struct buf *out)
{
    CHECK_OBJ(d, DEFLATE_MAGIC);
    z_stream *z = compressor_of(d, terms);
    z->next_in = (const Bytef *)piece.ptr;
    z->avail_in = (uInt)piece.len;
    do {
        bool fits = buf_reserve(out, piece.len / 2 + 64);
        ASSERT(fits);
        size_t room = buf_room(out);
        z->next_out = (Bytef *)buf_tail(out);
        z->avail_out = (uInt)room;
        int done = deflate(z, Z_SYNC_FLUSH);
        ASSERT(done == Z_OK || done == Z_BUF_ERROR);
        buf_commit(out, room - z->avail_out);
    } while (z->avail_out == 0);
    ASSERT(z->avail_in == 0);
    if (is_last) {
        ASSERT(buf_len(out) >= TAIL && memcmp(buf_tail(out) - TAIL, tail, TAIL) == 0);
        out->end -= TAIL;
    }
}

/* ---- inflating ---- */

enum step ws_inflate(struct ws_inflater *i,
                     struct slice *input,
                     bool is_last,
                     char *output,
                     size_t room,
                     size_t *ret_length)
{
    CHECK_OBJ(i, INFLATER_MAGIC);
    z_stream *z = &i->z;
    z->next_out = (Bytef *)output;
    z->avail_out = (uInt)room;
    enum step step = STEP_MORE;
    while (step == STEP_MORE && z->avail_out > 0) {
        bool is_tail = input->len == 0 && is_last;
        struct slice in =
            is_tail ? slice_of(tail + i->tail_at, (size_t)(TAIL - i->tail_at)) : *input;
        z->next_in = (const Bytef *)in.ptr;
        z->avail_in = (uInt)in.len;
        int result = inflate(z, Z_SYNC_FLUSH);
        size_t used = in.len - z->avail_in;
        if (is_tail)
            i->tail_at = (uint8_t)(i->tail_at + used);
        else
            *input = slice_of(in.ptr + used, in.len - used);
        if (result == Z_STREAM_END) {
            /* A final block ends a stream, not the message. */
            i->saw_end = true;
            (void)inflateReset(z);
            continue;
        }
        if (result != Z_OK && result != Z_BUF_ERROR) {
            step = STEP_BAD;
            continue;
        }
        if (result == Z_OK) /* zlib forgets it when it is called with nothing to do */
            i->is_between = (z->data_type & 128) != 0;
        if (z->avail_out > 0 && input->len == 0) {
            if (!is_last)
                break;
            /* All was fed and nothing is held back: between two blocks, or cut off. */
            if (i->tail_at == TAIL)
                step = i->is_between || i->saw_end ? STEP_DONE : STEP_BAD;
        }
    }
    *ret_length = room - z->avail_out;
    return step;
}
