/* SPDX-License-Identifier: MIT
 * The inside of a backend, shared by the files that are its parts (backend.h). */
#ifndef UPSTREAM_BACKEND_PRIV_H
#define UPSTREAM_BACKEND_PRIV_H

#include "protocol/base/log.h"
#include "protocol/base/queue.h"
#include "protocol/base/table.h"
#include "protocol/frame.h"
#include "protocol/link.h"
#include "protocol/page.h"
#include "proxy/upstream/backend.h"
#include "proxy/upstream/check.h"
#include "proxy/upstream/histogram.h"
#include "proxy/upstream/outlier.h"
#include "proxy/upstream/ticket.h"
#include "proxy/upstream/waiting.h"
#include "proxy/waker.h"

enum {
    BACKEND_MAGIC = 0x424b4e44,
    BACKEND_MAX_WINDOW = 65535, /* requests; a larger GRANT counts as this */
    BACKEND_RECEIVE_MESSAGES =
        64, /* per turn and backend, then the loop looks around */
    BACKEND_RECEIVE_BYTES = 1 << 20, /* likewise */
    BACKEND_FIRST_BACKOFF_US = 100 * 1000,
    BACKEND_LAST_BACKOFF_US = 5 * 1000 * 1000,
    BACKEND_STEADY_US = 10 * 1000 * 1000, /* up so long: the back-off starts anew */
    /* ZeroMQ tries again by itself, but not after whatever it takes for a breach of its
     * protocol: when it has had so long, another link is opened. */
    BACKEND_RECONNECT_US = 1000 * 1000,
    BACKEND_PING_US = 1000 * 1000, /* silence before a PING */
    BACKEND_DOUBT_US = 250 * 1000, /* a PING without an answer before it is in doubt */
    BACKEND_MAX_RETURNS = 64, /* handed back in a row beyond the window: it rests */
    BACKEND_REST_US = 100 * 1000,
};

/* A batch that the link had no room for. */
struct parcel {
    struct node node;
    struct buf frames, bulk;
    uint32_t last_stream;
};

struct backend {
    uint32_t magic;
    enum backend_state state; /* written by backend_set_state */
    struct log_ctx log;
    struct pool *pool;
    struct node node;      /* in pool->backends */
    struct node turn_node; /* in pool->touched */
    char *name, *endpoint;
    bool has_death_notice; /* ipc://: the kernel tells at once */
    struct backend_settings settings;

    /* the connection */
    struct link *link; /* in CLOSED still there for its last BYE, without a waker */
    struct waker *waker;
    uint64_t epoch;
    uint64_t reopen_us; /* another link is opened then; CONNECTING and 0: not */
    uint64_t backoff_us, up_since_us;
    bool fault_logged; /* once per streak of bad connections */
    enum err fault;    /* set while a message is read: the link must go */
    const char *fault_text;
    char fault_words[192]; /* what fault_text may point to */

    /* keys (backend_keys.c); of tcp://, where the pool has some */
    char own_key[KEY_TEXT], server_key[KEY_TEXT]; /* the link's; empty: none */
    size_t key_index; /* of the authorized app keys, the one that is tried */
    size_t keys_tried;
    uint64_t round_us;         /* the last wait between two rounds of all */
    unsigned refusals_said;    /* SAID bits */
    struct backend *successor; /* owned; NULL: none */

    /* what its HELLO said */
    uint64_t window_bytes;
    size_t inline_bytes;
    uint32_t features; /* enum feature bits */
    struct page *page; /* NULL: none; kept until its streams are settled */
    int page_slot;

    /* the streams: `sent` in the order of their ids; the table holds the cancelled
     * ones, too, as BACKEND_ORPHAN, for they hold their slot until the app ends them.
     */
    struct load load;   /* in_flight: entries of the table */
    struct claim claim; /* what waits for it alone */
    uint32_t window;    /* granted */
    uint32_t running;   /* there, of all links, by its last LOAD */
    bool is_counted;    /* in pool->up */
    struct table streams;
    struct list sent;
    uint32_t next_stream;
    uint32_t flushed_stream; /* the last id that was given to the link */
    uint32_t returns;        /* RETURNs since it last finished anything */
    uint64_t rests_until_us; /* it hands everything back: 0 or when to try again */

