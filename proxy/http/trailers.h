/* SPDX-License-Identifier: MIT
 * Fields behind a chunked body (RFC 9110 section 6.5, RFC 9112 section 7.1.2) -> bytes.
 * Pure. */
#ifndef HTTP_TRAILERS_H
#define HTTP_TRAILERS_H

#include "proxy/http/respond.h"

/* Appends the last chunk and the trailer section to an own buf. Fields that may not
 * stand there (RFC 9110 section 6.5.1) are dropped. False (nothing appended): a name or
 * value that no client may see. */
MUST_CHECK bool trailers_write(struct header_list trailers,
                               struct buf *out,
                               struct response_failure *ret_failure);

#endif
