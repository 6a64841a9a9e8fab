/* SPDX-License-Identifier: MIT
 * The private directory of one `banyan serve`: mode 0700, named by us, removed at the
 * end. */
#ifndef BANYAN_RUNDIR_H
#define BANYAN_RUNDIR_H

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

struct rundir;

/* banyan-PID-RANDOM below $XDG_RUNTIME_DIR, $TMPDIR or /tmp, the first that can be
 * written and leaves room for a socket's path. Also removes those that a killed
 * supervisor of this user left there. NULL: ret_message says why. */
MUST_CHECK struct rundir *rundir_new(struct buf *ret_message);
/* Removes it with every file in it. */
void rundir_free(struct rundir **dir_p);

const char *rundir_path(const struct rundir *dir); /* borrowed */

#endif
