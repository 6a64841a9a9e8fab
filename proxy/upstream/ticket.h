/* SPDX-License-Identifier: MIT
 * The contract between an exchange (one request and its response) and the upstream side
 * (pool, backends). A ticket is embedded in the exchange: it waits in its pool's queue,
 * or is a stream of one backend. Everything happens in one edge thread.
 *
 * upstream/ never looks at the exchange; it reports through ticket_events. Events come
 * from the loop, never from inside pool_submit or ticket_* calls, except where said. */
#ifndef UPSTREAM_TICKET_H
#define UPSTREAM_TICKET_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/base/queue.h"
#include "protocol/frame.h"
#include "protocol/window.h"

struct pool;
struct backend;
struct claim;
struct ticket;

enum ticket_state {
    TICKET_IDLE,   /* not submitted, or done with */
    TICKET_QUEUED, /* in the pool's queue */
    TICKET_SENT,   /* a stream of `backend` */
};

/* What the exchange hears. After `done`, `failed` the ticket is TICKET_IDLE. Slices
 * live for the call. */
struct ticket_events {
    /* The request left for a backend: its body may follow as far as ticket_room says.
     * Called again for a retry: the body starts again from its first byte. */
    void (*sent)(struct ticket *t);
    /* More room for the request's body; `wanted` once the application asked for the
     * body of a REQUEST_EXPECT request. */
    void (*room)(struct ticket *t);
    void (*inform)(struct ticket *t, const struct frame_response *inform);
    /* RESPONSE: has_length is set, `body` is all of it and done() follows at once. */
    void (*head)(struct ticket *t,
                 const struct frame_response *response,
                 bool is_whole);
    void (*body)(struct ticket *t, struct slice data);
    /* The answer is complete; `trailers`: of END, else NULL. */
    void (*done)(struct ticket *t, const struct header_list *trailers);
    /* The application offers a file: true takes it (the exchange sends it; done()
     * follows), false asks for bytes. */
    bool (*file)(struct ticket *t, const struct frame_file *file);
    /* WebSocket: the first one accepts; then texts and binaries, whole or in pieces,
     * and at most one close. done() or failed() may come at any time. */
    void (*ws)(struct ticket *t, const struct frame_ws *ws);
    /* Queue full, too slow or expired, application failed, backend lost and not to be
     * retried, bad answer ... */
    void (*failed)(struct ticket *t, enum err err, struct slice text);
};

/* What has become of a handshake at its backend. */
enum ticket_ws {
    TICKET_WS_NONE,    /* it is none, or the app server does not know WebSocket */
    TICKET_WS_OFFERED, /* REQUEST_WEBSOCKET went along */
    TICKET_WS_OPEN,    /* it was accepted */
    TICKET_WS_CLOSED,  /* and the app server said close */
};

struct ticket {
    struct node node; /* in the queue or the backend's list; owned by upstream/ */
    enum ticket_state state; /* written by upstream/ only */
    const struct ticket_events *events;
    /* set by the exchange before pool_submit */
    struct buf frame; /* one packed REQUEST, kept until the ticket is done (retries);
                         its slices serve the log. The exchange frees it */
    uint64_t deadline_us;       /* clock.h; 0: none */
    uint64_t queue_deadline_us; /* QUEUE_TIMEOUT when still queued then */
    uint64_t key;       /* requests with the same should meet (balance.h); 0: none */
    uint64_t sticks_to; /* the key of the backend that its cookie names; 0: none */
    bool is_idempotent;
    bool is_replayable; /* the body can be sent again from its first byte; the exchange
                           clears it when not */
    bool has_body_to_follow; /* BODY_LENGTH / BODY_UNKNOWN */
    bool expects;            /* REQUEST_EXPECT */
    bool is_websocket;       /* a handshake; the app server hears it if it knows them */
    /* set by the exchange at any time */
    bool is_committed; /* bytes of the answer went to the client: no retry */
    /* upstream's */
    struct pool *pool;
    struct backend *backend; /* TICKET_SENT; NULL while its last event is delivered */
    struct backend *avoid;   /* it handed the request back */
    struct node turn_node;   /* waiting.h */
    struct claim *claim;     /* queued: for this one's backend; NULL: for anyone */
    uint64_t claimed_until_us;
    uint64_t went_to; /* the key of the backend that it was sent to last */
    uint32_t stream;
    bool was_retried;
    bool head_seen;
    bool was_heard_of; /* this backend said something about it */
    enum ticket_ws ws;
    uint8_t ws_message; /* enum ws_op of the app server's unfinished message; 0: none */
    bool *gone; /* set while an event is delivered after which the ticket is still
                   needed */
    uint64_t patience_us; /* a request that is queued again may wait so long again */
    uint64_t body_sent;   /* bytes, to this backend */
    struct window_sender to_app;
    struct window_receiver from_app;
    uint64_t queued_us;             /* since when it waits, this time */
    uint64_t submitted_us, sent_us; /* ticket_queue_us; 0: not yet */
};

void ticket_init(struct ticket *t, const struct ticket_events *events);

/* Sends it to a backend with credit or queues it. May call events->failed (QUEUE_FULL,
 * OVERLOADED, SHUTTING_DOWN) or events->sent before it returns. */
void pool_submit(struct pool *pool, struct ticket *t);

/* How long it waited, or waits, in the queue; 0: it was never there. */
static inline uint64_t ticket_queue_us(const struct ticket *t, uint64_t now_us)
{
    bool is_there = t->state == TICKET_QUEUED || t->sent_us == 0;
    uint64_t until_us = is_there ? now_us : t->sent_us;
    return t->submitted_us != 0 && until_us > t->submitted_us
               ? until_us - t->submitted_us
               : 0;
}

/* The name of the app server that it waits for alone; NULL: it does not. */
const char *ticket_waits_for(const struct ticket *t);

/* The exchange no longer wants the answer (client gone, deadline, bad answer). Queued:
 * leaves the queue. Sent: CANCEL goes out and the slot stays counted until the backend
 * ends the stream. No event follows. Does nothing to an idle ticket. */
void ticket_cancel(struct ticket *t, enum err reason);

/* Whether its handler was entered, as far as can be told from here: the app server said
 * something about it, or its shared page does. */
bool ticket_is_started(const struct ticket *t);

/* Request body towards the app. ticket_room: bytes that may be sent now (0: wait for
 * `room`). ticket_send_body: data.len <= room and <= FRAME_MAX_BULK; copied. */
size_t ticket_room(const struct ticket *t);
void ticket_send_body(struct ticket *t, struct slice data);
void ticket_send_end(struct ticket *t);

/* A piece of a message, or the close, towards the app. ticket_ws_room: the largest
 * piece that may be sent now; 0: none, not even an empty one; wait for `room`. */
size_t ticket_ws_room(const struct ticket *t);
void ticket_send_ws(struct ticket *t, const struct frame_ws *ws);
/* All is said to the app server, and nobody listens any more: it ends the stream in its
 * own time. No event follows. */
void ticket_leave(struct ticket *t);

/* `bytes` of the answer were passed on to the client: grants the app more in time. */
void ticket_passed_on(struct ticket *t, size_t bytes);

#endif
