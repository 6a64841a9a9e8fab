/* SPDX-License-Identifier: MIT
 * The hand-written codec against msgpack-c, on random frames of every kind: what we
 * pack, msgpack-c reads and packs again, and we read the same frame from that; what
 * msgpack-c packs, we read and pack again, and msgpack-c sees equal objects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <msgpack.h>

#include "protocol/header_names.h"
#include "tests/support/frames.h"
#include "tests/support/vectors.h"

enum { ROUNDS = 3000, POOL_BYTES = 70000 };

static uint64_t seed = 0x9e3779b97f4a7c15;
static char pool_bytes[POOL_BYTES]; /* texts and bodies are cut from it */

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Every width of number comes up, and its edges. */
static uint64_t draw_uint(uint64_t max)
{
    unsigned bits = (unsigned)(draw() % 65);
    uint64_t value = bits == 0 ? 0 : draw() >> (64 - bits);
    if (draw() % 4 == 0)
        value = bits == 0 ? 0 : UINT64_MAX >> (64 - bits);
    if (draw() % 8 == 0 && value < UINT64_MAX)
        value++;
    return value <= max ? value : max == UINT64_MAX ? value : value % (max + 1);
}

static struct slice draw_text(size_t max)
{
    static const size_t EDGES[] = {0, 1, 31, 32, 255, 256, 65535, 65536};
    size_t length = draw() % 3 == 0 ? EDGES[draw() % 8] : (size_t)draw() % 80;
    if (length > max)
        length = (size_t)draw() % (max + 1);
    return slice_of(pool_bytes + draw() % (POOL_BYTES - length), length);
}

static struct slice draw_named(size_t max)
{
    struct slice text = draw_text(max);
    return text.len > 0 ? text : SLICE("x");
}

static struct header_list draw_headers(struct buf *to)
{
    struct header_writer w;
    unsigned count = draw() % 8 == 0 ? (unsigned)draw() % 257 : (unsigned)draw() % 12;
    size_t most = count < 12 ? 2000 : 200;
    header_begin(&w, to);
    for (unsigned i = 0; i < count; i++) {
        uint8_t number = (uint8_t)(draw() % HEADER_COUNT);
        header_put(&w, number, draw_named(60), draw_text(most));
    }
    header_end(&w);
    return (struct header_list){slice_of(to->data + 3, buf_len(to) - 3), w.count};
}

static void draw_request(struct frame_request *r, struct header_list headers)
{
    *r = (struct frame_request){.flags = (uint32_t)draw_uint(FRAME_MAX_FLAGS),
                                .method = draw_named(FRAME_MAX_STRING),
                                .target = draw_named(FRAME_MAX_STRING),
                                .minor = (uint8_t)draw_uint(UINT8_MAX),
                                .scheme = draw_text(10),
                                .client_addr = draw_text(50),
                                .client_port = (uint16_t)draw_uint(UINT16_MAX),
                                .server_addr = draw_text(100),
                                .server_port = (uint16_t)draw_uint(UINT16_MAX),
                                .headers = headers,
                                .body_form = (enum body_form)(draw() % 4),
                                .deadline_us = draw_uint(UINT64_MAX),
                                .queued_us = draw_uint(UINT64_MAX),
                                .id = slice_of("0123456789abcdef", draw() % 17)};
    if (draw() % 4 == 0) {
        r->target = SLICE("/shop/cart");
        r->root = draw() % 2 == 0 ? 5 : 10;
    }
    if (r->body_form == BODY_INLINE) {
        r->body = draw_text(FRAME_MAX_INLINE_BODY);
        r->body_length = r->body.len;
    } else if (r->body_form == BODY_LENGTH) {
        r->body_length = draw_uint(UINT64_MAX);
    }
}

static void draw_hello(struct frame_hello *h)
{
    bool is_app = draw() % 2 == 0;
    *h = (struct frame_hello){.version = 1,
                              .role = is_app ? SLICE("app") : SLICE("proxy"),
                              .instance = draw_uint(UINT64_MAX),
                              .clock_us = draw_uint(UINT64_MAX),
                              .features = (uint32_t)draw() % 16,
                              .window_bytes = draw_uint(UINT64_MAX),
                              .inline_bytes = draw_uint(UINT64_MAX),
                              .has_app = is_app,
                              .pool = draw_text(100),
                              .slots = (uint32_t)draw_uint(UINT32_MAX),
                              .interface = draw_text(10),
                              .pid = (uint32_t)draw_uint(UINT32_MAX),
                              .page = slice_of("/run/banyan/page", draw() % 17),
                              .page_slot = (uint32_t)draw() % 504};
}

static void draw_ws(struct frame_ws *w, struct header_list headers)
{
    static const enum ws_op OPS[] = {WS_ACCEPT, WS_TEXT, WS_BINARY, WS_CLOSE};
    *w = (struct frame_ws){.op = OPS[draw() % 4],
                           .data = draw_text(FRAME_MAX_INLINE_BODY)};
    if (w->op == WS_ACCEPT)
        w->headers = headers;
    else if (w->op == WS_CLOSE)
        w->code = (uint16_t)draw_uint(UINT16_MAX);
    else
        w->fin = draw() % 2 == 0;
}

