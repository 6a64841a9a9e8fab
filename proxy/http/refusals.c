/* SPDX-License-Identifier: MIT
 * A ring: row number n stands at n modulo REFUSALS_KEPT. */
#include "proxy/http/refusals.h"

#include <string.h>
#include <time.h>

#include "protocol/base/check.h"
#include "protocol/base/mem.h"

struct refusal *refusals_add(struct refusals *r)
{
    struct timespec now;
    if (r->rows == NULL)
        r->rows = mem_zalloc(REFUSALS_KEPT * sizeof *r->rows);
    struct refusal *row = &r->rows[r->total++ % REFUSALS_KEPT];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *row = (struct refusal){.at_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000};
    return row;
}

void refusal_keep(struct refusal *row, struct slice input, size_t at, uint64_t offset)
{
    ASSERT(at <= input.len);
    size_t before = at < REFUSAL_BEFORE ? at : REFUSAL_BEFORE;
    size_t length = input.len - (at - before);
    row->length = (uint32_t)(length < REFUSAL_BYTES ? length : REFUSAL_BYTES);
    row->offset = offset;
    row->bytes_at = offset - before;
    if (row->length > 0)
        memcpy(row->bytes, input.ptr + (at - before), row->length);
}

void refusal_print(const struct refusal *row, struct buf *to)
{
    static const char names[] = "rnt\\", bytes[] = "\r\n\t\\";
    for (uint32_t i = 0; i < row->length; i++) {
        unsigned char c = (unsigned char)row->bytes[i];
        const char *known = c == '\0' ? NULL : strchr(bytes, c);
        if (known != NULL)
            buf_addf(to, "\\%c", names[known - bytes]);
        else if (c < 0x20 || c > 0x7e)
            buf_addf(to, "\\x%02x", c);
        else
            buf_add(to, slice_of(&row->bytes[i], 1));
    }
}

const char *refusal_part_name(enum refusal_part part)
{
    static const char *const names[] = {"head", "body", "answer"};
    return names[part];
}

uint32_t refusals_count(const struct refusals *r)
{
    return (uint32_t)(r->total < REFUSALS_KEPT ? r->total : REFUSALS_KEPT);
}

const struct refusal *refusals_get(const struct refusals *r, uint32_t i)
{
    ASSERT(i < refusals_count(r));
    return &r->rows[(r->total - refusals_count(r) + i) % REFUSALS_KEPT];
}

void refusals_copy(const struct refusals *r, struct refusals *ret_copy)
{
    *ret_copy = *r;
    if (r->rows == NULL)
        return;
    ret_copy->rows = mem_alloc(REFUSALS_KEPT * sizeof *r->rows);
    memcpy(ret_copy->rows, r->rows, REFUSALS_KEPT * sizeof *r->rows);
}

void refusals_fini(struct refusals *r)
{
    mem_free(&r->rows);
    r->total = 0;
}
