/* SPDX-License-Identifier: MIT
 * A connection's life. Its event is edge-triggered and registered once: what it said is
 * remembered (can_read, can_write) until a call to the socket says otherwise, so that
 * waiting for room costs no system call and a peer that leaves is always noticed.
 *
 * Input is read into a buffer that all connections share; only what is left over is
 * copied into the connection's own. */
#include "proxy/http/client.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "proxy/http/address.h"
#include "proxy/http/client_priv.h"

static void on_event(evutil_socket_t fd, short what, void *arg);
static void finish(struct client *c);

/* ---- life ---- */

struct client *client_new(struct clients *all,
                          int fd,
                          const struct sockaddr_storage *peer,
                          struct slice listener_path)
{
    struct client *c = mem_zalloc(sizeof(*c));
    c->magic = CLIENT_MAGIC;
    c->all = all;
    c->fd = fd;
    c->can_write = true;
    c->number = ++all->numbers;
    buf_init(&c->in, all->options.limits->max_head + all->options.max_pipeline +
                         SCRATCH_BYTES + 2 * READ_MORE);
    outbox_init(&c->out);

    c->peer.addr = address_text(peer, c->peer_text, &c->peer.port);
    c->server_addr = listener_path;
    if (listener_path.len == 0) {
        struct sockaddr_storage own_address = {0};
        socklen_t length = sizeof(own_address);
        (void)getsockname(fd, (void *)&own_address, &length);
        c->server_addr = address_text(&own_address, c->server_text, &c->server_port);
    }

    short what = EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST;
    int assigned = event_assign(&c->event, all->base, fd, what, on_event, c);
    ASSERT(assigned == 0);
    if (event_add(&c->event, NULL) != 0) {
        c->is_broken = true;
        client_touch(c);
    }
    return c;
}

void client_free(struct client **client_p)
{
    struct client *c = *client_p;
    CHECK_OBJ(c, CLIENT_MAGIC);
    ASSERT(c->state == CLIENT_CLOSED && c->exchange == NULL);
    c->magic = 0;
    buf_fini(&c->in);
    mem_free(client_p);
}

void client_set_state(struct client *c, enum client_state state)
{
    static const uint8_t permitted[] = {
        [CLIENT_IDLE] = 1 << CLIENT_HEAD | 1 << CLIENT_CLOSED,
        [CLIENT_HEAD] = 1 << CLIENT_BODY | 1 << CLIENT_BUSY | 1 << CLIENT_CLOSED,
        [CLIENT_BODY] = 1 << CLIENT_BUSY | 1 << CLIENT_LINGER | 1 << CLIENT_CLOSED,
        [CLIENT_BUSY] = 1 << CLIENT_IDLE | 1 << CLIENT_UPGRADED | 1 << CLIENT_LINGER |
                        1 << CLIENT_CLOSED,
        [CLIENT_UPGRADED] = 1 << CLIENT_LINGER | 1 << CLIENT_CLOSED,
        [CLIENT_LINGER] = 1 << CLIENT_CLOSED,
    };
    ASSERT(permitted[c->state] & 1 << state);
    bool was_idle = c->state == CLIENT_IDLE;
    c->state = state;
    if (was_idle || state == CLIENT_IDLE || state == CLIENT_CLOSED) {
        node_leave(&c->node);
        list_push_back(state == CLIENT_IDLE     ? &c->all->idle
                       : state == CLIENT_CLOSED ? &c->all->closed
                                                : &c->all->open,
                       &c->node);
    }
}

void client_close(struct client *c, enum err err)
{
    if (c->state == CLIENT_CLOSED)
        return;
    client_set_state(c, CLIENT_CLOSED);
    (void)event_del(&c->event);
    (void)close(c->fd);
    c->fd = -1;
    deadline_disarm(&c->wait);
    deadline_disarm(&c->stall);
    node_leave(&c->dirty);
    node_leave(&c->ready);
    c->all->count--;
    if (c->exchange != NULL)
        c->all->options.events->gone(c, err);
    c->exchange = NULL;
    outbox_fini(&c->out);
}

/* The peer sees ECONNRESET, never an end it could take for a clean one. */
void client_reset(struct client *c, enum err err)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    client_close(c, err);
}

void client_make_ready(struct client *c)
{
    if (!node_is_linked(&c->ready) && c->state != CLIENT_CLOSED)
        list_push_back(&c->all->ready, &c->ready);
}

