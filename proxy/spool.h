/* SPDX-License-Identifier: MIT
 * Bytes of a request's body, gathered: in memory up to SPOOL_MEMORY, beyond that in an
 * unlinked temporary file. They can be read again from any offset. */
#ifndef PROXY_SPOOL_H
#define PROXY_SPOOL_H

#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"

enum { SPOOL_MEMORY = 64 * 1024 };

/*  0                                   size
 *  |.... all in memory, or all in fd ....|
 */
struct spool {
    struct buf memory;
    int fd; /* -1: in memory */
    uint64_t size;
    const char *temp_dir; /* borrowed */
};

void spool_init(struct spool *s, const char *temp_dir);
void spool_fini(struct spool *s); /* empty; may be used again */

/* ERR_SYSTEM with errno: the temporary file cannot be made or written. How much may be
 * appended is the caller's limit. */
MUST_CHECK enum err spool_append(struct spool *s, struct slice data);
/* At most `most` bytes from `offset` on (offset < size). The slice borrows from the
 * spool or from `scratch`, which has room for `most`. */
MUST_CHECK enum err spool_read(struct spool *s,
                               uint64_t offset,
                               size_t most,
                               char *scratch,
                               struct slice *ret_data);

#endif
