/* SPDX-License-Identifier: MIT
 * Linear probing at half load; a removal moves the followers of its run back, so there
 * are no tombstones and a table that lives for ever stays as fast as a new one. The
 * hash (a multiply by 2^64 / golden ratio) spreads consecutive ids evenly. */
#include "protocol/base/table.h"

#include <string.h>

#include "protocol/base/mem.h"

enum { TABLE_FIRST_BITS = 6, TABLE_MAX_BITS = 31 };

static uint32_t home_of(const struct table *t, uint64_t key)
{
    return (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> t->shift);
}

/* The slot that holds the key, or the free one where it would go. */
static uint32_t find(const struct table *t, uint64_t key)
{
    uint32_t i = home_of(t, key);
    while (t->slots[i].value != NULL && t->slots[i].key != key)
        i = (i + 1) & (t->cap - 1);
    return i;
}

void table_init(struct table *t)
{
    *t = (struct table){0};
}

void table_fini(struct table *t)
{
    mem_free(&t->slots);
    table_init(t);
}

void *table_get(const struct table *t, uint64_t key)
{
    return t->count == 0 ? NULL : t->slots[find(t, key)].value;
}

static void grow(struct table *t)
{
    struct table old = *t;
    uint32_t bits = old.cap == 0 ? TABLE_FIRST_BITS : 64 - old.shift + 1;
    ASSERT(bits <= TABLE_MAX_BITS);
    t->cap = UINT32_C(1) << bits;
    t->shift = 64 - bits;
    t->slots = mem_zalloc(t->cap * sizeof *t->slots);
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.slots[i].value != NULL)
            t->slots[find(t, old.slots[i].key)] = old.slots[i];
    mem_free(&old.slots);
}

void table_put(struct table *t, uint64_t key, void *value)
{
    ASSERT(value != NULL);
    if (t->count >= t->cap / 2)
        grow(t);
    uint32_t i = find(t, key);
    if (t->slots[i].value == NULL)
        t->count++;
    t->slots[i] = (struct table_slot){key, value};
}

void *table_take(struct table *t, uint64_t key)
{
    if (t->count == 0)
        return NULL;
    uint32_t mask = t->cap - 1, hole = find(t, key);
    void *value = t->slots[hole].value;
    if (value == NULL)
        return NULL;

    /* A follower moves into the hole unless its home lies between the two. */
    for (uint32_t i = (hole + 1) & mask; t->slots[i].value != NULL;
         i = (i + 1) & mask) {
        uint32_t home = home_of(t, t->slots[i].key);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->slots[hole] = t->slots[i];
            hole = i;
        }
    }
    t->slots[hole].value = NULL;
    t->count--;
    return value;
}

void table_clear(struct table *t)
{
    if (t->count != 0)
        memset(t->slots, 0, t->cap * sizeof *t->slots);
    t->count = 0;
}
