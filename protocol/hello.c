/* SPDX-License-Identifier: MIT
 * HELLO, the one cold frame: names and maps, so that versions can grow. It goes through
 * msgpack-c, which allocates an array's elements before it sees them; so our own cursor
 * walks the frame first and bounds its size, counts and nesting. */
#include <msgpack.h>

#include "protocol/frame_priv.h"
#include "protocol/page.h"

enum { HELLO_ELEMENTS = 9 };

static const struct {
    const char *name;
    enum feature bit;
} FEATURES[] = {
    {"file", FEATURE_FILE},
    {"websocket", FEATURE_WEBSOCKET},
    {"trailers", FEATURE_TRAILERS},
    {"inform", FEATURE_INFORM},
};

/* ---- writing ---- */

static int write_to_buf(void *to, const char *bytes, size_t length)
{
    buf_add(to, slice_of(bytes, length));
    return 0;
}

static void pack_text(msgpack_packer *p, struct slice s)
{
    (void)msgpack_pack_str_with_body(p, s.ptr, s.len);
}

static void pack_pair_uint(msgpack_packer *p, const char *key, uint64_t value)
{
    pack_text(p, slice_from(key));
    (void)msgpack_pack_uint64(p, value);
}

static void pack_pair_text(msgpack_packer *p, const char *key, struct slice value)
{
    pack_text(p, slice_from(key));
    pack_text(p, value);
}

static void pack_features(msgpack_packer *p, uint32_t features)
{
    size_t count = 0;
    for (size_t i = 0; i < sizeof FEATURES / sizeof FEATURES[0]; i++)
        count += (features & FEATURES[i].bit) != 0;
    (void)msgpack_pack_array(p, count);
    for (size_t i = 0; i < sizeof FEATURES / sizeof FEATURES[0]; i++)
        if ((features & FEATURES[i].bit) != 0)
            pack_text(p, slice_from(FEATURES[i].name));
}

static void pack_app(msgpack_packer *p, const struct frame_hello *h)
{
    (void)msgpack_pack_map(p, 6);
    pack_pair_text(p, "pool", h->pool);
    pack_pair_uint(p, "slots", h->slots);
    pack_pair_text(p, "interface", h->interface);
    pack_pair_uint(p, "pid", h->pid);
    pack_pair_text(p, "page", h->page);
    pack_pair_uint(p, "page_slot", h->page_slot);
}

void frame_pack_hello(struct buf *to, uint64_t epoch, const struct frame_hello *h)
{
    size_t before = buf_len(to);
    msgpack_packer p;

    /* Writing to a buf cannot fail, so neither can packing. */
    msgpack_packer_init(&p, to, write_to_buf);
    (void)msgpack_pack_array(&p, HELLO_ELEMENTS);
    (void)msgpack_pack_uint64(&p, FRAME_HELLO);
    (void)msgpack_pack_uint64(&p, epoch);
    (void)msgpack_pack_uint64(&p, h->version);
    pack_text(&p, h->role);
    (void)msgpack_pack_uint64(&p, h->instance);
    (void)msgpack_pack_uint64(&p, h->clock_us);
    pack_features(&p, h->features);
    (void)msgpack_pack_map(&p, 2);
    pack_pair_uint(&p, "window", h->window_bytes);
    pack_pair_uint(&p, "inline", h->inline_bytes);
    if (h->has_app)
        pack_app(&p, h);
    else
        (void)msgpack_pack_nil(&p);
    ASSERT(buf_len(to) - before <= FRAME_MAX_HELLO);
}

/* ---- reading ---- */

static bool read_uint(const msgpack_object *o, uint64_t max, uint64_t *ret_value)
{
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > max)
        return false;
    *ret_value = o->via.u64;
    return true;
}

static bool read_text(const msgpack_object *o, struct slice *ret_text)
{
    if (o->type == MSGPACK_OBJECT_STR)
        *ret_text = slice_of(o->via.str.ptr, o->via.str.size);
    else if (o->type == MSGPACK_OBJECT_BIN)
        *ret_text = slice_of(o->via.bin.ptr, o->via.bin.size);
    else
        return false;
    return true;
}

/* The value of a text key, or NULL. */
static const msgpack_object *find_key(const msgpack_object *map, const char *key)
{
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        struct slice name;
        if (read_text(&map->via.map.ptr[i].key, &name) &&
            slice_eq(name, slice_from(key)))
            return &map->via.map.ptr[i].val;
    }
    return NULL;
}

/* A missing key leaves the value as it is. */
static bool read_pair_uint(const msgpack_object *map,
                           const char *key,
                           uint64_t max,
                           uint64_t *ret_value)
{
    const msgpack_object *value = find_key(map, key);
    return value == NULL || read_uint(value, max, ret_value);
}

