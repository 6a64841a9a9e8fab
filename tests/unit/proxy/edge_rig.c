/* SPDX-License-Identifier: MIT
 * The rig's loop, and the upstream functions that the exchange calls. */
#include "tests/unit/proxy/edge_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/base/clock.h"
#include "proxy/upstream/backend.h"

struct pool rig_pool;
static uint64_t now_us;

/* ---- upstream ---- */

static struct rig_ticket *entry_of(const struct ticket *t)
{
    for (int i = rig_pool.count; i-- > 0;)
        if (rig_pool.tickets[i].ticket == t)
            return &rig_pool.tickets[i];
    return NULL;
}

void ticket_init(struct ticket *t, const struct ticket_events *events)
{
    *t = (struct ticket){.events = events};
}

static void remember_frame(struct rig_ticket *e)
{
    buf_clear(&e->bytes);
    buf_add(&e->bytes, buf_slice(&e->ticket->frame));
    struct slice rest = buf_slice(&e->bytes);
    enum err err;
    assert_int_equal(frame_unpack(&rest, &e->frame, &err), STEP_DONE);
    assert_int_equal(e->frame.kind, FRAME_REQUEST);
}

void rig_sent(struct rig_ticket *e)
{
    struct ticket *t = e->ticket;
    t->state = TICKET_SENT;
    t->backend = (struct backend *)&rig_pool;
    t->sent_us = now_us;
    t->went_to = rig_pool.key;
    buf_clear(&e->body);
    e->body_ended = false;
    window_sender_init(&t->to_app, t->expects ? 0 : rig_pool.window_bytes);
    t->events->sent(t);
}

void pool_submit(struct pool *pool, struct ticket *t)
{
    assert_ptr_equal(pool, &rig_pool);
    assert_int_equal(t->state, TICKET_IDLE);
    assert_true(pool->count < RIG_TICKETS);
    struct rig_ticket *e = &pool->tickets[pool->count++];
    e->ticket = t;
    t->is_committed = t->was_retried = t->head_seen = false;
    t->submitted_us = now_us;
    t->went_to = 0;
    remember_frame(e);
    if (pool->refuses != ERR_NONE) {
        e->ticket = NULL;
        t->events->failed(t, pool->refuses, (struct slice){0});
    } else if (pool->queues) {
        t->state = TICKET_QUEUED;
    } else {
        rig_sent(e);
    }
}

static void let_go(struct rig_ticket *e)
{
    e->ticket->state = TICKET_IDLE;
    e->ticket->backend = NULL;
    e->ticket = NULL;
}

void ticket_cancel(struct ticket *t, enum err reason)
{
    if (t->state == TICKET_IDLE)
        return;
    struct rig_ticket *e = entry_of(t);
    e->cancelled = reason;
    let_go(e);
}

const char *ticket_waits_for(const struct ticket *t)
{
    (void)t;
    return NULL;
}

bool pool_is_asgi(const struct pool *pool)
{
    return pool->is_asgi;
}

const struct sticky *pool_sticky(const struct pool *pool)
{
    return pool->sticky.name[0] == '\0' ? NULL : &pool->sticky;
}

const struct hash_by *pool_wants_key(const struct pool *pool)
{
    (void)pool;
    return NULL;
}

bool ticket_is_started(const struct ticket *t)
{
    return t->head_seen || rig_pool.has_started;
}

void ticket_leave(struct ticket *t)
{
    if (t->state == TICKET_IDLE)
        return;
    struct rig_ticket *e = entry_of(t);
    e->was_left = true;
    let_go(e);
}

size_t ticket_ws_room(const struct ticket *t)
{
    if (t->backend == NULL || t->to_app.left <= WINDOW_WS_PIECE)
        return 0;
    uint64_t room = t->to_app.left - WINDOW_WS_PIECE;
    return room < FRAME_MAX_INLINE_BODY ? (size_t)room : FRAME_MAX_INLINE_BODY;
}

