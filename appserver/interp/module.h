/* SPDX-License-Identifier: MIT
 * The module banyan._core: main() for `python -m banyan`, and what the Python side of
 * the log needs. */
#ifndef INTERP_MODULE_H
#define INTERP_MODULE_H

#include <Python.h>

#include <stdbool.h>

#include "protocol/base/check.h"

PyModuleDef *module_def(void);

/* Embedded: makes the module importable without a file. False: an exception is set. */
MUST_CHECK bool module_install(void);

#endif
