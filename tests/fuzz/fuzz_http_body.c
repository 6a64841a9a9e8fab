/* SPDX-License-Identifier: MIT
 * Any bytes as a body, whole and in pieces: the same data and the same end, nothing
 * taken that was not there. The first byte chooses the framing, the second how it is
 * cut. */
#include <stdlib.h>

#include "protocol/base/buf.h"
#include "proxy/http/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum step step;
    enum err err;
    struct buf data;
    size_t used;
    struct body_reader reader;
};

/* Gives `piece` bytes at a time and takes at most `room`. */
static struct outcome
read_body(struct slice input, bool is_chunked, size_t length, size_t piece, size_t room)
{
    struct outcome o = {.step = STEP_MORE};
    struct http_limits limits;
    struct slice data = {NULL, 0};

    http_limits_init(&limits);
    limits.max_trailer = 100;
    limits.max_chunk_ext = 20;
    buf_init(&o.data, 0);
    if (is_chunked)
        body_reader_chunked(&o.reader);
    else
        body_reader_length(&o.reader, length);
    while (o.step == STEP_MORE && o.used < input.len) {
        size_t left = input.len - o.used;
        struct slice part = slice_of(input.ptr + o.used, left < piece ? left : piece);
        do {
            struct slice before = part;
            o.step = body_read(&o.reader, &limits, &part, room, &data, &o.err);
            ASSERT(part.ptr + part.len == before.ptr + before.len);
            ASSERT(part.ptr >= before.ptr);
            if (o.step == STEP_BAD)
                return o;
            ASSERT(data.len <= room);
            ASSERT(data.len == 0 ||
                   (data.ptr >= before.ptr && data.ptr + data.len <= part.ptr));
            ASSERT(part.ptr > before.ptr || o.step == STEP_DONE);
            buf_add(&o.data, data);
            o.used += (size_t)(part.ptr - before.ptr);
        } while (o.step == STEP_MORE && part.len > 0);
    }
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    const bool is_chunked = (data[0] & 1) == 0;
    const size_t length = data[0], piece = (size_t)(data[1] & 15) + 1,
                 room = (size_t)(data[1] >> 4) + 1;

    char *copy = malloc(size - 2);
    ASSERT(copy != NULL);
    memcpy(copy, data + 2, size - 2);
    struct slice input = slice_of(copy, size - 2);
    struct outcome whole = read_body(input, is_chunked, length, input.len, SIZE_MAX);
    struct outcome cut = read_body(input, is_chunked, length, piece, room);

    ASSERT(whole.step == cut.step);
    if (whole.step == STEP_BAD) {
        ASSERT(whole.err == cut.err && err_status(whole.err) >= 400);
    } else {
        ASSERT(whole.used == cut.used);
        ASSERT(slice_eq(buf_slice(&whole.data), buf_slice(&cut.data)));
        ASSERT(whole.reader.total == buf_len(&whole.data));
        ASSERT(whole.reader.total + whole.reader.overhead == whole.used);
        ASSERT(whole.step == STEP_DONE || whole.used == input.len);
        if (!is_chunked)
            ASSERT((whole.step == STEP_DONE) == (input.len >= length));
    }
    buf_fini(&whole.data);
    buf_fini(&cut.data);
    free(copy);
    return 0;
}
