/* SPDX-License-Identifier: MIT
 * One ticket per backend, which goes there and nowhere else. */
#include "proxy/upstream/check.h"

#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "protocol/header_names.h"
#include "proxy/upstream/backend_priv.h"
#include "proxy/upstream/pool_priv.h"

struct check {
    struct ticket ticket; /* SENT while a check is under way */
    struct backend *backend;
    uint64_t next_us;
    uint16_t status; /* of the answer so far; 0: none */
    bool has_failed;
    uint32_t in_row; /* results that say the opposite of has_failed */
};

static const struct ticket_events events;

struct check *check_new(struct backend *b)
{
    struct check *c = mem_zalloc(sizeof *c);
    ticket_init(&c->ticket, &events);
    c->backend = b;
    return c;
}

void check_free(struct check **check_p)
{
    struct check *c = *check_p;
    if (c == NULL)
        return;
    *check_p = NULL;
    ASSERT(c->ticket.state == TICKET_IDLE);
    buf_fini(&c->ticket.frame);
    mem_free(&c);
}

bool check_has_failed(const struct check *c)
{
    return c->has_failed;
}

/* ---- results ---- */

static void set_failed(struct check *c, bool has_failed)
{
    struct backend *b = c->backend;
    c->has_failed = has_failed;
    c->in_row = 0;
    if (has_failed)
        log_warn(&b->log, "fails its check: it gets nothing");
    else
        log_info(&b->log, "passes its check again");
    backend_notice(b, has_failed ? "fails its check" : "passes its check");
    if (!has_failed)
        health_begin(b, clock_now_us());
    backend_update_load(b);
    pool_count_healthy(b->pool);
}

static void note(struct check *c, bool is_good)
{
    const struct pool_policy *policy = &c->backend->pool->options.policy;
    c->backend->stats.checks_failed += !is_good;
    if (is_good != c->has_failed) {
        c->in_row = 0;
        return;
    }
    c->in_row++;
    if (c->in_row >= (is_good ? policy->check_rise : policy->check_fall))
        set_failed(c, !is_good);
}

void check_renew(struct check *c)
{
    c->next_us = 0;
    c->in_row = 0;
    c->has_failed = false;
}

/* ---- the request ---- */

static void pack(struct check *c)
{
    const struct pool_policy *policy = &c->backend->pool->options.policy;
    struct buf headers;
    struct header_writer w;
    buf_init(&headers, 0);
    header_begin(&w, &headers);
    header_put(&w, HEADER_HOST, SLICE(""), slice_from(policy->check_host));
    header_put(&w, HEADER_USER_AGENT, SLICE(""), SLICE("banyan-check"));
    header_end(&w);
    struct frame_request f = {
        .method = SLICE("GET"),
        .target = slice_from(policy->check_path),
        .minor = 1,
        .scheme = SLICE("http"),
        .client_addr = SLICE("127.0.0.1"),
        .server_addr = SLICE("127.0.0.1"),
        .body_form = BODY_NONE,
        .queued_us = clock_now_us(),
        .id = SLICE("check"),
    };
    buf_clear(&c->ticket.frame);
    frame_pack_request(&c->ticket.frame, 0, &f, buf_slice(&headers));
    buf_fini(&headers);
}

static void ask(struct check *c, uint64_t now_us)
{
    struct ticket *t = &c->ticket;
    const struct pool_policy *policy = &c->backend->pool->options.policy;
    c->next_us = now_us + policy->check_interval_us;
    c->status = 0;
    pack(c);
    t->pool = c->backend->pool;
    t->submitted_us = t->queued_us = now_us;
    t->stream = 0;
    t->was_retried = t->head_seen = t->is_committed = false;
    backend_send_request(c->backend, t, now_us);
    t->body_sent = 1; /* as if a body had begun: it is sent nowhere else */
}

void check_tick(struct check *c, uint64_t now_us)
{
    struct backend *b = c->backend;
    const struct pool_policy *policy = &b->pool->options.policy;
    if (c->ticket.state == TICKET_SENT) {
        if (now_us < c->ticket.sent_us + policy->check_timeout_us)
            return;
        ticket_cancel(&c->ticket, ERR_REQUEST_TIMEOUT);
        note(c, false);
    }
    bool is_wanted = policy->check_path[0] != '\0';
    if (!is_wanted && c->has_failed)
        set_failed(c, false);
    if (is_wanted && c->next_us <= now_us && b->state == BACKEND_UP &&
        b->settings.state != ADMIN_MAINT && b->load.in_flight < b->window &&
        list_is_empty(&b->backlog) && !b->pool->is_stopped)
        ask(c, now_us);
}

/* ---- the answer ---- */

static struct check *of_ticket(struct ticket *t)
{
    return NODE_OF(t, struct check, ticket);
}

static void on_nothing(struct ticket *t)
{
    (void)t;
}

static void on_inform(struct ticket *t, const struct frame_response *inform)
{
    (void)t;
    (void)inform;
}

static void
on_head(struct ticket *t, const struct frame_response *response, bool is_whole)
{
    (void)is_whole;
    of_ticket(t)->status = response->status;
}

static void on_body(struct ticket *t, struct slice data)
{
    ticket_passed_on(t, data.len);
}

static void on_done(struct ticket *t, const struct header_list *trailers)
{
    (void)trailers;
    struct check *c = of_ticket(t);
    note(c, c->status >= 200 && c->status < 400);
}

static bool on_file(struct ticket *t, const struct frame_file *file)
{
    (void)t;
    (void)file;
    return true; /* nobody reads it */
}

static void on_ws(struct ticket *t, const struct frame_ws *ws)
{
    (void)t;
    (void)ws;
}

/* One that went away, or handed it back, has not answered: nothing is known. */
static void on_failed(struct ticket *t, enum err err, struct slice text)
{
    (void)text;
    if (err == ERR_APP_FAILED || err == ERR_REQUEST_TIMEOUT)
        note(of_ticket(t), false);
}

static const struct ticket_events events = {
    .sent = on_nothing,
    .room = on_nothing,
    .inform = on_inform,
    .head = on_head,
    .body = on_body,
    .done = on_done,
    .file = on_file,
    .ws = on_ws,
    .failed = on_failed,
};
