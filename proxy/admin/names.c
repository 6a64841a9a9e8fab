/* SPDX-License-Identifier: MIT
 * One watch for each entry, and one timer for all. Watches have ids: an answer may come
 * when its entry has gone, or has another host. */
#include "proxy/admin/names.h"

#include <event2/event.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/link.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/edit.h"
#include "proxy/admin/resolver.h"

enum {
    NAMES_MAGIC = 0x4e414d45,
    RETRY_US = 1000 * 1000, /* after a lookup that failed, if that is sooner */
};

struct watch {
    struct node node;
    uint64_t id;
    char pool[MEMBER_NAME], name[MEMBER_NAME], endpoint[MEMBER_ENDPOINT];
    uint64_t next_us, answered_us;
    bool is_asked; /* an answer is to come */
    int error;
};

struct names {
    uint32_t magic;
    struct admin *admin;
    struct resolver *resolver;
    struct event *timer;
    struct list watches;
    uint64_t ids;
};

static void on_answer(void *arg, const struct resolver_answer *answer);
static void on_timer(evutil_socket_t fd, short what, void *arg);

struct names *names_new(struct admin *admin)
{
    struct names *names = mem_zalloc(sizeof *names);
    names->magic = NAMES_MAGIC;
    names->admin = admin;
    list_init(&names->watches);
    names->resolver = resolver_new(admin->options.base, on_answer, names);
    names->timer = evtimer_new(admin->options.base, on_timer, names);
    ASSERT(names->timer != NULL);
    return names;
}

static void free_watch(struct watch *w)
{
    node_leave(&w->node);
    mem_free(&w);
}

void names_free(struct names **names_p)
{
    struct names *names = take(*names_p);
    if (names == NULL)
        return;
    CHECK_OBJ(names, NAMES_MAGIC);
    LIST_FOREACH(&names->watches, n)
        free_watch(NODE_OF(n, struct watch, node));
    event_free(names->timer);
    resolver_free(&names->resolver);
    names->magic = 0;
    mem_free(&names);
}

/* ---- which there are ---- */

static struct member *entry_of(struct names *names, const struct watch *w)
{
    struct member_pool *pool = members_pool(&names->admin->members, w->pool);
    struct member *m =
        pool == NULL || !pool->is_configured ? NULL : members_get(pool, w->name);
    return m != NULL && m->kind == MEMBER_ENTRY && strcmp(m->endpoint, w->endpoint) == 0
               ? m
               : NULL;
}

static struct watch *find_watch(struct names *names, const struct member *entry)
{
    LIST_FOREACH(&names->watches, n) {
        struct watch *w = NODE_OF(n, struct watch, node);
        if (strcmp(w->name, entry->name) == 0 &&
            strcmp(w->pool, entry->pool->name) == 0)
            return w;
    }
    return NULL;
}

static void watch(struct names *names, const struct member *entry)
{
    struct watch *w = mem_zalloc(sizeof *w);
    w->id = ++names->ids;
    memcpy(w->pool, entry->pool->name, sizeof w->pool);
    memcpy(w->name, entry->name, sizeof w->name);
    memcpy(w->endpoint, entry->endpoint, sizeof w->endpoint);
    list_push_back(&names->watches, &w->node);
}

/* The timer rings when the next one is due. */
static void set_timer(struct names *names)
{
    uint64_t next_us = UINT64_MAX, now_us = clock_now_us();
    LIST_FOREACH(&names->watches, n) {
        const struct watch *w = NODE_OF(n, struct watch, node);
        if (!w->is_asked && w->next_us < next_us)
            next_us = w->next_us;
    }
    (void)evtimer_del(names->timer);
    if (next_us == UINT64_MAX)
        return;
    uint64_t wait_us = next_us > now_us ? next_us - now_us : 0;
    struct timeval wait = {(time_t)(wait_us / 1000000),
                           (suseconds_t)(wait_us % 1000000)};
    ASSERT(evtimer_add(names->timer, &wait) == 0);
}

