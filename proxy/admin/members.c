/* SPDX-License-Identifier: MIT
 * Names are looked up one by one: changes are few. What walks over all of two
 * memberships goes along both at once, for their order is nearly the same. */
#include "proxy/admin/members.h"

#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/config/config.h"

static const char *const admin_states[] = {"ready", "drain", "maint"};
static const char *const health_rules[] = {"auto", "up", "down"};
static const char *const pool_states[] = {"serving", "paused", "stopped"};
static const char *const sources[] = {"self", "dns", "option", "file", "cli"};

const char *admin_state_name(enum admin_state state)
{
    return admin_states[state];
}

const char *health_rule_name(enum health_rule rule)
{
    return health_rules[rule];
}

const char *pool_state_name(enum pool_state state)
{
    return pool_states[state];
}

const char *member_source_name(enum member_source source)
{
    return sources[source];
}

/* ---- life ---- */

void members_init(struct members *m)
{
    *m = (struct members){.generation = 1};
    list_init(&m->pools);
    list_init(&m->settings);
}

static void free_members(struct list *list)
{
    for (struct node *n = list_pop_front(list); n != NULL; n = list_pop_front(list)) {
        struct member *member = NODE_OF(n, struct member, node);
        mem_free(&member);
    }
}

static void free_pool(struct member_pool *pool)
{
    node_leave(&pool->node);
    free_members(&pool->all);
    free_members(&pool->entries);
    free_members(&pool->away);
    mem_free(&pool);
}

void members_fini(struct members *m)
{
    LIST_FOREACH(&m->pools, n)
        free_pool(NODE_OF(n, struct member_pool, node));
    for (struct node *n = list_pop_front(&m->settings); n != NULL;
         n = list_pop_front(&m->settings)) {
        struct setting *setting = NODE_OF(n, struct setting, node);
        mem_free(&setting);
    }
}

static void move_list(struct list *to, struct list *from)
{
    list_init(to);
    for (struct node *n = list_pop_front(from); n != NULL; n = list_pop_front(from))
        list_push_back(to, n);
}

void members_move(struct members *to, struct members *from)
{
    *to = *from;
    move_list(&to->pools, &from->pools);
    move_list(&to->settings, &from->settings);
    LIST_FOREACH(&to->pools, n)
        NODE_OF(n, struct member_pool, node)->members = to;
}

static void clone_list(struct list *to, struct list *from, struct member_pool *pool)
{
    list_init(to);
    LIST_FOREACH(from, n) {
        struct member *member = mem_alloc(sizeof *member);
        *member = *NODE_OF(n, struct member, node);
        member->node = (struct node){0};
        member->pool = pool;
        list_push_back(to, &member->node);
    }
}

void members_clone(struct members *to, struct members *from)
{
    members_init(to);
    to->generation = from->generation;
    to->most = from->most;
    LIST_FOREACH(&from->settings, n) {
        const struct setting *setting = NODE_OF(n, struct setting, node);
        members_set(to, setting->key, setting->value);
    }
    LIST_FOREACH(&from->pools, n) {
        struct member_pool *pool = NODE_OF(n, struct member_pool, node);
        struct member_pool *copy = members_pool_make(to, pool->name);
        copy->is_configured = pool->is_configured;
        copy->count = pool->count;
        copy->settings = pool->settings;
        copy->change = pool->change;
        clone_list(&copy->all, &pool->all, copy);
        clone_list(&copy->entries, &pool->entries, copy);
        clone_list(&copy->away, &pool->away, copy);
    }
}

/* ---- looking up ---- */

uint32_t members_count(struct members *m)
{
    uint32_t count = 0;
    LIST_FOREACH(&m->pools, n)
        count += NODE_OF(n, struct member_pool, node)->count;
    return count;
}

struct member_pool *members_pool(struct members *m, const char *name)
{
    LIST_FOREACH(&m->pools, n) {
        struct member_pool *pool = NODE_OF(n, struct member_pool, node);
        if (strcmp(pool->name, name) == 0)
            return pool;
    }
    return NULL;
}

