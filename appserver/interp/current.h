/* SPDX-License-Identifier: MIT
 * Which request is being served here. WSGI: by this thread, so that objects which every
 * request shares (wsgi.errors, wsgi.early_hints, the log) find it without one
 * allocation per request. ASGI: in this context (contextvars), which tasks and thread
 * pools pass on. */
#ifndef INTERP_CURRENT_H
#define INTERP_CURRENT_H

#include <Python.h>

#include <stdbool.h>

#include "appserver/core/request.h"
#include "protocol/base/buf.h"

struct current {
    struct request *request; /* NULL: this thread is not inside a request */
    struct buf line;         /* of wsgi.errors: an unfinished line */
};

extern _Thread_local struct current current;

/* Of the thread's request. NULL: none. Valid until the request ends. */
static inline const char *current_request_id(void)
{
    return current.request == NULL ? NULL : request_id(current.request);
}

/* The rest with the GIL. */

/* A contextvars.ContextVar: the id as str, set in the context of each ASGI request. */
extern PyObject *current_id_var;

/* Does nothing the second time. False: an exception is set. */
MUST_CHECK bool current_init(void);

/* The id of the thread's request, else of the context's. New reference to a str; NULL:
 * there is none, and no exception. */
PyObject *current_id(void);

#endif
