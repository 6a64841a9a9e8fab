/* SPDX-License-Identifier: MIT
 *
 *   client --frames--> ws_read -> (inflate) -> UTF-8 -> ticket_send_ws --> app server
 *   client <--frames-- head + (deflate) <------------- websocket_say <---- app server
 *
 * Parting, whoever begins:
 *
 *   say_close   the client gets a Close; from then on its messages are dropped
 *   part        the app server gets a close; its stream is left to it
 *   finish      both are done, or one was silent for too long: the connection ends
 *
 * Input waits in the socket while the app server's window is closed. */
#include "proxy/websocket.h"

#include "proxy/exchange_priv.h"
#include "proxy/http/utf8.h"
#include "proxy/http/ws_deflate.h"
#include "proxy/http/ws_frame.h"
#include "proxy/http/ws_handshake.h"

#include "protocol/base/mem.h"
#include "protocol/header_names.h"

enum {
    WEBSOCKET_MAGIC = 0x3eb50c4e,
    WEBSOCKETS_MAGIC = 0x3eb50c45,
    LEAST_DEFLATE = 64,      /* bytes: a shorter message is not compressed */
    MOST_PONGS = 16 * 1024,  /* bytes that wait: further pings are not answered */
    LEAST_STOPS = 16,        /* told to go in one tick, at least */
    DROPPED_PIECE = 1 << 20, /* bytes: what nobody wants needs no room */
};

struct websocket {
    uint32_t magic;
    struct websockets *all;
    struct exchange *x;
    struct node node;         /* websockets.open, until a Close was sent */
    struct deadline deadline; /* WS_PING, WS_PONG or WS_CLOSE */
    struct ws_terms terms;
    bool was_heard;      /* since the last look */
    bool awaits_pong;    /* nothing was heard since a ping */
    bool is_blocked;     /* input waits for the app server */
    bool has_sent_close; /* to the client */
    bool is_over;        /* the exchange is ending */
    /* from the client */
    struct ws_reader reader;
    struct utf8 utf8;             /* of the text that is coming in */
    struct ws_inflater *inflater; /* of the compressed message that is coming in */
    uint64_t inflated;            /* bytes of it */
    enum ws_op inflates;          /* what it is */
    bool has_all;                 /* its last byte was fed */
    bool holds_output;            /* the inflater may have more, without input */
    /* from the app server: the message that is going out; 0: none */
    uint8_t says;
    bool says_compressed;
};

struct websockets {
    uint32_t magic;
    struct exchanges *exchanges;
    struct list open;
    struct ws_deflate *deflate;
    struct buf deflated; /* used within one call */
    bool is_stopping;
    uint64_t stop_us, stop_for_us; /* since when, how long */
    uint32_t count, to_stop, stopped;
};

static bool take_piece(struct websocket *w,
                       const struct ws_input *piece,
                       char **input,
                       size_t *length);
static bool inflate_message(struct websocket *w, struct slice *input);

static struct websocket *of(const struct exchange *x)
{
    struct websocket *w = x->websocket;
    CHECK_OBJ(w, WEBSOCKET_MAGIC);
    return w;
}

static struct stats *stats_of(const struct websocket *w)
{
    return w->x->all->options.stats;
}

static struct deadlines *deadlines_of(const struct websocket *w)
{
    return w->x->all->options.deadlines;
}

/* ---- open and free ---- */

void websocket_offer(struct exchange *x, const struct request_head *head)
{
    x->ticket.is_websocket = true;
    x->ws_terms = (struct ws_terms){.has_deflate = false};
    if (!x->all->options.proxy->websocket_compression)
        return;
    for (uint32_t i = 0; i < head->field_count; i++)
        if (head->fields[i].number == HEADER_SEC_WEBSOCKET_EXTENSIONS &&
            ws_deflate_accept(head->fields[i].value, &x->ws_terms))
            return;
}