struct member_pool *members_pool_make(struct members *m, const char *name)
{
    struct member_pool *pool = members_pool(m, name);
    if (pool != NULL)
        return pool;
    pool = mem_zalloc(sizeof *pool);
    pool->members = m;
    memcpy(pool->name, name, strnlen(name, sizeof pool->name - 1));
    list_init(&pool->all);
    list_init(&pool->entries);
    list_init(&pool->away);
    list_push_back(&m->pools, &pool->node);
    return pool;
}

static struct member *find_in(struct list *list, const char *name)
{
    LIST_FOREACH(list, n) {
        struct member *member = NODE_OF(n, struct member, node);
        if (strcmp(member->name, name) == 0)
            return member;
    }
    return NULL;
}

struct member *members_get(struct member_pool *pool, const char *name)
{
    struct member *member = find_in(&pool->all, name);
    if (member == NULL)
        member = find_in(&pool->entries, name);
    return member != NULL ? member : find_in(&pool->away, name);
}

void member_full_name(const struct member *member, char ret_name[MEMBER_FULL_NAME])
{
    (void)snprintf(ret_name, MEMBER_FULL_NAME, "%s/%s", member->pool->name,
                   member->name);
}

bool member_is_of(const struct member *member, const struct member *target)
{
    return member == target ||
           (target->kind == MEMBER_ENTRY && member->pool == target->pool &&
            strcmp(member->entry, target->name) == 0);
}

static bool is_in_force(const struct member *member)
{
    return member != NULL && member->kind != MEMBER_AWAY;
}

/* "POOL/" before the name; false: there is no such pool. */
static bool split(struct members *m,
                  const char *text,
                  struct member_pool **ret_pool,
                  const char **ret_name,
                  struct buf *message)
{
    const char *slash = strchr(text, '/');
    *ret_name = slash == NULL ? text : slash + 1;
    if (slash == NULL)
        return true;
    LIST_FOREACH(&m->pools, n) {
        struct member_pool *pool = NODE_OF(n, struct member_pool, node);
        size_t length = strlen(pool->name);
        if (!pool->is_configured || length != (size_t)(slash - text) ||
            memcmp(pool->name, text, length) != 0)
            continue;
        *ret_pool = pool;
        return true;
    }
    buf_addf(message, "no pool is called %.*s",
             (int)(slash - text > 63 ? 63 : slash - text), text);
    return false;
}

struct member *members_find(struct members *m,
                            const char *text,
                            bool *ret_none,
                            struct buf *ret_message)
{
    struct member_pool *pool = NULL;
    struct member *found = NULL;
    const char *name;
    unsigned count = 0;
    *ret_none = false;
    if (!split(m, text, &pool, &name, ret_message))
        return NULL;
    if (pool == NULL && (pool = members_pool(m, CONFIG_DEFAULT_POOL)) != NULL &&
        (!pool->is_configured || !is_in_force(members_get(pool, name))))
        pool = NULL;
    if (pool != NULL) {
        found = members_get(pool, name);
        *ret_none = !is_in_force(found);
        return *ret_none ? NULL : found;
    }
    LIST_FOREACH(&m->pools, n) {
        struct member_pool *other = NODE_OF(n, struct member_pool, node);
        struct member *member = members_get(other, name);
        if (!other->is_configured || !is_in_force(member))
            continue;
        if (count++ == 1)
            buf_addf(ret_message, "%.63s is the name of several: %s/%s", name,
                     found->pool->name, name);
        if (count > 1)
            buf_addf(ret_message, ", %s/%s", other->name, name);
        found = member;
    }
    *ret_none = count == 0;
    return count == 1 ? found : NULL;
}

