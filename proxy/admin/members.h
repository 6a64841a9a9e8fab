/* SPDX-License-Identifier: MIT
 * Who belongs to the pool and what an operator decided about each: the control thread's
 * truth, of which the edge threads have what their orders said. Numbered by a
 * generation that grows with every change. Pure. */
#ifndef ADMIN_MEMBERS_H
#define ADMIN_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/queue.h"
#include "proxy/upstream/settings.h"

enum {
    MEMBER_NAME = 64,
    MEMBER_ENDPOINT = 256,
    MEMBER_WHO = 48,
    MEMBERS_MAX = 1024,
};

#define POOL_NAME "default"

enum member_source {
    SOURCE_OPTION, /* --backend */
    SOURCE_CLI,
    SOURCE_FILE, /* of a pool that the configuration file names: not a member here */
};

struct change {    /* the last one */
    int64_t at_ms; /* of Unix time; 0: none */
    char by[MEMBER_WHO];
    char what[MEMBER_WHO];
};

struct member {
    struct node node;
    char name[MEMBER_NAME], endpoint[MEMBER_ENDPOINT];
    struct backend_settings settings;
    uint32_t full_weight; /* what 100 % is */
    enum member_source source;
    bool is_given;   /* there is a --backend of this name, whoever added it now */
    bool is_joining; /* its `add` waits for its HELLO; not saved */
    struct change change;
};

struct members {
    struct list all; /* in the order in which they came */
    uint32_t count;
    struct list removed; /* given ones that an operator removed: they stay away */
    struct pool_settings pool;
    struct change pool_change;
    uint64_t generation;
};

void members_init(struct members *m);
void members_fini(struct members *m);

/* All of `from`, which is empty then, to the empty `to`. */
void members_move(struct members *to, struct members *from);

/* What `from` has under this name (NULL: the pool's settings), `to` has, too; it is
 * gone there when it is gone here. The generation as well. */
void members_copy(struct members *to, struct members *from, const char *name);

/* "NAME" or "default/NAME"; NULL: there is none. */
MUST_CHECK struct member *members_find(struct members *m, const char *name);
/* The name without its pool; NULL: the pool is not ours or the name is none. */
MUST_CHECK const char *member_name_check(const char *name);
/* The name is free; the caller counts the generation. */
MUST_CHECK struct member *members_add(struct members *m,
                                      const char *name,
                                      const char *endpoint,
                                      const struct backend_settings *settings,
                                      enum member_source source);
void members_remove(struct members *m, struct member **member_p);
/* This --backend was removed by an operator before. */
bool members_is_removed(struct members *m, const char *name);

const char *admin_state_name(enum admin_state state);
const char *health_rule_name(enum health_rule rule);
const char *pool_state_name(enum pool_state state);
const char *member_source_name(enum member_source source);

/* The state file: one line a member, words that words_split reads. */
void members_save(struct members *m, struct buf *out);
/* Replaces what is there. False: ret_message names the line and what is wrong, and
 * `m` is as before. */
MUST_CHECK bool
members_load(struct members *m, struct slice text, struct buf *ret_message);

#endif
