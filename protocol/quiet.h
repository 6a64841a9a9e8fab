/* SPDX-License-Identifier: MIT
 * Who may be mentioned in the log again: each address once in a while, all of them
 * together not too often. What was kept back is counted. Pure. */
#ifndef PROTOCOL_QUIET_H
#define PROTOCOL_QUIET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/check.h"

enum {
    QUIET_ADDRESSES = 64, /* that are remembered, the latest */
    QUIET_LINES = 20,     /* in a period, of all addresses */
    QUIET_ADDRESS = 64,
};

struct quiet {
    uint64_t period_us;
    uint64_t began_us;  /* the present period */
    uint32_t lines;     /* in it */
    uint32_t kept_back; /* of addresses that are not remembered */
    size_t count;
    struct quiet_entry {
        char address[QUIET_ADDRESS];
        uint64_t said_us;
        uint32_t kept_back;
    } entries[QUIET_ADDRESSES];
};

void quiet_init(struct quiet *q, uint64_t period_us);
/* True: say it, and that `ret_kept_back` such things were not said since. */
MUST_CHECK bool quiet_permits(struct quiet *q,
                              const char *address,
                              uint64_t now_us,
                              uint32_t *ret_kept_back);

#endif
