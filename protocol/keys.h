/* SPDX-License-Identifier: MIT
 * What a process knows of keys: its own pair and whom it lets in, from two files that
 * may be read again. Any thread; what is handed out is copied. */
#ifndef PROTOCOL_KEYS_H
#define PROTOCOL_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/allow_list.h"
#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/key.h"

struct keys;

/* --key and --authorized-keys. Relative paths are of the present directory, for good.
 * NULL: ret_message (an own buf) has the mistakes; otherwise it may hold warnings. */
MUST_CHECK struct keys *
keys_open(const char *key_path, const char *list_path, struct buf *ret_message);
void keys_free(struct keys **keys_p);
/* In a child, after a fork by the thread that calls keys_reload: other threads of the
 * parent may have been reading. */
void keys_forked(struct keys *keys);

/* Reads both files again. True: they are in force, and ret_message has a line for each
 * thing that changed. False: it has the mistakes, and all is as before. */
MUST_CHECK bool keys_reload(struct keys *keys, struct buf *ret_message);
/* Whether keys_reload would succeed now. */
MUST_CHECK bool keys_check(const struct keys *keys, struct buf *ret_message);
/* Another number after each reload that changed something. */
uint64_t keys_version(const struct keys *keys);

/* Our own pair; wipe it after use. */
void keys_own(struct keys *keys, struct key_pair *ret_pair);
/* False: nobody's. */
MUST_CHECK bool
keys_find(struct keys *keys, const char *public_key, struct key_user *ret_user);
/* Somebody still has this key and this role. */
bool keys_admit(struct keys *keys, const char *public_key, enum key_role role);
/* The `index`th of those with this role. False: there are fewer. */
MUST_CHECK bool keys_nth(struct keys *keys,
                         enum key_role role,
                         size_t index,
                         struct key_user *ret_user);

#endif
