/* SPDX-License-Identifier: MIT
 * A file for http.response.pathsend: for the edge to send, or, where it cannot, read
 * piece by piece in the loop's executor. The object holds the descriptor, so that it
 * lives as long as a thread may read from it. All with the GIL. */
#ifndef ASGI_FILE_H
#define ASGI_FILE_H

#include <Python.h>

#include <stdbool.h>

#include "protocol/base/check.h"
#include "protocol/frame.h"

MUST_CHECK bool file_init(void);

/* New reference; NULL: an exception is set (an OSError with the path, or TypeError). */
PyObject *file_open(PyObject *path);
/* Its length when it was opened. */
uint64_t file_length(PyObject *file);
/* All of that was read. */
bool file_is_at_end(PyObject *file);
/* For request_put_file. False: its path is not known. The path lies in `path_buffer`.
 */
MUST_CHECK bool file_frame(PyObject *file,
                           char *path_buffer,
                           size_t bytes,
                           struct frame_file *ret_frame);

/* The next piece, at once, in this thread; b"" at the end. New reference. */
PyObject *file_read(PyObject *file);
/* A future that gives the next piece. New reference. */
PyObject *file_read_later(PyObject *file, PyObject *loop);

#endif