void websocket_accept(struct exchange *x, const struct frame_ws *accept)
{
    struct websockets *all = x->all->websockets;
    struct response_to to = exchange_response_to(x);
    struct slice key = exchange_header(x, HEADER_SEC_WEBSOCKET_KEY);
    struct response_failure failure;
    if (!ws_handshake_answer(accept, key, &x->ws_terms, &to, client_out(x->client),
                             &failure)) {
        exchange_fail_response(x, &failure);
        return;
    }
    struct websocket *w = mem_zalloc(sizeof *w);
    w->magic = WEBSOCKET_MAGIC;
    w->all = all;
    w->x = x;
    w->terms = x->ws_terms;
    list_push_back(&all->open, &w->node);
    all->count++;
    x->websocket = w;
    x->answer.status = 101;
    x->ticket.is_committed = true;
    deadline_disarm(&x->deadline);
    exchange_keep_record(x);
    exchange_set_state(x, EXCHANGE_WEBSOCKET);
    client_touch(x->client);
    client_upgrade(x->client);
    stats_of(w)->websockets++;
    stats_of(w)->websockets_open++;
    deadline_arm(deadlines_of(w), DEADLINE_WS_PING, &w->deadline);
}

void websocket_free(struct websocket **websocket_p)
{
    struct websocket *w = *websocket_p;
    if (w == NULL)
        return;
    CHECK_OBJ(w, WEBSOCKET_MAGIC);
    stats_of(w)->websockets_open--;
    w->all->count--;
    ws_inflater_give(w->all->deflate, &w->inflater);
    deadline_disarm(&w->deadline);
    node_leave(&w->node);
    w->magic = 0;
    mem_free(websocket_p);
}

/* ---- parting ---- */

static void count_out(struct websocket *w, size_t bytes)
{
    w->x->answer.body_out += bytes;
    client_touch(w->x->client);
}

static void say_close(struct websocket *w, unsigned code, struct slice reason)
{
    struct buf *out = client_out(w->x->client);
    size_t before = buf_len(out);
    ws_write_close(out, code, reason);
    count_out(w, buf_len(out) - before);
    w->has_sent_close = true;
    ws_inflater_give(w->all->deflate, &w->inflater);
    w->holds_output = false;
    node_leave(&w->node);
    deadline_arm(deadlines_of(w), DEADLINE_WS_CLOSE, &w->deadline);
    if (w->is_blocked)
        client_resume(w->x->client); /* what comes needs no room any more */
}

static void part(struct websocket *w, unsigned code, struct slice reason)
{
    struct ticket *t = &w->x->ticket;
    if (t->state != TICKET_SENT)
        return;
    struct frame_ws close = {.op = WS_CLOSE, .code = (uint16_t)code, .data = reason};
    ticket_send_ws(t, &close);
    ticket_leave(t);
}

static void finish(struct websocket *w)
{
    w->is_over = true;
    deadline_disarm(&w->deadline);
    node_leave(&w->node);
    exchange_end(w->x, CLIENT_CLOSE);
}

/* The client broke the rules. */
static void fail(struct websocket *w, unsigned code)
{
    struct slice reason = code == WS_CODE_TOO_BIG    ? SLICE("message too big")
                          : code == WS_CODE_BAD_DATA ? SLICE("invalid data")
                                                     : SLICE("protocol error");
    stats_of(w)->ws_failures++;
    exchange_log(w->x, LOG_DEBUG, reason.ptr);
    if (!w->has_sent_close)
        say_close(w, code, reason);
    part(w, code, reason);
    finish(w);
}

static void on_close(struct websocket *w, struct slice payload)
{
    unsigned code;
    struct slice reason;
    if (!ws_read_close(payload, &code, &reason)) {
        fail(w, code);
        return;
    }
    if (!w->has_sent_close)
        say_close(w, code, (struct slice){0});
    part(w, code, reason);
    finish(w);
}

/* ---- from the client ---- */

static void note_heard(struct websocket *w)
{
    w->was_heard = !w->awaits_pong; /* then the time begins anew here */
    if (!w->awaits_pong)
        return;
    w->awaits_pong = false;
    if (!w->has_sent_close)
        deadline_arm(deadlines_of(w), DEADLINE_WS_PING, &w->deadline);
}

