/* SPDX-License-Identifier: MIT
 * The entries of the membership whose host is a name: each is looked up again and
 * again, and its addresses join and leave. An answer changes the membership; a lookup
 * that fails, or finds nothing, does not. */
#ifndef ADMIN_NAMES_H
#define ADMIN_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"

struct admin;
struct member;
struct names;

/* What is known of one entry. */
struct name_state {
    uint64_t answered_us; /* clock.h: when the last answer came; 0: none yet */
    const char *error;    /* of the last lookup; NULL: it was answered */
};

MUST_CHECK struct names *names_new(struct admin *admin);
void names_free(struct names **names_p);
/* The entries are these now: new ones are looked up at once. */
void names_update(struct names *names);
/* False: nothing is known of it. */
bool names_state(struct names *names,
                 const struct member *entry,
                 struct name_state *ret_state);

#endif
