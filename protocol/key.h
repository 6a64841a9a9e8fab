/* SPDX-License-Identifier: MIT
 * CURVE key pairs (ZeroMQ RFC 26, Curve25519) as text (Z85, 40 characters), and the
 * files that hold them and the lists of those of others. */
#ifndef PROTOCOL_KEY_H
#define PROTOCOL_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/slice.h"

enum {
    KEY_TEXT = 41,  /* with its NUL */
    KEY_BYTES = 32, /* on the wire */
    KEY_SHOWN = 8,  /* characters that tell one from another in a log */
};

struct key_pair {
    char public_key[KEY_TEXT], secret_key[KEY_TEXT];
};

/* False: this libzmq was built without CURVE. */
MUST_CHECK bool key_pair_make(struct key_pair *ret_pair);
/* What was secret is overwritten. */
void key_pair_wipe(struct key_pair *pair);

/* 40 characters of Z85 that stand for 32 bytes. */
MUST_CHECK bool key_is_text(struct slice text);
void key_from_bytes(const uint8_t bytes[KEY_BYTES], char ret_key[KEY_TEXT]);

/* The file of one pair:  `public Z85`, `secret Z85`, `#` and comments. Refused: what is
 * no such file, keys that do not belong together, a file that others may write. On true
 * ret_message (an own buf) may hold a warning: others may read it; a secret that a
 * container engine mounts below /run/secrets is let off. On false it has the mistake.
 */
MUST_CHECK bool
key_file_read(const char *path, struct key_pair *ret_pair, struct buf *ret_message);
/* Mode 0600 from its first moment, on disk when it returns. An existing file is kept
 * unless `may_replace`. */
MUST_CHECK bool key_file_write(const char *path,
                               const struct key_pair *pair,
                               bool may_replace,
                               struct buf *ret_message);

/* A small text file that only its owner may write: what is in it, to `ret_text`. */
MUST_CHECK bool
key_text_read(const char *path, struct buf *ret_text, struct buf *ret_message);
/* Through a temporary file beside it, fsync and rename: whoever reads sees the old text
 * or the new one. Keeps the mode and owner of a file that is there. */
MUST_CHECK bool key_text_replace(const char *path,
                                 struct slice text,
                                 unsigned mode,
                                 struct buf *ret_message);

#endif
