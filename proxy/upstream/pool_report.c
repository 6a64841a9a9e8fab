/* SPDX-License-Identifier: MIT
 * Reading a pool for the operator; a request's way does not pass here. */
#include "proxy/upstream/pool_report.h"

#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/upstream/backend_priv.h"
#include "proxy/upstream/pool_priv.h"

static uint64_t age_us(uint64_t since_us, uint64_t now_us)
{
    return now_us > since_us ? now_us - since_us : 0;
}

/* Oldest first; those that have begun to answer wait no more. */
static uint64_t longest_wait_us(struct backend *b, uint64_t now_us)
{
    const struct ticket *first = waiting_for_claim(&b->claim);
    uint64_t queued_us = first == NULL ? 0 : age_us(first->submitted_us, now_us);
    LIST_FOREACH(&b->sent, n) {
        const struct ticket *t = NODE_OF(n, struct ticket, node);
        uint64_t there_us = age_us(t->submitted_us, now_us);
        if (!t->head_seen)
            return there_us > queued_us ? there_us : queued_us;
    }
    return queued_us;
}

const char *ticket_waits_for(const struct ticket *t)
{
    return t->claim == NULL ? NULL : backend_name(backend_of_claim(t->claim));
}

static void report_backend(struct backend *b, uint64_t now_us, struct backend_report *r)
{
    *r = (struct backend_report){
        .max_wait_us = longest_wait_us(b, now_us),
        .queue_time = b->queue_time,
        .app_time = b->app_time,
    };
    backend_view(b, &r->view);
    r->view.name = r->view.endpoint = NULL; /* not for another thread */
    memcpy(r->name, b->name, strnlen(b->name, sizeof r->name - 1));
    memcpy(r->endpoint, b->endpoint, strnlen(b->endpoint, sizeof r->endpoint - 1));
}

void pool_report(struct pool *pool, uint64_t now_us, struct pool_report *ret_report)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    struct pool_report r = {
        .stats = pool->stats,
        .settings = pool->settings,
        .queued = pool->queued,
        .sent = pool->sent,
        .is_asgi = pool->is_asgi,
    };
    const struct ticket *first = waiting_first(&pool->queue);
    if (first != NULL)
        r.max_wait_us = age_us(first->submitted_us, now_us);
    uint32_t count = 0;
    LIST_FOREACH(&pool->backends, n)
        count++;
    r.backends = mem_alloc((count + 1) * sizeof *r.backends);
    LIST_FOREACH(&pool->backends, n)
        report_backend(backend_of_node(n), now_us, &r.backends[r.backend_count++]);
    *ret_report = r;
}

void pool_report_fini(struct pool_report *report)
{
    mem_free(&report->backends);
    report->backend_count = 0;
}

void pool_reset_counters(struct pool *pool)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    memset(&pool->stats, 0, sizeof pool->stats);
    LIST_FOREACH(&pool->backends, n) {
        struct backend *b = backend_of_node(n);
        b->stats = (struct backend_stats){0};
        b->queue_time = b->app_time = (struct histogram){0};
    }
}
