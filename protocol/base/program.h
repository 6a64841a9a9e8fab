/* SPDX-License-Identifier: MIT
 * Finding programs without starting them. */
#ifndef BASE_PROGRAM_H
#define BASE_PROGRAM_H

#include <stdbool.h>

#include "protocol/base/check.h"

/* A regular file that we may execute. */
bool program_is(const char *path);

/* The first one of that name on PATH; NULL: none. Caller owns. */
MUST_CHECK char *program_find(const char *name);

/* Where the running program itself lies, links resolved. Caller owns. */
MUST_CHECK char *program_directory(void);

#endif
