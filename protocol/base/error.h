/* SPDX-License-Identifier: MIT
 * One enum of failures for the whole project, from error.def; and the result of a
 * parser. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

enum err {
#define ERR(name, status, text) ERR_##name,
#include "protocol/base/error.def"
#undef ERR
    ERR_COUNT
};

/* "BACKEND_LOST", "app server went away", 502 (0: not a client's business). */
const char *err_name(enum err e);
const char *err_text(enum err e);
int err_status(enum err e);

/* What an incremental parser or reader says. Incomplete is not wrong. */
enum step {
    STEP_DONE,
    STEP_MORE,
    STEP_BAD,
};

#endif
