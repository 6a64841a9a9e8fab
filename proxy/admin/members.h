/* SPDX-License-Identifier: MIT
 * Who belongs to which pool: the control thread's truth, of which the edge threads have
 * what their orders said. All who say something about it - the command line, the
 * configuration file, DNS, app servers themselves, a person - say it here; what a
 * person decided outranks the others. Changes become orders, lines of the state file
 * and events by what differs between before and after (edit.h). Pure. */
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
    MEMBER_FULL_NAME = 2 * MEMBER_NAME, /* POOL/NAME */
    MEMBER_ENDPOINT = 256,
    MEMBER_WHO = 48,
    MEMBERS_MORE = 1024, /* beyond those of the first configuration */
    MEMBERS_AWAY = 1024, /* of a pool, that are remembered; then the oldest goes */
};

struct config;

/* Who brought it. The later outranks the earlier. */
enum member_source {
    SOURCE_SELF, /* it registered itself, for as long as it renews its lease */
    SOURCE_DNS,  /* an address of an entry's host */
    SOURCE_OPTION,
    SOURCE_FILE,
    SOURCE_CLI,
};

enum member_kind {
    MEMBER_HERE,  /* a backend; the edge threads have it */
    MEMBER_ENTRY, /* tcp://HOST:PORT whose HOST is a name: its addresses are backends,
                     which take over what is given or decided here */
    MEMBER_AWAY,  /* not here, but a person decided something about it */
};

/* What a person decided. */
enum decision {
    DECIDED_STATE = 1,
    DECIDED_HEALTH = 2,
    DECIDED_WEIGHT = 4,
    DECIDED_LIMIT = 8,
    DECIDED_REMOVAL = 16, /* AWAY: stays so whoever brings it, until a person adds it */
};

struct change {    /* the last one */
    int64_t at_ms; /* of Unix time; 0: none */
    char by[MEMBER_WHO];
    char what[MEMBER_WHO];
};

struct member {
    struct node node; /* of the list of its kind */
    struct member_pool *pool;
    enum member_kind kind;
    char name[MEMBER_NAME], endpoint[MEMBER_ENDPOINT];
    enum member_source source;
    bool is_configured; /* --backend or the file name it now, whoever brought it */
    bool is_joining;    /* its `add` waits for its HELLO; drained, and not saved */
    struct backend_settings settings; /* in force: `given`, but for the decisions */
    struct backend_settings given;    /* by its source, or its entry */
    struct backend_settings decided;
    unsigned decisions;      /* enum decision bits: which of `decided` there are */
    char entry[MEMBER_NAME]; /* DNS: of whose host it is an address; else empty */
    /* SELF: */
    char owner[MEMBER_WHO]; /* who announced it: only they renew or withdraw it */
    uint32_t lease_s;
    uint64_t lease_until_us; /* clock.h */
    uint64_t announcer; /* id of the admin_client that said it last; 0: not known */
    struct change change;
};

struct member_pool {
    struct node node;
    struct members *members;
    char name[MEMBER_NAME];
    bool is_configured; /* else the edge threads do not have it, nor do verbs: it is
                           kept for a configuration that names it again */
    struct list all; /* HERE, in the order in which they came, as the edges have it */
    struct list entries, away;
    uint32_t count; /* of `all` */
    struct pool_settings settings;
    struct change change;
};

/* An option that `set` changed. */
struct setting {
    struct node node;
    char key[48], value[48];
};

struct members {
    struct list pools;
    struct list settings;
    uint32_t most; /* HERE of all pools, and ENTRY; 0: any number */
    uint64_t generation;
};

void members_init(struct members *m);
void members_fini(struct members *m);
/* All of `from`, which is empty then, to the empty `to`. */
void members_move(struct members *to, struct members *from);
/* A second one, in what is not initialized. */
void members_clone(struct members *to, struct members *from);

/* ---- looking up ---- */

uint32_t members_count(struct members *m);                             /* HERE */
struct member_pool *members_pool(struct members *m, const char *name); /* NULL: none */
/* Makes it when there is none. */
struct member_pool *members_pool_make(struct members *m, const char *name);
/* Of any kind; NULL: none. */
struct member *members_get(struct member_pool *pool, const char *name);
/* What a person means by "POOL/NAME" or "NAME": HERE or ENTRY. A bare NAME is the one
 * of the pool `default`, else of the only pool that has it. NULL: there is none
 * (*ret_none), or ret_message says why not. */
