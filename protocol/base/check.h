/* SPDX-License-Identifier: MIT
 * Assertions that stay in release builds, typed casts of callback arguments, and the
 * attributes every header uses. ASSERT means "our bug", never what a peer did. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_at, first_at)                                               \
    __attribute__((format(printf, format_at, first_at)))
#define NO_RETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))

/* Prints expression and place to stderr and aborts. */
NO_RETURN void
check_failed(const char *expression, const char *file, int line, const char *function);

#define ASSERT(e) ((e) ? (void)0 : check_failed(#e, __FILE__, __LINE__, __func__))

/* Every heap struct starts with `uint32_t magic`; x_free wipes it before freeing. */
#define CHECK_OBJ(p, MAGIC) ASSERT((p) != NULL && (p)->magic == (MAGIC))

/* The first line of a callback: `struct client *c = CAST_OBJ(arg, struct client,
 * CLIENT_MAGIC);` */
#define CAST_OBJ(arg, type, MAGIC)                                                     \
    ({                                                                                 \
        type *cast_ = (arg);                                                           \
        CHECK_OBJ(cast_, MAGIC);                                                       \
        cast_;                                                                         \
    })

#endif
