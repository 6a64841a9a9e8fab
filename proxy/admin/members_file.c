/* SPDX-License-Identifier: MIT
 * The members as text, one line each, and back. Reading refuses what it does not know:
 * a state file is ours, and half of one is worse than none.
 *
 *     banyan-state 1 generation=7
 *     pool default serving
 *     backend app-0 ipc:///run/app-0.sock state=drain health=auto weight=100 limit=0
 * ... removed app-1 ipc:///run/app-1.sock end */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "protocol/base/words.h"
#include "proxy/admin/members.h"

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
    buf_addf(out, "backend %s ", m->name);
    words_quote(out, m->endpoint);
    save_word(out, "state", admin_state_name(m->settings.state));
    save_word(out, "health", health_rule_name(m->settings.health));
    save_number(out, "weight", m->settings.weight);
    save_number(out, "full", m->full_weight);
    save_number(out, "limit", m->settings.limit);
    save_word(out, "source", member_source_name(m->source));
    if (m->is_given)
        save_word(out, "given", "yes");
    save_change(out, &m->change);
}

void members_save(struct members *m, struct buf *out)
{
    buf_addf(out, "banyan-state 1 generation=%" PRIu64 "\n", m->generation);
    buf_addf(out, "pool %s %s", POOL_NAME, pool_state_name(m->pool.state));
    if (m->pool.state == POOL_PAUSED)
        save_number(out, "max-pause-us", m->pool.max_pause_us);
    if (m->pool.state == POOL_STOPPED)
        save_word(out, "message", m->pool.message);
    save_change(out, &m->pool_change);
    LIST_FOREACH(&m->all, n) {
        const struct member *member = NODE_OF(n, struct member, node);
        if (!member->is_joining)
            save_member(out, member);
    }
    LIST_FOREACH(&m->removed, n)
        buf_addf(out, "removed %s\n", NODE_OF(n, struct member, node)->name);
    buf_add(out, SLICE("end\n"));
}

/* ---- reading ---- */

struct loading {
    struct members members;
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

static bool read_member_key(const char *key, const char *value, struct member *m)
{
    uint64_t number;
    int choice;
    if (strcmp(key, "state") == 0 && read_choice(value, name_state, 3, &choice)) {
        m->settings.state = (enum admin_state)choice;
    } else if (strcmp(key, "health") == 0 &&
               read_choice(value, name_health, 3, &choice)) {
        m->settings.health = (enum health_rule)choice;
    } else if (strcmp(key, "source") == 0 &&
               read_choice(value, name_source, 2, &choice)) {
        m->source = (enum member_source)choice;
    } else if (strcmp(key, "given") == 0) {
        m->is_given = strcmp(value, "yes") == 0;
    } else if (strcmp(key, "weight") == 0 && read_number(value, WEIGHT_MAX, &number)) {
        m->settings.weight = (uint32_t)number;
    } else if (strcmp(key, "full") == 0 && read_number(value, WEIGHT_MAX, &number)) {
        m->full_weight = (uint32_t)number;
    } else if (strcmp(key, "limit") == 0 && read_number(value, UINT32_MAX, &number)) {
        m->settings.limit = (uint32_t)number;
    } else {
        return read_change(key, value, &m->change);
    }
    return true;
}

static bool read_pool_key(const char *key, const char *value, struct loading *l)
{
    struct pool_settings *pool = &l->members.pool;
    if (strcmp(key, "message") == 0)
        return copy_text(pool->message, sizeof pool->message, value);
    if (strcmp(key, "max-pause-us") == 0)
        return read_number(value, UINT64_MAX, &pool->max_pause_us);
    return read_change(key, value, &l->members.pool_change);
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

static bool read_member(struct loading *l, const struct words *w)
{
    const struct backend_settings settings = BACKEND_SETTINGS;
    if (w->count < 3 || member_name_check(w->items[1]) == NULL ||
        members_find(&l->members, w->items[1]) != NULL ||
        strlen(w->items[2]) >= MEMBER_ENDPOINT || l->members.count == MEMBERS_MAX)
        return false;
    struct member *m =
        members_add(&l->members, w->items[1], w->items[2], &settings, SOURCE_CLI);
    for (size_t i = 3; i < w->count; i++) {
        const char *value = value_of(w->items[i]);
        if (value == NULL || !read_member_key(w->items[i], value, m))
            return false;
    }
    return true;
}

static bool read_removed(struct loading *l, const struct words *w)
{
    const struct backend_settings settings = BACKEND_SETTINGS;
    if (w->count != 2 || member_name_check(w->items[1]) == NULL ||
        members_find(&l->members, w->items[1]) != NULL)
        return false;
    struct member *m =
        members_add(&l->members, w->items[1], "", &settings, SOURCE_OPTION);
    members_remove(&l->members, &m);
    return true;
}

static bool read_pool(struct loading *l, const struct words *w)
{
    int state;
    if (w->count < 3 || strcmp(w->items[1], POOL_NAME) != 0 ||
        !read_choice(w->items[2], name_pool, 3, &state))
        return false;
    l->members.pool.state = (enum pool_state)state;
    for (size_t i = 3; i < w->count; i++) {
        const char *value = value_of(w->items[i]);
        if (value == NULL || !read_pool_key(w->items[i], value, l))
            return false;
    }
    return true;
}

static bool read_head(struct loading *l, const struct words *w)
{
    if (w->count != 3 || strcmp(w->items[1], "1") != 0)
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
    return strcmp(kind, "backend") == 0   ? read_member(l, w)
           : strcmp(kind, "removed") == 0 ? read_removed(l, w)
           : strcmp(kind, "pool") == 0    ? read_pool(l, w)
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

bool members_load(struct members *m, struct slice text, struct buf *ret_message)
{
    struct loading l = {.why = "not a line of a state file of version 1"};
    unsigned line = 0;
    members_init(&l.members);
    bool is_good = read_all(&l, text, &line);
    if (!is_good)
        buf_addf(ret_message, "line %u: %s", line, l.why);
    if (is_good) {
        members_fini(m);
        members_move(m, &l.members);
    }
    members_fini(&l.members);
    return is_good;
}
