/* SPDX-License-Identifier: MIT
 * The members as text, one line each, and back. Reading refuses what it does not know:
 * a state file is ours, and half of one is worse than none.
 *
 *     banyan-state 2 generation=7
 *     set queue-timeout 10
 *     pool web serving
 *     backend web/app-0 ipc:///run/app-0.sock source=file weight=100 state=drain
 *     entry web/app tcp://app:7001 source=cli
 *     away web/app-1 ipc:///run/app-1.sock source=file removed=yes
 * ... end
 *
 * weight= and limit= are what the source gives; state=, sticky=, health=, set-weight=
 * and set-limit= what a person decided. Version 1 had the pool `default` only, and one
 * weight and limit; it is read as well. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "protocol/base/words.h"
#include "proxy/admin/members.h"
#include "proxy/config/config.h"

/* ---- writing ---- */

static void save_word(struct buf *out, const char *key, const char *value)
{
    own(mem) char *word = mem_printf("%s=%s", key, value);
    buf_add(out, SLICE(" "));
    words_quote(out, word);
}

static void save_number(struct buf *out, const char *key, uint64_t value)
{
    buf_addf(out, " %s=%" PRIu64, key, value);
}

static void save_change(struct buf *out, const struct change *change)
{
    if (change->at_ms > 0) {
        save_number(out, "at", (uint64_t)change->at_ms);
        save_word(out, "by", change->by);
        save_word(out, "change", change->what);
    }
    buf_add(out, SLICE("\n"));
}

static void save_member(struct buf *out, const struct member *m)
{
    static const char *const kinds[] = {"backend", "entry", "away"};
    buf_addf(out, "%s %s/%s ", kinds[m->kind], m->pool->name, m->name);
    words_quote(out, m->endpoint);
    save_word(out, "source", member_source_name(m->source));
    if (m->given.weight != WEIGHT_DEFAULT)
        save_number(out, "weight", m->given.weight);
    if (m->given.limit != 0)
        save_number(out, "limit", m->given.limit);
    if (m->decisions & DECIDED_STATE)
        save_word(out, "state", admin_state_name(m->decided.state));
    if ((m->decisions & DECIDED_STATE) && m->decided.keeps_sticky)
        save_word(out, "sticky", "allow");
    if (m->decisions & DECIDED_HEALTH)
        save_word(out, "health", health_rule_name(m->decided.health));
    if (m->decisions & DECIDED_WEIGHT)
        save_number(out, "set-weight", m->decided.weight);
    if (m->decisions & DECIDED_LIMIT)
        save_number(out, "set-limit", m->decided.limit);
    if (m->decisions & DECIDED_REMOVAL)
        save_word(out, "removed", "yes");
    if (m->entry[0] != '\0')
        save_word(out, "entry", m->entry);
    if (m->owner[0] != '\0')
        save_word(out, "owner", m->owner);
    if (m->lease_s > 0)
        save_number(out, "lease", m->lease_s);
    save_change(out, &m->change);
}

static void save_list(struct buf *out, struct list *list)
{
    LIST_FOREACH(list, n) {
        const struct member *member = NODE_OF(n, struct member, node);
        if (!member->is_joining)
            save_member(out, member);
    }
}

static void save_pool(struct buf *out, struct member_pool *pool)
{
    const struct pool_settings *s = &pool->settings;
    buf_addf(out, "pool %s %s", pool->name, pool_state_name(s->state));
    if (s->state == POOL_PAUSED)
        save_number(out, "max-pause-us", s->max_pause_us);
    if (s->state == POOL_STOPPED)
        save_word(out, "message", s->message);
    save_change(out, &pool->change);
    save_list(out, &pool->entries);
    save_list(out, &pool->all);
    save_list(out, &pool->away);
}

