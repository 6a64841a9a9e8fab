/* SPDX-License-Identifier: MIT
 * One line said to a proxy, and its answer. What comes back, line by line:
 *
 *     +        it was understood that somebody asks; what follows may take its time
 *      TEXT    for standard output
 *     !TEXT    for standard error
 *     =CODE    the end */
#ifndef BANYAN_TALK_H
#define BANYAN_TALK_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"

/* As the command exits. */
enum talk_code {
    TALK_NONE = -1, /* not over */
    TALK_DONE,
    TALK_REFUSED,
    TALK_LATE,
    TALK_UNREACHABLE,
    TALK_PARTLY, /* not the same with every proxy */
};

struct channel;

struct talk {
    const char *address;       /* borrowed */
    struct channel *channel;   /* NULL: over */
    struct buf in;             /* not yet a line */
    struct buf out, complaint; /* whole lines */
    bool was_heard;
    bool is_streaming; /* `out` stays empty, its lines go to standard output at once */
    int code;
};

/* `line` without its end. It may be over at once. */
void talk_begin(struct talk *t, const char *address, struct slice line);
void talk_hear(struct talk *t);
void talk_give_up(struct talk *t, enum talk_code code, const char *why);
void talk_fini(struct talk *t);

/* Until each is over. One that says nothing within `hear_us`, or not all within
 * `patience_us` (0: however long it takes), is given up. */
void talks_listen(struct talk *talks,
                  size_t count,
                  uint64_t hear_us,
                  uint64_t patience_us);

#endif
