/* SPDX-License-Identifier: MIT
 * What is written down about an exchange: its REQUEST frame, once; and from that frame,
 * when it is over, the line in the access log. */
#include <stdio.h>
#include <string.h>

#include "protocol/header_names.h"
#include "proxy/affinity.h"
#include "proxy/exchange_priv.h"

/* ---- request ids ---- */

static void write_hex(char *to, size_t digits, uint64_t value)
{
    for (size_t i = digits; i-- > 0; value >>= 4)
        to[i] = "0123456789abcdef"[value & 15];
}

/* Different for every thread and process; the mixer is splitmix64's. */
void exchange_id_prefix(struct exchanges *all)
{
    uint64_t z = all->options.instance + 0x9e3779b97f4a7c15 * (all->options.number + 1);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    write_hex(all->id_prefix, ID_PREFIX, z ^ z >> 31);
}

static struct slice make_id(struct exchange *x)
{
    memcpy(x->id, x->all->id_prefix, ID_PREFIX);
    write_hex(x->id + ID_PREFIX, ID_BYTES - ID_PREFIX, ++x->all->id_count);
    return slice_of(x->id, ID_BYTES);
}

/* ---- the REQUEST frame ---- */

uint64_t exchange_deadline(const struct exchange *x)
{
    uint64_t timeout_us = x->site == NULL ? 0 : x->site->settings.request_timeout_us;
    return timeout_us == 0 ? 0 : deadlines_now(x->all->options.deadlines) + timeout_us;
}

/* While a body is streamed the time is often the client's: the edge alone keeps it. */
static uint64_t frame_deadline(const struct exchange *x)
{
    return x->upload.mode == UPLOAD_STREAM ? 0 : exchange_deadline(x);
}

void exchange_pack(struct exchange *x,
                   const struct client_request *r,
                   const struct exchange_body *body)
{
    struct exchanges *all = x->all;
    const struct hop_peer *peer = client_peer(x->client);
    struct hop_result client;
    hop_client(r->head, r->rules, peer, &all->options.proxy->trusted, &client);
    const struct hash_by *by = x->site == NULL ? NULL : pool_wants_key(x->site->pool);
    x->ticket.key = by == NULL ? 0 : affinity_key(by, r->head, client.client_addr);
    const struct sticky *sticky = x->site == NULL ? NULL : pool_sticky(x->site->pool);
    x->ticket.sticks_to = sticky == NULL ? 0 : affinity_read_cookie(sticky, r->head);
    struct slice id = client.id.len > 0 ? client.id : make_id(x);
    buf_clear(&all->headers);
    struct hop_own own = {
        .id = id,
        .cookie = slice_from(sticky == NULL ? "" : sticky->name),
        .start_us = x->upload.mode == UPLOAD_GATHER ? 0 : x->begun_us + all->unix_us,
    };
    hop_headers(r->head, r->rules, peer, &client, &own, &all->headers);

    struct frame_request f = {
        .flags = (x->ticket.expects ? REQUEST_EXPECT : 0u) |
                 (x->takes_trailers ? REQUEST_TRAILERS : 0u) |
                 (x->ticket.is_websocket ? REQUEST_WEBSOCKET : 0u),
        .method = r->head->method,
        .target = r->rules->is_options_asterisk ? SLICE("*") : r->head->path,
        .minor = r->head->minor,
        .scheme = client.scheme,
        .client_addr = client.client_addr,
        .client_port = client.client_port,
        .server_addr = client_server_addr(x->client),
        .server_port = client_server_port(x->client),
        .body_form = body->form,
        .body = body->data,
        .body_length = body->length,
        .deadline_us = frame_deadline(x),
        .queued_us = x->begun_us,
        .id = id,
        .root = r->rules->is_options_asterisk ? 0 : x->root,
    };
    frame_pack_request(&x->ticket.frame, 0, &f, buf_slice(&all->headers));
}

static bool unpack_own(const struct exchange *x, struct frame_request *ret_request)
{
    struct slice rest = buf_slice(&x->ticket.frame);
    struct frame frame;
    enum err err;
    if (rest.len == 0 || frame_unpack(&rest, &frame, &err) != STEP_DONE)
        return false;
    *ret_request = frame.request;
    return true;
}