MUST_CHECK struct member *members_find(struct members *m,
                                       const char *text,
                                       bool *ret_none,
                                       struct buf *ret_message);
/* Where "POOL/NAME" or "NAME" would be: the pool of that name, `default`, or the only
 * one. NULL: ret_message says why. *ret_name points into the text. */
MUST_CHECK struct member_pool *members_place(struct members *m,
                                             const char *text,
                                             const char **ret_name,
                                             struct buf *ret_message);
/* "POOL/NAME" */
void member_full_name(const struct member *member, char ret_name[MEMBER_FULL_NAME]);
/* It, or its entry, is meant by `target`. */
bool member_is_of(const struct member *member, const struct member *target);

/* ---- changing; members_settle before anything is done with the result ---- */

enum given {
    GIVEN_NEW,
    GIVEN_CHANGED, /* or the same as before */
    GIVEN_KEPT,    /* one that outranks the source brought it, at this endpoint */
    GIVEN_OTHER,   /* the same, but at another endpoint: that stays */
    GIVEN_AWAY,    /* a person removed it */
    GIVEN_FULL,    /* there are as many as there may be */
};
/* `source` says that this is there; so does a person (CLI), whose word makes it come
 * back. *ret_member: it, of whatever kind; NULL: GIVEN_FULL. Whoever gives as SELF sets
 * owner and lease. */
MUST_CHECK enum given members_give(struct member_pool *pool,
                                   const char *name,
                                   const char *endpoint,
                                   const struct backend_settings *settings,
                                   enum member_source source,
                                   struct member **ret_member);
/* Its source has it no more. What was decided about it goes as well, unless it
 * registered itself: then it is remembered. An entry's addresses go with it. */
void members_drop(struct member **member_p);
/* A person wants it gone: it stays away if its source says it is there. */
void members_remove(struct member **member_p);
/* Of a state file: it is not here, whatever was decided. */
void members_put_away(struct member **member_p);
/* The entry's host has these addresses (as in endpoints: IPv6 without brackets). */
void members_resolve(struct member *entry,
                     const char *const *addresses,
                     uint32_t count);
/* The pools and backends that the configuration names. What of it a person's decision
 * outranks is said in lines. */
void members_configure(struct members *m,
                       const struct config *config,
                       struct buf *ret_lines);
/* A decision by a person; `to` has the value. Back to what is given: members_undecide.
 */
void members_decide(struct member *member,
                    enum decision what,
                    const struct backend_settings *to);
void members_undecide(struct member *member, enum decision what);
/* It takes requests from here on, and so do an entry's addresses. */
void members_join(struct member *member);
/* NULL value: it is not set any more. */
void members_set(struct members *m, const char *key, const char *value);
const char *members_setting(struct members *m, const char *key); /* NULL: not set */
/* Brings `settings` of all up to date. */
void members_settle(struct members *m);

/* ---- comparing ---- */

struct difference {
    struct member_pool *pool_was, *pool_is; /* NULL: none */
    struct member *was, *is; /* NULL: none; both: it is the pool itself that differs */
};
/* Also tells of every member of a pool that is configured in one of them only. Changes
 * and leases do not count. */
void members_diff(struct members *was,
                  struct members *is,
                  void (*tell)(void *arg, const struct difference *d),
                  void *arg);
/* Of this name (NULL: the pool's settings). */
bool members_is_same(struct members *a,
                     struct members *b,
                     const char *pool,
                     const char *name);
/* What `from` has under this name (NULL: the pool's settings), `to` has, too; it is
 * gone there when it is gone here. */
void members_copy(struct members *to,
                  struct members *from,
                  const char *pool,
                  const char *name);

const char *admin_state_name(enum admin_state state);
const char *health_rule_name(enum health_rule rule);
const char *pool_state_name(enum pool_state state);
const char *member_source_name(enum member_source source);

/* The state file: one line a member, words that words_split reads. */
void members_save(struct members *m, struct buf *out);
/* Replaces what is there. False: ret_message names the line and what is wrong, and
 * `m` is as before. Leases begin at `now_us`. */
MUST_CHECK bool members_load(struct members *m,
                             struct slice text,
                             uint64_t now_us,
                             struct buf *ret_message);

#endif
