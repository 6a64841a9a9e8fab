/* SPDX-License-Identifier: MIT
 * The proxies on the other ends of the link: one struct peer per connection (one edge
 * thread of one proxy), by ZeroMQ's connection number.
 *
 * Found, changed and freed under the core lock, freed only by whoever also holds the
 * link, and never while requests refer to it. */
#ifndef CORE_PEER_H
#define CORE_PEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "appserver/core/credit.h"
#include "appserver/core/outbox.h"
#include "protocol/frame.h"

struct core;
struct request;

enum peer_state {
    PEER_NEW,     /* nothing heard yet */
    PEER_READY,   /* HELLO came and was answered */
    PEER_IGNORED, /* misbehaved or said BYE: what it sends is dropped until it is gone
                   */
    PEER_GONE     /* nothing can be sent to it any more */
};

enum { PEER_STREAMS = 256 }; /* buckets */

struct peer {
    uint32_t magic;
    struct node node; /* peer_table.buckets */
    enum peer_state state;
    uint32_t number; /* link_message.peer */
    bool silent;     /* nothing more can come from it: it may be freed */
    uint64_t epoch;
    uint64_t window_bytes, inline_bytes; /* its HELLO's limits */
    uint32_t features;
    int64_t clock_offset; /* our clock minus the peer's, the least seen */
    int page_slot;        /* -1: none */
    uint32_t last_stream; /* of the latest REQUEST; ids only grow */
    uint32_t refs;        /* requests that point here */
    struct credit credit;
    uint32_t limit; /* its LIMIT; 0: none */
    uint32_t aside; /* its open WebSockets that take none of the credit */
    struct outlet outlet;
    struct request *streams[PEER_STREAMS]; /* open ones, chained */
    /* Requests here without their terminal frame; lowered wherever an answer ends. */
    _Atomic uint32_t inside;
};

struct peer_table {
    struct list buckets[64];
    struct peer *latest;
    uint32_t ready; /* in PEER_READY */
    uint32_t gone;  /* in PEER_GONE */
};

void peers_init(struct peer_table *t);
/* Frees them all; nothing refers to any. */
void peers_fini(struct core *core);

/* All of these under the core lock and with the link held. */
struct peer *peer_find(struct core *core, uint32_t number); /* NULL: unknown */
struct peer *peer_add(struct core *core, uint32_t number);
void peer_hello(struct core *core,
                struct peer *p,
                uint64_t epoch,
                const struct frame_hello *h,
                uint64_t now_us);
/* It broke the protocol: BYE with the reason, nothing more from it is heard. */
void peer_fail(struct core *core, struct peer *p, enum err reason);
/* It said BYE. */
void peer_left(struct core *core, struct peer *p);
/* It cannot be sent to: requests not started are dropped, running ones are told. */
void peer_gone(struct core *core, struct peer *p);
/* Its connection is down, and the link holds back what it had sent. */
void peer_down(struct core *core, uint32_t number);
/* Requests of a loop that met a full queue are told when it is not full any more. */
void peers_unstall(struct core *core);
/* Frees those that are gone, silent, and not referred to. */
void peers_sweep(struct core *core);

/* A moment of the peer's clock on ours; 0 stays 0. */
uint64_t peer_to_local_us(const struct peer *p, uint64_t theirs_us);
void peer_heard_clock(struct peer *p, uint64_t theirs_us, uint64_t now_us);

/* Under the core lock. */
struct request *peer_stream(struct peer *p, uint32_t stream); /* NULL: not open */
void peer_open_stream(struct peer *p, struct request *r);
void peer_close_stream(struct peer *p, struct request *r);

/* Under the core lock: shares the windows anew and says so where they changed. */
void peers_grant(struct core *core, uint64_t now_us);
/* The lowest LIMIT of all that are ready; 0: none. */
uint32_t peers_lowest_limit(const struct core *core);
/* Takes back whatever is granted beyond the present shares. */
void peers_tighten(struct core *core, uint64_t now_us);
/* One WebSocket more (1) or less (-1) that takes no slot and none of the peer's credit;
 * the peer, which counts it among its streams, is granted as much more. */
void peer_set_aside(struct core *core, struct peer *p, int change);
/* Shares anew, and a new period of observation begins. */
void peers_review(struct core *core, uint64_t now_us);
/* A LOAD frame to one, or with sequence 0 to all. */
void peer_load(struct core *core, struct peer *p, uint64_t sequence, uint64_t now_us);
void peers_load(struct core *core, uint64_t now_us);
void peers_drain(struct core *core); /* GRANT 0 and DRAIN to all */
void peers_bye(struct core *core);

#endif
