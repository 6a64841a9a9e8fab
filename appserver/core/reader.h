/* SPDX-License-Identifier: MIT
 * The one place where the link is used: sending what the outbox holds, receiving, and
 * waiting for input. The link belongs to whoever holds `io`.
 *
 * At most one thread waits in reader_poll (the role of the reader: core.polling, or the
 * watch). Any thread may send; a send can swallow the wake-up that the poll waits for
 * (zmq_getsockopt(3), ZMQ_FD), so it looks for input afterwards and receives it itself.
 */
#ifndef CORE_READER_H
#define CORE_READER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"
#include "protocol/link_refusals.h"

struct core;
struct link;
struct peer;

struct reader {
    pthread_mutex_t io;
    struct link *link;
    int link_fd, monitor_fd, wake_fd;
    /* Somebody has the reader's role: it polls or is about to. Set under the core lock
     * before the link is read for the last time before the poll. */
    _Atomic bool manned;
    _Atomic bool has_events;            /* the monitor's descriptor was readable */
    uint64_t messages_in, messages_out; /* [io] */
    struct link_refusals refusals;      /* [io] */
};

MUST_CHECK enum err reader_init(struct core *core);
void reader_fini(struct core *core);

/* Sends what is pending. True: input came in meanwhile and was received, so requests
 * may wait. No lock held. */
bool reader_flush(struct core *core);
/* Sends what is pending, then receives until nothing is left. False: the budget of one
 * turn was used up, there may be more. */
bool reader_pump(struct core *core);
/* Waits for input, events, a kick, or the time. Only for the worker that has the role:
 * who else saw the kick would take it away from the one it is for. */
void reader_poll(struct core *core, uint64_t until_us);
/* The same without the kick, for the watch, which may still wait when a worker has
 * taken the role away. */
void reader_glance(struct core *core, uint64_t until_us);
/* Ends reader_poll. Any thread, any lock, async-signal-safe. */
void reader_kick(struct core *core);

/* What is pending for the peer, then BODY with this raw second part. ERR_LINK_FULL: the
 * piece was not sent, try again later. ret_received as reader_flush returns it. */
MUST_CHECK enum err reader_send_bulk(struct core *core,
                                     struct peer *p,
                                     uint32_t stream,
                                     struct slice bulk,
                                     bool *ret_received);

#endif