struct member_pool *members_place(struct members *m,
                                  const char *text,
                                  const char **ret_name,
                                  struct buf *ret_message)
{
    struct member_pool *pool = NULL, *any = NULL;
    unsigned count = 0;
    if (!split(m, text, &pool, ret_name, ret_message))
        return NULL;
    if (pool != NULL)
        return pool;
    LIST_FOREACH(&m->pools, n) {
        struct member_pool *other = NODE_OF(n, struct member_pool, node);
        if (!other->is_configured)
            continue;
        count++;
        any = other;
        if (strcmp(other->name, CONFIG_DEFAULT_POOL) == 0)
            return other;
    }
    if (count == 1)
        return any;
    buf_addf(ret_message, "in which pool? Say POOL/%.63s", text);
    LIST_FOREACH(&m->pools, n) {
        const struct member_pool *other = NODE_OF(n, struct member_pool, node);
        if (other->is_configured)
            buf_addf(ret_message, "%s %s", --count == 0 ? " or" : ",", other->name);
    }
    return NULL;
}

/* ---- settings that `set` changed ---- */

static struct setting *find_setting(struct members *m, const char *key)
{
    LIST_FOREACH(&m->settings, n) {
        struct setting *setting = NODE_OF(n, struct setting, node);
        if (strcmp(setting->key, key) == 0)
            return setting;
    }
    return NULL;
}

const char *members_setting(struct members *m, const char *key)
{
    const struct setting *setting = find_setting(m, key);
    return setting == NULL ? NULL : setting->value;
}

void members_set(struct members *m, const char *key, const char *value)
{
    struct setting *setting = find_setting(m, key);
    if (value == NULL && setting != NULL) {
        node_leave(&setting->node);
        mem_free(&setting);
    }
    if (value == NULL)
        return;
    if (setting == NULL) {
        setting = mem_zalloc(sizeof *setting);
        memcpy(setting->key, key, strnlen(key, sizeof setting->key - 1));
        list_push_back(&m->settings, &setting->node);
    }
    memset(setting->value, 0, sizeof setting->value);
    memcpy(setting->value, value, strnlen(value, sizeof setting->value - 1));
}

/* ---- comparing ---- */

static bool are_settings_same(const struct backend_settings *a,
                              const struct backend_settings *b)
{
    return a->state == b->state && a->keeps_sticky == b->keeps_sticky &&
           a->health == b->health && a->weight == b->weight && a->limit == b->limit &&
           strcmp(a->key, b->key) == 0;
}

static bool are_same(const struct member *a, const struct member *b)
{
    return a->kind == b->kind && a->source == b->source &&
           a->is_configured == b->is_configured && a->is_joining == b->is_joining &&
           a->decisions == b->decisions && a->lease_s == b->lease_s &&
           strcmp(a->endpoint, b->endpoint) == 0 && strcmp(a->entry, b->entry) == 0 &&
           strcmp(a->owner, b->owner) == 0 &&
           are_settings_same(&a->settings, &b->settings) &&
           are_settings_same(&a->given, &b->given);
}

static bool are_pools_same(const struct member_pool *a, const struct member_pool *b)
{
    return a->is_configured == b->is_configured &&
           a->settings.state == b->settings.state &&
           a->settings.max_pause_us == b->settings.max_pause_us &&
           strcmp(a->settings.message, b->settings.message) == 0;
}

bool members_is_same(struct members *a,
                     struct members *b,
                     const char *pool,
                     const char *name)
{
    struct member_pool *in_a = members_pool(a, pool), *in_b = members_pool(b, pool);
    if (in_a == NULL || in_b == NULL)
        return in_a == in_b;
    if (name == NULL)
        return are_pools_same(in_a, in_b);
    const struct member *one = members_get(in_a, name),
                        *other = members_get(in_b, name);
    return one == other || (one != NULL && other != NULL && are_same(one, other));
}

struct comparing {
    struct member_pool *was, *is;
    bool tells_all;
    void (*tell)(void *arg, const struct difference *d);
    void *arg;
};