void ticket_send_ws(struct ticket *t, const struct frame_ws *ws)
{
    struct buf *said = &entry_of(t)->said;
    if (ws->op == WS_CLOSE) {
        buf_addf(said, "c%u:", ws->code);
    } else {
        assert_true(ticket_ws_room(t) >= ws->data.len && ticket_ws_room(t) > 0);
        t->to_app.left -= ws->data.len + WINDOW_WS_PIECE;
        buf_addf(said, "%s%s:", ws->op == WS_TEXT ? "t" : "b", ws->fin ? "" : "+");
    }
    buf_add(said, ws->data);
    buf_add(said, SLICE("\n"));
}

size_t ticket_room(const struct ticket *t)
{
    if (t->backend == NULL || !t->has_body_to_follow)
        return 0;
    return t->to_app.left < FRAME_MAX_BULK ? (size_t)t->to_app.left : FRAME_MAX_BULK;
}

void ticket_send_body(struct ticket *t, struct slice data)
{
    assert_true(data.len <= ticket_room(t));
    t->to_app.left -= data.len;
    buf_add(&entry_of(t)->body, data);
}

void ticket_send_end(struct ticket *t)
{
    assert_false(entry_of(t)->body_ended);
    entry_of(t)->body_ended = true;
}

void ticket_passed_on(struct ticket *t, size_t bytes)
{
    if (t->backend != NULL)
        entry_of(t)->passed_on += bytes;
}

const char *backend_name(const struct backend *b)
{
    assert_ptr_equal(b, &rig_pool);
    return "b1";
}

bool pool_turn(struct pool *pool, uint64_t at_us)
{
    assert_ptr_equal(pool, &rig_pool);
    assert_int_equal(at_us, now_us);
    return false;
}

void pool_keys_changed(struct pool *pool)
{
    assert_ptr_equal(pool, &rig_pool);
}

void pool_tick(struct pool *pool, uint64_t at_us)
{
    assert_ptr_equal(pool, &rig_pool);
    (void)at_us;
}

uint32_t pool_busy(const struct pool *pool)
{
    return (uint32_t)pool->count;
}

uint32_t pool_up(const struct pool *pool)
{
    (void)pool;
    return 1;
}

void pool_free(struct pool **pool_p)
{
    *pool_p = NULL;
}

struct rig_ticket *rig_latest(void)
{
    assert_true(rig_pool.count > 0);
    return &rig_pool.tickets[rig_pool.count - 1];
}

void rig_room(struct rig_ticket *e, uint64_t bytes)
{
    assert_true(window_granted(&e->ticket->to_app, bytes));
    e->ticket->events->room(e->ticket);
}

void rig_head(struct rig_ticket *e, int status, int64_t length)
{
    struct frame_response r = {.status = (uint16_t)status,
                               .has_length = length != RIG_UNKNOWN_LENGTH,
                               .length = (uint64_t)length};
    e->ticket->head_seen = true;
    e->ticket->events->head(e->ticket, &r, false);
}

void rig_body(struct rig_ticket *e, const char *data, size_t length)
{
    e->ticket->events->body(e->ticket, slice_of(data, length));
}

void rig_done(struct rig_ticket *e)
{
    struct ticket *t = e->ticket;
    let_go(e);
    t->events->done(t, NULL);
}

void rig_done_with(struct rig_ticket *e, const char *name, const char *value)
{
    struct ticket *t = e->ticket;
    struct buf packed;
    struct header_writer w;
    buf_init(&packed, 0);
    header_begin(&w, &packed);
    header_put(&w, 0, slice_from(name), slice_from(value));
    header_end(&w);
    struct header_list trailers = {slice_of(packed.data + 3, buf_len(&packed) - 3), 1};
    let_go(e);
    t->events->done(t, &trailers);
    buf_fini(&packed);
}

void rig_respond(struct rig_ticket *e, int status, const char *body)
{
    struct ticket *t = e->ticket;
    struct frame_response r = {.status = (uint16_t)status,
                               .has_length = true,
                               .length = strlen(body),
                               .body = slice_from(body)};
    t->backend = NULL;
    t->events->head(t, &r, true);
    if (e->ticket != NULL)
        rig_done(e);
}

