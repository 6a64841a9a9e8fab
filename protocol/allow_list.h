/* SPDX-License-Identifier: MIT
 * Whose public keys are let in, and as what: the file of --authorized-keys.
 *
 *     # comment
 *     proxy     Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID   edge-1
 *     ROLE      PUBLIC KEY (40 characters of Z85)          [NAME]   [# comment]
 *
 * A key has one line, hence one role. Parsing is pure. */
#ifndef PROTOCOL_ALLOW_LIST_H
#define PROTOCOL_ALLOW_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/slice.h"
#include "protocol/key.h"

enum key_role {
    KEY_PROXY,  /* may send requests to app servers */
    KEY_APP,    /* is an app server, and may register as one */
    KEY_VIEWER, /* the three of the operator's verbs */
    KEY_OPERATOR,
    KEY_ADMIN,
    KEY_ROLE_COUNT
};
const char *key_role_name(enum key_role role);
MUST_CHECK bool key_role_parse(struct slice name, enum key_role *ret_role);

enum { KEY_NAME = 64, ALLOW_LIST_MAX = 10000 };

struct key_user {
    enum key_role role;
    char key[KEY_TEXT];  /* public */
    char name[KEY_NAME]; /* its first 8 characters unless the list has a name */
};

struct allow_list {
    struct key_user *users; /* in the order of the lines */
    unsigned *lines;        /* of each, from 1 */
    size_t count;
};

/* False: ret_message (an own buf) has a line `place:LINE: what is wrong` for each
 * mistake, up to ten, and ret_list is empty. */
MUST_CHECK bool allow_list_parse(struct slice text,
                                 const char *place,
                                 struct allow_list *ret_list,
                                 struct buf *ret_message);
MUST_CHECK bool
allow_list_read(const char *path, struct allow_list *ret_list, struct buf *ret_message);
void allow_list_fini(struct allow_list *list);

/* NULL: nobody has this key. */
const struct key_user *allow_list_find(const struct allow_list *list, const char *key);
/* Up to 63 letters, digits, '.', '_', '-', '@'. */
MUST_CHECK bool key_name_check(struct slice name);

#endif