void exchange_pack_again(struct exchange *x, const struct exchange_body *body)
{
    struct exchanges *all = x->all;
    struct frame_request f;
    bool is_own = unpack_own(x, &f);
    ASSERT(is_own);

    struct header_list it = f.headers;
    struct header_writer w;
    struct header h;
    buf_clear(&all->headers);
    bool has_start = false;
    header_begin(&w, &all->headers);
    while (header_next(&it, &h)) {
        header_put(&w, h.number, h.name, h.value);
        has_start |= h.number == HEADER_X_REQUEST_START;
    }
    f.queued_us = deadlines_now(all->options.deadlines);
    if (!has_start)
        hop_put_start(&w, f.queued_us + all->unix_us);
    header_end(&w);

    f.body_form = body->form;
    f.body = body->data;
    f.body_length = body->length;
    f.deadline_us = frame_deadline(x);
    buf_clear(&all->repacked);
    frame_pack_request(&all->repacked, 0, &f, buf_slice(&all->headers));
    struct buf old = x->ticket.frame;
    x->ticket.frame = all->repacked;
    all->repacked = old;
}

void exchange_keep_record(struct exchange *x)
{
    struct exchanges *all = x->all;
    struct frame_request f;
    bool is_own = unpack_own(x, &f);
    ASSERT(is_own);

    struct header_list it = f.headers;
    struct header_writer w;
    struct header h;
    buf_clear(&all->headers);
    header_begin(&w, &all->headers);
    while (header_next(&it, &h))
        if (h.number == HEADER_REFERER || h.number == HEADER_USER_AGENT)
            header_put(&w, h.number, h.name, h.value);
    header_end(&w);
    buf_clear(&all->repacked);
    frame_pack_request(&all->repacked, x->ticket.stream, &f, buf_slice(&all->headers));
    buf_fini(&x->ticket.frame);
    buf_add(&x->ticket.frame, buf_slice(&all->repacked));
}

struct slice exchange_header(const struct exchange *x, uint8_t number)
{
    struct frame_request f;
    struct header h;
    if (unpack_own(x, &f))
        while (header_next(&f.headers, &h))
            if (h.number == number)
                return h.value;
    return (struct slice){0};
}

/* ---- answers ---- */

/* For the next time, unless the client has it already. */
static struct slice make_cookie(const struct exchange *x)
{
    const struct sticky *sticky = x->site == NULL ? NULL : pool_sticky(x->site->pool);
    uint64_t key = x->ticket.went_to;
    struct frame_request f;
    if (sticky == NULL || key == 0 || key == x->ticket.sticks_to || !unpack_own(x, &f))
        return (struct slice){0};
    struct buf *to = &x->all->cookie;
    buf_clear(to);
    affinity_write_cookie(sticky, key, slice_eq(f.scheme, SLICE("https")), to);
    return buf_slice(to);
}

struct response_to exchange_response_to(const struct exchange *x)
{
    return (struct response_to){
        .minor = x->minor,
        .is_head = x->is_head,
        .keep_alive = client_may_keep_alive(x->client),
        .takes_trailers = x->takes_trailers,
        .date = client_date(x->client),
        .server = SLICE("banyan"),
        .cookie = make_cookie(x),
    };
}

size_t exchange_page_bytes(struct slice out, size_t start)
{
    const char *head = out.ptr + start, *end = out.ptr + out.len;
    const char *blank = memmem(head, (size_t)(end - head), "\r\n\r\n", 4);
    return blank == NULL ? 0 : (size_t)(end - blank) - 4;
}

void exchange_answer_self(struct exchange *x)
{
    struct response_to to = exchange_response_to(x);
    x->answer.status = 200;
    respond_plain(200, (struct slice){0}, &to, client_out(x->client));
    client_touch(x->client);
    exchange_end(x, to.keep_alive ? CLIENT_KEEP_ALIVE : CLIENT_CLOSE);
}

/* ---- the record ---- */