void rig_fail(struct rig_ticket *e, enum err err)
{
    struct ticket *t = e->ticket;
    let_go(e);
    t->events->failed(t, err, (struct slice){0});
}

void rig_accept(struct rig_ticket *e)
{
    struct frame_ws ws = {.op = WS_ACCEPT};
    e->ticket->head_seen = true;
    e->ticket->ws = TICKET_WS_OPEN;
    e->ticket->events->ws(e->ticket, &ws);
}

void rig_say(struct rig_ticket *e, enum ws_op op, const char *data, bool fin)
{
    struct frame_ws ws = {.op = op, .data = slice_from(data), .fin = fin};
    e->ticket->events->ws(e->ticket, &ws);
}

void rig_close(struct rig_ticket *e, uint16_t code, const char *reason)
{
    struct frame_ws ws = {.op = WS_CLOSE, .data = slice_from(reason), .code = code};
    e->ticket->ws = TICKET_WS_CLOSED;
    e->ticket->events->ws(e->ticket, &ws);
}

/* ---- the edge ---- */

void rig_init(struct rig *rig)
{
    *rig = (struct rig){.fd = -1};
    rig_pool = (struct pool){.window_bytes = 256 * 1024};
    now_us = 1000000;
    clock_set(now_us);
    struct proxy_options *o = &rig->options;
    http_limits_init(&o->limits);
    o->rules.max_body = 1000000;
    o->request_buffer = 500000;
    o->queue_timeout_s = 30;
    o->request_timeout_s = 60;
    o->keepalive_timeout_s = 75;
    o->max_pipeline = 16384;
    o->temp_dir = "/tmp";
    o->websocket_ping_interval_s = o->websocket_ping_timeout_s = 20;
    o->websocket_close_timeout_s = 5;
    o->websocket_max_message = 100000;
    o->websocket_compression = true;
}

void rig_start(struct rig *rig)
{
    struct event_config *config = event_config_new();
    (void)event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
    rig->base = event_base_new_with_config(config);
    event_config_free(config);
    rig->deadlines = deadlines_new();
    rig->roots = file_roots_new(rig->options.sendfile_root.items,
                                rig->options.sendfile_root.count);
    rig->log = access_log_open("/dev/null");
    rig->access = access_writer_new(rig->log);
    rig->sites = sites_new();
    struct site_settings settings = {
        .name = "web",
        .buffering = rig->options.buffering,
        .request_buffer = (uint64_t)rig->options.request_buffer,
        .queue_timeout_us = (uint64_t)(rig->options.queue_timeout_s * 1e6),
        .request_timeout_us = (uint64_t)(rig->options.request_timeout_s * 1e6),
    };
    struct pool *pool = &rig_pool;
    struct site *site = sites_add(rig->sites, &settings, &pool);
    struct routes *routes =
        rig->route_count == 0 ? NULL : routes_new(rig->routes, rig->route_count);
    sites_route(rig->sites, &routes, &site, 1);
    struct exchanges_options exchanges = {
        .proxy = &rig->options,
        .sites = rig->sites,
        .deadlines = rig->deadlines,
        .stats = &rig->stats,
        .access = rig->access,
        .roots = rig->roots,
        .instance = 42,
    };
    rig->exchanges = exchanges_new(&exchanges);
    struct clients_options clients = {
        .limits = &rig->options.limits,
        .rules = &rig->options.rules,
        .max_connections = 4,
        .max_pipeline = (size_t)rig->options.max_pipeline,
        .body_min_rate = 500,
        .body_grace_us = 10 * 1000000,
        .header_timeout_us = 10 * 1000000,
        .body_timeout_us = 30 * 1000000,
        .keepalive_timeout_us = (uint64_t)(rig->options.keepalive_timeout_s * 1e6),
        .write_timeout_us = 60 * 1000000,
        .events = &exchange_client_events,
        .owner = rig->exchanges,
        .deadlines = rig->deadlines,
        .stats = &rig->stats,
    };
    rig->clients = clients_new(rig->base, &clients);
}

