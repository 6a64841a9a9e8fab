/* SPDX-License-Identifier: MIT
 * What an edge thread shows of itself. The control thread makes it, the edge fills it,
 * and the control thread reads it. */
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/edge.h"
#include "proxy/site.h"

struct snapshot *snapshot_new(unsigned parts, uint64_t owner)
{
    struct snapshot *s = mem_zalloc(sizeof *s);
    s->parts = parts;
    s->owner = owner;
    return s;
}

void snapshot_free(struct snapshot **snapshot_p)
{
    struct snapshot *s = take(*snapshot_p);
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->pool_count; i++)
        pool_report_fini(&s->pools[i]);
    mem_free(&s->pools);
    requests_report_fini(&s->requests);
    clients_report_fini(&s->clients);
    refusals_fini(&s->refusals);
    mem_free(&s);
}

const struct pool_report *snapshot_pool(const struct snapshot *s, const char *name)
{
    for (uint32_t i = 0; i < s->pool_count; i++)
        if (strcmp(s->pools[i].name, name) == 0)
            return &s->pools[i];
    return NULL;
}

/* A pool that came back while this one still leaves. */
static bool has_successor(struct sites *sites, struct site *site)
{
    const char *name = site->settings.name;
    if (!site->is_leaving)
        return false;
    while ((site = sites_next(sites, site)) != NULL)
        if (strcmp(site->settings.name, name) == 0)
            return true;
    return false;
}

void snapshot_pools(struct snapshot *s, struct sites *sites, uint64_t now_us)
{
    uint32_t count = 0;
    for (struct site *site = sites_first(sites); site != NULL;
         site = sites_next(sites, site))
        count++;
    s->pools = mem_zalloc((count + 1) * sizeof(*s->pools));
    for (struct site *site = sites_first(sites); site != NULL;
         site = sites_next(sites, site)) {
        if (has_successor(sites, site))
            continue;
        struct pool_report *r = &s->pools[s->pool_count++];
        pool_report(site->pool, now_us, r);
        memcpy(r->name, site->settings.name, sizeof(r->name));
    }
}