void members_save(struct members *m, struct buf *out)
{
    buf_addf(out, "banyan-state 2 generation=%" PRIu64 "\n", m->generation);
    LIST_FOREACH(&m->settings, n) {
        const struct setting *setting = NODE_OF(n, struct setting, node);
        buf_addf(out, "set %s ", setting->key);
        words_quote(out, setting->value);
        buf_add(out, SLICE("\n"));
    }
    LIST_FOREACH(&m->pools, n) {
        struct member_pool *pool = NODE_OF(n, struct member_pool, node);
        if (pool->is_configured || pool->settings.state != POOL_SERVING ||
            !list_is_empty(&pool->all) || !list_is_empty(&pool->entries) ||
            !list_is_empty(&pool->away))
            save_pool(out, pool);
    }
    buf_add(out, SLICE("end\n"));
}

/* ---- reading ---- */

struct loading {
    struct members members;
    uint64_t now_us, version;
    const char *why;
    bool has_head, has_end;
};

static bool read_number(const char *text, uint64_t most, uint64_t *ret_value)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    uint64_t value = strtoull(text, &end, 10);
    if (*end != '\0' || value > most)
        return false;
    *ret_value = value;
    return true;
}

static bool
read_choice(const char *text, const char *(*name)(int), int count, int *ret_value)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(text, name(i)) != 0)
            continue;
        *ret_value = i;
        return true;
    }
    return false;
}

static const char *name_state(int i)
{
    return admin_state_name((enum admin_state)i);
}
static const char *name_health(int i)
{
    return health_rule_name((enum health_rule)i);
}
static const char *name_pool(int i)
{
    return pool_state_name((enum pool_state)i);
}
static const char *name_source(int i)
{
    return member_source_name((enum member_source)i);
}

static bool copy_text(char *to, size_t size, const char *text)
{
    size_t length = strlen(text);
    if (length >= size)
        return false;
    memcpy(to, text, length + 1);
    return true;
}

/* "at=", "by=", "change="; false: another key, or a wrong value. */
static bool read_change(const char *key, const char *value, struct change *change)
{
    uint64_t at_ms;
    if (strcmp(key, "by") == 0)
        return copy_text(change->by, sizeof change->by, value);
    if (strcmp(key, "change") == 0)
        return copy_text(change->what, sizeof change->what, value);
    if (strcmp(key, "at") != 0 || !read_number(value, INT64_MAX, &at_ms))
        return false;
    change->at_ms = (int64_t)at_ms;
    return true;
}

static bool
read_u32(const char *value, uint64_t most, enum decision what, struct member *m)
{
    uint64_t number;
    if (!read_number(value, most, &number))
        return false;
    if (what == DECIDED_WEIGHT)
        m->decided.weight = (uint32_t)number;
    else
        m->decided.limit = (uint32_t)number;
    m->decisions |= (unsigned)what;
    return true;
}

static bool read_decision(const char *key, const char *value, struct member *m)
{
    int choice;
    if (strcmp(key, "state") == 0 && read_choice(value, name_state, 3, &choice)) {
        m->decided.state = (enum admin_state)choice;
        m->decisions |= DECIDED_STATE;
    } else if (strcmp(key, "health") == 0 &&
               read_choice(value, name_health, 3, &choice)) {
        m->decided.health = (enum health_rule)choice;
        m->decisions |= DECIDED_HEALTH;
    } else if (strcmp(key, "sticky") == 0 && strcmp(value, "allow") == 0) {
        m->decided.keeps_sticky = true;
    } else if (strcmp(key, "removed") == 0 && strcmp(value, "yes") == 0) {
        m->decisions = DECIDED_REMOVAL;
    } else if (strcmp(key, "set-weight") == 0) {
        return read_u32(value, WEIGHT_MAX, DECIDED_WEIGHT, m);
    } else if (strcmp(key, "set-limit") == 0) {
        return read_u32(value, UINT32_MAX, DECIDED_LIMIT, m);
    } else {
        return read_change(key, value, &m->change);
    }
    return true;
}

