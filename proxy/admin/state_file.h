/* SPDX-License-Identifier: MIT
 * A small file that is whole at every instant: written beside itself, synced, renamed.
 */
#ifndef ADMIN_STATE_FILE_H
#define ADMIN_STATE_FILE_H

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

enum { STATE_FILE_MAX = 16 * 1024 * 1024 };

/* When it returns true, the file has this content, whatever happens to the machine.
 * False with errno: it has the old one, or none. Mode 0600. */
MUST_CHECK bool state_file_write(const char *path, struct slice text);
/* False with errno; ENOENT: there is none. */
MUST_CHECK bool state_file_read(const char *path, struct buf *ret_text);

#endif
