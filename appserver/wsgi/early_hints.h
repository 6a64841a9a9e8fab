/* SPDX-License-Identifier: MIT
 * environ["wsgi.early_hints"](headers): sends a 103 for the request that this thread
 * serves, where the edge and its client take one. */
#ifndef WSGI_EARLY_HINTS_H
#define WSGI_EARLY_HINTS_H

#include <Python.h>

/* New reference. */
PyObject *early_hints_new(void);

#endif
