/* SPDX-License-Identifier: MIT
 * The threads of a worker process that run the application, and the keeper, which does
 * for the core what needs the GIL. */
#ifndef WSGI_CREW_H
#define WSGI_CREW_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "appserver/core/core.h"
#include "appserver/wsgi/environ.h"
#include "protocol/base/check.h"

struct crew_options {
    struct environ_options environ;
    uint32_t threads;
    uint64_t max_requests;       /* 0: no limit */
    void (*on_served_out)(void); /* without order to the GIL: that many were served */
};

struct crew;

/* With the GIL; `app` is borrowed for the crew's life. NULL: an exception is set. */
struct crew *crew_new(PyObject *app, const struct crew_options *options);
void crew_free(struct crew **crew_p); /* after crew_join */

/* With the GIL. Starts all threads. False: an exception is set. */
MUST_CHECK bool crew_start(struct crew *crew, struct core *core);
/* With the GIL. After the core was drained. False: a thread did not end in time. */
MUST_CHECK bool crew_join(struct crew *crew, double timeout_s);

/* core_events: any thread, without the GIL, never wait. `arg` is the crew. */
void crew_grow(void *arg);
void crew_interrupt(void *arg, uint64_t thread_tag, const char *request_id);

#endif
