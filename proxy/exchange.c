/* SPDX-License-Identifier: MIT
 * The life of an exchange:
 *
 *   on_request -> (gather the body) -> submit -> on_head -> on_body.. -> on_done
 *   -> on_finished
 *
 * Every failure leaves through exchange_fail(). */
#include "proxy/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/header_names.h"
#include "proxy/answer.h"
#include "proxy/exchange_priv.h"
#include "proxy/upload.h"
#include "proxy/upstream/backend.h"

static const struct ticket_events ticket_events;

static void submit(struct exchange *x, bool has_body_to_follow);
static void finish_answer(struct exchange *x);

/* ---- open and close ---- */

static struct exchange *open_exchange(struct client *c)
{
    struct exchanges *all = client_owner(c);
    CHECK_OBJ(all, EXCHANGES_MAGIC);
    struct node *n = list_pop_front(&all->spare);
    struct exchange *x;
    if (n != NULL) {
        all->spare_count--;
        x = NODE_OF(n, struct exchange, node);
        CHECK_OBJ(x, EXCHANGE_MAGIC);
    } else {
        x = mem_zalloc(sizeof(*x));
        x->magic = EXCHANGE_MAGIC;
        x->all = all;
        ticket_init(&x->ticket, &ticket_events);
    }
    x->client = c;
    x->begun_us = deadlines_now(all->options.deadlines);
    x->is_head = x->takes_trailers = x->is_continued = false;
    x->minor = 1;
    x->err = ERR_NONE;
    x->backend_name[0] = '\0';
    x->ticket.submitted_us = x->ticket.sent_us = 0;
    x->ticket.is_websocket = false;
    x->answer = (struct answer){.status = 0};
    upload_init(&x->upload, UPLOAD_NONE, all->temp_dir);
    list_push_back(&all->open, &x->node);
    client_set_exchange(c, x);
    all->options.stats->requests++;
    return x;
}

static void close_exchange(struct exchange *x)
{
    struct exchanges *all = x->all;
    exchange_record(x);
    exchange_set_state(x, EXCHANGE_IDLE);
    ASSERT(x->ticket.state == TICKET_IDLE);
    deadline_disarm(&x->deadline);
    site_leave(&x->site);
    websocket_free(&x->websocket);
    upload_fini(&x->upload);
    buf_clear(&x->ticket.frame);
    if (x->ticket.frame.cap > SPARE_FRAME_BYTES)
        buf_fini(&x->ticket.frame);
    client_set_exchange(x->client, NULL);
    x->client = NULL;
    node_leave(&x->node);
    if (all->spare_count < MAX_SPARE) {
        all->spare_count++;
        list_push_front(&all->spare, &x->node);
    } else {
        exchange_free(&x);
    }
}

/* ---- a request begins ---- */

static bool has_to_stream(const struct exchange *x, const struct request_rules *rules)
{
    const struct site_settings *s = &x->site->settings;
    if (s->buffering == BUFFERING_OFF || x->ticket.expects ||
        (s->buffering == BUFFERING_AUTO && pool_is_asgi(x->site->pool)))
        return true;
    return rules->framing == FRAMING_LENGTH &&
           rules->content_length > s->request_buffer;
}

/* Its frame serves the log alone. */
static void refuse_unrouted(struct exchange *x, const struct client_request *r)
{
    struct exchange_body body = {.form = BODY_NONE};
    exchange_pack(x, r, &body);
    if (r->rules->is_options_asterisk)
        exchange_answer_self(x);
    else
        exchange_fail(x, ERR_NO_ROUTE, (struct slice){0});
}

static void on_request(struct client *c, const struct client_request *r)
{
    struct exchange *x = open_exchange(c);
    struct ticket *t = &x->ticket;
    const struct request_rules *rules = r->rules;

    x->minor = r->head->minor;
    x->is_head = rules->is_head;
    x->takes_trailers = rules->takes_trailers;
    if (rules->websocket)
        websocket_offer(x, r->head);
    t->is_idempotent = rules->is_idempotent;
    t->is_replayable = true;
    t->expects = rules->expect_continue && !r->body_is_whole;

    struct site *site =
        sites_choose(x->all->options.sites, rules->host, r->head->path, &x->root);
    if (site == NULL || rules->is_options_asterisk) {
        refuse_unrouted(x, r);
        return;
    }
    x->site = site_use(site);
    struct exchange_body body = {.form = BODY_NONE};
    if (r->body_is_whole) {
        body.form = rules->framing == FRAMING_NONE ? BODY_NONE : BODY_INLINE;
        body.length = r->body.len;
        body.data = r->body;
        x->upload.received = r->body.len;
        x->upload.is_whole = true;
    } else if (has_to_stream(x, rules)) {
        x->upload.mode = UPLOAD_STREAM;
        bool is_known = rules->framing == FRAMING_LENGTH;
        body.form = is_known ? BODY_LENGTH : BODY_UNKNOWN;
        body.length = rules->content_length;
    } else {
        x->upload.mode = UPLOAD_GATHER;
    }
    exchange_pack(x, r, &body);

    if (x->upload.mode == UPLOAD_GATHER) {
        exchange_set_state(x, EXCHANGE_GATHERING);
    } else {
        submit(x, x->upload.mode == UPLOAD_STREAM);
    }
}

