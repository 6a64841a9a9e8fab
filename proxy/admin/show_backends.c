/* SPDX-License-Identifier: MIT
 * Pools and backends: what was decided, from the members; what is, summed over the
 * edge threads. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/clock.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/names.h"

#define COLUMNS(array) array, sizeof(array) / sizeof((array)[0])

/* The edges keep the order of the members, unless one is just coming or going. */
static const struct backend_report *
find_report(const struct pool_report *pool, uint32_t index, const char *name)
{
    if (pool == NULL)
        return NULL;
    if (index < pool->backend_count && strcmp(pool->backends[index].name, name) == 0)
        return &pool->backends[index];
    for (uint32_t i = 0; i < pool->backend_count; i++)
        if (strcmp(pool->backends[i].name, name) == 0)
            return &pool->backends[i];
    return NULL;
}

static const struct pool_report *
pool_of(const struct operation *op, uint32_t edge, const char *name)
{
    return op->snapshots[edge] == NULL ? NULL
                                       : snapshot_pool(op->snapshots[edge], name);
}

bool admin_sum_backend(const struct operation *op,
                       const char *pool,
                       uint32_t index,
                       const char *name,
                       struct backend_sum *ret_sum)
{
    struct backend_sum sum = {.all.view.state = BACKEND_UP};
    struct backend_report *all = &sum.all;
    struct backend_view *v = &all->view;
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct backend_report *b = find_report(pool_of(op, i, pool), index, name);
        if (b == NULL)
            continue;
        const struct backend_view *one = &b->view;
        bool is_linked = one->state >= BACKEND_UP;
        v->settings = one->settings;
        sum.edges++;
        sum.edges_above +=
            is_linked && one->settings.limit != 0 &&
            (one->slots > one->settings.limit || one->running > one->settings.limit);
        sum.edges_up +=
            one->state == BACKEND_UP && one->window > 0 && !one->has_failed_check;
        sum.edges_failed += one->has_failed_check;
        sum.edges_ejected += one->ejected_until_us != 0;
        if (one->state < v->state || one->state == BACKEND_DRAINING)
            v->state = one->state;
        if (is_linked) {
            v->pid = one->pid;
            v->slots = one->slots;
            if (one->running > v->running)
                v->running = one->running;
        }
        v->window += one->window;
        v->in_flight += one->in_flight;
        v->waiting += one->waiting;
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

void admin_sum_target(const struct operation *op, struct target_sum *ret_sum)
{
    struct target_sum sum = {0};
    struct member_pool *pool = members_pool(&op->admin->members, op->pool);
    struct member *target = pool == NULL ? NULL : members_get(pool, op->name);
    uint32_t index = 0;
    if (target != NULL)
        LIST_FOREACH(&pool->all, n) {
            const struct member *m = NODE_OF(n, struct member, node);
            struct backend_sum one;
            if (member_is_of(m, target)) {
                bool is_known = admin_sum_backend(op, op->pool, index, m->name, &one);
                bool is_up = is_known && one.edges_up == op->admin->options.edge_count;
                sum.count++;
                sum.up += is_up;
                sum.in_flight += one.all.view.in_flight;
                sum.slots += one.all.view.slots;
                sum.running += one.all.view.running;
                sum.above += one.edges_above;
                if (!is_up)
                    sum.why = backend_state_name(one.all.view.state);
            }
            index++;
        }
    *ret_sum = sum;
}

/* The operator's word first, then the link's. */
static const char *health_text(const struct member *m, const struct backend_sum *sum)
{
    if (m->settings.health != HEALTH_AUTO)
        return m->settings.health == HEALTH_UP ? "forced-up" : "forced-down";
    if (sum->edges == 0)
        return "unknown";
    if (sum->edges_failed > 0)
        return "check-failed";
    if (sum->edges_ejected > 0)
        return "ejected";
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
    char name[MEMBER_FULL_NAME], at[32];
    (void)!admin_sum_backend(op, m->pool->name, index, m->name, &sum);
    const struct backend_report *b = &sum.all;
    const struct backend_view *v = &b->view;
    member_full_name(m, name);
    report_text(r, name);
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
    uint32_t beyond =
        v->slots > 0 && v->in_flight > v->slots ? v->in_flight - v->slots : 0;
    report_count(r, beyond + v->waiting);
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

/* One edge that still answers, as a list of what there is; NULL: none. */
static const struct snapshot *any_snapshot(const struct operation *op)
{
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++)
        if (op->snapshots[i] != NULL)
            return op->snapshots[i];
    return NULL;
}

/* The pool, or the one, that the operand names. False: refused. */
static bool pick(struct operation *op,
                 struct member_pool **ret_pool,
                 const struct member **ret_member)
{
    const struct command *c = &op->command;
    struct members *members = &op->admin->members;
    struct buf message;
    bool is_none;
    *ret_pool = NULL;
    *ret_member = NULL;
    if (c->operand_count == 0)
        return true;
    *ret_pool = members_pool(members, c->operands[0]);
    if (*ret_pool != NULL && (*ret_pool)->is_configured)
        return true;
    *ret_pool = NULL;
    buf_init(&message, 0);
    *ret_member = members_find(members, c->operands[0], &is_none, &message);
    if (is_none)
        operation_refuse(op, "no backend or pool is called %.80s", c->operands[0]);
    else if (*ret_member == NULL)
        operation_refuse(op, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return *ret_member != NULL;
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
    struct member_pool *only;
    const struct member *target;
    if (!pick(op, &only, &target))
        return;
    report_table(&op->report, "backends", COLUMNS(columns));
    LIST_FOREACH(&op->admin->members.pools, p) {
        struct member_pool *pool = NODE_OF(p, struct member_pool, node);
        uint32_t index = 0;
        LIST_FOREACH(&pool->all, n) {
            const struct member *m = NODE_OF(n, struct member, node);
            if (pool->is_configured && (only == NULL || only == pool) &&
                (target == NULL || member_is_of(m, target)))
                show_member(op, m, index);
            index++;
        }
    }
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_backends(struct operation *op)
{
    operation_look(op, 0, step_show_backends);
}

/* ---- what names stand for ---- */

void verb_show_dns(struct operation *op)
{
    static const struct report_column columns[] = {
        {"backend", "BACKEND", ALIGN_LEFT},
        {"endpoint", "ENDPOINT", ALIGN_LEFT},
        {"addresses", "ADDRESSES", ALIGN_RIGHT},
        {"answered_ms", "ANSWERED-AGO/ms", ALIGN_RIGHT},
        {"error", "ERROR", ALIGN_LEFT},
        {"source", "SOURCE", ALIGN_LEFT},
    };
    struct report *r = &op->report;
    uint64_t now_us = clock_now_us();
    report_table(r, "dns", COLUMNS(columns));
    LIST_FOREACH(&op->admin->members.pools, p) {
        struct member_pool *pool = NODE_OF(p, struct member_pool, node);
        LIST_FOREACH(&pool->entries, e) {
            const struct member *entry = NODE_OF(e, struct member, node);
            struct name_state state;
            char name[MEMBER_FULL_NAME];
            uint32_t count = 0;
            if (!names_state(op->admin->names, entry, &state))
                continue;
            LIST_FOREACH(&pool->all, n)
                count += member_is_of(NODE_OF(n, struct member, node), entry);
            member_full_name(entry, name);
            report_text(r, name);
            report_text(r, entry->endpoint);
            report_count(r, count);
            if (state.answered_us == 0)
                report_text(r, NULL);
            else
                report_ms(r, now_us - state.answered_us);
            report_text(r, state.error);
            report_text(r, member_source_name(entry->source));
        }
    }
    operation_finish(op, OUTCOME_DONE);
}

/* ---- pools ---- */

struct pool_sum {
    uint64_t queued, sent, max_wait_us, requests;
    bool is_asgi;
};

static struct pool_sum sum_pool(const struct operation *op, const char *name)
{
    struct pool_sum sum = {0};
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct pool_report *p = pool_of(op, i, name);
        if (p == NULL)
            continue;
        sum.queued += p->queued;
        sum.sent += p->sent;
        if (p->max_wait_us > sum.max_wait_us)
            sum.max_wait_us = p->max_wait_us;
        sum.requests += p->stats.requests;
        sum.is_asgi |= p->is_asgi;
    }
    return sum;
}

/* Some edge thread may send to it. */
static bool
takes_requests(const struct operation *op, const struct pool_report *p, uint32_t i)
{
    const struct backend_settings *s = &p->backends[i].view.settings;
    struct backend_sum sum;
    return s->state == ADMIN_READY && s->health != HEALTH_DOWN &&
           p->backends[i].view.weight > 0 &&
           admin_sum_backend(op, p->name, i, p->backends[i].name, &sum) &&
           sum.edges_up > 0;
}

static void show_pool(struct operation *op, const struct pool_report *pool)
{
    struct report *r = &op->report;
    struct pool_sum sum = sum_pool(op, pool->name);
    const struct member_pool *ours = members_pool(&op->admin->members, pool->name);
    const struct change *change = ours == NULL ? NULL : &ours->change;
    bool is_changed = change != NULL && change->at_ms != 0;
    uint32_t up = 0;
    for (uint32_t i = 0; i < pool->backend_count; i++)
        up += takes_requests(op, pool, i);
    report_text(r, pool->name);
    report_text(r, pool_state_name(pool->settings.state));
    report_text(r, sum.is_asgi ? "asgi" : "wsgi");
    report_count(r, pool->backend_count);
    report_count(r, up);
    report_count(r, sum.queued);
    report_ms(r, sum.max_wait_us);
    report_count(r, sum.sent);
    report_count(r, sum.requests);
    report_text(r, is_changed ? change->by : NULL);
    report_text(r, is_changed ? change->what : NULL);
}

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
    const struct snapshot *s = any_snapshot(op);
    const char *only = op->command.operand_count > 0 ? op->command.operands[0] : NULL;
    bool is_found = only == NULL;
    report_table(&op->report, "pools", COLUMNS(columns));
    for (uint32_t i = 0; s != NULL && i < s->pool_count; i++) {
        if (only != NULL && strcmp(only, s->pools[i].name) != 0)
            continue;
        is_found = true;
        show_pool(op, &s->pools[i]);
    }
    if (!is_found) {
        operation_refuse(op, "no pool is called %.63s", only);
        return;
    }
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_pools(struct operation *op)
{
    operation_look(op, 0, step_show_pools);
}
