/* SPDX-License-Identifier: MIT
 * The end of a process that found its own bug. */
#include "protocol/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void check_failed(const char *expression,
                  const char *file,
                  int line,
                  const char *function)
{
    /* One formatted write: stdio's locks may be held by the thread that failed. */
    (void)dprintf(STDERR_FILENO,
                  "banyan: internal error: %s:%d: %s: assertion failed: %s\n", file,
                  line, function, expression);
    abort();
}