bool websocket_input(struct client *c, char **input, size_t *length)
{
    struct exchange *x = CAST_OBJ(client_exchange(c), struct exchange, EXCHANGE_MAGIC);
    struct websocket *w = of(x);
    const struct proxy_options *o = x->all->options.proxy;
    const struct ws_limits limits = {(uint64_t)o->websocket_max_message,
                                     w->terms.has_deflate};
    size_t before = *length;
    bool goes_on = !w->is_over;
    if (before > 0)
        note_heard(w);
    if (goes_on && w->holds_output) {
        struct slice none = {0};
        goes_on = inflate_message(w, &none);
    }
    while (goes_on) {
        size_t room = w->has_sent_close ? DROPPED_PIECE : ticket_ws_room(&x->ticket);
        struct ws_input piece;
        enum ws_code code;
        enum step step =
            ws_read(&w->reader, &limits, input, length, room, &piece, &code);
        if (step == STEP_BAD)
            fail(w, code);
        goes_on = step == STEP_DONE && take_piece(w, &piece, input, length);
    }
    x->upload.received += before - *length;
    if (w->is_over) {
        *input += *length;
        *length = 0;
        return true;
    }
    w->is_blocked = w->holds_output || ws_is_blocked(&w->reader, *length);
    return !w->is_blocked;
}

static void pong(struct websocket *w, struct slice payload)
{
    struct buf *out = client_out(w->x->client);
    if (w->has_sent_close || client_pending(w->x->client) > MOST_PONGS)
        return;
    size_t before = buf_len(out);
    ws_write_control(out, WS_OP_PONG, payload);
    count_out(w, buf_len(out) - before);
}

/* Text goes on as soon as it is known to be text. False: it is none. */
static bool deliver(struct websocket *w, enum ws_op op, struct slice data, bool fin)
{
    if (op == WS_TEXT &&
        (!utf8_check(&w->utf8, data) || (fin && !utf8_is_whole(&w->utf8)))) {
        fail(w, WS_CODE_BAD_DATA);
        return false;
    }
    if (fin) {
        w->utf8 = (struct utf8){0};
        stats_of(w)->ws_messages_in++;
    }
    if (data.len > 0 || fin) {
        struct frame_ws ws = {.op = op, .data = data, .fin = fin};
        ticket_send_ws(&w->x->ticket, &ws);
    }
    return true;
}

/* As much as the app server takes. False: it takes no more now, or all is over. */
static bool inflate_message(struct websocket *w, struct slice *input)
{
    struct exchanges *all = w->x->all;
    uint64_t most = (uint64_t)all->options.proxy->websocket_max_message;
    for (;;) {
        size_t room = ticket_ws_room(&w->x->ticket), length;
        w->holds_output = room == 0;
        if (room == 0)
            return false;
        if (room > most - w->inflated + 1)
            room = (size_t)(most - w->inflated + 1); /* one more is too many */
        enum step step =
            ws_inflate(w->inflater, input, w->has_all, all->scratch, room, &length);
        w->inflated += length;
        if (step == STEP_BAD || w->inflated > most) {
            fail(w, w->inflated > most ? WS_CODE_TOO_BIG : WS_CODE_BAD_DATA);
            return false;
        }
        bool is_whole = step == STEP_DONE;
        if (is_whole)
            ws_inflater_give(w->all->deflate, &w->inflater);
        if (!deliver(w, w->inflates, slice_of(all->scratch, length), is_whole))
            return false;
        if (is_whole || length < room)
            return true;
    }
}

static bool take_compressed(struct websocket *w,
                            const struct ws_input *piece,
                            char **input,
                            size_t *length)
{
    if (w->inflater == NULL) {
        w->inflater = ws_inflater_take(w->all->deflate);
        w->inflates = piece->opcode == WS_OP_TEXT ? WS_TEXT : WS_BINARY;
        w->inflated = 0;
    }
    struct slice rest = piece->data;
    w->has_all = piece->fin;
    bool goes_on = inflate_message(w, &rest);
    if (!w->is_over)
        ws_unread(&w->reader, piece, input, length, rest.len);
    /* What was put back comes again, and with it the message's end. */
    if (rest.len > 0)
        w->holds_output = false;
    return goes_on;
}

/* False: not now, or all is over. */
static bool take_piece(struct websocket *w,
                       const struct ws_input *piece,
                       char **input,
                       size_t *length)
{
    switch (piece->opcode) {
    case WS_OP_PING:
        pong(w, piece->data);
        return true;
    case WS_OP_CLOSE:
        on_close(w, piece->data);
        return false;
    case WS_OP_TEXT:
    case WS_OP_BINARY:
        if (w->has_sent_close)
            return true;
        if (piece->is_compressed)
            return take_compressed(w, piece, input, length);
        return deliver(w, piece->opcode == WS_OP_TEXT ? WS_TEXT : WS_BINARY,
                       piece->data, piece->fin);
    case WS_OP_PONG:
    case WS_OP_CONTINUATION:
        break;
    }
    return true;
}

