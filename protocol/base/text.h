/* SPDX-License-Identifier: MIT
 * Bytes of any origin as text that others read. Pure. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>

#include "protocol/base/buf.h"
#include "protocol/base/slice.h"

/* Bytes of the UTF-8 character (RFC 3629) at `at`, `left` > 0 bytes before the end; 0:
 * it is none. */
size_t text_char(const unsigned char *at, size_t left);

/* The same, of characters that show; 0 as well for control characters, C1 ones too. */
size_t text_printable(const unsigned char *at, size_t left);

/* Appends a JSON string, quotes included: ASCII controls, DEL and C1 escaped, bytes
 * that are no UTF-8 as if they were Latin-1. */
void text_add_json(struct buf *to, struct slice text);

#endif
