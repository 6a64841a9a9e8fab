/* SPDX-License-Identifier: MIT
 * Most of a row stands in the REQUEST frame that the exchange keeps. */
#include "proxy/exchange_report.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/exchange_priv.h"

static bool read_frame(const struct exchange *x, struct frame_request *ret_request)
{
    struct slice rest = buf_slice(&x->ticket.frame);
    struct frame frame;
    enum err err;
    if (rest.len == 0 || frame_unpack(&rest, &frame, &err) != STEP_DONE)
        return false;
    *ret_request = frame.request;
    return true;
}

static void copy_text(char *to, size_t size, struct slice text)
{
    size_t length = text.len < size - 1 ? text.len : size - 1;
    if (length > 0)
        memcpy(to, text.ptr, length);
    to[length] = '\0';
}

static const char *stage_of(const struct exchange *x)
{
    if (x->state == EXCHANGE_WAITING)
        return x->ticket.state == TICKET_QUEUED ? "queued" : "running";
    return exchange_state_name(x->state);
}

static void report_one(const struct exchange *x, struct request_report *row)
{
    uint64_t now_us = deadlines_now(x->all->options.deadlines);
    const struct ticket *t = &x->ticket;
    struct frame_request f;
    *row = (struct request_report){.stage = stage_of(x)};
    row->age_us = now_us > x->begun_us ? now_us - x->begun_us : 0;
    row->queued_us = ticket_queue_us(t, now_us);
    if (x->site != NULL)
        copy_text(row->pool, sizeof row->pool, slice_from(x->site->settings.name));
    const char *claimant = ticket_waits_for(t);
    const char *name = claimant != NULL ? claimant : x->backend_name;
    if (*name != '\0')
        (void)snprintf(row->backend, sizeof row->backend, "%s/%s", row->pool, name);
    if (!read_frame(x, &f))
        return;
    copy_text(row->id, sizeof row->id, f.id);
    copy_text(row->client, sizeof row->client, f.client_addr);
    copy_text(row->method, sizeof row->method, f.method);
    copy_text(row->target, sizeof row->target, f.target);
}

void exchanges_report(struct exchanges *all, struct requests_report *ret_report)
{
    CHECK_OBJ(all, EXCHANGES_MAGIC);
    struct requests_report r = {0};
    LIST_FOREACH(&all->open, n)
        r.total++;
    uint32_t most = r.total < REQUESTS_REPORTED ? r.total : REQUESTS_REPORTED;
    r.rows = mem_alloc((most + 1) * sizeof *r.rows);
    LIST_FOREACH(&all->open, n) {
        if (r.count == most)
            break;
        report_one(NODE_OF(n, struct exchange, node), &r.rows[r.count++]);
    }
    *ret_report = r;
}

void requests_report_fini(struct requests_report *report)
{
    mem_free(&report->rows);
    report->count = report->total = 0;
}

bool exchanges_kill(struct exchanges *all, struct slice id)
{
    CHECK_OBJ(all, EXCHANGES_MAGIC);
    LIST_FOREACH(&all->open, n) {
        struct exchange *x = NODE_OF(n, struct exchange, node);
        struct frame_request f;
        if (!read_frame(x, &f) || !slice_eq(f.id, id) || x->state == EXCHANGE_ENDING)
            continue;
        exchange_fail(x, ERR_KILLED, SLICE("by kill-request"));
        return true;
    }
    return false;
}
