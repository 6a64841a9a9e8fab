/* SPDX-License-Identifier: MIT
 * How members come, change and go:
 *
 *     a source gives -> HERE or ENTRY <- a person adds
 *                       |        |
 *          source drops |        | a person removes
 *                       v        v
 *              forgotten, or AWAY: what was decided is remembered */
#include <stdio.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "protocol/link.h"
#include "proxy/admin/members.h"
#include "proxy/config/config.h"

static bool is_configuration(enum member_source source)
{
    return source == SOURCE_OPTION || source == SOURCE_FILE;
}

static enum member_kind kind_of(const char *endpoint)
{
    struct link_name name;
    return link_endpoint_name(endpoint, &name) ? MEMBER_ENTRY : MEMBER_HERE;
}

/* Onto the list of its kind. */
static void list_member(struct member *m, enum member_kind kind)
{
    struct member_pool *pool = m->pool;
    if (node_is_linked(&m->node) && m->kind == MEMBER_HERE)
        pool->count--;
    node_leave(&m->node);
    m->kind = kind;
    list_push_back(kind == MEMBER_HERE    ? &pool->all
                   : kind == MEMBER_ENTRY ? &pool->entries
                                          : &pool->away,
                   &m->node);
    pool->count += kind == MEMBER_HERE;
}

static void free_member(struct member **member_p)
{
    struct member *m = take(*member_p);
    m->pool->count -= m->kind == MEMBER_HERE;
    node_leave(&m->node);
    mem_free(&m);
}

static void set_endpoint(struct member *m, const char *endpoint)
{
    memset(m->endpoint, 0, sizeof m->endpoint);
    memcpy(m->endpoint, endpoint, strnlen(endpoint, sizeof m->endpoint - 1));
}

/* All addresses of the entry, and what is remembered of some. */
static void drop_addresses(struct member *entry)
{
    struct list *lists[] = {&entry->pool->all, &entry->pool->away};
    for (size_t i = 0; i < 2; i++)
        LIST_FOREACH(lists[i], n) {
            struct member *m = NODE_OF(n, struct member, node);
            if (strcmp(m->entry, entry->name) == 0)
                free_member(&m);
        }
}

void members_put_away(struct member **member_p)
{
    struct member *m = take(*member_p);
    struct list *away = &m->pool->away;
    uint32_t count = 0;
    m->is_joining = false;
    list_member(m, MEMBER_AWAY);
    LIST_FOREACH(away, n)
        count++;
    if (count > MEMBERS_AWAY) {
        struct member *oldest = NODE_OF(list_first(away), struct member, node);
        free_member(&oldest);
    }
}

void members_drop(struct member **member_p)
{
    struct member *m = *member_p;
    if (m->kind == MEMBER_ENTRY)
        drop_addresses(m);
    if (m->source == SOURCE_SELF && m->decisions != 0)
        members_put_away(member_p);
    else
        free_member(member_p);
}

void members_remove(struct member **member_p)
{
    struct member *m = *member_p;
    if (m->kind == MEMBER_ENTRY)
        drop_addresses(m);
    if (!m->is_configured && m->source != SOURCE_SELF && m->source != SOURCE_DNS) {
        free_member(member_p);
        return;
    }
    m->decisions = DECIDED_REMOVAL;
    members_put_away(member_p);
}

/* ---- coming ---- */

static uint32_t count_entries(struct members *m)
{
    uint32_t count = 0;
    LIST_FOREACH(&m->pools, p)
        LIST_FOREACH(&NODE_OF(p, struct member_pool, node)->entries, n)
            count++;
    return count;
}

/* Of the one kind as many as of the other. */
static bool is_full(const struct member_pool *pool, enum member_kind kind)
{
    struct members *m = pool->members;
    return m->most > 0 &&
           (kind == MEMBER_ENTRY ? count_entries(m) : members_count(m)) >= m->most;
}

static struct member *bring(struct member_pool *pool,
                            const char *name,
                            const char *endpoint,
                            const struct backend_settings *settings,
                            enum member_source source)
{
    struct member *m = mem_zalloc(sizeof *m);
    m->pool = pool;
    memcpy(m->name, name, strnlen(name, sizeof m->name - 1));
    set_endpoint(m, endpoint);
    m->given = m->settings = *settings;
    m->source = source;
    m->is_configured = is_configuration(source);
    list_member(m, kind_of(endpoint));
    return m;
}

