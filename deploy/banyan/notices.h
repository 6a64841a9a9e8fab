/* SPDX-License-Identifier: MIT
 * What the proxy says to its supervisor: a NOTIFY_SOCKET of our own (sd_notify(3)), in
 * the private directory. The kernel says who it was. */
#ifndef BANYAN_NOTICES_H
#define BANYAN_NOTICES_H

#include <stdbool.h>
#include <sys/types.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

struct notices;

/* NULL: ret_message says why. */
MUST_CHECK struct notices *notices_new(const char *directory, struct buf *ret_message);
void notices_free(struct notices **notices_p);
const char *notices_path(const struct notices *n);
int notices_fd(const struct notices *n);
/* The next one; false: no more. */
MUST_CHECK bool notices_read(struct notices *n, pid_t *ret_pid, struct buf *ret_text);
/* The value of a line NAME=VALUE, up to its end; empty: there is none. Borrowed. */
struct slice notice_value(struct slice text, const char *name);

#endif
