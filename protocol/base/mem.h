/* SPDX-License-Identifier: MIT
 * Allocation of small fixed objects: never NULL, the process dies on OOM. What a peer
 * sizes meets a named limit before it comes here. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "protocol/base/check.h"

MUST_CHECK void *mem_alloc(size_t bytes);  /* uninitialised */
MUST_CHECK void *mem_zalloc(size_t bytes); /* zeroed */
MUST_CHECK void *mem_realloc(void *old, size_t bytes);
MUST_CHECK char *mem_strdup(const char *text); /* caller owns */
MUST_CHECK char *mem_printf(const char *format, ...)
    PRINTF_LIKE(1, 2); /* caller owns */

/* free(*p) and *p = NULL; also the cleanup function of `own(mem)`. */
void mem_free(void *pointer_to_pointer);

/* `own(backend) struct backend *b = backend_new();` frees b at scope exit. */
#define own(noun) __attribute__((cleanup(noun##_free)))

/* Returns p and sets it NULL: hand over an `own` variable. */
#define take(p)                                                                        \
    ({                                                                                 \
        __typeof__(p) taken_ = (p);                                                    \
        (p) = NULL;                                                                    \
        taken_;                                                                        \
    })

#endif