void members_join(struct member *member)
{
    LIST_FOREACH(&member->pool->all, n) {
        struct member *m = NODE_OF(n, struct member, node);
        if (member_is_of(m, member))
            m->is_joining = false;
    }
    member->is_joining = false;
}

/* It takes this source's word from here on. */
static void take_over(struct member *m,
                      const char *endpoint,
                      const struct backend_settings *settings,
                      enum member_source source)
{
    if (m->source != source) {
        m->entry[0] = m->owner[0] = '\0';
        m->lease_s = 0;
        m->source = source;
    }
    m->given = *settings;
    if (strcmp(m->endpoint, endpoint) == 0)
        return;
    if (m->kind == MEMBER_ENTRY)
        drop_addresses(m);
    set_endpoint(m, endpoint);
    if (m->kind != MEMBER_AWAY && m->kind != kind_of(endpoint))
        list_member(m, kind_of(endpoint));
}

static void come_back(struct member *m)
{
    m->decisions &= ~(unsigned)DECIDED_REMOVAL;
    list_member(m, kind_of(m->endpoint));
}

/* A person adds it again: where its source says it is, it is the source's again, with
 * what the person says otherwise as decisions. */
static void add_again(struct member *m,
                      const char *endpoint,
                      const struct backend_settings *settings)
{
    bool is_its_own = strcmp(m->endpoint, endpoint) == 0 &&
                      (is_configuration(m->source) || m->source == SOURCE_DNS);
    m->decisions = 0;
    if (!is_its_own)
        take_over(m, endpoint, settings, SOURCE_CLI);
    if (settings->weight != m->given.weight)
        members_decide(m, DECIDED_WEIGHT, settings);
    if (settings->limit != m->given.limit)
        members_decide(m, DECIDED_LIMIT, settings);
    come_back(m);
}

static enum given give_away(struct member *m,
                            const char *endpoint,
                            const struct backend_settings *settings,
                            enum member_source source)
{
    bool is_removed = m->decisions & DECIDED_REMOVAL;
    m->is_configured |= is_configuration(source);
    if (source == SOURCE_CLI) {
        add_again(m, endpoint, settings);
        return GIVEN_NEW;
    }
    /* Another entry of the file is another backend. */
    if (is_removed && source == SOURCE_FILE && m->source == SOURCE_FILE &&
        strcmp(m->endpoint, endpoint) != 0)
        is_removed = false;
    if (!(is_configuration(m->source) && source < SOURCE_OPTION))
        take_over(m, endpoint, settings, source);
    if (is_removed)
        return GIVEN_AWAY;
    come_back(m);
    return GIVEN_NEW;
}

enum given members_give(struct member_pool *pool,
                        const char *name,
                        const char *endpoint,
                        const struct backend_settings *settings,
                        enum member_source source,
                        struct member **ret_member)
{
    struct member *m = members_get(pool, name);
    enum member_kind kind = kind_of(endpoint);
    *ret_member = m;
    bool is_outranked = m != NULL && m->kind != MEMBER_AWAY && m->source > source;
    if (!is_configuration(source) && !is_outranked && (m == NULL || m->kind != kind) &&
        is_full(pool, kind)) {
        *ret_member = NULL;
        return GIVEN_FULL;
    }
    if (m != NULL && m->kind != MEMBER_AWAY) {
        m->is_configured |= is_configuration(source);
        if (m->is_joining && is_configuration(source)) {
            members_join(m); /* whether it comes up or not */
            m->source = source;
        }
        if (m->source > source)
            return strcmp(m->endpoint, endpoint) == 0 ? GIVEN_KEPT : GIVEN_OTHER;
        take_over(m, endpoint, settings, source);
        return GIVEN_CHANGED;
    }
    if (m != NULL)
        return give_away(m, endpoint, settings, source);
    *ret_member = bring(pool, name, endpoint, settings, source);
    return GIVEN_NEW;
}

/* ---- what a host's name stands for ---- */

