/* SPDX-License-Identifier: MIT
 * The table of failures, read. */
#include "protocol/base/error.h"

#include "protocol/base/check.h"

static const struct {
    const char *name, *text;
    int status;
} ERRORS[] = {
#define ERR(name, status, text) {#name, text, status},
#include "protocol/base/error.def"
#undef ERR
};

_Static_assert(sizeof ERRORS / sizeof ERRORS[0] == ERR_COUNT, "one row per failure");

const char *err_name(enum err e)
{
    ASSERT((unsigned)e < ERR_COUNT);
    return ERRORS[e].name;
}

const char *err_text(enum err e)
{
    ASSERT((unsigned)e < ERR_COUNT);
    return ERRORS[e].text;
}

int err_status(enum err e)
{
    ASSERT((unsigned)e < ERR_COUNT);
    return ERRORS[e].status;
}
