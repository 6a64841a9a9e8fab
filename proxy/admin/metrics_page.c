/* SPDX-License-Identifier: MIT
 * The page: every metric once, all its samples together, as the format wants it.
 * Counters come from the tables of their structs. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/metrics.h"

/* Histogram buckets end below powers of two: 64 us ... 67 s. */
enum { FIRST_POWER = 6, LAST_POWER = 26 };

struct pool_row;

struct row {
    const char *pool, *name;
    struct backend_settings settings;
    struct backend_sum sum;
};

struct page {
    struct buf *out;
    struct row *rows;
    uint32_t count;
    struct pool_row *pools;
    uint32_t pool_count;
};

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* ---- the process ---- */

static void write_process(const struct operation *op, struct buf *out)
{
    const struct admin *admin = op->admin;
    struct stats sum = {0};
    uint64_t connections = 0;
    for (uint32_t i = 0; i < admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        if (s == NULL)
            continue;
        connections += s->connections;
#define STAT(name, help) sum.name += s->stats.name;
#include "proxy/stats.def"
#undef STAT
        for (int e = 0; e < ERR_COUNT; e++)
            sum.failures[e] += s->stats.failures[e];
    }
    head(out, "banyan_info", "gauge", "1, with the version");
    buf_addf(out, "banyan_info{version=\"%s\"} 1\n", BANYAN_VERSION);
    head(out, "banyan_generation", "gauge",
         "number of the last change of the membership");
    buf_addf(out, "banyan_generation %" PRIu64 "\n", admin->members.generation);
    head(out, "banyan_connections", "gauge", "client connections that are open");
    buf_addf(out, "banyan_connections %" PRIu64 "\n", connections);
    /* A prefix of its own, for "connections" is a counter, too. */
#define STAT(name, help)                                                               \
    head(out, "banyan_edge_" #name "_total", "counter", help);                         \
    buf_addf(out, "banyan_edge_" #name "_total %" PRIu64 "\n", sum.name);
#define STAT_NOW(name, help)                                                           \
    head(out, "banyan_edge_" #name, "gauge", help);                                    \
    buf_addf(out, "banyan_edge_" #name " %" PRIu64 "\n", sum.name);
#include "proxy/stats.def"
#undef STAT
    head(out, "banyan_failures_total", "counter",
         "requests that failed, by the reason");
    for (int e = 1; e < ERR_COUNT; e++)
        buf_addf(out, "banyan_failures_total{reason=\"%s\"} %" PRIu64 "\n",
                 err_name((enum err)e), sum.failures[e]);
}

/* ---- the pools ---- */

struct pool_row {
    const char *pool;
    enum pool_state state;
    uint64_t queued, max_wait_us;
    struct pool_stats stats;
};

static void sum_pool(const struct operation *op, const char *name, struct pool_row *row)
{
    *row = (struct pool_row){.pool = name};
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        const struct pool_report *p = s == NULL ? NULL : snapshot_pool(s, name);
        if (p == NULL)
            continue;
        row->state = p->settings.state;
        row->queued += p->queued;
        if (p->max_wait_us > row->max_wait_us)
            row->max_wait_us = p->max_wait_us;
#define STAT(name, help) row->stats.name += p->stats.name;
#include "proxy/upstream/pool_stats.def"
#undef STAT
    }
}

static void write_pools(struct page *page)
{
    struct buf *out = page->out;
    const struct pool_row *rows = page->pools;
    head(out, "banyan_pool_state", "gauge", "1 for the state that the pool is in");
    for (uint32_t i = 0; i < page->pool_count; i++)
        for (enum pool_state s = POOL_SERVING; s <= POOL_STOPPED; s++)
            buf_addf(out, "banyan_pool_state{pool=\"%s\",state=\"%s\"} %d\n",
                     rows[i].pool, pool_state_name(s), s == rows[i].state);
    head(out, "banyan_pool_queued", "gauge", "requests that wait for an app server");
    for (uint32_t i = 0; i < page->pool_count; i++)
        buf_addf(out, "banyan_pool_queued{pool=\"%s\"} %" PRIu64 "\n", rows[i].pool,
                 rows[i].queued);
    head(out, "banyan_pool_max_wait_seconds", "gauge",
         "how long the oldest of them waits");
    for (uint32_t i = 0; i < page->pool_count; i++)
        buf_addf(out, "banyan_pool_max_wait_seconds{pool=\"%s\"} %.6f\n", rows[i].pool,
                 (double)rows[i].max_wait_us / 1e6);
#define STAT(name, help)                                                               \
    head(out, "banyan_pool_" #name "_total", "counter", help);                         \
    for (uint32_t i = 0; i < page->pool_count; i++)                                    \
        buf_addf(out, "banyan_pool_" #name "_total{pool=\"%s\"} %" PRIu64 "\n",        \
                 rows[i].pool, rows[i].stats.name);
#include "proxy/upstream/pool_stats.def"
#undef STAT
}

/* ---- backends ---- */

static void
sample(struct page *page, const struct row *row, const char *name, uint64_t value)
{
    buf_addf(page->out, "%s{pool=\"%s\",backend=\"%s\"} %" PRIu64 "\n", name, row->pool,
             row->name, value);
}

#define GAUGE(name, help, value)                                                       \
    head(page->out, name, "gauge", help);                                              \
    for (uint32_t i = 0; i < page->count; i++) {                                       \
        const struct row *row = &page->rows[i];                                        \
        sample(page, row, name, value);                                                \
    }

static void write_histogram(struct page *page,
                            const char *name,
                            const char *help,
                            const struct histogram *(*pick)(const struct row *row))
{
    head(page->out, name, "histogram", help);
    for (uint32_t i = 0; i < page->count; i++) {
        const struct histogram *h = pick(&page->rows[i]);
        const char *pool = page->rows[i].pool, *backend = page->rows[i].name;
        for (unsigned power = FIRST_POWER; power <= LAST_POWER; power++) {
            uint64_t end_us = (1ull << power) - 1;
            buf_addf(page->out,
                     "%s_bucket{pool=\"%s\",backend=\"%s\",le=\"%.6f\"} %" PRIu64 "\n",
                     name, pool, backend, (double)end_us / 1e6,
                     histogram_below(h, end_us));
        }
        buf_addf(page->out,
                 "%s_bucket{pool=\"%s\",backend=\"%s\",le=\"+Inf\"} %" PRIu64 "\n",
                 name, pool, backend, h->count);
        buf_addf(page->out, "%s_sum{pool=\"%s\",backend=\"%s\"} %.6f\n", name, pool,
                 backend, (double)h->sum_us / 1e6);
        buf_addf(page->out, "%s_count{pool=\"%s\",backend=\"%s\"} %" PRIu64 "\n", name,
                 pool, backend, h->count);
    }
}

static const struct histogram *queue_time(const struct row *row)
{
    return &row->sum.all.queue_time;
}

static const struct histogram *app_time(const struct row *row)
{
    return &row->sum.all.app_time;
}

static void write_backends(struct page *page)
{
    GAUGE("banyan_backend_up", "1: every edge thread may send to it",
          row->sum.edges > 0 && row->sum.edges_up == row->sum.edges)
    GAUGE("banyan_backend_ready", "1: no operator keeps requests from it",
          row->settings.state == ADMIN_READY && row->settings.health != HEALTH_DOWN)
    GAUGE("banyan_backend_weight", "its weight", row->settings.weight)
    GAUGE("banyan_backend_limit", "most requests at once, of all proxies; 0: none",
          row->settings.limit)
    GAUGE("banyan_backend_slots", "requests that it runs at once",
          row->sum.all.view.slots)
    GAUGE("banyan_backend_credits", "requests that it may be sent",
          row->sum.all.view.window)
    GAUGE("banyan_backend_in_flight", "requests that are there",
          row->sum.all.view.in_flight)
    GAUGE("banyan_backend_waiting",
          "requests that wait for it alone, as their cookies say",
          row->sum.all.view.waiting)
#define STAT(name, help)                                                               \
    head(page->out, "banyan_backend_" #name "_total", "counter", help);                \
    for (uint32_t i = 0; i < page->count; i++)                                         \
        sample(page, &page->rows[i], "banyan_backend_" #name "_total",                 \
               page->rows[i].sum.all.view.stats.name);
#include "proxy/upstream/backend_stats.def"
#undef STAT
    write_histogram(page, "banyan_backend_queue_seconds",
                    "time in the queue before it was sent there", queue_time);
    write_histogram(page, "banyan_backend_app_seconds",
                    "time from sending it there to the end of its answer", app_time);
}

static void
add_pool(struct page *page, const struct operation *op, const struct pool_report *pool)
{
    sum_pool(op, pool->name, &page->pools[page->pool_count++]);
    for (uint32_t i = 0; i < pool->backend_count; i++) {
        const struct backend_report *b = &pool->backends[i];
        struct row *row = &page->rows[page->count++];
        row->pool = pool->name;
        row->name = b->name;
        (void)!admin_sum_backend(op, pool->name, i, b->name, &row->sum);
        row->settings = row->sum.all.view.settings;
    }
}

void metrics_write(const struct operation *op, struct buf *out)
{
    struct page page = {.out = out};
    const struct snapshot *s = NULL;
    uint32_t backends = 0;
    for (uint32_t i = 0; s == NULL && i < op->admin->options.edge_count; i++)
        s = op->snapshots[i];
    for (uint32_t i = 0; s != NULL && i < s->pool_count; i++)
        backends += s->pools[i].backend_count;
    page.rows = mem_zalloc((backends + 1) * sizeof *page.rows);
    page.pools = mem_zalloc((s == NULL ? 1 : s->pool_count + 1) * sizeof *page.pools);
    for (uint32_t i = 0; s != NULL && i < s->pool_count; i++)
        add_pool(&page, op, &s->pools[i]);
    write_process(op, out);
    write_pools(&page);
    write_backends(&page);
    mem_free(&page.rows);
    mem_free(&page.pools);
}
