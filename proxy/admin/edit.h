/* SPDX-License-Identifier: MIT
 * One change of the membership, whole or not at all, whoever asks for it:
 *
 *     edit_begin -> members_* on admin->members -> edit_commit
 *
 * What differs afterwards is written down, numbered, stamped with who and what, ordered
 * to every edge thread and told as events, in this order. Nothing else orders. Between
 * begin and commit nothing waits; members found before it may be gone after it. */
#ifndef ADMIN_EDIT_H
#define ADMIN_EDIT_H

#include <stdbool.h>

#include "protocol/base/check.h"
#include "proxy/admin/members.h"

struct admin;

struct edit {
    struct admin *admin;
    struct members before;
    const char *by, *what;   /* borrowed; for the stamps, the events */
    bool is_ephemeral;       /* not written down */
    bool needs_file;         /* a person's: what cannot be written is not done. Else a
                                source's: what was decided --ephemeral stays so */
    bool closes_now;         /* what goes is closed at once, whatever runs there */
    bool is_saved_apart;     /* the saved state was changed in the same way already */
    bool is_always_numbered; /* though no member differs */
    unsigned changes;        /* members and pools that differ */
};

/* edit_commit or edit_apply or edit_cancel ends it. */
void edit_begin(struct edit *e, struct admin *admin, const char *by, const char *what);
/* Written down even if it is as before, for it may have been changed --ephemeral. NULL
 * name: the pool's settings. */
void edit_keep(struct edit *e, const char *pool, const char *name);
void edit_keep_setting(struct edit *e, const char *key); /* the same */
/* False: it could not be written (errno), and all is as before. */
MUST_CHECK bool edit_commit(struct edit *e);
/* Orders only: of what is just joining, and is neither numbered nor kept. */
void edit_apply(struct edit *e);
void edit_cancel(struct edit *e); /* all is as before */

#endif