void rig_fini(struct rig *rig)
{
    if (rig->fd >= 0)
        close(rig->fd);
    clients_free(&rig->clients);
    exchanges_free(&rig->exchanges);
    sites_free(&rig->sites);
    access_writer_free(&rig->access);
    access_log_free(&rig->log);
    file_roots_free(&rig->roots);
    deadlines_free(&rig->deadlines);
    event_base_free(rig->base);
    buf_fini(&rig->received);
    for (int i = 0; i < RIG_TICKETS; i++) {
        buf_fini(&rig_pool.tickets[i].bytes);
        buf_fini(&rig_pool.tickets[i].body);
        buf_fini(&rig_pool.tickets[i].said);
    }
    clock_release();
}

char *rig_text(size_t bytes)
{
    char *text = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        text[i] = (char)('a' + i % 23);
    text[bytes] = '\0';
    return text;
}

void rig_connect(struct rig *rig)
{
    int ends[2];
    struct sockaddr_storage nobody = {.ss_family = AF_UNIX};
    if (rig->fd >= 0)
        close(rig->fd);
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    rig->fd = ends[0];
    rig->saw_eof = rig->saw_reset = false;
    buf_clear(&rig->received);
    clients_add(rig->clients, ends[1], &nobody, SLICE("/run/web.sock"));
    rig_run(rig);
}

static bool receive(struct rig *rig)
{
    char data[65536];
    if (rig->fd < 0 || rig->saw_eof || rig->saw_reset)
        return false;
    ssize_t n = recv(rig->fd, data, sizeof(data), 0);
    if (n > 0)
        buf_add(&rig->received, slice_of(data, (size_t)n));
    rig->saw_eof = n == 0;
    rig->saw_reset = n < 0 && errno == ECONNRESET;
    return n > 0;
}

/* A turn may move things for the next one; the client reads in between. */
void rig_run(struct rig *rig)
{
    struct turn turn = {rig->sites, rig->clients, rig->deadlines, rig->access};
    bool moves = true;
    for (int quiet = 0; quiet < 3; quiet = moves ? 0 : quiet + 1) {
        deadlines_turn(rig->deadlines);
        (void)event_base_loop(rig->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        moves = turn_end(&turn);
        moves |= receive(rig);
    }
}

void rig_send(struct rig *rig, const char *text)
{
    size_t length = strlen(text);
    while (length > 0) {
        ssize_t n = send(rig->fd, text, length, MSG_NOSIGNAL);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            return; /* the edge does not read on: the rest is lost, as the test means */
        }
        text += n;
        length -= (size_t)n;
        rig_run(rig);
    }
}

void rig_hang_up(struct rig *rig)
{
    close(rig->fd);
    rig->fd = -1;
    rig_run(rig);
}

void rig_wait(struct rig *rig, double seconds)
{
    /* Step by step, as the tick would. */
    for (double step = 0.1; seconds > 1e-9; seconds -= step) {
        now_us += (uint64_t)((seconds < step ? seconds : step) * 1e6);
        clock_set(now_us);
        deadlines_turn(rig->deadlines);
        deadlines_expire(rig->deadlines);
        rig_run(rig);
    }
}

static bool matches(const char *text, const char *want)
{
    while (*want != '\0') {
        if (*want == '*') {
            want++;
            while (*text != '\0' && !matches(text, want))
                text++;
            return matches(text, want);
        }
        if (*text++ != *want++)
            return false;
    }
    return *text == '\0';
}

void rig_expect(struct rig *rig, const char *want)
{
    buf_add(&rig->received, slice_of("", 1));
    const char *got = buf_slice(&rig->received).ptr;
    if (!matches(got, want))
        fail_msg("received \"%s\" instead of \"%s\"", got, want);
    buf_clear(&rig->received);
}