/* ---- from the app server ---- */

/* The form in which a piece goes out. A message is compressed from its first piece to
 * its last, or not at all. */
static struct slice
encode(struct websocket *w, struct slice data, bool is_first, bool fin)
{
    struct websockets *all = w->all;
    if (is_first)
        w->says_compressed = w->terms.has_deflate && data.len > LEAST_DEFLATE;
    if (!w->says_compressed)
        return data;
    buf_clear(&all->deflated);
    ws_deflate_piece(all->deflate, &w->terms, data, fin, &all->deflated);
    if (is_first && buf_len(&all->deflated) >= data.len) {
        w->says_compressed = false;
        return data;
    }
    return buf_slice(&all->deflated);
}

static void say_message(struct websocket *w, const struct frame_ws *ws)
{
    struct exchange *x = w->x;
    bool is_first = w->says == 0;
    struct slice data = encode(w, ws->data, is_first, ws->fin);
    struct ws_head head = {
        .opcode = !is_first           ? WS_OP_CONTINUATION
                  : ws->op == WS_TEXT ? WS_OP_TEXT
                                      : WS_OP_BINARY,
        .fin = ws->fin,
        .is_compressed = is_first && w->says_compressed,
    };
    struct buf *out = client_out(x->client);
    size_t before = buf_len(out);
    ws_write_head(out, head, data.len);
    count_out(w, buf_len(out) - before + data.len);
    client_write(x->client, data);
    w->says = ws->fin ? 0 : (uint8_t)ws->op;
    if (ws->fin)
        stats_of(w)->ws_messages_out++;
}

void websocket_say(struct exchange *x, const struct frame_ws *ws)
{
    struct websocket *w = of(x);
    if (ws->op != WS_CLOSE) {
        x->answer.received += ws->data.len + WINDOW_WS_PIECE;
        if (!w->has_sent_close)
            say_message(w, ws);
        answer_passed_on(&x->answer, x->client, &x->ticket);
        return;
    }
    if (w->has_sent_close)
        return;
    if (ws->code == WS_CODE_NONE || ws_code_is_valid(ws->code)) {
        say_close(w, ws->code, ws->data);
    } else {
        exchange_log(x, LOG_WARN, "the application closes with an invalid code");
        say_close(w, WS_CODE_INTERNAL, (struct slice){0});
    }
}

void websocket_done(struct exchange *x)
{
    if (!of(x)->has_sent_close)
        say_close(of(x), WS_CODE_NORMAL, (struct slice){0});
}

void websocket_failed(struct exchange *x, enum err err, struct slice text)
{
    struct websocket *w = of(x);
    if (w->has_sent_close)
        return;
    bool is_restart = err == ERR_BACKEND_LOST || err == ERR_SHUTTING_DOWN;
    if (is_restart) { /* one line tells of them all: the backend's */
        exchange_log(x, LOG_DEBUG, err_text(err));
        stats_of(w)->failures[err]++;
    } else {
        exchange_note_failure(x, err, text);
    }
    if (is_restart)
        say_close(w, WS_CODE_RESTART, SLICE("service restart"));
    else
        say_close(w, WS_CODE_INTERNAL, SLICE("internal error"));
}

void websocket_room(struct exchange *x)
{
    if (of(x)->is_blocked)
        client_resume(x->client);
}

/* ---- deadlines ---- */

static struct websocket *of_deadline(struct deadline *d)
{
    struct websocket *w = NODE_OF(d, struct websocket, deadline);
    CHECK_OBJ(w, WEBSOCKET_MAGIC);
    return w;
}

/* Whoever was heard since the last time needs no ping. A ping behind bytes that the
 * client does not take would say nothing: the write timeout watches those. */
