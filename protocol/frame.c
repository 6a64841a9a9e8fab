/* SPDX-License-Identifier: MIT
 * What packer and unpacker share: the table of kinds, header lists, names of reasons.
 */
#include "protocol/frame.h"

#include "protocol/frame_priv.h"
#include "protocol/header_names.h"

enum { LINK_LAYER, STREAM_LAYER };

static const struct {
    const char *name;
    enum frame_sender sender;
    int layer;
} KINDS[] = {
#define KIND(number, name, senders, layer, fields)                                     \
    [number] = {#name, FRAME_FROM_##senders, layer##_LAYER},
#include "protocol/frame_kinds.def"
#undef KIND
};

_Static_assert(sizeof KINDS / sizeof KINDS[0] == FRAME_KIND_COUNT,
               "numbers without gaps");

const char *frame_kind_name(enum frame_kind kind)
{
    ASSERT((unsigned)kind < FRAME_KIND_COUNT);
    return KINDS[kind].name;
}

enum frame_sender frame_kind_sender(enum frame_kind kind)
{
    ASSERT((unsigned)kind < FRAME_KIND_COUNT);
    return KINDS[kind].sender;
}

bool frame_kind_is_link(enum frame_kind kind)
{
    ASSERT((unsigned)kind < FRAME_KIND_COUNT);
    return KINDS[kind].layer == LINK_LAYER;
}

enum err reason_parse(struct slice name)
{
    for (unsigned e = 0; e < ERR_COUNT; e++)
        if (slice_eq(name, slice_from(err_name((enum err)e))))
            return (enum err)e;
    return ERR_NONE;
}

/* ---- header lists ---- */

bool header_next(struct header_list *it, struct header *ret_header)
{
    if (it->count == 0)
        return false;

    const unsigned char *start = (const unsigned char *)it->packed.ptr;
    struct cursor c = {start, start + it->packed.len, ERR_NONE};
    unsigned char first = cursor_peek(&c);
    if (first < 0x80) {
        c.at++;
        ret_header->number = first;
        ret_header->name = header_lower(first);
    } else {
        /* A peer need not number its names; a reader must not miss one for that. */
        ret_header->name = take_text(&c, FRAME_MAX_HEAD);
        ret_header->number = header_number(ret_header->name);
        if (ret_header->number != HEADER_NONE)
            ret_header->name = header_lower(ret_header->number);
    }
    ret_header->value = take_text(&c, FRAME_MAX_HEAD);
    ASSERT(c.err == ERR_NONE); /* lists are validated before they get here */

    it->packed = slice_of(c.at, cursor_left(&c));
    it->count--;
    return true;
}

enum { ARRAY16_BYTES = 3 };

void header_begin(struct header_writer *w, struct buf *to)
{
    w->to = to;
    w->at = buf_len(to);
    w->count = 0;
    buf_add(to, SLICE("\xdc\0\0"));
}

void header_put(struct header_writer *w,
                uint8_t number,
                struct slice name,
                struct slice value)
{
    ASSERT(number < HEADER_COUNT && value.len <= FRAME_MAX_HEAD);
    ASSERT(number != HEADER_NONE || (name.len > 0 && name.len <= FRAME_MAX_STRING));

    bool fits = buf_reserve(w->to, name.len + value.len + 10); /* two str headers */
    ASSERT(fits);
    char *out = buf_tail(w->to), *start = out;
    if (number != HEADER_NONE)
        *out++ = (char)number;
    else
        out = put_text(out, name);
    out = put_text(out, value);
    buf_commit(w->to, (size_t)(out - start));
    w->count++;
}

void header_end(struct header_writer *w)
{
    ASSERT(w->count <= FRAME_MAX_HEADERS);
    ASSERT(buf_len(w->to) - w->at - ARRAY16_BYTES <= FRAME_MAX_HEAD);
    char *array = w->to->data + w->to->start + w->at;
    array[1] = (char)(w->count * 2 >> 8);
    array[2] = (char)(w->count * 2);
}
