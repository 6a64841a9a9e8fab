/* SPDX-License-Identifier: MIT
 * The membership before the change is kept aside; all that follows comes from comparing
 * the two. */
#include "proxy/admin/edit.h"

#include <errno.h>
#include <string.h>

#include "protocol/base/log.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/names.h"

void edit_begin(struct edit *e, struct admin *admin, const char *by, const char *what)
{
    *e = (struct edit){.admin = admin, .by = by, .what = what};
    members_clone(&e->before, &admin->members);
}

void edit_cancel(struct edit *e)
{
    members_fini(&e->admin->members);
    members_move(&e->admin->members, &e->before);
}

/* ---- writing it down ---- */

static void stamp(const struct edit *e, struct change *change)
{
    *change = (struct change){.at_ms = admin_now_ms()};
    memcpy(change->by, e->by, strnlen(e->by, sizeof change->by - 1));
    memcpy(change->what, e->what, strnlen(e->what, sizeof change->what - 1));
}

/* What a source says of it, with what is saved of decisions. */
static void save_given(struct admin *admin, const struct member *m)
{
    struct member_pool *pool = members_pool(&admin->saved, m->pool->name);
    const struct member *was = pool == NULL ? NULL : members_get(pool, m->name);
    if (was == NULL) {
        members_copy(&admin->saved, &admin->members, m->pool->name, m->name);
        return;
    }
    /* The one knows of a removal of which the other does not. */
    if ((was->decisions & DECIDED_REMOVAL) != (m->decisions & DECIDED_REMOVAL))
        return;
    struct member kept = *was;
    members_copy(&admin->saved, &admin->members, m->pool->name, m->name);
    struct member *now = members_get(pool, m->name);
    now->decisions = kept.decisions;
    now->decided = kept.decided;
    members_settle(&admin->saved);
}

static void note_down(void *arg, const struct difference *d)
{
    struct edit *e = arg;
    const struct member *m = d->is != NULL ? d->is : d->was;
    const struct member_pool *pool = d->pool_is != NULL ? d->pool_is : d->pool_was;
    bool is_pool = m == NULL;
    e->changes++;
    if (d->is != NULL)
        stamp(e, &d->is->change);
    if (is_pool && d->pool_is != NULL)
        stamp(e, &d->pool_is->change);
    if (e->is_ephemeral || e->is_saved_apart)
        return;
    if (e->needs_file || is_pool || d->is == NULL)
        members_copy(&e->admin->saved, &e->admin->members, pool->name,
                     is_pool ? NULL : m->name);
    else
        save_given(e->admin, d->is);
}

void edit_keep(struct edit *e, const char *pool, const char *name)
{
    struct admin *admin = e->admin;
    if (e->is_ephemeral || admin->state_file == NULL ||
        members_is_same(&admin->saved, &admin->members, pool, name))
        return;
    e->changes++;
    members_copy(&admin->saved, &admin->members, pool, name);
}

void edit_keep_setting(struct edit *e, const char *key)
{
    struct admin *admin = e->admin;
    const char *now = members_setting(&admin->members, key);
    const char *saved = members_setting(&admin->saved, key);
    bool is_same =
        now == saved || (now != NULL && saved != NULL && strcmp(now, saved) == 0);
    if (e->is_ephemeral || admin->state_file == NULL || is_same)
        return;
    e->changes++;
    members_set(&admin->saved, key, now);
}

/* Those that this edit changed; what was set --ephemeral before stays so. */
static void note_settings(struct edit *e)
{
    struct members *is = &e->admin->members, *was = &e->before;
    struct members *both[] = {is, was};
    for (size_t i = 0; i < 2; i++)
        LIST_FOREACH(&both[i]->settings, n) {
            const char *key = NODE_OF(n, struct setting, node)->key;
            const char *now = members_setting(is, key);
            const char *before = members_setting(was, key);
            bool is_same = now != NULL && before != NULL && strcmp(now, before) == 0;
            e->changes += !is_same;
            if (!is_same && !e->is_ephemeral)
                members_set(&e->admin->saved, key, now);
        }
}