static void on_refused(struct client *c, enum err err)
{
    struct exchange *x = open_exchange(c);
    exchange_fail(x, err, (struct slice){0});
}

static void arm_deadline(struct exchange *x)
{
    deadline_arm_for(x->all->options.deadlines, x->site->request_line, &x->deadline,
                     x->site->settings.request_timeout_us);
}

/* May fail or be answered before it returns. */
static void submit(struct exchange *x, bool has_body_to_follow)
{
    const struct exchanges_options *o = &x->all->options;
    uint64_t now_us = deadlines_now(o->deadlines);
    struct ticket *t = &x->ticket;
    exchange_set_state(x, EXCHANGE_WAITING);
    t->has_body_to_follow = has_body_to_follow;
    t->deadline_us = exchange_deadline(x);
    t->queue_deadline_us = now_us + x->site->settings.queue_timeout_us;
    arm_deadline(x);
    pool_submit(x->site->pool, t);
    if (t->state == TICKET_QUEUED)
        client_look(x->client);
}

/* ---- the request's body ---- */

static size_t on_room(struct client *c)
{
    struct exchange *x = CAST_OBJ(client_exchange(c), struct exchange, EXCHANGE_MAGIC);
    return upload_room(&x->upload, &x->ticket);
}

/* The request deadline is the application's: it stands while the client is the one who
 * makes it wait, and starts again with every piece that goes on. */
static void restart_deadline(struct exchange *x)
{
    if (x->state != EXCHANGE_WAITING)
        return;
    struct upload *u = &x->upload;
    if (u->mode == UPLOAD_STREAM && !u->is_whole && upload_room(u, &x->ticket) > 0)
        deadline_disarm(&x->deadline);
    else
        arm_deadline(x);
}

/* Gathered as a whole: it may fit into the frame after all. */
static void submit_gathered(struct exchange *x)
{
    struct upload *u = &x->upload;
    struct exchange_body body = {.form = BODY_LENGTH, .length = u->received};
    if (u->spool.fd >= 0)
        x->all->options.stats->bodies_spooled++;
    if (u->received <= FRAME_MAX_INLINE_BODY) {
        body.form = BODY_INLINE;
        body.data = buf_slice(&u->spool.memory);
        u->mode = UPLOAD_NONE;
    }
    exchange_pack_again(x, &body);
    if (body.form == BODY_INLINE)
        spool_fini(&u->spool);
    submit(x, u->mode == UPLOAD_SPOOLED);
}

static void on_body(struct client *c, struct slice data)
{
    struct exchange *x = CAST_OBJ(client_exchange(c), struct exchange, EXCHANGE_MAGIC);
    const struct proxy_options *o = x->all->options.proxy;
    struct upload *u = &x->upload;
    enum err err = ERR_BODY_TOO_LARGE;
    if (u->received + data.len <= o->rules.max_body)
        err = upload_take(u, &x->ticket, data);
    else
        refusal_keep(client_note_refusal(c, REFUSED_BODY, err), data,
                     (size_t)(o->rules.max_body - u->received), o->rules.max_body);
    if (err != ERR_NONE) {
        exchange_fail(x, err, slice_from(err == ERR_SYSTEM ? strerror(errno) : ""));
        return;
    }
    if (u->mode == UPLOAD_GATHER && u->received > x->site->settings.request_buffer) {
        u->mode = UPLOAD_STREAM;
        struct exchange_body body = {.form = BODY_UNKNOWN};
        exchange_pack_again(x, &body);
        submit(x, true);
    } else if (u->mode == UPLOAD_STREAM) {
        restart_deadline(x);
    }
}

static void on_body_end(struct client *c)
{
    struct exchange *x = CAST_OBJ(client_exchange(c), struct exchange, EXCHANGE_MAGIC);
    upload_complete(&x->upload, &x->ticket);
    if (x->state == EXCHANGE_GATHERING)
        submit_gathered(x);
    else
        restart_deadline(x);
}

