/* SPDX-License-Identifier: MIT
 * The configuration as one of those who say who is there. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proxy/admin/members.h"
#include "proxy/config/config.h"

PRINTF_LIKE(2, 3)
static void say(struct buf *lines, const char *format, ...)
{
    va_list arguments;
    char text[512];
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buf_addf(lines, "%s%s", buf_len(lines) == 0 ? "" : "\n", text);
}

/* Which decisions keep the configuration's word from being in force. */
static void explain(const struct member *m,
                    enum given given,
                    const struct config_backend *b,
                    const struct backend_settings *before,
                    struct buf *lines)
{
    char name[MEMBER_FULL_NAME];
    member_full_name(m, name);
    if (given == GIVEN_AWAY)
        say(lines,
            "%s: stays away, for it was removed by a person; `banyan add` brings it "
            "back",
            name);
    else if (given == GIVEN_OTHER)
        say(lines, "%s: stays at %s, where a person added it, not %s", name,
            m->endpoint, b->endpoint);
    else if (given != GIVEN_CHANGED)
        return;
    else if ((m->decisions & DECIDED_WEIGHT) && before->weight != b->weight)
        say(lines, "%s: weight %u stays, as a person decided", name, m->decided.weight);
    else if ((m->decisions & DECIDED_LIMIT) && before->limit != b->limit)
        say(lines, "%s: limit %u stays, as a person decided", name, m->decided.limit);
}

static void give_backend(struct member_pool *pool,
                         const struct config_backend *b,
                         enum member_source source,
                         struct buf *lines)
{
    struct backend_settings settings = BACKEND_SETTINGS, before = settings;
    struct member *m = members_get(pool, b->name);
    if (m != NULL)
        before = m->given;
    settings.weight = b->weight;
    settings.limit = b->limit;
    enum given given = members_give(pool, b->name, b->endpoint, &settings, source, &m);
    explain(m, given, b, &before, lines);
}

static bool is_over(const struct member *m)
{
    if (m->is_configured)
        return false;
    return m->source == SOURCE_OPTION || m->source == SOURCE_FILE ||
           (m->kind == MEMBER_AWAY && m->source == SOURCE_CLI);
}

static void drop_others(struct member_pool *pool)
{
    struct list *lists[] = {&pool->entries, &pool->all, &pool->away};
    for (size_t i = 0; i < 3; i++)
        for (struct node *n = list_first(lists[i]), *next; n != NULL; n = next) {
            struct member *m = NODE_OF(n, struct member, node);
            next = list_next(lists[i], n);
            if (is_over(m))
                members_drop(&m);
        }
}

static void forget_configured(struct member_pool *pool)
{
    struct list *lists[] = {&pool->entries, &pool->all, &pool->away};
    for (size_t i = 0; i < 3; i++)
        LIST_FOREACH(lists[i], n)
            NODE_OF(n, struct member, node)->is_configured = false;
}

void members_configure(struct members *m,
                       const struct config *config,
                       struct buf *ret_lines)
{
    LIST_FOREACH(&m->pools, n) {
        struct member_pool *pool = NODE_OF(n, struct member_pool, node);
        pool->is_configured = false;
        forget_configured(pool);
    }
    for (size_t i = 0; i < config->pool_count; i++) {
        const struct config_pool *from = &config->pools[i];
        struct member_pool *pool = members_pool_make(m, from->site.name);
        pool->is_configured = true;
        for (size_t b = 0; b < from->backend_count; b++)
            give_backend(pool, &from->backends[b],
                         from->is_named ? SOURCE_FILE : SOURCE_OPTION, ret_lines);
    }
    for (struct node *n = list_first(&m->pools), *next; n != NULL; n = next) {
        next = list_next(&m->pools, n);
        drop_others(NODE_OF(n, struct member_pool, node));
    }
}