static void on_event(evutil_socket_t fd UNUSED, short what, void *arg)
{
    struct client *c = CAST_OBJ(arg, struct client, CLIENT_MAGIC);
    if (c->state == CLIENT_CLOSED)
        return;
    if (what & EV_CLOSED)
        c->saw_hangup = true;
    if (what & (EV_READ | EV_CLOSED))
        c->can_read = true;
    if (what & EV_WRITE && !c->can_write) {
        c->can_write = true;
        client_touch(c);
    }
    if (c->can_read) {
        client_read(c);
    }
}

/* ---- output ---- */

struct buf *client_out(struct client *c)
{
    return &c->out.bytes;
}

void client_touch(struct client *c)
{
    if (!node_is_linked(&c->dirty) && c->state != CLIENT_CLOSED)
        list_push_back(&c->all->dirty, &c->dirty);
}

void client_write(struct client *c, struct slice data)
{
    if (c->state == CLIENT_CLOSED || c->is_broken)
        return;
    if (data.len < WRITE_THROUGH || !c->can_write) {
        buf_add(&c->out.bytes, data);
    } else {
        size_t before = buf_len(&c->out.bytes);
        enum outbox_result result = outbox_write(&c->out, c->fd, data);
        c->can_write = result == OUTBOX_EMPTY;
        c->is_broken = result == OUTBOX_FAILED;
        c->written += before + data.len - buf_len(&c->out.bytes);
    }
    client_touch(c);
}

void client_send_file(struct client *c, int file, uint64_t offset, uint64_t length)
{
    if (c->state == CLIENT_CLOSED) {
        (void)close(file);
        return;
    }
    outbox_put_file(&c->out, file, offset, length);
    client_touch(c);
}

uint64_t client_pending(const struct client *c)
{
    return outbox_pending(&c->out);
}

void client_end(struct client *c, enum client_after after)
{
    c->is_ended = true;
    c->is_kept = after == CLIENT_KEEP_ALIVE;
    client_touch(c);
}

void client_cut(struct client *c, enum client_cut how)
{
    c->exchange = NULL;
    if (c->state == CLIENT_CLOSED)
        return;
    deadline_disarm(&c->wait);
    c->is_cut = true;
    c->is_reset = how == CUT_RESET;
    client_set_state(c, CLIENT_LINGER);
    client_touch(c);
}