static bool
read_pair_u32(const msgpack_object *map, const char *key, uint32_t *ret_value)
{
    uint64_t value = *ret_value;
    bool ok = read_pair_uint(map, key, UINT32_MAX, &value);
    *ret_value = (uint32_t)value;
    return ok;
}

static bool
read_pair_text(const msgpack_object *map, const char *key, struct slice *ret_text)
{
    const msgpack_object *value = find_key(map, key);
    return value == NULL || read_text(value, ret_text);
}

static bool read_features(const msgpack_object *o, uint32_t *ret_features)
{
    uint32_t features = 0;

    if (o->type != MSGPACK_OBJECT_ARRAY)
        return false;
    for (uint32_t i = 0; i < o->via.array.size; i++) {
        struct slice name;
        if (!read_text(&o->via.array.ptr[i], &name))
            return false;
        for (size_t f = 0; f < sizeof FEATURES / sizeof FEATURES[0]; f++)
            if (slice_eq(name, slice_from(FEATURES[f].name)))
                features |= FEATURES[f].bit;
    }
    *ret_features = features;
    return true;
}

static bool read_app(const msgpack_object *o, struct frame_hello *h)
{
    h->has_app = true;
    return o->type == MSGPACK_OBJECT_MAP && read_pair_text(o, "pool", &h->pool) &&
           read_pair_u32(o, "slots", &h->slots) &&
           read_pair_text(o, "interface", &h->interface) &&
           read_pair_u32(o, "pid", &h->pid) && read_pair_text(o, "page", &h->page) &&
           read_pair_u32(o, "page_slot", &h->page_slot) && h->page_slot < PAGE_SLOTS &&
           (h->page.len == 0 || memchr(h->page.ptr, 0, h->page.len) == NULL);
}

/* Epoch and version have been read. */
static bool read_fields(const msgpack_object *hello, struct frame_hello *h)
{
    const msgpack_object *field = hello->via.array.ptr;

    if (!read_text(&field[3], &h->role) ||
        !read_uint(&field[4], UINT64_MAX, &h->instance) ||
        !read_uint(&field[5], UINT64_MAX, &h->clock_us) ||
        !read_features(&field[6], &h->features) ||
        field[7].type != MSGPACK_OBJECT_MAP ||
        !read_pair_uint(&field[7], "window", UINT64_MAX, &h->window_bytes) ||
        !read_pair_uint(&field[7], "inline", UINT64_MAX, &h->inline_bytes))
        return false;
    if (slice_eq(h->role, SLICE("proxy")))
        return field[8].type == MSGPACK_OBJECT_NIL;
    return slice_eq(h->role, SLICE("app")) && read_app(&field[8], h);
}

static bool read_hello(struct slice frame, struct frame_hello *h)
{
    msgpack_unpacked unpacked;
    bool ok = false;

    msgpack_unpacked_init(&unpacked);
    size_t at = 0;
    if (msgpack_unpack_next(&unpacked, frame.ptr, frame.len, &at) ==
            MSGPACK_UNPACK_SUCCESS &&
        at == frame.len)
        ok = read_fields(&unpacked.data, h);
    msgpack_unpacked_destroy(&unpacked); /* texts point into the frame, not into it */
    return ok;
}

void hello_unpack(struct cursor *c,
                  const unsigned char *start,
                  uint32_t elements,
                  struct frame *ret_frame)
{
    enum { KIND_EPOCH_VERSION = 3 };
    struct frame_hello *h = &ret_frame->hello;

    ret_frame->stream = 0;
    ret_frame->epoch = take_uint(c, UINT64_MAX);
    *h = (struct frame_hello){
        .version = (uint32_t)take_uint(c, UINT32_MAX),
        .role = slice_of("", 0),
        .window_bytes = FRAME_DEFAULT_WINDOW,
        .inline_bytes = FRAME_MAX_INLINE_BODY,
        .pool = SLICE("default"),
        .interface = SLICE("wsgi"),
        .page = slice_of("", 0),
        .slots = 1,
    };
    if (elements < KIND_EPOCH_VERSION) {
        cursor_fail(c, ERR_BAD_FRAME);
        return;
    }
    cursor_skip(c, elements - KIND_EPOCH_VERSION);
    if (c->err != ERR_NONE)
        return;
    struct slice frame = slice_of(start, (size_t)(c->at - start));
    if (frame.len > FRAME_MAX_HELLO)
        cursor_fail(c, ERR_FRAME_TOO_LARGE);
    else if (h->version == PROTOCOL_VERSION &&
             (elements < HELLO_ELEMENTS || !read_hello(frame, h)))
        cursor_fail(c, ERR_BAD_FRAME);
}
