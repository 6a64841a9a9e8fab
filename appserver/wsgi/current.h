/* SPDX-License-Identifier: MIT
 * What this thread is serving. Lets objects that every request shares (wsgi.errors,
 * wsgi.early_hints, the log) find their request without one allocation per request. */
#ifndef WSGI_CURRENT_H
#define WSGI_CURRENT_H

#include "appserver/core/request.h"
#include "protocol/base/buf.h"

struct current {
    struct request *request; /* NULL: this thread is not inside a request */
    struct buf line;         /* of wsgi.errors: an unfinished line */
};

extern _Thread_local struct current current;

/* NULL: none. Valid until the request ends. */
static inline const char *current_request_id(void)
{
    return current.request == NULL ? NULL : request_id(current.request);
}

#endif