static void on_ping_due(struct deadline *d)
{
    struct websocket *w = of_deadline(d);
    enum deadline_kind next = DEADLINE_WS_PING;
    if (!w->was_heard && client_pending(w->x->client) == 0) {
        struct buf *out = client_out(w->x->client);
        size_t before = buf_len(out);
        ws_write_control(out, WS_OP_PING, (struct slice){0});
        count_out(w, buf_len(out) - before);
        if (w->x->all->options.proxy->websocket_ping_timeout_s > 0) {
            w->awaits_pong = true;
            next = DEADLINE_WS_PONG;
        }
    }
    w->was_heard = false;
    deadline_arm(deadlines_of(w), next, &w->deadline);
}

static void on_pong_late(struct deadline *d)
{
    struct websocket *w = of_deadline(d);
    struct exchange *x = w->x;
    struct client *c = x->client;
    /* The answer may stand behind what we do not read, or the ping behind what the
     * client does not. */
    if (w->is_blocked || client_pending(c) > 0) {
        deadline_arm(deadlines_of(w), DEADLINE_WS_PONG, &w->deadline);
        return;
    }
    stats_of(w)->ws_pings_lost++;
    say_close(w, WS_CODE_INTERNAL, SLICE("ping timeout"));
    exchange_note_failure(x, ERR_CLIENT_GONE, SLICE("no answer to a ping"));
    exchange_cut(x, ERR_CLIENT_GONE, CUT_SHORT);
}

/* The client does not answer our Close. */
static void on_close_late(struct deadline *d)
{
    struct websocket *w = of_deadline(d);
    ticket_cancel(&w->x->ticket, ERR_CLIENT_GONE);
    finish(w);
}

/* ---- those of a thread ---- */

void websockets_set(struct websockets *all)
{
    CHECK_OBJ(all, WEBSOCKETS_MAGIC);
    const struct proxy_options *o = all->exchanges->options.proxy;
    struct deadlines *deadlines = all->exchanges->options.deadlines;
    deadlines_set(deadlines, DEADLINE_WS_PING,
                  (uint64_t)(o->websocket_ping_interval_s * 1e6), on_ping_due);
    deadlines_set(deadlines, DEADLINE_WS_PONG,
                  (uint64_t)(o->websocket_ping_timeout_s * 1e6), on_pong_late);
    deadlines_set(deadlines, DEADLINE_WS_CLOSE,
                  (uint64_t)(o->websocket_close_timeout_s * 1e6), on_close_late);
}

struct websockets *websockets_new(struct exchanges *exchanges)
{
    struct websockets *all = mem_zalloc(sizeof *all);
    all->magic = WEBSOCKETS_MAGIC;
    all->exchanges = exchanges;
    all->deflate = ws_deflate_new();
    list_init(&all->open);
    buf_init(&all->deflated, 0);
    websockets_set(all);
    return all;
}

void websockets_free(struct websockets **websockets_p)
{
    struct websockets *all = *websockets_p;
    if (all == NULL)
        return;
    CHECK_OBJ(all, WEBSOCKETS_MAGIC);
    ASSERT(all->count == 0);
    ws_deflate_free(&all->deflate);
    buf_fini(&all->deflated);
    all->magic = 0;
    mem_free(websockets_p);
}

void websockets_stop(struct websockets *all, double seconds)
{
    CHECK_OBJ(all, WEBSOCKETS_MAGIC);
    all->is_stopping = true;
    all->stop_us = deadlines_now(all->exchanges->options.deadlines);
    all->stop_for_us = (uint64_t)(seconds * 1e6 / 2);
    all->to_stop = all->count;
    all->stopped = 0;
}

void websockets_tick(struct websockets *all)
{
    CHECK_OBJ(all, WEBSOCKETS_MAGIC);
    if (!all->is_stopping)
        return;
    uint64_t passed_us =
        deadlines_now(all->exchanges->options.deadlines) - all->stop_us;
    uint64_t due = passed_us >= all->stop_for_us
                       ? UINT64_MAX
                       : all->to_stop * passed_us / all->stop_for_us;
    struct slice reason = SLICE("shutting down");
    struct node *n;
    for (unsigned told = 0; (n = list_first(&all->open)) != NULL; told++) {
        if (told >= LEAST_STOPS && all->stopped >= due)
            break;
        struct websocket *w = NODE_OF(n, struct websocket, node);
        CHECK_OBJ(w, WEBSOCKET_MAGIC);
        say_close(w, WS_CODE_GOING_AWAY, reason);
        part(w, WS_CODE_GOING_AWAY, reason);
        all->stopped++;
    }
}
