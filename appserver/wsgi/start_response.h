/* SPDX-License-Identifier: MIT
 * start_response and the write() it returns: callables bound to one answer, unbound
 * when the request ends, so that one kept by the application raises instead of touching
 * another request. All with the GIL. */
#ifndef WSGI_START_RESPONSE_H
#define WSGI_START_RESPONSE_H

#include <Python.h>

#include <stdbool.h>

#include "appserver/interp/answer.h"
#include "protocol/base/check.h"

/* Makes the types. Does nothing the second time. False: an exception is set. */
MUST_CHECK bool start_response_init(void);

/* New reference, bound to nothing. */
PyObject *start_response_new(void);
/* `answer` NULL: unbound; waits (yielding) until no other thread is inside write(). */
void start_response_bind(PyObject *start_response, struct answer *answer);
/* Nobody but the caller holds it or its write(): it may serve the next request. */
bool start_response_is_unshared(PyObject *start_response);

/* The rules for one field, without start_response around it: for early hints, which
 * have neither length nor hop-by-hop fields. False: an exception is set. */
MUST_CHECK bool start_response_add_fields(PyObject *fields, struct answer *answer);

#endif
