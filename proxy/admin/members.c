/* SPDX-License-Identifier: MIT
 * Names are looked up one by one: an operator's verbs are few. */
#include "proxy/admin/members.h"

#include <ctype.h>
#include <string.h>

#include "protocol/base/mem.h"

static const char *const admin_states[] = {"ready", "drain", "maint"};
static const char *const health_rules[] = {"auto", "up", "down"};
static const char *const pool_states[] = {"serving", "paused", "stopped"};
static const char *const sources[] = {"option", "cli", "file"};

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

void members_init(struct members *m)
{
    *m = (struct members){.generation = 1};
    list_init(&m->all);
    list_init(&m->removed);
}

static void free_list(struct list *list)
{
    for (struct node *n = list_pop_front(list); n != NULL; n = list_pop_front(list)) {
        struct member *member = NODE_OF(n, struct member, node);
        mem_free(&member);
    }
}

void members_fini(struct members *m)
{
    free_list(&m->all);
    free_list(&m->removed);
    m->count = 0;
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
    move_list(&to->all, &from->all);
    move_list(&to->removed, &from->removed);
    from->count = 0;
}

static void copy_member(struct member *to, const struct member *from)
{
    struct node node = to->node;
    *to = *from;
    to->node = node;
}

void members_copy(struct members *to, struct members *from, const char *name)
{
    to->generation = from->generation;
    if (name == NULL) {
        to->pool = from->pool;
        to->pool_change = from->pool_change;
        return;
    }
    struct member *there = members_find(to, name);
    const struct member *here = members_find(from, name);
    if (here != NULL && there == NULL)
        there = members_add(to, name, here->endpoint, &here->settings, here->source);
    if (here != NULL)
        copy_member(there, here);
    else if (there != NULL)
        members_remove(to, &there);
}

const char *member_name_check(const char *name)
{
    static const char pool[] = POOL_NAME "/";
    if (strncmp(name, pool, sizeof pool - 1) == 0)
        name += sizeof pool - 1;
    size_t length = strlen(name);
    if (length == 0 || length >= MEMBER_NAME)
        return NULL;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL)
            return NULL;
    return name;
}

struct member *members_find(struct members *m, const char *name)
{
    name = member_name_check(name);
    if (name == NULL)
        return NULL;
    LIST_FOREACH(&m->all, n) {
        struct member *member = NODE_OF(n, struct member, node);
        if (strcmp(member->name, name) == 0)
            return member;
    }
    return NULL;
}

static struct member *new_member(const char *name, const char *endpoint)
{
    struct member *member = mem_zalloc(sizeof *member);
    memcpy(member->name, name, strnlen(name, MEMBER_NAME - 1));
    memcpy(member->endpoint, endpoint, strnlen(endpoint, MEMBER_ENDPOINT - 1));
    return member;
}

struct member *members_add(struct members *m,
                           const char *name,
                           const char *endpoint,
                           const struct backend_settings *settings,
                           enum member_source source)
{
    struct member *member = new_member(name, endpoint);
    member->settings = *settings;
    member->full_weight = settings->weight == 0 ? WEIGHT_DEFAULT : settings->weight;
    member->source = source;
    member->is_given = source == SOURCE_OPTION;
    LIST_FOREACH(&m->removed, n) {
        struct member *old = NODE_OF(n, struct member, node);
        if (strcmp(old->name, name) != 0)
            continue;
        member->is_given = true;
        node_leave(n);
        mem_free(&old);
    }
    list_push_back(&m->all, &member->node);
    m->count++;
    return member;
}

void members_remove(struct members *m, struct member **member_p)
{
    struct member *member = take(*member_p);
    node_leave(&member->node);
    m->count--;
    if (member->is_given)
        list_push_back(&m->removed, &member->node);
    else
        mem_free(&member);
}

bool members_is_removed(struct members *m, const char *name)
{
    LIST_FOREACH(&m->removed, n) {
        const struct member *member = NODE_OF(n, struct member, node);
        if (strcmp(member->name, name) == 0)
            return true;
    }
    return false;
}
