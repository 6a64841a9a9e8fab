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

struct row {
    const struct member *member;
    struct backend_sum sum;
};

struct page {
    struct buf *out;
    struct row *rows;
    uint32_t count;
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
#include "proxy/stats.def"
#undef STAT
    head(out, "banyan_failures_total", "counter",
         "requests that failed, by the reason");
    for (int e = 1; e < ERR_COUNT; e++)
        buf_addf(out, "banyan_failures_total{reason=\"%s\"} %" PRIu64 "\n",
                 err_name((enum err)e), sum.failures[e]);
}

/* ---- the pool ---- */

static void write_pool(const struct operation *op, struct buf *out)
{
    struct pool_stats sum = {0};
    uint64_t queued = 0, max_wait_us = 0;
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        if (s == NULL)
            continue;
        queued += s->pool.queued;
        if (s->pool.max_wait_us > max_wait_us)
            max_wait_us = s->pool.max_wait_us;
#define STAT(name, help) sum.name += s->pool.stats.name;
#include "proxy/upstream/pool_stats.def"
#undef STAT
    }
    enum pool_state state = op->admin->members.pool.state;
    head(out, "banyan_pool_state", "gauge", "1 for the state that the pool is in");
    for (enum pool_state s = POOL_SERVING; s <= POOL_STOPPED; s++)
        buf_addf(out, "banyan_pool_state{pool=\"%s\",state=\"%s\"} %d\n", POOL_NAME,
                 pool_state_name(s), s == state);
    head(out, "banyan_pool_queued", "gauge", "requests that wait for an app server");
    buf_addf(out, "banyan_pool_queued{pool=\"%s\"} %" PRIu64 "\n", POOL_NAME, queued);
    head(out, "banyan_pool_max_wait_seconds", "gauge",
         "how long the oldest of them waits");
    buf_addf(out, "banyan_pool_max_wait_seconds{pool=\"%s\"} %.6f\n", POOL_NAME,
             (double)max_wait_us / 1e6);
#define STAT(name, help)                                                               \
    head(out, "banyan_pool_" #name "_total", "counter", help);                         \
    buf_addf(out, "banyan_pool_" #name "_total{pool=\"%s\"} %" PRIu64 "\n", POOL_NAME, \
             sum.name);
#include "proxy/upstream/pool_stats.def"
#undef STAT
}

/* ---- backends ---- */

static void
sample(struct page *page, const struct row *row, const char *name, uint64_t value)
{
    buf_addf(page->out, "%s{pool=\"%s\",backend=\"%s\"} %" PRIu64 "\n", name, POOL_NAME,
             row->member->name, value);
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
        const char *backend = page->rows[i].member->name;
        for (unsigned power = FIRST_POWER; power <= LAST_POWER; power++) {
            uint64_t end_us = (1ull << power) - 1;
            buf_addf(page->out,
                     "%s_bucket{pool=\"%s\",backend=\"%s\",le=\"%.6f\"} %" PRIu64 "\n",
                     name, POOL_NAME, backend, (double)end_us / 1e6,
                     histogram_below(h, end_us));
        }
        buf_addf(page->out,
                 "%s_bucket{pool=\"%s\",backend=\"%s\",le=\"+Inf\"} %" PRIu64 "\n",
                 name, POOL_NAME, backend, h->count);
        buf_addf(page->out, "%s_sum{pool=\"%s\",backend=\"%s\"} %.6f\n", name,
                 POOL_NAME, backend, (double)h->sum_us / 1e6);
        buf_addf(page->out, "%s_count{pool=\"%s\",backend=\"%s\"} %" PRIu64 "\n", name,
                 POOL_NAME, backend, h->count);
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
          row->member->settings.state == ADMIN_READY &&
              row->member->settings.health != HEALTH_DOWN)
    GAUGE("banyan_backend_weight", "its weight", row->member->settings.weight)
    GAUGE("banyan_backend_limit", "most requests at once; 0: as it grants",
          row->member->settings.limit)
    GAUGE("banyan_backend_slots", "requests that it runs at once",
          row->sum.all.view.slots)
    GAUGE("banyan_backend_credits", "requests that it may be sent",
          row->sum.all.view.window)
    GAUGE("banyan_backend_in_flight", "requests that are there",
          row->sum.all.view.in_flight)
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

void metrics_write(const struct operation *op, struct buf *out)
{
    struct members *members = &op->admin->members;
    struct page page = {.out = out};
    page.rows = mem_zalloc((members->count + 1) * sizeof *page.rows);
    LIST_FOREACH(&members->all, n) {
        struct row *row = &page.rows[page.count];
        row->member = NODE_OF(n, struct member, node);
        (void)!admin_sum_backend(op, page.count, row->member->name, &row->sum);
        page.count++;
    }
    write_process(op, out);
    write_pool(op, out);
    write_backends(&page);
    mem_free(&page.rows);
}
