/* SPDX-License-Identifier: MIT
 * `banyan keys`: what is in a file of --authorized-keys, and what is wrong with it. */
#ifndef BANYAN_KEYS_H
#define BANYAN_KEYS_H

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

/* argv[0] is the verb. Returns the program's exit code. */
int keys_main(int argc, char **argv);

/* The text with one line more. False: ret_message says why; it is also said, with true
 * and nothing added, when the line is there already. */
MUST_CHECK bool keys_text_add(struct buf *text,
                              const char *role,
                              const char *key,
                              const char *name,
                              struct buf *ret_message);
/* The text without the line of this key or name. */
MUST_CHECK bool
keys_text_remove(struct buf *text, const char *key_or_name, struct buf *ret_message);

#endif
