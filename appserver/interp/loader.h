/* SPDX-License-Identifier: MIT
 * "module", "module:attr", "module:a.b", "module:factory()" -> the application; and
 * which interface it speaks. */
#ifndef INTERP_LOADER_H
#define INTERP_LOADER_H

#include <Python.h>

#include <stdbool.h>

#include "protocol/base/check.h"

enum interface { INTERFACE_WSGI, INTERFACE_ASGI, INTERFACE_ASGI2 };

/* New reference to a callable, or NULL with an exception that says what the user should
 * change. */
PyObject *loader_load(const char *application);

/* What `app` (borrowed) speaks. `asked`: "wsgi", "asgi", "asgi2", or "auto": by its
 * signature. False: an exception is set. */
MUST_CHECK bool
loader_detect(PyObject *app, const char *asked, enum interface *ret_interface);

#endif