/* ---- orders ---- */

static void order_pool(struct edit *e, const struct difference *d)
{
    struct edge_order order = {.kind = EDGE_SET_POOL};
    bool is_new = d->pool_was == NULL || !d->pool_was->is_configured;
    if (d->pool_is == NULL || !d->pool_is->is_configured ||
        (is_new && d->pool_is->settings.state == POOL_SERVING))
        return;
    memcpy(order.pool, d->pool_is->name, sizeof order.pool);
    order.pool_settings = d->pool_is->settings;
    admin_order(e->admin, &order);
}

static bool is_ordered(const struct member *m, const struct member_pool *pool)
{
    return m != NULL && m->kind == MEMBER_HERE && pool->is_configured;
}

static void order_member(struct edit *e, const struct difference *d)
{
    bool was = is_ordered(d->was, d->pool_was), is = is_ordered(d->is, d->pool_is);
    /* A pool that is not configured any more ends as a whole. */
    bool has_pool = d->pool_is != NULL && d->pool_is->is_configured;
    bool moves = was && is && strcmp(d->was->endpoint, d->is->endpoint) != 0;
    if (was && (!is || moves) && has_pool)
        admin_order_member(e->admin, d->was, e->closes_now ? EDGE_REMOVE : EDGE_RETIRE);
    if (is && (!was || moves))
        admin_order_member(e->admin, d->is, EDGE_ADD);
    else if (is)
        admin_order_member(e->admin, d->is, EDGE_SET);
}

static void order(void *arg, const struct difference *d)
{
    struct edit *e = arg;
    if (d->was == NULL && d->is == NULL)
        order_pool(e, d);
    else
        order_member(e, d);
}

/* ---- events ---- */

static void tell(void *arg, const struct difference *d)
{
    struct edit *e = arg;
    char name[MEMBER_FULL_NAME];
    const struct member *m = d->is != NULL ? d->is : d->was;
    const struct member_pool *pool = d->pool_is != NULL ? d->pool_is : d->pool_was;
    if (m == NULL) {
        admin_note(e->admin, e->by, pool->name, e->what);
        return;
    }
    member_full_name(m, name);
    admin_note(e->admin, e->by, name, e->what);
}

/* ---- the end ---- */

void edit_apply(struct edit *e)
{
    struct members *m = &e->admin->members;
    members_settle(m);
    members_diff(&e->before, m, order, e);
    members_fini(&e->before);
    names_update(e->admin->names);
}

static bool write_down(struct edit *e)
{
    struct admin *admin = e->admin;
    /* Frozen, the file is another process's to write, now or soon. */
    if (admin->state_file == NULL || e->is_ephemeral || admin->is_frozen)
        return true;
    admin->saved.generation = admin->members.generation;
    if (admin_write_saved(admin))
        return true;
    if (e->needs_file)
        return false;
    log_error(NULL,
              "cannot write the state file %s: %s; what %s changed holds all the same",
              admin->state_file, strerror(errno), e->by);
    return true;
}

bool edit_commit(struct edit *e)
{
    struct members *m = &e->admin->members;
    members_settle(m);
    members_diff(&e->before, m, note_down, e);
    note_settings(e);
    if (e->changes == 0 && !e->is_always_numbered) {
        members_fini(&e->before);
        return true;
    }
    m->generation++;
    if (!write_down(e)) {
        int error = errno;
        edit_cancel(e);
        errno = error;
        return false;
    }
    members_diff(&e->before, m, order, e);
    members_diff(&e->before, m, tell, e);
    if (e->is_always_numbered)
        admin_note(e->admin, e->by, "options", e->what);
    members_fini(&e->before);
    names_update(e->admin->names);
    return true;
}
