/* SPDX-License-Identifier: MIT
 * The latest events, numbered: changes by operators, app servers that came up or went
 * down. Pure. */
#ifndef ADMIN_JOURNAL_H
#define ADMIN_JOURNAL_H

#include <stdint.h>

enum { JOURNAL_EVENTS = 256 };

struct journal_event {
    uint64_t number; /* from 1 */
    int64_t at_ms;   /* of Unix time */
    uint64_t generation;
    char by[48], object[64], text[160];
};

struct journal {
    uint64_t last; /* number of the newest; 0: none */
    struct journal_event events[JOURNAL_EVENTS];
};

/* Texts are clipped. Returns the event, which lives until JOURNAL_EVENTS more came. */
const struct journal_event *journal_add(struct journal *journal,
                                        int64_t at_ms,
                                        uint64_t generation,
                                        const char *by,
                                        const char *object,
                                        const char *text);
/* The oldest that is kept; == last + 1: none. */
uint64_t journal_first(const struct journal *journal);
const struct journal_event *journal_get(const struct journal *journal, uint64_t number);

#endif
