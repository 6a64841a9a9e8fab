/* SPDX-License-Identifier: MIT
 * Comparing slices in tests. Include behind cmocka.h. */
#ifndef SUPPORT_ASSERT_SLICE_H
#define SUPPORT_ASSERT_SLICE_H

#include <string.h>

#include "protocol/base/slice.h"

/* `want` is a string without NUL. */
#define assert_slice(got, want)                                                        \
    do {                                                                               \
        struct slice got_ = (got);                                                     \
        const char *want_ = (want);                                                    \
        assert_int_equal(got_.len, strlen(want_));                                     \
        if (got_.len > 0)                                                              \
            assert_memory_equal(got_.ptr, want_, got_.len);                            \
    } while (0)

#endif