static void on_body_failed(struct client *c, enum err err)
{
    struct exchange *x = CAST_OBJ(client_exchange(c), struct exchange, EXCHANGE_MAGIC);
    exchange_fail(x, err, (struct slice){0});
}

/* ---- the ticket is on its way ---- */

static struct exchange *of_ticket(struct ticket *t)
{
    struct exchange *x = NODE_OF(t, struct exchange, ticket);
    CHECK_OBJ(x, EXCHANGE_MAGIC);
    return x;
}

static void pump(struct exchange *x)
{
    enum err err = upload_pump(&x->upload, &x->ticket, x->all->scratch);
    if (err != ERR_NONE) {
        exchange_fail(x, err, SLICE("reading a gathered body"));
        return;
    }
    restart_deadline(x);
    client_resume(x->client);
}

static void on_sent(struct ticket *t)
{
    struct exchange *x = of_ticket(t);
    const struct exchanges_options *o = &x->all->options;
    o->stats->retries += t->was_retried;
    const char *name = backend_name(t->backend); /* it may be gone before the log is */
    size_t length = strnlen(name, sizeof(x->backend_name) - 1);
    memcpy(x->backend_name, name, length);
    x->backend_name[length] = '\0';
    if (!t->has_body_to_follow)
        return;
    upload_restart(&x->upload);
    pump(x);
}

