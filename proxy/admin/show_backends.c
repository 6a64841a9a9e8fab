/* SPDX-License-Identifier: MIT
 * Pools and backends: what was decided, from the members; what is, summed over the
 * edge threads. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/admin/admin_priv.h"

#define COLUMNS(array) array, sizeof(array) / sizeof((array)[0])

/* The edges keep the order of the members, unless one is just coming or going. */
static const struct backend_report *
find_report(const struct snapshot *s, uint32_t index, const char *name)
{
    const struct pool_report *pool = &s->pool;
    if (index < pool->backend_count && strcmp(pool->backends[index].name, name) == 0)
        return &pool->backends[index];
    for (uint32_t i = 0; i < pool->backend_count; i++)
        if (strcmp(pool->backends[i].name, name) == 0)
            return &pool->backends[i];
    return NULL;
}

bool admin_sum_backend(const struct operation *op,
                       uint32_t index,
                       const char *name,
                       struct backend_sum *ret_sum)
{
    struct backend_sum sum = {.all.view.state = BACKEND_UP};
    struct backend_report *all = &sum.all;
    struct backend_view *v = &all->view;
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct backend_report *b =
            op->snapshots[i] == NULL ? NULL
                                     : find_report(op->snapshots[i], index, name);
        if (b == NULL)
            continue;
        const struct backend_view *one = &b->view;
        bool is_linked = one->state >= BACKEND_UP;
        sum.edges++;
        sum.edges_up += one->state == BACKEND_UP && one->window > 0;
        if (one->state < v->state || one->state == BACKEND_DRAINING)
            v->state = one->state;
        if (is_linked) {
            v->pid = one->pid;
            v->slots = one->slots;
        }
        v->window += one->window;
        v->in_flight += one->in_flight;
#define STAT(name, help) v->stats.name += one->stats.name;
#include "proxy/upstream/backend_stats.def"
#undef STAT
        if (b->max_wait_us > all->max_wait_us)
            all->max_wait_us = b->max_wait_us;
        histogram_merge(&all->queue_time, &b->queue_time);
        histogram_merge(&all->app_time, &b->app_time);
    }
    *ret_sum = sum;
    return sum.edges > 0;
}

/* The operator's word first, then the link's. */
static const char *health_text(const struct member *m, const struct backend_sum *sum)
{
    if (m->settings.health != HEALTH_AUTO)
        return m->settings.health == HEALTH_UP ? "forced-up" : "forced-down";
    if (sum->edges == 0)
        return "unknown";
    if (sum->edges_up == sum->edges)
        return "up";
    return sum->edges_up == 0 ? backend_state_name(sum->all.view.state) : "partly";
}

static void show_times(struct report *r, const struct histogram *h)
{
    report_ms(r, histogram_quantile(h, 50));
    report_ms(r, histogram_quantile(h, 95));
    report_ms(r, histogram_quantile(h, 99));
}

static void show_member(struct operation *op, const struct member *m, uint32_t index)
{
    struct report *r = &op->report;
    struct backend_sum sum;
    char text[96], at[32];
    (void)admin_sum_backend(op, index, m->name, &sum);
    const struct backend_report *b = &sum.all;
    const struct backend_view *v = &b->view;
    (void)snprintf(text, sizeof text, "%s/%s", POOL_NAME, m->name);
    report_text(r, text);
    report_text(r, admin_state_name(m->settings.state));
    report_text(r, health_text(m, &sum));
    report_count(r, m->settings.weight);
    if (m->settings.limit == 0)
        report_text(r, NULL);
    else
        report_count(r, m->settings.limit);
    report_count(r, v->slots);
    report_count(r, v->window);
    report_count(r, v->in_flight);
    report_count(r,
                 v->slots > 0 && v->in_flight > v->slots ? v->in_flight - v->slots : 0);
    report_ms(r, b->max_wait_us);
    show_times(r, &b->queue_time);
    show_times(r, &b->app_time);
    report_count(r, v->stats.requests);
    report_count(r, v->stats.errors + v->stats.lost);
    report_count(r, v->stats.retries);
    report_count(r, v->pid);
    report_text(r, m->endpoint);
    report_text(r, member_source_name(m->source));
    if (m->change.at_ms == 0) {
        report_text(r, NULL);
        report_text(r, NULL);
        report_text(r, NULL);
        return;
    }
    admin_format_time(m->change.at_ms, at);
    report_text(r, at);
    report_text(r, m->change.by);
    report_text(r, m->change.what);
}