void names_update(struct names *names)
{
    CHECK_OBJ(names, NAMES_MAGIC);
    LIST_FOREACH(&names->watches, n) {
        struct watch *w = NODE_OF(n, struct watch, node);
        if (entry_of(names, w) == NULL)
            free_watch(w);
    }
    LIST_FOREACH(&names->admin->members.pools, p) {
        struct member_pool *pool = NODE_OF(p, struct member_pool, node);
        if (!pool->is_configured)
            continue;
        LIST_FOREACH(&pool->entries, n) {
            const struct member *entry = NODE_OF(n, struct member, node);
            if (find_watch(names, entry) == NULL)
                watch(names, entry);
        }
    }
    set_timer(names);
}

bool names_state(struct names *names,
                 const struct member *entry,
                 struct name_state *ret_state)
{
    const struct watch *w = find_watch(names, entry);
    if (w == NULL)
        return false;
    *ret_state = (struct name_state){.answered_us = w->answered_us};
    if (w->error != 0)
        ret_state->error = gai_strerror(w->error);
    return true;
}

/* ---- looking up ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct names *names = CAST_OBJ(arg, struct names, NAMES_MAGIC);
    uint64_t now_us = clock_now_us();
    (void)fd;
    (void)what;
    LIST_FOREACH(&names->watches, n) {
        struct watch *w = NODE_OF(n, struct watch, node);
        struct link_name host;
        if (w->is_asked || w->next_us > now_us ||
            !link_endpoint_name(w->endpoint, &host))
            continue;
        w->is_asked = true;
        resolver_ask(names->resolver, w->id, host.host);
    }
    set_timer(names);
}

/* What is not known is said once, and so is that it is known again. */
static void note_error(struct names *names, struct watch *w, int error)
{
    char object[MEMBER_FULL_NAME], text[160];
    if (w->error == error)
        return;
    w->error = error;
    (void)snprintf(object, sizeof object, "%s/%s", w->pool, w->name);
    if (error != 0)
        (void)snprintf(text, sizeof text, "%.80s: %s; its addresses stay", w->endpoint,
                       gai_strerror(error));
    else
        (void)snprintf(text, sizeof text, "%.80s is known again", w->endpoint);
    log_write(error != 0 ? LOG_WARN : LOG_INFO, NULL, "%s: %s", object, text);
    admin_note(names->admin, "dns", object, text);
}

/* Those of an entry that is just being added are not in force yet. */
static void
use_answer(struct names *names, struct member *entry, const struct resolver_answer *a)
{
    struct edit e;
    char what[MEMBER_WHO];
    bool is_joining = entry->is_joining;
    (void)snprintf(what, sizeof what, "%u addresses", a->count);
    edit_begin(&e, names->admin, "dns", what);
    members_resolve(entry, a->addresses, a->count);
    if (is_joining) {
        edit_apply(&e);
        return;
    }
    bool is_done = edit_commit(&e);
    ASSERT(is_done); /* it needs no file */
}

static void on_answer(void *arg, const struct resolver_answer *answer)
{
    struct names *names = CAST_OBJ(arg, struct names, NAMES_MAGIC);
    struct watch *w = NULL;
    LIST_FOREACH(&names->watches, n)
        if (NODE_OF(n, struct watch, node)->id == answer->id)
            w = NODE_OF(n, struct watch, node);
    struct member *entry = w == NULL ? NULL : entry_of(names, w);
    if (entry == NULL)
        return;
    uint64_t now_us = clock_now_us();
    uint64_t pause_us = (uint64_t)(names->admin->live.resolve_interval_s * 1e6);
    w->is_asked = false;
    w->next_us =
        now_us + (answer->error != 0 && pause_us > RETRY_US ? RETRY_US : pause_us);
    note_error(names, w, answer->error);
    if (answer->error == 0) {
        w->answered_us = now_us;
        use_answer(names, entry, answer);
    }
    set_timer(names);
}