static void draw_link_frame(struct frame *f)
{
    f->epoch = draw_uint(UINT64_MAX);
    if (f->kind == FRAME_HELLO)
        draw_hello(&f->hello);
    else if (f->kind == FRAME_GRANT)
        f->window = (uint32_t)draw_uint(UINT32_MAX);
    else if (f->kind == FRAME_LIMIT)
        f->running = (uint32_t)draw_uint(UINT32_MAX);
    else if (f->kind == FRAME_BYE)
        f->stop.text = draw_text(FRAME_MAX_STRING);
    else if (f->kind == FRAME_PING || f->kind == FRAME_LOAD)
        f->load.sequence = f->load.clock_us = draw_uint(UINT64_MAX);
    if (f->kind == FRAME_LOAD) {
        f->load.running = (uint32_t)draw_uint(UINT32_MAX);
        f->load.waiting = (uint32_t)draw_uint(UINT32_MAX);
        f->load.service_us = draw_uint(UINT64_MAX);
        f->load.slots = (uint32_t)draw_uint(UINT32_MAX);
    }
}

static void draw_answer(struct frame *f, struct header_list headers)
{
    struct frame_response *r = &f->response;
    *r = (struct frame_response){.status = (uint16_t)(100 + draw() % 900),
                                 .headers = headers};
    if (f->kind != FRAME_INFORM)
        r->reason = draw_text(100);
    if (f->kind == FRAME_RESPONSE) {
        r->body = draw_text(FRAME_MAX_INLINE_BODY);
        r->has_length = true;
        r->length = r->body.len;
    } else if (f->kind == FRAME_HEAD && draw() % 2 == 0) {
        r->has_length = true;
        r->length = draw_uint(UINT64_MAX);
    }
}

static void draw_stream_frame(struct frame *f, struct buf *header_bytes)
{
    struct header_list headers = draw_headers(header_bytes);
    f->stream = (uint32_t)draw_uint(UINT32_MAX);
    switch (f->kind) {
    case FRAME_REQUEST:
        draw_request(&f->request, headers);
        break;
    case FRAME_RESPONSE:
    case FRAME_HEAD:
    case FRAME_INFORM:
        draw_answer(f, headers);
        break;
    case FRAME_BODY:
        f->body.bulk = draw() % 2 == 0;
        if (!f->body.bulk)
            f->body.data = draw_text(FRAME_MAX_INLINE_BODY);
        break;
    case FRAME_WINDOW:
        f->bytes = draw_uint(UINT64_MAX);
        break;
    case FRAME_END:
        f->trailers = headers;
        break;
    case FRAME_FILE:
        f->file = (struct frame_file){.path = SLICE("/srv/file"),
                                      .device = draw_uint(UINT64_MAX),
                                      .inode = draw_uint(UINT64_MAX),
                                      .offset = draw_uint(UINT64_MAX),
                                      .length = draw_uint(UINT64_MAX)};
        break;
    case FRAME_FILED:
        f->taken = draw() % 2 == 0;
        break;
    case FRAME_WS:
        draw_ws(&f->ws, headers);
        break;
    default:
        f->stop.reason = (enum err)(draw() % ERR_COUNT);
        if (f->kind == FRAME_ABORT)
            f->stop.text = draw_text(FRAME_MAX_STRING);
    }
}

/* A random frame; its lists stand in `header_bytes`. */
static struct frame draw_frame(struct buf *header_bytes)
{
    struct frame f = {.kind = (enum frame_kind)(draw() % FRAME_KIND_COUNT)};
    buf_clear(header_bytes);
    if (frame_kind_is_link(f.kind))
        draw_link_frame(&f);
    else
        draw_stream_frame(&f, header_bytes);
    return f;
}

static void unpack_one(struct slice bytes, struct frame *ret_frame)
{
    enum err err = ERR_NONE;
    if (frame_unpack(&bytes, ret_frame, &err) != STEP_DONE)
        fail_msg("refused: %s", err_name(err));
    assert_int_equal(bytes.len, 0);
}

static void read_with_oracle(struct slice bytes, msgpack_unpacked *ret_unpacked)
{
    size_t at = 0;
    msgpack_unpacked_init(ret_unpacked);
    assert_int_equal(msgpack_unpack_next(ret_unpacked, bytes.ptr, bytes.len, &at),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, bytes.len);
}

/* BYE carries its reason as text, and a name in it is understood. */
static void settle_bye(struct frame *wanted, const struct frame *got)
{
    if (wanted->kind == FRAME_BYE)
        wanted->stop.reason = got->stop.reason;
}