static bool read_member_key(const char *key, const char *value, struct member *m)
{
    uint64_t number;
    int choice;
    if (strcmp(key, "source") == 0 && read_choice(value, name_source, 5, &choice)) {
        m->source = (enum member_source)choice;
    } else if (strcmp(key, "weight") == 0 && read_number(value, WEIGHT_MAX, &number)) {
        m->given.weight = (uint32_t)number;
    } else if (strcmp(key, "limit") == 0 && read_number(value, UINT32_MAX, &number)) {
        m->given.limit = (uint32_t)number;
    } else if (strcmp(key, "entry") == 0) {
        return copy_text(m->entry, sizeof m->entry, value);
    } else if (strcmp(key, "owner") == 0) {
        return copy_text(m->owner, sizeof m->owner, value) &&
               copy_text(m->given.key, sizeof m->given.key, value);
    } else if (strcmp(key, "lease") == 0 && read_number(value, UINT32_MAX, &number)) {
        m->lease_s = (uint32_t)number;
    } else {
        return read_decision(key, value, m);
    }
    return true;
}

/* Version 1 told of no decisions: what is not as usual is one. `full`: what 100 % is.
 */
static void convert(struct member *m, uint64_t full)
{
    if (m->decided.state == ADMIN_READY)
        m->decisions &= ~(unsigned)DECIDED_STATE;
    if (m->decided.health == HEALTH_AUTO)
        m->decisions &= ~(unsigned)DECIDED_HEALTH;
    m->decided.weight = m->given.weight;
    m->decided.limit = m->given.limit;
    if (full != m->given.weight)
        m->decisions |= DECIDED_WEIGHT;
    m->given.weight = (uint32_t)full;
    if (m->source == SOURCE_OPTION && m->given.limit != 0) {
        m->decisions |= DECIDED_LIMIT;
        m->given.limit = 0;
    }
}

/* Cuts the word at its '='. */
static const char *value_of(char *word)
{
    char *equals = strchr(word, '=');
    if (equals == NULL)
        return NULL;
    *equals = '\0';
    return equals + 1;
}

/* "POOL/NAME"; version 1: "NAME". The pool is made when there is none. */
static struct member_pool *
read_name(struct loading *l, char *word, const char **ret_name)
{
    char *slash = strchr(word, '/');
    const char *pool = CONFIG_DEFAULT_POOL;
    *ret_name = word;
    if (l->version > 1 && slash == NULL)
        return NULL;
    if (slash != NULL) {
        *slash = '\0';
        pool = word;
        *ret_name = slash + 1;
    }
    if (!proxy_name_check(pool) || !proxy_name_check(*ret_name))
        return NULL;
    return members_pool_make(&l->members, pool);
}

static struct member *
new_member(struct member_pool *pool, const char *name, const char *endpoint)
{
    const struct backend_settings settings = BACKEND_SETTINGS;
    struct member *m;
    if (members_get(pool, name) != NULL || strlen(endpoint) >= MEMBER_ENDPOINT)
        return NULL;
    return members_give(pool, name, endpoint, &settings, SOURCE_CLI, &m) == GIVEN_NEW
               ? m
               : NULL;
}

static bool read_member(struct loading *l, const struct words *w, enum member_kind kind)
{
    const char *name;
    struct member_pool *pool = w->count < 3 ? NULL : read_name(l, w->items[1], &name);
    struct member *m = pool == NULL ? NULL : new_member(pool, name, w->items[2]);
    uint64_t full = WEIGHT_DEFAULT;
    if (m == NULL)
        return false;
    for (size_t i = 3; i < w->count; i++) {
        const char *value = value_of(w->items[i]);
        if (value == NULL)
            return false;
        bool is_old = l->version == 1 && ((strcmp(w->items[i], "full") == 0 &&
                                           read_number(value, WEIGHT_MAX, &full)) ||
                                          strcmp(w->items[i], "given") == 0);
        if (!is_old && !read_member_key(w->items[i], value, m))
            return false;
    }
    if (l->version == 1)
        convert(m, full);
    m->lease_until_us = l->now_us + m->lease_s * 1000000ull;
    const struct member *entry =
        m->entry[0] == '\0' ? NULL : members_get(pool, m->entry);
    if (m->entry[0] != '\0' && (entry == NULL || entry->kind != MEMBER_ENTRY))
        return false;
    if (kind == MEMBER_AWAY)
        members_put_away(&m);
    return kind == MEMBER_AWAY || m->kind == kind || l->version == 1;
}

