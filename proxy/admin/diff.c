/* SPDX-License-Identifier: MIT
 * What is in force, beside what the state file has and what the configuration says. */
#include <stdio.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"

enum { SIDE_TEXT = 512 };

struct sides {
    struct operation *op;
    struct members configured;
    bool has_file; /* a state file */
};

static const char *
member_text(struct member_pool *pool, const char *name, char to[SIDE_TEXT])
{
    const struct member *m = pool == NULL ? NULL : members_get(pool, name);
    if (m == NULL || m->is_joining)
        return NULL;
    if (m->kind == MEMBER_AWAY && (m->decisions & DECIDED_REMOVAL))
        return "removed";
    if (m->kind == MEMBER_AWAY)
        return NULL;
    (void)snprintf(to, SIDE_TEXT, "%s state=%s health=%s weight=%u limit=%u",
                   m->endpoint, admin_state_name(m->settings.state),
                   health_rule_name(m->settings.health), m->settings.weight,
                   m->settings.limit);
    return to;
}

static bool is_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* One line, unless all three say the same. */
static void show_row(struct sides *s,
                     const char *what,
                     const char *running,
                     const char *saved,
                     const char *configured)
{
    struct report *r = &s->op->report;
    if ((!s->has_file || is_same(running, saved)) && is_same(running, configured))
        return;
    report_text(r, what);
    report_text(r, running);
    report_text(r, s->has_file ? saved : NULL);
    report_text(r, configured);
}

static void show_member(struct sides *s, const char *pool_name, const char *name)
{
    struct admin *admin = s->op->admin;
    char texts[3][SIDE_TEXT], full_name[MEMBER_FULL_NAME];
    struct member_pool *pool = members_pool(&admin->members, pool_name);
    if (pool != NULL && !pool->is_configured)
        return;
    (void)snprintf(full_name, sizeof full_name, "%s/%s", pool_name, name);
    show_row(s, full_name, member_text(pool, name, texts[0]),
             member_text(members_pool(&admin->saved, pool_name), name, texts[1]),
             member_text(members_pool(&s->configured, pool_name), name, texts[2]));
}

static bool has(struct members *m, const char *pool, const char *name)
{
    struct member_pool *there = members_pool(m, pool);
    return there != NULL && members_get(there, name) != NULL;
}

/* Of those that none of the memberships before it has. */
static void show_members(struct sides *s, struct members *of)
{
    struct admin *admin = s->op->admin;
    struct members *before[] = {&admin->members, &admin->saved};
    LIST_FOREACH(&of->pools, p) {
        struct member_pool *pool = NODE_OF(p, struct member_pool, node);
        struct list *lists[] = {&pool->entries, &pool->all, &pool->away};
        for (size_t i = 0; i < 3; i++)
            LIST_FOREACH(lists[i], n) {
                const struct member *m = NODE_OF(n, struct member, node);
                bool is_shown = false;
                for (size_t b = 0; b < 2 && before[b] != of; b++)
                    is_shown |= has(before[b], pool->name, m->name);
                /* The addresses of an entry are nobody's decision. */
                if (!is_shown && (m->entry[0] == '\0' || m->decisions != 0))
                    show_member(s, pool->name, m->name);
            }
    }
}

static void show_pools(struct sides *s)
{
    struct admin *admin = s->op->admin;
    LIST_FOREACH(&admin->members.pools, n) {
        const struct member_pool *pool = NODE_OF(n, struct member_pool, node);
        const struct member_pool *saved = members_pool(&admin->saved, pool->name);
        char what[MEMBER_NAME + 8];
        (void)snprintf(what, sizeof what, "pool %s", pool->name);
        if (pool->is_configured)
            show_row(s, what, pool_state_name(pool->settings.state),
                     saved == NULL ? pool_state_name(POOL_SERVING)
                                   : pool_state_name(saved->settings.state),
                     pool_state_name(POOL_SERVING));
    }
}

static void show_settings(struct sides *s)
{
    struct admin *admin = s->op->admin;
    struct buf configured;
    buf_init(&configured, 0);
    for (size_t i = 0; i < proxy_option_table.row_count; i++) {
        const struct option_row *row = &proxy_option_table.rows[i];
        const char *now = members_setting(&admin->members, row->name);
        const char *saved = members_setting(&admin->saved, row->name);
        if (now == NULL && saved == NULL)
            continue;
        buf_clear(&configured);
        option_print(row, admin->options.proxy, &configured);
        buf_add(&configured, slice_of("", 1));
        show_row(s, row->name, now, saved, buf_slice(&configured).ptr);
    }
    buf_fini(&configured);
}

void verb_diff(struct operation *op)
{
    static const struct report_column columns[] = {
        {"what", "WHAT", ALIGN_LEFT},
        {"running", "RUNNING", ALIGN_LEFT},
        {"saved", "SAVED", ALIGN_LEFT},
        {"configured", "CONFIGURED", ALIGN_LEFT}};
    struct sides s = {.op = op, .has_file = op->admin->state_file != NULL};
    struct buf lines;
    buf_init(&lines, 0);
    members_init(&s.configured);
    members_configure(&s.configured, op->admin->options.config, &lines);
    members_settle(&s.configured);
    report_table(&op->report, "differences", columns, 4);
    show_members(&s, &op->admin->members);
    if (s.has_file)
        show_members(&s, &op->admin->saved);
    show_members(&s, &s.configured);
    show_pools(&s);
    show_settings(&s);
    members_fini(&s.configured);
    buf_fini(&lines);
    operation_finish(op, OUTCOME_DONE);
}
