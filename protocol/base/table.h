/* SPDX-License-Identifier: MIT
 * uint64 -> pointer, for stream ids. Open addressing, so that a lookup is one multiply
 * and nearly always one cache line; grows by doubling and never shrinks. Owns its
 * slots, not what they point to. */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/base/check.h"

struct table {
    struct table_slot *slots;
    uint32_t count;
    uint32_t cap; /* a power of two, or 0 */
    uint32_t shift;
};

struct table_slot {
    uint64_t key;
    void *value; /* NULL: free */
};

void table_init(struct table *t);
void table_fini(struct table *t);

/* NULL: no such key. */
void *table_get(const struct table *t, uint64_t key);
/* `value` is not NULL; replaces what stood there. */
void table_put(struct table *t, uint64_t key, void *value);
/* What stood there; NULL: nothing. */
void *table_take(struct table *t, uint64_t key);
void table_clear(struct table *t);

static inline uint32_t table_count(const struct table *t)
{
    return t->count;
}

#endif