static void write_line(struct exchange *x, uint64_t sent_bytes)
{
    const struct exchanges_options *o = &x->all->options;
    uint64_t now_us = deadlines_now(o->deadlines);
    struct access_entry e = {
        .client_addr = client_peer(x->client)->addr,
        .minor = x->minor,
        .status = x->answer.status > 0 ? x->answer.status : err_status(x->err),
        .sent_bytes = sent_bytes,
        .received_bytes = x->upload.received,
        .request_us = now_us - x->begun_us,
        .queue_us = ticket_queue_us(&x->ticket, now_us),
        .pool = slice_from(x->site == NULL ? "" : x->site->settings.name),
        .backend = slice_from(x->backend_name),
    };
    struct frame_request f;
    if (unpack_own(x, &f)) {
        e.client_addr = f.client_addr;
        e.method = f.method;
        e.target = f.target;
        e.id = f.id;
        struct header_list it = f.headers;
        struct header h;
        while (header_next(&it, &h)) {
            if (h.number == HEADER_REFERER)
                e.referer = h.value;
            else if (h.number == HEADER_USER_AGENT)
                e.user_agent = h.value;
        }
    }
    access_writer_add(o->access, &e);
}

void exchange_record(struct exchange *x)
{
    struct stats *stats = x->all->options.stats;
    uint64_t sent_bytes = answer_sent_bytes(&x->answer, x->client);
    stats->bytes_in += x->upload.received;
    stats->bytes_out += sent_bytes;
    if (x->answer.status > 0)
        stats_count_status(stats, x->answer.status);
    if (x->all->options.access != NULL)
        write_line(x, sent_bytes);
}

void exchange_log(const struct exchange *x, enum log_level level, const char *text)
{
    if (!log_is_on(level))
        return;
    struct log_ctx ctx;
    struct frame_request f = {0};
    bool has_request = unpack_own(x, &f);
    (void)snprintf(ctx.prefix, sizeof(ctx.prefix), "c%llu %.*s",
                   (unsigned long long)client_number(x->client),
                   (int)(f.id.len < 32 ? f.id.len : 32), has_request ? f.id.ptr : "");
    bool has_place = x->site != NULL && x->backend_name[0] != '\0';
    const char *pool = has_place ? x->site->settings.name : "";
    if (has_request)
        log_write(level, &ctx, "%s (%.*s %.*s%s%s%s%s)", text, SLICE_FMT(f.method),
                  (int)(f.target.len < 200 ? f.target.len : 200), f.target.ptr,
                  x->backend_name[0] == '\0' ? "" : " at ", pool,
                  *pool == '\0' ? "" : "/", x->backend_name);
    else
        log_write(level, &ctx, "%s", text);
}

/* Who must look into it? Not the operator, when a client or the load is the reason, nor
 * when the application has told already. */
static enum log_level level_of(enum err err)
{
    int status = err_status(err);
    return status < 500 || status == 503 || status == 501 || status == 505 ||
                   err == ERR_APP_FAILED
               ? LOG_DEBUG
               : LOG_WARN;
}

void exchange_note_failure(struct exchange *x, enum err err, struct slice text)
{
    char line[256];
    (void)snprintf(line, sizeof(line), "%s%s%.*s", err_text(err),
                   text.len > 0 ? ": " : "", SLICE_FMT(text));
    exchange_log(x, level_of(err), line);
    x->all->options.stats->failures[err]++;
    x->err = err;
}

/* The log names the field: whoever wrote the application looks for it. */
void exchange_fail_response(struct exchange *x, const struct response_failure *failure)
{
    char text[128];
    int length = 0;
    if (failure->what != NULL)
        length = snprintf(text, sizeof(text), "%s%s%.*s", failure->what,
                          failure->name.len > 0 ? " " : "",
                          (int)(failure->name.len < 64 ? failure->name.len : 64),
                          failure->name.ptr);
    struct refusal *row = client_note_refusal(x->client, REFUSED_ANSWER, failure->err);
    (void)snprintf(row->backend, sizeof row->backend, "%s%s%s",
                   x->site == NULL ? "" : x->site->settings.name,
                   x->site == NULL ? "" : "/", x->backend_name);
    (void)snprintf(row->detail, sizeof row->detail, "%.*s", length, text);
    exchange_fail(x, failure->err, slice_of(text, (size_t)length));
}