static void step_show_backends(struct operation *op)
{
    static const struct report_column columns[] = {
        {"backend", "BACKEND", ALIGN_LEFT},
        {"state", "STATE", ALIGN_LEFT},
        {"health", "HEALTH", ALIGN_LEFT},
        {"weight", "WEIGHT", ALIGN_RIGHT},
        {"limit", "LIMIT", ALIGN_RIGHT},
        {"slots", NULL, ALIGN_RIGHT},
        {"credits", "CREDITS", ALIGN_RIGHT},
        {"in_flight", "IN-FLIGHT", ALIGN_RIGHT},
        {"queued", "QUEUED", ALIGN_RIGHT},
        {"max_wait_ms", "MAX-WAIT/ms", ALIGN_RIGHT},
        {"queue_p50_ms", NULL, ALIGN_RIGHT},
        {"queue_p95_ms", NULL, ALIGN_RIGHT},
        {"queue_p99_ms", "QUEUE-p99/ms", ALIGN_RIGHT},
        {"app_p50_ms", "APP-p50/ms", ALIGN_RIGHT},
        {"app_p95_ms", "p95", ALIGN_RIGHT},
        {"app_p99_ms", "p99", ALIGN_RIGHT},
        {"requests", "REQUESTS", ALIGN_RIGHT},
        {"errors", "ERRORS", ALIGN_RIGHT},
        {"retries", "RETRIES", ALIGN_RIGHT},
        {"pid", NULL, ALIGN_RIGHT},
        {"endpoint", "ENDPOINT", ALIGN_LEFT},
        {"source", NULL, ALIGN_LEFT},
        {"changed_at", "CHANGED", ALIGN_LEFT},
        {"changed_by", "BY", ALIGN_LEFT},
        {"change", "CHANGE", ALIGN_LEFT},
    };
    struct members *members = &op->admin->members;
    const struct command *c = &op->command;
    const struct member *only = NULL;
    if (c->operand_count > 0) {
        only = members_find(members, c->operands[0]);
        if (only == NULL) {
            operation_refuse(op, "no backend is called %.80s", c->operands[0]);
            return;
        }
    }
    uint32_t index = 0;
    report_table(&op->report, "backends", COLUMNS(columns));
    LIST_FOREACH(&members->all, n) {
        const struct member *m = NODE_OF(n, struct member, node);
        if (only == NULL || only == m)
            show_member(op, m, index);
        index++;
    }
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_backends(struct operation *op)
{
    operation_look(op, 0, step_show_backends);
}

/* ---- pools ---- */

static void step_show_pools(struct operation *op)
{
    static const struct report_column columns[] = {
        {"pool", "POOL", ALIGN_LEFT},
        {"state", "STATE", ALIGN_LEFT},
        {"interface", "INTERFACE", ALIGN_LEFT},
        {"backends", "BACKENDS", ALIGN_RIGHT},
        {"backends_up", "UP", ALIGN_RIGHT},
        {"queued", "QUEUED", ALIGN_RIGHT},
        {"max_wait_ms", "MAX-WAIT/ms", ALIGN_RIGHT},
        {"in_flight", "IN-FLIGHT", ALIGN_RIGHT},
        {"requests", "REQUESTS", ALIGN_RIGHT},
        {"changed_by", "BY", ALIGN_LEFT},
        {"change", "CHANGE", ALIGN_LEFT},
    };
    struct members *members = &op->admin->members;
    struct report *r = &op->report;
    uint64_t queued = 0, sent = 0, max_wait_us = 0, requests = 0, up = 0;
    bool is_asgi = false;
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        if (s == NULL)
            continue;
        queued += s->pool.queued;
        sent += s->pool.sent;
        if (s->pool.max_wait_us > max_wait_us)
            max_wait_us = s->pool.max_wait_us;
        requests += s->pool.stats.requests;
        is_asgi |= s->pool.is_asgi;
    }
    uint32_t index = 0;
    LIST_FOREACH(&members->all, n) {
        const struct member *m = NODE_OF(n, struct member, node);
        struct backend_sum sum;
        bool is_known = admin_sum_backend(op, index++, m->name, &sum);
        up += is_known && sum.edges_up > 0 && m->settings.state == ADMIN_READY &&
              m->settings.health != HEALTH_DOWN && m->settings.weight > 0;
    }
    report_table(r, "pools", COLUMNS(columns));
    report_text(r, POOL_NAME);
    report_text(r, pool_state_name(members->pool.state));
    report_text(r, is_asgi ? "asgi" : "wsgi");
    report_count(r, members->count);
    report_count(r, up);
    report_count(r, queued);
    report_ms(r, max_wait_us);
    report_count(r, sent);
    report_count(r, requests);
    report_text(r, members->pool_change.at_ms == 0 ? NULL : members->pool_change.by);
    report_text(r, members->pool_change.at_ms == 0 ? NULL : members->pool_change.what);
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_pools(struct operation *op)
{
    operation_look(op, 0, step_show_pools);
}