/* Bytes in the socket that the peer has not taken; 0 when the kernel does not tell. */
static int bytes_in_socket(const struct client *c)
{
    int bytes;
    return ioctl(c->fd, TIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

static void watch_stall(struct client *c)
{
    c->in_socket = bytes_in_socket(c);
    deadline_arm(c->all->options.deadlines, DEADLINE_WRITE, &c->stall);
}

void client_flush(struct client *c)
{
    const struct clients_options *o = &c->all->options;
    uint64_t before = outbox_pending(&c->out);
    enum outbox_result result = OUTBOX_WAITS;
    if (c->is_broken)
        result = OUTBOX_FAILED;
    else if (before == 0)
        result = OUTBOX_EMPTY;
    else if (c->can_write)
        result = outbox_flush(&c->out, c->fd);
    if (result == OUTBOX_FAILED) {
        client_close(c, ERR_CLIENT_GONE);
        return;
    }

    uint64_t pending = outbox_pending(&c->out);
    if (pending == 0 && c->state == CLIENT_UPGRADED)
        buf_fini(&c->out.bytes); /* it may be silent for a long time */
    c->can_write = result != OUTBOX_WAITS;
    c->written += before - pending;
    if (pending == 0)
        deadline_disarm(&c->stall);
    else if (pending < before || !deadline_is_armed(&c->stall))
        watch_stall(c);
    if (result == OUTBOX_MORE)
        client_touch(c);
    if (c->exchange != NULL)
        o->events->written(c);
    if (pending > 0 || c->state == CLIENT_CLOSED)
        return;
    if (c->is_cut && c->is_reset)
        client_reset(c, ERR_NONE);
    else if (c->is_cut)
        client_close(c, ERR_NONE);
    else if (c->is_ended)
        finish(c);
}

/* Closing with unread input would reset the connection and might take the answer along
 * (RFC 9112 section 9.6): say that no more will come, and read for a while. */
static void linger(struct client *c)
{
    client_set_state(c, CLIENT_LINGER);
    buf_fini(&c->in);
    (void)shutdown(c->fd, SHUT_WR);
    deadline_arm(c->all->options.deadlines, DEADLINE_LINGER, &c->wait);
    client_make_ready(c);
}

/* The answer is in the socket. */
static void finish(struct client *c)
{
    c->is_ended = false;
    c->all->options.events->finished(c);
    c->exchange = NULL;
    c->is_half_closed = false;
    if (c->is_kept && c->may_keep_alive && c->state == CLIENT_BUSY) {
        client_set_state(c, CLIENT_IDLE);
        deadline_arm(c->all->options.deadlines,
                     c->all->is_stopping ? DEADLINE_HALF_CLOSED : DEADLINE_KEEPALIVE,
                     &c->wait);
        if (buf_len(&c->in) > 0 || c->can_read || c->saw_eof)
            client_make_ready(c);
    } else if (!c->saw_eof && (c->state == CLIENT_BODY || buf_len(&c->in) > 0 ||
                               c->can_read || c->is_out_of_step)) {
        linger(c);
    } else {
        client_close(c, ERR_NONE);
    }
}

void client_upgrade(struct client *c)
{
    deadline_disarm(&c->wait);
    c->may_keep_alive = c->is_paused = false;
    c->is_out_of_step = true;
    client_set_state(c, CLIENT_UPGRADED);
    client_make_ready(c);
}

void client_resume(struct client *c)
{
    if (c->state == CLIENT_BODY || (c->state == CLIENT_UPGRADED && c->is_paused))
        client_make_ready(c);
}

void client_discard_body(struct client *c)
{
    c->is_discarding = true;
    client_resume(c);
}

void client_look(struct client *c)
{
    if (!c->has_to_look)
        return;
    c->can_read = true;
    client_make_ready(c);
}

static void copy_text(char to[REFUSAL_ADDRESS], struct slice text)
{
    size_t length = text.len < REFUSAL_ADDRESS ? text.len : REFUSAL_ADDRESS - 1;
    if (length > 0)
        memcpy(to, text.ptr, length);
}

struct refusal *
client_note_refusal(struct client *c, enum refusal_part part, enum err err)
{
    struct refusal *row = refusals_add(&c->all->refusals);
    row->part = part;
    row->err = err;
    row->client = c->number;
    row->port = c->peer.port;
    row->server_port = c->server_port;
    copy_text(row->address, c->peer.addr);
    copy_text(row->server, c->server_addr);
    return row;
}

/* ---- deadlines ---- */

void client_on_idle(struct deadline *d)
{
    struct client *c = NODE_OF(d, struct client, wait);
    CHECK_OBJ(c, CLIENT_MAGIC);
    client_close(c, ERR_NONE);
}

/* A large socket buffer tells of room only when a good part of it is free: a client
 * that reads slowly may look like one that does not read. */
void client_on_write_stalled(struct deadline *d)
{
    struct client *c = NODE_OF(d, struct client, stall);
    CHECK_OBJ(c, CLIENT_MAGIC);
    if (bytes_in_socket(c) < c->in_socket)
        watch_stall(c);
    else
        client_reset(c, ERR_WRITE_STALLED);
}

void client_on_linger_end(struct deadline *d)
{
    client_on_idle(d);
}

/* As long as something can be written, a reset will tell whether the peer is there. */
void client_on_half_closed(struct deadline *d)
{
    struct client *c = NODE_OF(d, struct client, wait);
    CHECK_OBJ(c, CLIENT_MAGIC);
    if (c->state == CLIENT_BUSY && (c->written > 0 || outbox_pending(&c->out) > 0)) {
        c->written = 0;
        deadline_arm(c->all->options.deadlines, DEADLINE_HALF_CLOSED, &c->wait);
    } else {
        client_close(c, ERR_CLIENT_GONE);
    }
}

/* ---- what the answering side may know ---- */

void client_set_exchange(struct client *c, void *exchange)
{
    c->exchange = exchange;
}

void *client_exchange(const struct client *c)
{
    return c->exchange;
}

void *client_owner(const struct client *c)
{
    return c->all->options.owner;
}

uint64_t client_number(const struct client *c)
{
    return c->number;
}

const struct hop_peer *client_peer(const struct client *c)
{
    return &c->peer;
}

struct slice client_server_addr(const struct client *c)
{
    return c->server_addr;
}

uint16_t client_server_port(const struct client *c)
{
    return c->server_port;
}

struct slice client_date(const struct client *c)
{
    return clients_date(c->all);
}

bool client_body_is_whole(const struct client *c)
{
    return c->state != CLIENT_BODY;
}

bool client_may_keep_alive(const struct client *c)
{
    return c->may_keep_alive && c->state == CLIENT_BUSY && !c->all->is_stopping &&
           !c->all->is_leaving;
}
