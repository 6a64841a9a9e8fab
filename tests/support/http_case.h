/* SPDX-License-Identifier: MIT
 * The cases of tests/cases/http (its README.md describes the format). */
#ifndef SUPPORT_HTTP_CASE_H
#define SUPPORT_HTTP_CASE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/slice.h"

enum { HTTP_CASE_MAX_LINES = 64 };

struct http_case {
    char name[128]; /* of the file, without its ending */
    struct buf data;
    uint32_t count;
    struct {
        char *key;
        struct buf value; /* without escapes; NUL behind it */
    } lines[HTTP_CASE_MAX_LINES];
};

/* Calls `use` with every case, in the order of their names; returns how many. A file
 * that cannot be read or understood ends the program with a message. */
unsigned http_cases_each(void (*use)(const struct http_case *c));

/* The value of a key's nth line; false: there are not so many. */
bool http_case_line(const struct http_case *c,
                    const char *key,
                    unsigned nth,
                    struct slice *ret_value);
/* Whether "key: value" stands in the case. */
bool http_case_says(const struct http_case *c, const char *key, const char *value);
/* What becomes of the nth request: "ok", "more", "bad ERR"; NULL: there is none. */
const char *http_case_outcome(const struct http_case *c, unsigned nth);

#endif