static void tell(const struct comparing *c, struct member *was, struct member *is)
{
    struct difference d = {c->was, c->is, was, is};
    c->tell(c->arg, &d);
}

/* For each of the list the one of the same name in `to`, which probably stands where
 * the last one stood, or behind it. `is_back`: tells only of those that are not there.
 */
static void compare_list(const struct comparing *c,
                         struct list *list,
                         struct list *there,
                         struct member_pool *to,
                         bool is_back)
{
    struct node *hint = there == NULL ? NULL : list_first(there);
    LIST_FOREACH(list, n) {
        struct member *member = NODE_OF(n, struct member, node), *other = NULL;
        if (hint != NULL &&
            strcmp(NODE_OF(hint, struct member, node)->name, member->name) == 0) {
            other = NODE_OF(hint, struct member, node);
            hint = list_next(there, hint);
        } else if (to != NULL) {
            other = members_get(to, member->name);
        }
        if (is_back && other == NULL)
            tell(c, NULL, member);
        else if (!is_back &&
                 (other == NULL || c->tells_all || !are_same(member, other)))
            tell(c, member, other);
    }
}

static void compare_pools(struct comparing *c)
{
    struct member_pool *was = c->was, *is = c->is;
    c->tells_all = was == NULL || is == NULL || was->is_configured != is->is_configured;
    if (was == NULL || is == NULL || !are_pools_same(was, is))
        tell(c, NULL, NULL);
    if (was != NULL) {
        compare_list(c, &was->entries, is == NULL ? NULL : &is->entries, is, false);
        compare_list(c, &was->all, is == NULL ? NULL : &is->all, is, false);
        compare_list(c, &was->away, is == NULL ? NULL : &is->away, is, false);
    }
    if (is != NULL) {
        compare_list(c, &is->entries, was == NULL ? NULL : &was->entries, was, true);
        compare_list(c, &is->all, was == NULL ? NULL : &was->all, was, true);
        compare_list(c, &is->away, was == NULL ? NULL : &was->away, was, true);
    }
}

void members_diff(struct members *was,
                  struct members *is,
                  void (*tell_fn)(void *arg, const struct difference *d),
                  void *arg)
{
    struct comparing c = {.tell = tell_fn, .arg = arg};
    LIST_FOREACH(&was->pools, n) {
        c.was = NODE_OF(n, struct member_pool, node);
        c.is = members_pool(is, c.was->name);
        compare_pools(&c);
    }
    c.was = NULL;
    LIST_FOREACH(&is->pools, n) {
        c.is = NODE_OF(n, struct member_pool, node);
        if (members_pool(was, c.is->name) == NULL)
            compare_pools(&c);
    }
}

void members_copy(struct members *to,
                  struct members *from,
                  const char *pool,
                  const char *name)
{
    struct member_pool *here = members_pool(from, pool);
    struct member_pool *there = members_pool_make(to, pool);
    if (here != NULL && name == NULL) {
        there->settings = here->settings;
        there->change = here->change;
        there->is_configured = here->is_configured;
    }
    if (name == NULL)
        return;
    struct member *old = members_get(there, name);
    const struct member *m = here == NULL ? NULL : members_get(here, name);
    struct node *after = there->all.head.prev;
    if (old != NULL) {
        after = old->node.prev;
        there->count -= old->kind == MEMBER_HERE;
        node_leave(&old->node);
    }
    if (m == NULL) {
        mem_free(&old);
        return;
    }
    bool stays = old != NULL && old->kind == m->kind;
    if (old == NULL)
        old = mem_alloc(sizeof *old);
    *old = *m;
    old->node = (struct node){0};
    old->pool = there;
    struct list *list = m->kind == MEMBER_HERE    ? &there->all
                        : m->kind == MEMBER_ENTRY ? &there->entries
                                                  : &there->away;
    list_insert_after(stays ? after : list->head.prev, &old->node);
    there->count += m->kind == MEMBER_HERE;
}
