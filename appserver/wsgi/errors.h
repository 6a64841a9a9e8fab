/* SPDX-License-Identifier: MIT
 * wsgi.errors: one object for the whole process; each line goes to the log with the id
 * of the request that its thread serves. */
#ifndef WSGI_ERRORS_H
#define WSGI_ERRORS_H

#include <Python.h>

/* New reference. */
PyObject *errors_new(void);

/* The thread's request ends: an unfinished line of it is logged. */
void errors_flush_current(void);

#endif
