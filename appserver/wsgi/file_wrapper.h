/* SPDX-License-Identifier: MIT
 * wsgi.file_wrapper: an iterable over a file-like object. When that is a plain file and
 * comes back from the application as it is, the file is sent without passing through
 * Python. */
#ifndef WSGI_FILE_WRAPPER_H
#define WSGI_FILE_WRAPPER_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "appserver/interp/answer.h"
#include "protocol/base/check.h"

/* Makes the type. Does nothing the second time. False: an exception is set. */
MUST_CHECK bool file_wrapper_init(void);
/* The type itself, borrowed. */
PyObject *file_wrapper_type(void);

/* A plain file from its current position to its end. */
struct plain_file {
    int fd; /* borrowed from the wrapped object */
    uint64_t offset, length;
};

/* True: `o` is a file_wrapper around one. Never leaves an exception. */
MUST_CHECK bool file_wrapper_plain(PyObject *o, struct plain_file *ret_file);

/* Sends the file as the whole body of an answer that is STARTED; Content-Length, where
 * the application gave one, limits it, else the file's length is sent. The answer is
 * ended, or the result says why not. Without the GIL. */
MUST_CHECK enum err plain_file_send(const struct plain_file *file, struct answer *a);

#endif
