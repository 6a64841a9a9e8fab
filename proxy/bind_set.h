/* SPDX-License-Identifier: MIT
 * The listening sockets of some addresses, and how they become those of others.
 *
 *     prepare -> commit      what is new is open, what is gone is closed
 *             -> rollback    as before
 *
 * An address that is there under another text stays open. TCP has a SO_REUSEPORT socket
 * for each edge thread; of a Unix socket, or one that was passed to this process, there
 * is but one, at which one of them accepts. The set keeps a descriptor of each, which
 * an upgrade hands over; the edges have copies. */
#ifndef PROXY_BIND_SET_H
#define PROXY_BIND_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "proxy/inherited.h"

enum { BIND_MAX_ROWS = 256 };

struct bind_set;

/* One address; borrowed until it is closed. */
struct bind_row;
/* "http://127.0.0.1:8000", "unix:/path"; with the port that was really opened. */
const char *bind_row_name(const struct bind_row *row);
/* The text that it was opened for. */
const char *bind_row_text(const struct bind_row *row);
/* There are fewer sockets than edge threads: who accepts deals them out. */
bool bind_row_is_shared(const struct bind_row *row);
/* The n-th socket (from 0) that this edge thread accepts from: a copy, the caller's to
 * close. -1: no more; -2: no descriptor left. */
MUST_CHECK int bind_row_copy(const struct bind_row *row, uint32_t edge, uint32_t n);

/* `inherited`, borrowed for the set's life, is looked at first; NULL: nothing was
 * passed. */
MUST_CHECK struct bind_set *bind_set_new(uint32_t edges, struct inherited *inherited);
/* Closes them, and removes the Unix sockets that are still ours. */
void bind_set_free(struct bind_set **set_p);

/* Opens what is missing of these texts. False: ret_message names the address, the
 * reason and the remedy, and all is as before. */
MUST_CHECK bool bind_set_prepare(struct bind_set *set,
                                 const char *const *texts,
                                 size_t count,
                                 struct buf *ret_message);
void bind_set_rollback(struct bind_set *set);
enum bind_change { BIND_OPENED, BIND_CLOSED };
/* Tells what became of it: BIND_CLOSED just before. */
void bind_set_commit(struct bind_set *set,
                     void (*tell)(void *arg,
                                  enum bind_change change,
                                  const struct bind_row *row),
                     void *arg);

uint32_t bind_set_count(const struct bind_set *set);
struct bind_row *bind_set_first(struct bind_set *set);
struct bind_row *bind_set_next(const struct bind_set *set, const struct bind_row *row);

/* Each socket once, for whoever comes next, with the name that inherited_take knows it
 * by. The descriptors stay the set's. */
void bind_set_tell_sockets(struct bind_set *set,
                           void (*tell)(void *arg, int fd, const char *name),
                           void *arg);
/* The set's own descriptors; the edges' copies go on. */
void bind_set_close(struct bind_set *set);
/* Somebody else listens there now: the Unix sockets are not removed. */
void bind_set_abandon(struct bind_set *set);
/* Of those that were passed only: whoever passed them goes on. */
void bind_set_give_back(struct bind_set *set);

#endif
