/* SPDX-License-Identifier: MIT
 * The environ of PEP 3333, built wholly in C: a copy of a template, interned keys, and
 * values that are made anew only when they differ from the last request's. One per
 * worker thread, so that nothing here is shared. */
#ifndef WSGI_ENVIRON_H
#define WSGI_ENVIRON_H

#include <Python.h>

#include <stdbool.h>

#include "appserver/core/request.h"

struct environ_options {
    bool is_multithread, is_multiprocess;
    const char *root_path; /* outlives the maker; NULL or empty: none */
};

struct environ_maker;

/* NULL: an exception is set. */
struct environ_maker *environ_maker_new(const struct environ_options *options);
void environ_maker_free(struct environ_maker **maker_p);

/* New reference to a dict that nobody else has. `input` is what wsgi.input shall be;
 * NULL: the body is empty. */
PyObject *
environ_make(struct environ_maker *m, const struct request *request, PyObject *input);

#endif
