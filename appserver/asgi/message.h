/* SPDX-License-Identifier: MIT
 * Reading the messages that an application sends: dicts (or other mappings) whose keys
 * the ASGI specification names; others are passed over. All with the GIL; a false
 * result leaves an exception that says what is wrong with the message. */
#ifndef ASGI_MESSAGE_H
#define ASGI_MESSAGE_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "appserver/interp/answer.h"
#include "appserver/interp/own.h"
#include "protocol/base/check.h"

enum message_type {
    MESSAGE_UNKNOWN,
    MESSAGE_HTTP_START,
    MESSAGE_HTTP_BODY,
    MESSAGE_HTTP_TRAILERS,
    MESSAGE_HTTP_EARLY_HINT,
    MESSAGE_HTTP_PATHSEND,
    MESSAGE_WS_ACCEPT,
    MESSAGE_WS_SEND,
    MESSAGE_WS_CLOSE,
    MESSAGE_WS_HTTP_START,
    MESSAGE_WS_HTTP_BODY,
};

/* message["type"]. */
MUST_CHECK bool message_type(PyObject *message, enum message_type *ret_type);
/* The pending exception becomes: this message, of whatever type, is not expected now;
 * `state` ends the sentence ("before http.response.start"). */
void message_refuse(PyObject *message, const char *state);

/* New reference to message[key]. PY_MISSING: there is none, or it is None. */
MUST_CHECK enum py_found
message_get(PyObject *message, PyObject *key, PyObject **ret_value);
/* Missing: false. */
MUST_CHECK bool message_flag(PyObject *message, PyObject *key, bool *ret_flag);
/* New reference to bytes; missing: empty. bytearray and memoryview are copied. */
MUST_CHECK bool message_bytes(PyObject *message, PyObject *key, PyObject **ret_bytes);
/* Missing: `otherwise`. */
MUST_CHECK bool message_number(PyObject *message,
                               PyObject *key,
                               long least,
                               long most,
                               long otherwise,
                               long *ret_number);

/* message["headers"], any iterable of (name, value), into `a`, whose writer is open. */
MUST_CHECK bool message_headers(PyObject *message, struct answer *a);
/* message["links"], any iterable of bytes: each is a Link field. */
MUST_CHECK bool message_links(PyObject *message, struct answer *a);

/* A new message: {"type": type}, and one key more. `value` is taken and may be NULL
 * with an exception set. */
PyObject *message_new(PyObject *type, PyObject *key, PyObject *value);

#endif