/* Of version 1. */
static bool read_removed(struct loading *l, const struct words *w)
{
    const char *name;
    struct member_pool *pool = w->count != 2 ? NULL : read_name(l, w->items[1], &name);
    struct member *m = pool == NULL ? NULL : new_member(pool, name, "");
    if (m == NULL)
        return false;
    m->source = SOURCE_OPTION;
    m->decisions = DECIDED_REMOVAL;
    members_put_away(&m);
    return true;
}

static bool read_pool(struct loading *l, const struct words *w)
{
    int state;
    if (w->count < 3 || !proxy_name_check(w->items[1]) ||
        !read_choice(w->items[2], name_pool, 3, &state))
        return false;
    struct member_pool *pool = members_pool_make(&l->members, w->items[1]);
    pool->settings.state = (enum pool_state)state;
    for (size_t i = 3; i < w->count; i++) {
        const char *key = w->items[i], *value = value_of(w->items[i]);
        if (value == NULL)
            return false;
        bool is_good =
            strcmp(key, "message") == 0
                ? copy_text(pool->settings.message, sizeof pool->settings.message,
                            value)
            : strcmp(key, "max-pause-us") == 0
                ? read_number(value, UINT64_MAX, &pool->settings.max_pause_us)
                : read_change(key, value, &pool->change);
        if (!is_good)
            return false;
    }
    return true;
}

static bool read_setting(struct loading *l, const struct words *w)
{
    if (w->count != 3 || strlen(w->items[1]) >= sizeof((struct setting *)0)->key ||
        strlen(w->items[2]) >= sizeof((struct setting *)0)->value)
        return false;
    members_set(&l->members, w->items[1], w->items[2]);
    return true;
}

static bool read_head(struct loading *l, const struct words *w)
{
    if (w->count != 3 || !read_number(w->items[1], 2, &l->version) || l->version == 0)
        return false;
    const char *value = value_of(w->items[2]);
    l->has_head = true;
    return value != NULL && strcmp(w->items[2], "generation") == 0 &&
           read_number(value, UINT64_MAX, &l->members.generation);
}

static bool read_line(struct loading *l, const struct words *w)
{
    const char *kind = w->items[0];
    if (l->has_end)
        return false;
    if (!l->has_head)
        return strcmp(kind, "banyan-state") == 0 && read_head(l, w);
    if (strcmp(kind, "end") == 0)
        return l->has_end = w->count == 1;
    if (strcmp(kind, "backend") == 0)
        return read_member(l, w, MEMBER_HERE);
    if (strcmp(kind, "entry") == 0)
        return read_member(l, w, MEMBER_ENTRY);
    if (strcmp(kind, "away") == 0)
        return read_member(l, w, MEMBER_AWAY);
    return strcmp(kind, "removed") == 0 ? read_removed(l, w)
           : strcmp(kind, "pool") == 0  ? read_pool(l, w)
           : strcmp(kind, "set") == 0   ? read_setting(l, w)
                                        : false;
}

static bool read_all(struct loading *l, struct slice text, unsigned *line)
{
    while (text.len > 0) {
        const char *end = memchr(text.ptr, '\n', text.len);
        struct slice one = {text.ptr,
                            end == NULL ? text.len : (size_t)(end - text.ptr)};
        struct words w;
        (*line)++;
        if (!words_split(one, &w, &l->why))
            return false;
        bool is_good = w.count == 0 || read_line(l, &w);
        words_fini(&w);
        if (!is_good)
            return false;
        size_t taken = one.len + (end != NULL);
        text = slice_of(text.ptr + taken, text.len - taken);
    }
    l->why = "the end is missing";
    return l->has_end;
}

bool members_load(struct members *m,
                  struct slice text,
                  uint64_t now_us,
                  struct buf *ret_message)
{
    struct loading l = {.why = "not a line of a state file of version 1 or 2",
                        .now_us = now_us};
    unsigned line = 0;
    members_init(&l.members);
    bool is_good = read_all(&l, text, &line);
    if (!is_good)
        buf_addf(ret_message, "line %u: %s", line, l.why);
    if (is_good) {
        l.members.most = m->most;
        members_settle(&l.members);
        members_fini(m);
        members_move(m, &l.members);
    }
    members_fini(&l.members);
    return is_good;
}