static void on_ticket_room(struct ticket *t)
{
    struct exchange *x = of_ticket(t);
    if (x->websocket != NULL) {
        websocket_room(x);
        return;
    }
    /* The application asks for the body: so does the edge, unless it is coming already
     * (RFC 9110 section 10.1.1). */
    if (t->expects && !x->is_continued && x->state == EXCHANGE_WAITING) {
        x->is_continued = true;
        if (x->upload.received == 0) {
            buf_add(client_out(x->client), SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
            client_touch(x->client);
        }
    }
    pump(x);
}

/* ---- the answer ---- */

static void on_inform(struct ticket *t, const struct frame_response *inform)
{
    struct exchange *x = of_ticket(t);
    struct response_failure failure;
    if (x->minor == 0 || inform->status == 100 || x->state != EXCHANGE_WAITING)
        return;
    if (!respond_inform(inform, client_out(x->client), &failure)) {
        exchange_fail_response(x, &failure);
        return;
    }
    stats_count_status(x->all->options.stats, inform->status);
    client_touch(x->client);
}

static void
on_head(struct ticket *t, const struct frame_response *response, bool is_whole)
{
    struct exchange *x = of_ticket(t);
    struct response_to to = exchange_response_to(x);
    deadline_disarm(&x->deadline);
    struct response_failure failure;
    if (!answer_head(&x->answer, x->client, response, &to, &failure)) {
        exchange_fail_response(x, &failure);
        return;
    }
    if (x->answer.plan.has_hop_by_hop && !x->all->has_told_hop_by_hop) {
        x->all->has_told_hop_by_hop = true;
        exchange_log(x, LOG_WARN, "the application sets hop-by-hop fields; dropped");
    }
    t->is_committed = true;
    upload_forget(&x->upload, t);
    exchange_set_state(x, EXCHANGE_ANSWERING);
    if (is_whole)
        answer_body(&x->answer, x->client, t, response->body);
}

static void on_answer_body(struct ticket *t, struct slice data)
{
    struct exchange *x = of_ticket(t);
    answer_body(&x->answer, x->client, t, data);
}

static bool on_file(struct ticket *t, const struct frame_file *file)
{
    struct exchange *x = of_ticket(t);
    if (!answer_file(&x->answer, x->client, x->all->options.roots, file))
        return false;
    x->all->options.stats->files++;
    return true;
}

static void on_done(struct ticket *t, const struct header_list *trailers)
{
    struct exchange *x = of_ticket(t);
    struct response_failure failure;
    if (x->websocket != NULL)
        websocket_done(x);
    else if (answer_end(&x->answer, x->client, trailers, &failure))
        finish_answer(x);
    else
        exchange_fail_response(x, &failure);
}

static void on_ws(struct ticket *t, const struct frame_ws *ws)
{
    struct exchange *x = of_ticket(t);
    if (ws->op == WS_ACCEPT)
        websocket_accept(x, ws);
    else
        websocket_say(x, ws);
}

static void on_failed(struct ticket *t, enum err err, struct slice text)
{
    struct exchange *x = of_ticket(t);
    if (x->websocket != NULL)
        websocket_failed(x, err, text);
    else
        exchange_fail(x, err, text);
}

static void finish_answer(struct exchange *x)
{
    if (x->answer.has_excess) {
        x->all->options.stats->responses_excess++;
        exchange_log(x, LOG_WARN, "the application sent more than its Content-Length");
    }
    exchange_end(x, x->answer.plan.keep_alive ? CLIENT_KEEP_ALIVE : CLIENT_CLOSE);
}

void exchange_end(struct exchange *x, enum client_after after)
{
    exchange_set_state(x, EXCHANGE_ENDING);
    client_end(x->client, after);
    if (!client_body_is_whole(x->client)) {
        x->upload.mode = UPLOAD_DISCARD;
        client_discard_body(x->client);
    }
}

/* ---- the client's side of the end ---- */

static void on_written(struct client *c)
{
    struct exchange *x = CAST_OBJ(client_exchange(c), struct exchange, EXCHANGE_MAGIC);
    answer_passed_on(&x->answer, c, &x->ticket);
}

static void on_finished(struct client *c)
{
    close_exchange(CAST_OBJ(client_exchange(c), struct exchange, EXCHANGE_MAGIC));
}

/* In the queue it would wait for nobody; what runs gets a moment, since a client may
 * well close its side after its last request. */
static bool on_half_closed(struct client *c)
{
    struct exchange *x = CAST_OBJ(client_exchange(c), struct exchange, EXCHANGE_MAGIC);
    return x->ticket.state != TICKET_QUEUED;
}

static void on_gone(struct client *c, enum err err)
{
    struct exchange *x = CAST_OBJ(client_exchange(c), struct exchange, EXCHANGE_MAGIC);
    x->err = err;
    x->all->options.stats->clients_gone++;
    x->all->options.stats->failures[err]++;
    exchange_log(x, LOG_DEBUG, err_text(err));
    ticket_cancel(&x->ticket, err);
    close_exchange(x);
}

void exchange_on_deadline(struct deadline *d)
{
    struct exchange *x = NODE_OF(d, struct exchange, deadline);
    CHECK_OBJ(x, EXCHANGE_MAGIC);
    exchange_fail(x, ERR_REQUEST_TIMEOUT, (struct slice){0});
}

/* ---- the door ---- */

void exchange_cut(struct exchange *x, enum err err, enum client_cut how)
{
    struct client *c = x->client;
    x->err = err;
    ticket_cancel(&x->ticket, err);
    close_exchange(x);
    client_cut(c, how);
}

void exchange_fail(struct exchange *x, enum err err, struct slice text)
{
    CHECK_OBJ(x, EXCHANGE_MAGIC);
    exchange_note_failure(x, err, text);
    ticket_cancel(&x->ticket, err);
    deadline_disarm(&x->deadline);

    if (x->state == EXCHANGE_ANSWERING) {
        x->all->options.stats->responses_cut++;
        bool ends_with_close = x->answer.plan.framing == RESPONSE_CLOSE;
        exchange_cut(x, err, ends_with_close ? CUT_RESET : CUT_SHORT);
        return;
    }
    struct response_to to = exchange_response_to(x);
    x->answer.status = err_status(err) == 0 ? 500 : err_status(err);
    struct buf *out = client_out(x->client);
    size_t before = buf_len(out);
    if (err == ERR_STOPPED && text.len > 0)
        respond_stopped(text, &to, out);
    else
        respond_error(err, &to, out);
    x->answer.body_out = exchange_page_bytes(buf_slice(out), before);
    client_touch(x->client);
    exchange_end(x, to.keep_alive ? CLIENT_KEEP_ALIVE : CLIENT_CLOSE);
}

void exchange_free(struct exchange **exchange_p)
{
    struct exchange *x = *exchange_p;
    CHECK_OBJ(x, EXCHANGE_MAGIC);
    x->magic = 0;
    buf_fini(&x->ticket.frame);
    mem_free(exchange_p);
}

static const struct ticket_events ticket_events = {
    .sent = on_sent,
    .room = on_ticket_room,
    .inform = on_inform,
    .head = on_head,
    .body = on_answer_body,
    .done = on_done,
    .file = on_file,
    .ws = on_ws,
    .failed = on_failed,
};

const struct client_events exchange_client_events = {
    .request = on_request,
    .refused = on_refused,
    .room = on_room,
    .body = on_body,
    .body_end = on_body_end,
    .body_failed = on_body_failed,
    .input = websocket_input,
    .half_closed = on_half_closed,
    .gone = on_gone,
    .written = on_written,
    .finished = on_finished,
};
