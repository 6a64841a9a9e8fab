/* SPDX-License-Identifier: MIT
 * A message of frames from a hostile peer. What the decoder takes, msgpack-c must take
 * too and see the same values in, and packed again it must be the same frame. msgpack-c
 * only sees what the decoder has bounded. */
#include <msgpack.h>
#include <stdlib.h>

#include "protocol/header_names.h"
#include "tests/support/frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_uint(const msgpack_object *o, uint64_t value)
{
    ASSERT(o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 == value);
}

static void check_text(const msgpack_object *o, struct slice text)
{
    if (o->type == MSGPACK_OBJECT_STR)
        ASSERT(slice_eq(slice_of(o->via.str.ptr, o->via.str.size), text));
    else
        ASSERT(o->type == MSGPACK_OBJECT_BIN &&
               slice_eq(slice_of(o->via.bin.ptr, o->via.bin.size), text));
}

static void check_headers(const msgpack_object *o, struct header_list list)
{
    struct header h;
    uint32_t at = 0;

    ASSERT(o->type == MSGPACK_OBJECT_ARRAY && o->via.array.size == 2 * list.count);
    for (; header_next(&list, &h); at += 2) {
        const msgpack_object *name = &o->via.array.ptr[at];
        if (name->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
            check_uint(name, h.number);
        else if (h.number == HEADER_NONE)
            check_text(name, h.name);
        else
            ASSERT(name->via.str.size == h.name.len);
        check_text(name + 1, h.value);
    }
    ASSERT(at == o->via.array.size);
}

static void check_request(const msgpack_object *field,
                          uint32_t fields,
                          const struct frame_request *r)
{
    check_uint(&field[2], r->flags);
    check_text(&field[3], r->method);
    check_text(&field[4], r->target);
    check_uint(&field[5], r->minor);
    check_text(&field[6], r->scheme);
    check_text(&field[7], r->client_addr);
    check_uint(&field[8], r->client_port);
    check_text(&field[9], r->server_addr);
    check_uint(&field[10], r->server_port);
    check_headers(&field[11], r->headers);
    if (r->body_form == BODY_INLINE)
        check_text(&field[12], r->body);
    else if (r->body_form == BODY_LENGTH)
        check_uint(&field[12], r->body_length);
    else
        ASSERT(field[12].type == (r->body_form == BODY_NONE ? MSGPACK_OBJECT_NIL
                                                            : MSGPACK_OBJECT_BOOLEAN));
    check_uint(&field[13], r->deadline_us);
    check_uint(&field[14], r->queued_us);
    check_text(&field[15], r->id);
    if (fields > 16)
        check_uint(&field[16], r->root);
    ASSERT(r->root <= r->target.len && (fields > 16 || r->root == 0));
}

static void check_response(const msgpack_object *field, const struct frame_response *r)
{
    check_uint(&field[2], r->status);
    check_text(&field[3], r->reason);
    check_headers(&field[4], r->headers);
    if (field[5].type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        check_uint(&field[5], r->length);
    else if (field[5].type != MSGPACK_OBJECT_NIL)
        check_text(&field[5], r->body);
}

static void check_fields(const msgpack_object *o, const struct frame *f)
{
    ASSERT(o->type == MSGPACK_OBJECT_ARRAY && o->via.array.size >= 2);
    const msgpack_object *field = o->via.array.ptr;
    check_uint(&field[0], f->kind);
    check_uint(&field[1], frame_kind_is_link(f->kind) ? f->epoch : f->stream);
    switch (f->kind) {
    case FRAME_REQUEST:
        check_request(field, o->via.array.size, &f->request);
        break;
    case FRAME_RESPONSE:
    case FRAME_HEAD:
        check_response(field, &f->response);
        break;
    case FRAME_INFORM:
        check_headers(&field[3], f->response.headers);
        break;
    case FRAME_BODY:
        if (!f->body.bulk)
            check_text(&field[2], f->body.data);
        break;
    case FRAME_WINDOW:
        check_uint(&field[2], f->bytes);
        break;
    case FRAME_HELLO:
        check_uint(&field[2], f->hello.version);
        break;
    default:
        break;
    }
}

/* `bytes`: the frame, and in front of it those that were passed over. */
static void check_with_oracle(struct slice bytes, const struct frame *f)
{
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    for (size_t at = 0; at < bytes.len;) {
        msgpack_unpack_return result =
            msgpack_unpack_next(&unpacked, bytes.ptr, bytes.len, &at);
        ASSERT(result == MSGPACK_UNPACK_SUCCESS);
    }
    check_fields(&unpacked.data, f);
    msgpack_unpacked_destroy(&unpacked);
}

static void check_round_trip(const struct frame *f)
{
    struct buf packed;
    struct frame again;
    enum err err;

    buf_init(&packed, 0);
    frame_repack(&packed, f);
    struct slice rest = buf_slice(&packed);
    ASSERT(frame_unpack(&rest, &again, &err) == STEP_DONE && rest.len == 0);
    ASSERT(frames_equal(f, &again));
    buf_fini(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(data, size);
    struct frame f;
    enum err err = ERR_NONE;
    enum step step;

    for (;;) {
        struct slice before = rest;
        step = frame_unpack(&rest, &f, &err);
        if (step != STEP_DONE)
            break;
        struct slice bytes = slice_of(before.ptr, before.len - rest.len);
        check_with_oracle(bytes, &f);
        /* A HELLO takes more room once the keys it left out are filled in. */
        bool fits =
            bytes.len < FRAME_MAX_HELLO / 2 && f.hello.version == PROTOCOL_VERSION;
        if (f.kind != FRAME_HELLO || fits)
            check_round_trip(&f);
    }
    ASSERT(step == STEP_MORE ? rest.len == 0
                             : err == ERR_BAD_FRAME || err == ERR_FRAME_TOO_LARGE);
    return 0;
}