    /* towards it:  batch -> (backlog ->) link */
    struct buf batch;
    uint32_t batch_frames;
    struct list backlog; /* parcels; empty unless the link is full */
    bool must_recheck;   /* something was sent: the link's descriptor may have missed
                            input */

    struct backend_stats stats;
    struct histogram queue_time, app_time; /* as long as the stats */
    uint32_t pid;                          /* of its latest HELLO */
    uint64_t instance;                     /* likewise */

    /* health */
    uint64_t heard_us;  /* the last message */
    uint64_t expect_us; /* since when an answer can be expected */
    uint64_t ping_us;   /* the last PING */
    uint64_t ping_sequence;
    bool is_in_doubt; /* asked and not heard: nothing new goes there for now */
    struct outlier outlier;
    struct check *check;       /* owned */
    uint64_t ejected_until_us; /* 0: it is not */
    uint64_t began_us;         /* when its share began to grow */
    uint64_t forgiven_us;      /* when the next one of `ejections` is forgotten */
    uint32_t ejections;        /* so many times eject_us */
};

/* Stands in the table for a stream that the exchange gave up. */
extern char backend_orphan;
#define BACKEND_ORPHAN ((void *)&backend_orphan)

void backend_set_state(struct backend *b, enum backend_state state);
/* Whether it is among those that take requests; after every change of state, window,
 * in_flight, backlog, rest. */
void backend_update_load(struct backend *b);
/* It will be flushed and looked at again at the end of this turn. */
void backend_touch(struct backend *b);

/* ---- health.c ---- */
/* It said something. */
void health_hear(struct backend *b);

/* ---- backend.c ---- */
/* One line for the operator's events, by one of the edge threads. */
void backend_notice(struct backend *b, const char *format, ...) PRINTF_LIKE(2, 3);
/* The connection is gone and the kernel said so: what the shared page says is final. */
void backend_on_link_down(struct backend *b);
void backend_greet(struct backend *b);
/* Closes the link, which is not up, and opens another one `wait_us` from now. */
void backend_reopen(struct backend *b, uint64_t wait_us);

/* ---- backend_keys.c ---- */
/* Opens b->link. ERR_LINK_DOWN: there is no key to try. */
MUST_CHECK enum err backend_connect(struct backend *b);
/* A handshake failed. May close the link. */
void backend_on_refused(struct backend *b, enum link_refusal refusal);
void backend_keys_good(struct backend *b); /* one succeeded */
void backend_keys_changed(struct backend *b);

/* ---- backend_frames.c ---- */
/* The waker's callback. */
enum waker_result backend_on_input(void *arg);
enum receive_result {
    RECEIVE_DRAINED,
    RECEIVE_LEFT, /* the budget ran out */
    RECEIVE_LOST, /* the link is closed */
};
enum receive_result backend_receive(struct backend *b, uint32_t max_messages);

/* ---- backend_send.c ---- */
/* A frame was packed onto b->batch. */
void backend_frame_added(struct backend *b);
/* The batch, ending in a bulk BODY, and its second part. */
void backend_flush_bulk(struct backend *b, struct slice bulk);
/* Forgets what was not sent. */
void backend_drop_unsent(struct backend *b);

/* ---- health.c ---- */
/* It may have requests: nobody objects, or nobody else is left. */
bool health_permits(const struct backend *b);
/* A request ended there. May eject it. */
void health_note(struct backend *b, bool is_good, uint64_t now_us);
/* It may have requests from here on, a few at first (--slow-start). */
void health_begin(struct backend *b, uint64_t now_us);
/* Another process answers there: it starts with a clean sheet. */
void health_renew(struct backend *b);
void health_tick(struct backend *b, uint64_t now_us);
/* A request went to a backend that had none: from now on silence means something. */
void health_expect(struct backend *b, uint64_t now_us);

#endif
