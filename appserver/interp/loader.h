/* SPDX-License-Identifier: MIT
 * "module", "module:attr", "module:a.b", "module:factory()" -> the application. */
#ifndef INTERP_LOADER_H
#define INTERP_LOADER_H

#include <Python.h>

/* New reference, or NULL with an exception that says what the user should change.
 * `interface` is "auto" (an ASGI application is refused by name) or "wsgi" (any
 * callable is taken). */
PyObject *loader_load(const char *application, const char *interface);

#endif
