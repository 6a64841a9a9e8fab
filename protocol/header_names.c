/* SPDX-License-Identifier: MIT
 * Header names by number and numbers by name.
 *
 * No two numbered names have the same length, first eight and last eight bytes, and the
 * two multipliers were searched so that their hashes differ too: a lookup is one probe
 * and a comparison of whole words. A new name that collides stops every program at its
 * start; then search again. */
#include "protocol/header_names.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "protocol/base/check.h"

enum { WORD = 8, MAX_WORDS = 4, SLOT_BITS = 9 };

static const struct {
    struct slice lower, canonical;
} NAMES[HEADER_COUNT] = {
#define NAME(number, lower, canonical)                                                 \
    [number] = {{lower, sizeof lower - 1}, {canonical, sizeof canonical - 1}},
#include "protocol/header_names.def"
#undef NAME
};

#define NAME(number, lower, canonical)                                                 \
    _Static_assert(sizeof lower == sizeof canonical && sizeof lower > 1 &&             \
                       sizeof lower - 1 <= WORD * MAX_WORDS && number > 0 &&           \
                       number < HEADER_COUNT,                                          \
                   lower);
#include "protocol/header_names.def"
#undef NAME

/* Written once before main() runs, only read afterwards. */
static uint8_t slots[1 << SLOT_BITS];
static uint64_t words[HEADER_COUNT][MAX_WORDS]; /* lower case, zero-padded */

static uint64_t load_word(const char *at, size_t bytes)
{
    uint64_t word = 0;
    memcpy(&word, at, bytes);
    return le64toh(word);
}

/* Eight bytes at once: only A-Z change. */
static uint64_t lower_word(uint64_t word)
{
    const uint64_t ones = UINT64_MAX / 255, high = ones << 7;
    uint64_t low7 = word & ~high;
    uint64_t from_a = low7 + (128 - 'A') * ones;
    uint64_t past_z = low7 + (127 - 'Z') * ones;
    return word | ((~word & high & (from_a ^ past_z)) >> 2);
}

static size_t slot_of(uint64_t first, uint64_t last, size_t length)
{
    const uint64_t k1 = 0x75913b820fb30fc1, k2 = 0xc76dc9c5;
    return (size_t)((((first ^ (last * k2)) + length) * k1) >> (64 - SLOT_BITS));
}

static uint64_t first_word(struct slice name)
{
    return lower_word(load_word(name.ptr, name.len < WORD ? name.len : WORD));
}

/* The last eight bytes, which may overlap the first. */
static uint64_t last_word(struct slice name, uint64_t first)
{
    return name.len <= WORD ? first
                            : lower_word(load_word(name.ptr + name.len - WORD, WORD));
}

__attribute__((constructor)) static void build_slots(void)
{
    for (unsigned n = 1; n < HEADER_COUNT; n++) {
        struct slice name = NAMES[n].lower;
        for (size_t at = 0; at < name.len; at += WORD) {
            size_t left = name.len - at;
            words[n][at / WORD] = load_word(name.ptr + at, left < WORD ? left : WORD);
        }
        uint64_t first = first_word(name);
        size_t slot = slot_of(first, last_word(name, first), name.len);
        ASSERT(slots[slot] == HEADER_NONE);
        slots[slot] = (uint8_t)n;
    }
}

uint8_t header_number(struct slice name)
{
    if (name.len == 0 || name.len > WORD * MAX_WORDS)
        return HEADER_NONE;

    uint64_t first = first_word(name);
    uint64_t last = last_word(name, first);
    uint8_t number = slots[slot_of(first, last, name.len)];
    if (NAMES[number].lower.len != name.len || words[number][0] != first)
        return HEADER_NONE;
    for (size_t at = WORD; at + WORD <= name.len; at += WORD)
        if (words[number][at / WORD] != lower_word(load_word(name.ptr + at, WORD)))
            return HEADER_NONE;
    if (name.len > WORD) {
        const char *end = NAMES[number].lower.ptr + name.len - WORD;
        if (load_word(end, WORD) != last)
            return HEADER_NONE;
    }
    return number;
}

struct slice header_lower(uint8_t number)
{
    return number < HEADER_COUNT ? NAMES[number].lower : slice_of("", 0);
}

struct slice header_canonical(uint8_t number)
{
    return number < HEADER_COUNT ? NAMES[number].canonical : slice_of("", 0);
}
