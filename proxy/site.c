/* SPDX-License-Identifier: MIT
 * A list of sites, and the table of routes to them. With one site and no routes there
 * is nothing to look up. */
#include "proxy/site.h"

#include <string.h>

#include "protocol/base/mem.h"

enum { SITE_MAGIC = 0x517e517e, SITES_MAGIC = 0x517e5175 };

struct sites {
    uint32_t magic;
    struct list list;
    uint32_t added;        /* ever */
    struct routes *routes; /* NULL: all to targets[0] */
    struct site **targets;
    uint32_t target_count;
};

struct sites *sites_new(void)
{
    struct sites *all = mem_zalloc(sizeof(*all));
    all->magic = SITES_MAGIC;
    list_init(&all->list);
    return all;
}

static struct site *site_of(struct node *n)
{
    struct site *site = NODE_OF(n, struct site, node);
    CHECK_OBJ(site, SITE_MAGIC);
    return site;
}

static void free_site(struct site *site)
{
    ASSERT(site->users == 0);
    node_leave(&site->node);
    pool_free(&site->pool);
    site->magic = 0;
    mem_free(&site);
}

void sites_free(struct sites **sites_p)
{
    struct sites *all = *sites_p;
    if (all == NULL)
        return;
    CHECK_OBJ(all, SITES_MAGIC);
    struct node *n;
    while ((n = list_first(&all->list)) != NULL)
        free_site(site_of(n));
    routes_free(&all->routes);
    mem_free(&all->targets);
    all->magic = 0;
    mem_free(sites_p);
}

/* ---- membership ---- */

struct site *
sites_add(struct sites *all, const struct site_settings *settings, struct pool **pool_p)
{
    CHECK_OBJ(all, SITES_MAGIC);
    struct site *site = mem_zalloc(sizeof(*site));
    site->magic = SITE_MAGIC;
    site->pool = take(*pool_p);
    site->settings = *settings;
    /* Two may share a line when there are many; it is only slower. */
    site->request_line =
        (enum deadline_kind)(DEADLINE_REQUEST + all->added++ % DEADLINE_REQUEST_LINES);
    list_push_back(&all->list, &site->node);
    return site;
}

void site_set(struct site *site, const struct site_settings *settings)
{
    CHECK_OBJ(site, SITE_MAGIC);
    site->settings = *settings;
}

struct site *sites_find(struct sites *all, const char *name)
{
    CHECK_OBJ(all, SITES_MAGIC);
    LIST_FOREACH(&all->list, n)
        if (!site_of(n)->is_leaving && strcmp(site_of(n)->settings.name, name) == 0)
            return site_of(n);
    return NULL;
}

void sites_remove(struct sites *all, struct site *site)
{
    CHECK_OBJ(all, SITES_MAGIC);
    CHECK_OBJ(site, SITE_MAGIC);
    for (uint32_t i = 0; i < all->target_count; i++)
        ASSERT(all->targets[i] != site);
    site->is_leaving = true;
}

void sites_route(struct sites *all,
                 struct routes **routes_p,
                 struct site *const *targets,
                 uint32_t count)
{
    CHECK_OBJ(all, SITES_MAGIC);
    ASSERT(count > 0);
    routes_free(&all->routes);
    all->routes = take(*routes_p);
    mem_free(&all->targets);
    all->targets = mem_alloc(count * sizeof(struct site *));
    memcpy(all->targets, targets, count * sizeof(struct site *));
    all->target_count = count;
}

struct site *sites_choose(struct sites *all,
                          struct slice host,
                          struct slice path,
                          uint32_t *ret_root)
{
    CHECK_OBJ(all, SITES_MAGIC);
    *ret_root = 0;
    if (all->routes == NULL)
        return all->targets[0];
    uint32_t target = routes_find(all->routes, host, path, ret_root);
    if (target == ROUTE_NONE)
        return NULL;
    ASSERT(target < all->target_count);
    return all->targets[target];
}

/* ---- the loop ---- */

bool sites_turn(struct sites *all, uint64_t now_us)
{
    CHECK_OBJ(all, SITES_MAGIC);
    bool has_more = false;
    LIST_FOREACH(&all->list, n)
        if (pool_turn(site_of(n)->pool, now_us))
            has_more = true;
    return has_more;
}

void sites_tick(struct sites *all, uint64_t now_us)
{
    CHECK_OBJ(all, SITES_MAGIC);
    LIST_FOREACH(&all->list, n) {
        struct site *site = site_of(n);
        pool_tick(site->pool, now_us);
        if (site->is_leaving && site->users == 0)
            free_site(site);
    }
}

void sites_keys_changed(struct sites *all)
{
    CHECK_OBJ(all, SITES_MAGIC);
    LIST_FOREACH(&all->list, n)
        pool_keys_changed(site_of(n)->pool);
}

bool sites_has_to_watch(struct sites *all)
{
    CHECK_OBJ(all, SITES_MAGIC);
    LIST_FOREACH(&all->list, n)
        if (site_of(n)->is_leaving || pool_busy(site_of(n)->pool) > 0 ||
            pool_up(site_of(n)->pool) == 0)
            return true;
    return false;
}

struct site *sites_first(struct sites *all)
{
    struct node *n = list_first(&all->list);
    return n == NULL ? NULL : site_of(n);
}

struct site *sites_next(struct sites *all, struct site *site)
{
    struct node *n = list_next(&all->list, &site->node);
    return n == NULL ? NULL : site_of(n);
}
