/* SPDX-License-Identifier: MIT
 * ZeroMQ's descriptor made safe for libevent. link_fd() is edge-triggered in meaning:
 * it says "look again", and a send or a receive may use up the edge. The waker waits
 * for it level-triggered (it stays readable until somebody looks), has on_input look,
 * and looks once more where an edge may have been lost. */
#ifndef PROXY_WAKER_H
#define PROXY_WAKER_H

#include <stdbool.h>

#include "protocol/base/check.h"
#include "protocol/link.h"

struct event_base;
struct waker;

enum waker_result {
    WAKER_DRAINED,    /* link_recv said STEP_MORE, and nothing was sent after that */
    WAKER_INPUT_LEFT, /* the budget ran out, or something was sent: look again next turn
                       */
};

/* Called from the loop when the link may have messages or events (link_next_event):
 * receive until STEP_MORE or for a bounded number of messages, then take the events.
 * May free the waker and the link. */
typedef enum waker_result (*waker_fn)(void *arg);

/* on_input runs in the loop's next turn for the first time. `link` outlives the waker.
 */
MUST_CHECK struct waker *
waker_new(struct event_base *base, struct link *link, waker_fn on_input, void *arg);
/* Before link_free. Inside on_input too. */
void waker_free(struct waker **waker_p);

/* After any link_send or link_recv outside on_input, and before the loop sleeps:
 * re-reads the socket's state. True: there is input; on_input runs in the next turn,
 * which will not sleep. */
bool waker_recheck(struct waker *waker);

#endif
