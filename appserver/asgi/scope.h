/* SPDX-License-Identifier: MIT
 * The scope of a request or WebSocket, by the ASGI specification (HTTP & WebSocket).
 * All with the GIL. */
#ifndef ASGI_SCOPE_H
#define ASGI_SCOPE_H

#include <Python.h>

#include <stdbool.h>

#include "appserver/core/loop.h"
#include "protocol/base/check.h"

struct scope_maker;

/* NULL: an exception is set. */
struct scope_maker *scope_maker_new(const char *root_path);
void scope_maker_free(struct scope_maker **maker_p);

/* New reference. `state` (borrowed) is copied into it; *ret_id is the request's id, a
 * new reference. NULL: an exception is set. */
PyObject *scope_make(struct scope_maker *m,
                     const struct request *request,
                     PyObject *state,
                     PyObject **ret_id);

/* "GET /x" of a scope, which may be NULL; for the log. */
void scope_describe(PyObject *scope, char *ret_text, size_t bytes);

#endif
