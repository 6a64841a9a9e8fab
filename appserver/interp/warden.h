/* SPDX-License-Identifier: MIT
 * Why and when a worker process ends, whichever interface it serves: SIGTERM, which it
 * asks its master for at --max-requests, --max-memory and --max-age, or an application
 * that is stuck. Who waits here never takes the GIL: it must be able to end a process
 * whose GIL nobody gives back. */
#ifndef INTERP_WARDEN_H
#define INTERP_WARDEN_H

#include <stdbool.h>
#include <stdint.h>

#include "appserver/core/core.h"
#include "appserver/master.h"
#include "protocol/base/check.h"

/* Once in a process, before anything else here. False: errno says why. */
MUST_CHECK bool warden_init(void);

/* From now on SIGTERM is a reason. A handler, not a mask: programs that the application
 * starts would inherit a blocked SIGTERM; what it forks ends as by default. Again:
 * whatever the application set meanwhile. */
void warden_take_sigterm(void);

/* Readable after SIGTERM, as long as nothing is served (worker_turn). */
int warden_fd(void);

/* --max-requests with its jitter, which keeps processes that started together from
 * being replaced together; 0: none. */
uint64_t warden_pick_limit(const struct app_options *options);

/* News; any thread, never wait. --max-requests is reached: */
void warden_served_out(void);
/* core_events.stuck_again. `request_id` "": the event loop itself. */
void warden_stuck(void *unused, const char *request_id);
/* How often that was. */
unsigned warden_stuck_count(void);

/* Without the GIL: waits for a reason to end; the exit code that goes with it. From
 * then on the process ends by itself, some time after --graceful-timeout, whatever
 * holds the GIL. */
MUST_CHECK int warden_wait(const struct worker_options *options);

/* The same for one that has nothing to wait for: it ends with `code` soon. */
void warden_end_soon(int code);

/* Without the GIL, after warden_wait: drains the core for --graceful-timeout. False:
 * something is still inside the application. */
MUST_CHECK bool warden_drain(const struct app_options *options, struct core *core);

/* Without the GIL: the answers that are packed get a moment to leave. False: some have
 * not. */
bool warden_flush(struct core *core);

#endif
