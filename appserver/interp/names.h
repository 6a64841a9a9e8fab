/* SPDX-License-Identifier: MIT
 * Interned strings (names.def): `name_PATH_INFO` is a str that lives as long as the
 * interpreter. Made once, read only afterwards. */
#ifndef INTERP_NAMES_H
#define INTERP_NAMES_H

#include <Python.h>

#include <stdbool.h>

#include "protocol/base/check.h"
#include "protocol/base/slice.h"
#include "protocol/header_names.h"

#define NAME(identifier, text) extern PyObject *name_##identifier;
#include "appserver/interp/names.def"
#undef NAME

/* The environ key of a numbered field: "HTTP_USER_AGENT", "CONTENT_TYPE"; NULL at
 * HEADER_NONE. */
extern PyObject *name_field[HEADER_COUNT];

/* Does nothing the second time. False: an exception is set. */
MUST_CHECK bool names_init(void);

/* A request's method, of the usual ones the interned str. New reference. */
PyObject *names_method(struct slice method);

#endif
