/* SPDX-License-Identifier: MIT
 * From a name, a cookie, an address to a number: the same in every edge thread, proxy
 * and release, so that they send the same key to the same app server. */
#ifndef UPSTREAM_KEY_H
#define UPSTREAM_KEY_H

#include <stdint.h>

#include "protocol/base/slice.h"

/* The last step of MurmurHash3. */
static inline uint64_t balance_mix(uint64_t value)
{
    value = (value ^ value >> 33) * 0xff51afd7ed558ccd;
    value = (value ^ value >> 33) * 0xc4ceb9fe1a85ec53;
    return value ^ value >> 33;
}

/* FNV-1a, mixed; never 0. */
static inline uint64_t balance_key(struct slice text)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.ptr[i]) * 0x100000001b3;
    hash = balance_mix(hash);
    return hash == 0 ? 1 : hash;
}

#endif