/* "app-10.0.0.3"; an entry's name that leaves no room is cut. */
static void name_address(const struct member *entry,
                         const char *address,
                         char ret_name[MEMBER_NAME])
{
    size_t room = MEMBER_NAME - 2 - strlen(address);
    (void)snprintf(ret_name, MEMBER_NAME, "%.*s-%s", (int)room, entry->name, address);
    for (char *c = ret_name; *c != '\0'; c++)
        if (*c == ':' || *c == '%')
            *c = '_';
}

static bool is_among(const char *name,
                     const struct member *entry,
                     const char *const *addresses,
                     uint32_t count)
{
    char other[MEMBER_NAME];
    for (uint32_t i = 0; i < count; i++) {
        name_address(entry, addresses[i], other);
        if (strcmp(name, other) == 0)
            return true;
    }
    return false;
}

static void give_address(struct member *entry, const char *address)
{
    struct link_name host;
    char name[MEMBER_NAME], endpoint[MEMBER_ENDPOINT];
    bool is_name = link_endpoint_name(entry->endpoint, &host);
    ASSERT(is_name);
    name_address(entry, address, name);
    bool is_v6 = strchr(address, ':') != NULL;
    (void)snprintf(endpoint, sizeof endpoint, "tcp://%s%s%s:%s", is_v6 ? "[" : "",
                   address, is_v6 ? "]" : "", host.port);
    struct member *m = members_get(entry->pool, name);
    if (m != NULL && strcmp(m->entry, entry->name) != 0)
        return; /* somebody else's */
    bool is_new = m == NULL;
    if (members_give(entry->pool, name, endpoint, &entry->settings, SOURCE_DNS, &m) ==
        GIVEN_FULL)
        return;
    memcpy(m->entry, entry->name, sizeof m->entry);
    if (is_new)
        m->is_joining = entry->is_joining;
}

void members_resolve(struct member *entry, const char *const *addresses, uint32_t count)
{
    ASSERT(entry->kind == MEMBER_ENTRY);
    struct list *lists[] = {&entry->pool->all, &entry->pool->away};
    for (size_t i = 0; i < 2; i++)
        LIST_FOREACH(lists[i], n) {
            struct member *m = NODE_OF(n, struct member, node);
            if (strcmp(m->entry, entry->name) == 0 &&
                !is_among(m->name, entry, addresses, count))
                free_member(&m);
        }
    for (uint32_t i = 0; i < count; i++)
        if (strlen(addresses[i]) < MEMBER_NAME - 2)
            give_address(entry, addresses[i]);
}

/* ---- decisions ---- */

void members_decide(struct member *member,
                    enum decision what,
                    const struct backend_settings *to)
{
    member->decisions |= (unsigned)what;
    if (what == DECIDED_STATE) {
        member->decided.state = to->state;
        member->decided.keeps_sticky = to->keeps_sticky;
    } else if (what == DECIDED_HEALTH)
        member->decided.health = to->health;
    else if (what == DECIDED_WEIGHT)
        member->decided.weight = to->weight;
    else if (what == DECIDED_LIMIT)
        member->decided.limit = to->limit;
}

void members_undecide(struct member *member, enum decision what)
{
    member->decisions &= ~(unsigned)what;
}

static void settle(struct member *m)
{
    m->settings = m->given;
    if (m->decisions & DECIDED_STATE) {
        m->settings.state = m->decided.state;
        m->settings.keeps_sticky = m->decided.keeps_sticky;
    }
    if (m->decisions & DECIDED_HEALTH)
        m->settings.health = m->decided.health;
    if (m->decisions & DECIDED_WEIGHT)
        m->settings.weight = m->decided.weight;
    if (m->decisions & DECIDED_LIMIT)
        m->settings.limit = m->decided.limit;
    if (m->is_joining && m->kind == MEMBER_HERE)
        m->settings.state = ADMIN_DRAIN;
}

static void settle_pool(struct member_pool *pool)
{
    LIST_FOREACH(&pool->entries, n)
        settle(NODE_OF(n, struct member, node));
    LIST_FOREACH(&pool->all, n) {
        struct member *m = NODE_OF(n, struct member, node);
        const struct member *entry =
            m->entry[0] == '\0' ? NULL : members_get(pool, m->entry);
        if (entry != NULL)
            m->given = entry->settings;
        settle(m);
    }
}

void members_settle(struct members *m)
{
    LIST_FOREACH(&m->pools, n)
        settle_pool(NODE_OF(n, struct member_pool, node));
}
