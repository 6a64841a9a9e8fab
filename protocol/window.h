/* SPDX-License-Identifier: MIT
 * Flow-control arithmetic for one direction of one stream. Pure.
 *
 * Sender: `left` bytes may still be sent. Receiver: grants back what was passed on, in
 * steps of at least half the window, so that WINDOW frames are rare. */
#ifndef PROTOCOL_WINDOW_H
#define PROTOCOL_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"

/* A piece of a WebSocket message counts with its bytes and so many more. */
enum { WINDOW_WS_PIECE = 16 };

struct window_sender {
    uint64_t left;
};

static inline void window_sender_init(struct window_sender *w, uint64_t bytes)
{
    w->left = bytes;
}
/* False: the peer's grant would overflow, a protocol error. */
MUST_CHECK bool window_granted(struct window_sender *w, uint64_t bytes);
void window_sent(struct window_sender *w, uint64_t bytes); /* ASSERTs bytes <= left */

struct window_receiver {
    uint64_t size;     /* the initial window */
    uint64_t left;     /* the peer may still send */
    uint64_t consumed; /* passed on, not granted back yet */
};

void window_receiver_init(struct window_receiver *w, uint64_t bytes);
/* False: the peer sent more than it was granted, a protocol error. */
MUST_CHECK bool window_received(struct window_receiver *w, uint64_t bytes);
/* Bytes passed on; returns what to grant now in a WINDOW frame (0: nothing yet). */
MUST_CHECK uint64_t window_consumed(struct window_receiver *w, uint64_t bytes);

#endif
