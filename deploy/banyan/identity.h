/* SPDX-License-Identifier: MIT
 * Who the operator is for proxies on tcp://, and which proxies are the right ones. */
#ifndef BANYAN_IDENTITY_H
#define BANYAN_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>

#include "deploy/banyan/proxies.h"
#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/key.h"

enum { IDENTITY_PROXIES = 16 };

struct identity {
    bool is_there;       /* else there are no keys */
    struct key_pair own; /* secret */
    size_t count;
    char proxies[IDENTITY_PROXIES][KEY_TEXT]; /* public keys, to be tried in turn */
};

/* `key`: a file of `banyan keygen`; `proxy_key`: a public key, or a file with public
 * keys: each word of it that is one, so a list of --authorized-keys will do. NULL: not
 * given, then $BANYAN_KEY and $BANYAN_PROXY_KEY. False: ret_message says what is wrong;
 * on true it may hold a warning. */
MUST_CHECK bool identity_read(struct identity *identity,
                              const char *key,
                              const char *proxy_key,
                              struct buf *ret_message);
/* The same, if one of the proxies is on tcp://; the channels then use it. */
MUST_CHECK bool identity_take(struct identity *identity,
                              const struct proxies *proxies,
                              const char *key,
                              const char *proxy_key,
                              struct buf *ret_message);
void identity_wipe(struct identity *identity);

#endif
