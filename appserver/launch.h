/* SPDX-License-Identifier: MIT
 * Which interpreter runs the application, and where the package `banyan` lies that it
 * imports. Only looks; the caller executes. */
#ifndef APPSERVER_LAUNCH_H
#define APPSERVER_LAUNCH_H

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

/* `asked` is --python: a path, or a name looked up on PATH; NULL:
 * $VIRTUAL_ENV/bin/python, else python3 on PATH. Caller owns. NULL: ret_message names
 * the remedy. */
MUST_CHECK char *launch_find_python(const char *asked, struct buf *ret_message);

/* The directory that holds banyan/: ../pkg beside the program's own (build tree), else
 * where it was installed. Caller owns. NULL: ret_message says where it was looked for.
 */
MUST_CHECK char *launch_find_package(struct buf *ret_message);

#endif
