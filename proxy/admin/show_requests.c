/* SPDX-License-Identifier: MIT
 * What the edge threads have to do: requests that wait or run, and how long the queues
 * are. */
#include <stdlib.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"

#define COLUMNS(array) array, sizeof(array) / sizeof((array)[0])

static bool is_wanted(const struct operation *op, const struct request_report *q)
{
    return (!op->is_queue_only || strcmp(q->stage, "queued") == 0) &&
           (op->pool[0] == '\0' || strcmp(op->pool, q->pool) == 0);
}

static int by_age(const void *a, const void *b)
{
    const struct request_report *const *one = a, *const *other = b;
    uint64_t x = (*one)->age_us, y = (*other)->age_us;
    return (x < y) - (x > y);
}

/* Those of all edge threads, the oldest first; owned. */
static const struct request_report **
gather(const struct operation *op, uint32_t *ret_count, uint32_t *ret_hidden)
{
    uint32_t most = 0, count = 0, hidden = 0;
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++)
        most += op->snapshots[i] == NULL ? 0 : op->snapshots[i]->requests.count;
    const struct request_report **rows = mem_alloc((most + 1) * sizeof *rows);
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        for (uint32_t n = 0; s != NULL && n < s->requests.count; n++)
            if (is_wanted(op, &s->requests.rows[n]))
                rows[count++] = &s->requests.rows[n];
        hidden += s == NULL ? 0 : s->requests.total - s->requests.count;
    }
    qsort(rows, count, sizeof *rows, by_age);
    *ret_count = count;
    *ret_hidden = hidden;
    return rows;
}

static void show_request(struct report *r, const struct request_report *q)
{
    report_text(r, q->id);
    report_text(r, q->stage);
    report_ms(r, q->age_us);
    report_ms(r, q->queued_us);
    report_text(r, *q->pool == '\0' ? NULL : q->pool);
    report_text(r, *q->backend == '\0' ? NULL : q->backend);
    report_text(r, q->client);
    report_text(r, q->method);
    report_text(r, q->target);
}

static void step_show_requests(struct operation *op)
{
    static const struct report_column columns[] = {
        {"id", "ID", ALIGN_LEFT},          {"stage", "STAGE", ALIGN_LEFT},
        {"age_ms", "AGE/ms", ALIGN_RIGHT}, {"queued_ms", "QUEUED/ms", ALIGN_RIGHT},
        {"pool", "POOL", ALIGN_LEFT},      {"backend", "BACKEND", ALIGN_LEFT},
        {"client", "CLIENT", ALIGN_LEFT},  {"method", "METHOD", ALIGN_LEFT},
        {"target", "TARGET", ALIGN_LEFT}};
    uint32_t count, hidden;
    own(mem) const struct request_report **rows = gather(op, &count, &hidden);
    report_table(&op->report, "requests", COLUMNS(columns));
    for (uint32_t i = 0; i < count; i++)
        show_request(&op->report, rows[i]);
    if (hidden > 0)
        report_say(&op->report, "and %u more", hidden);
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_requests(struct operation *op)
{
    operation_look(op, SNAPSHOT_REQUESTS, step_show_requests);
}

/* ---- queues ---- */

static void show_queue(struct operation *op, const struct pool_report *any)
{
    struct report *r = &op->report;
    uint64_t queued = 0, max_wait_us = 0;
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        const struct pool_report *p = s == NULL ? NULL : snapshot_pool(s, any->name);
        if (p == NULL)
            continue;
        queued += p->queued;
        if (p->max_wait_us > max_wait_us)
            max_wait_us = p->max_wait_us;
    }
    report_text(r, any->name);
    report_text(r, pool_state_name(any->settings.state));
    report_count(r, queued);
    report_ms(r, max_wait_us);
}

static void step_show_queue(struct operation *op)
{
    static const struct report_column columns[] = {
        {"pool", "POOL", ALIGN_LEFT},
        {"state", "STATE", ALIGN_LEFT},
        {"queued", "QUEUED", ALIGN_RIGHT},
        {"max_wait_ms", "MAX-WAIT/ms", ALIGN_RIGHT}};
    const struct snapshot *s = NULL;
    for (uint32_t i = 0; s == NULL && i < op->admin->options.edge_count; i++)
        s = op->snapshots[i];
    report_table(&op->report, "queue", COLUMNS(columns));
    for (uint32_t i = 0; s != NULL && i < s->pool_count; i++)
        if (op->pool[0] == '\0' || strcmp(op->pool, s->pools[i].name) == 0)
            show_queue(op, &s->pools[i]);
    step_show_requests(op);
}

void verb_show_queue(struct operation *op)
{
    op->is_queue_only = true;
    if (operation_find_pool(op, 0))
        operation_look(op, SNAPSHOT_REQUESTS, step_show_queue);
}