static void frames_we_pack_survive_the_oracle(void **state)
{
    (void)state;
    struct buf headers, packed;
    msgpack_sbuffer again;
    buf_init(&headers, 0);
    buf_init(&packed, 0);
    msgpack_sbuffer_init(&again);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct frame wanted = draw_frame(&headers), got;
        buf_clear(&packed);
        frame_repack(&packed, &wanted);

        msgpack_unpacked seen;
        read_with_oracle(buf_slice(&packed), &seen);
        assert_int_equal(seen.data.type, MSGPACK_OBJECT_ARRAY);
        assert_int_equal(seen.data.via.array.ptr[0].via.u64, wanted.kind);
        msgpack_sbuffer_clear(&again);
        msgpack_packer packer;
        msgpack_packer_init(&packer, &again, msgpack_sbuffer_write);
        assert_int_equal(msgpack_pack_object(&packer, seen.data), 0);
        msgpack_unpacked_destroy(&seen);

        unpack_one(buf_slice(&packed), &got);
        settle_bye(&wanted, &got);
        if (!frames_equal(&wanted, &got))
            fail_msg("%s changed on its way", frame_kind_name(wanted.kind));
        unpack_one(slice_of(again.data, again.size), &got);
        if (!frames_equal(&wanted, &got))
            fail_msg("%s changed in the oracle", frame_kind_name(wanted.kind));
    }
    msgpack_sbuffer_destroy(&again);
    buf_fini(&headers);
    buf_fini(&packed);
}

/* msgpack-c's encoding of a random request, element by element. */
static void pack_request_with_oracle(msgpack_packer *p, const struct frame *f)
{
    const struct frame_request *r = &f->request;
    const struct slice texts[] = {r->scheme, r->client_addr, r->server_addr};
    struct header_list it = r->headers;
    struct header h;

    msgpack_pack_array(p, r->root == 0 ? 16 : 17);
    msgpack_pack_uint8(p, FRAME_REQUEST);
    msgpack_pack_uint32(p, f->stream);
    msgpack_pack_uint32(p, r->flags);
    msgpack_pack_str_with_body(p, r->method.ptr, r->method.len);
    msgpack_pack_bin_with_body(p, r->target.ptr,
                               r->target.len); /* a text, all the same */
    msgpack_pack_uint8(p, r->minor);
    msgpack_pack_str_with_body(p, texts[0].ptr, texts[0].len);
    msgpack_pack_str_with_body(p, texts[1].ptr, texts[1].len);
    msgpack_pack_uint16(p, r->client_port);
    msgpack_pack_str_with_body(p, texts[2].ptr, texts[2].len);
    msgpack_pack_uint16(p, r->server_port);
    msgpack_pack_array(p, it.count * 2);
    while (header_next(&it, &h)) {
        if (h.number != HEADER_NONE)
            msgpack_pack_uint8(p, h.number);
        else
            msgpack_pack_str_with_body(p, h.name.ptr, h.name.len);
        msgpack_pack_str_with_body(p, h.value.ptr, h.value.len);
    }
    if (r->body_form == BODY_INLINE)
        msgpack_pack_bin_with_body(p, r->body.ptr, r->body.len);
    else if (r->body_form == BODY_LENGTH)
        msgpack_pack_uint64(p, r->body_length);
    else if (r->body_form == BODY_UNKNOWN)
        msgpack_pack_true(p);
    else
        msgpack_pack_nil(p);
    msgpack_pack_uint64(p, r->deadline_us);
    msgpack_pack_uint64(p, r->queued_us);
    msgpack_pack_str_with_body(p, r->id.ptr, r->id.len);
    if (r->root != 0)
        msgpack_pack_uint32(p, r->root);
}

static void requests_the_oracle_packs_are_read(void **state)
{
    (void)state;
    struct buf headers;
    msgpack_sbuffer packed;
    buf_init(&headers, 0);
    msgpack_sbuffer_init(&packed);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct frame wanted = {.kind = FRAME_REQUEST}, got;
        buf_clear(&headers);
        draw_stream_frame(&wanted, &headers);
        msgpack_packer packer;
        msgpack_sbuffer_clear(&packed);
        msgpack_packer_init(&packer, &packed, msgpack_sbuffer_write);
        pack_request_with_oracle(&packer, &wanted);
        unpack_one(slice_of(packed.data, packed.size), &got);
        assert_true(frames_equal(&wanted, &got));
    }
    msgpack_sbuffer_destroy(&packed);
    buf_fini(&headers);
}

static void check_objects(const struct vector *v, void *arg)
{
    (void)arg;
    msgpack_unpacked wanted, got;
    struct frame f;
    struct buf packed;

    buf_init(&packed, 0);
    unpack_one(v->bytes, &f);
    frame_repack(&packed, &f);
    read_with_oracle(v->bytes, &wanted);
    read_with_oracle(buf_slice(&packed), &got);
    assert_true(msgpack_object_equal(wanted.data, got.data));
    msgpack_unpacked_destroy(&wanted);
    msgpack_unpacked_destroy(&got);
    buf_fini(&packed);
}

static void the_oracle_sees_equal_objects_in_vectors_and_what_we_pack(void **state)
{
    (void)state;
    (void)vectors_each("", check_objects, NULL);
}

int main(void)
{
    for (size_t i = 0; i < POOL_BYTES; i++)
        pool_bytes[i] = (char)draw();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_we_pack_survive_the_oracle),
        cmocka_unit_test(requests_the_oracle_packs_are_read),
        cmocka_unit_test(the_oracle_sees_equal_objects_in_vectors_and_what_we_pack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
