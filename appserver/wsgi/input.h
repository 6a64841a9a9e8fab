/* SPDX-License-Identifier: MIT
 * wsgi.input. Reads wait without the GIL; a read after the request raises ValueError; a
 * client that left makes reads raise banyan.ClientDisconnected, an OSError, never a
 * short body that looks whole. */
#ifndef WSGI_INPUT_H
#define WSGI_INPUT_H

#include <Python.h>

#include <stdbool.h>

#include "appserver/core/request.h"
#include "protocol/base/check.h"

/* Makes the type. Does nothing the second time. False: an exception is set. */
MUST_CHECK bool input_init(void);

/* New reference: at its end for good, so that requests without a body may share it. */
PyObject *input_new(void);

/* Reads the body of `request` from now on. */
void input_open(PyObject *input, struct request *request);
/* The request is over; waits (yielding) until no other thread is inside a read. */
void input_close(PyObject *input);
/* Nobody but the caller holds it: it may serve the next request. */
bool input_is_unshared(PyObject *input);

#endif
