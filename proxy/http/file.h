/* SPDX-License-Identifier: MIT
 * Files an application hands over instead of bytes: opened here only when they lie
 * under an allowed root and are the very file the application means. */
#ifndef HTTP_FILE_H
#define HTTP_FILE_H

#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/slice.h"

struct file_roots;
/* Roots that do not exist are left out. */
MUST_CHECK struct file_roots *file_roots_new(const char *const *paths, size_t count);
void file_roots_free(struct file_roots **roots_p);

/* A descriptor (the caller's), or -1: not a regular file of this device and inode, its
 * last component a symbolic link, outside the roots, or shorter than offset + length.
 */
MUST_CHECK int file_open(const struct file_roots *roots,
                         struct slice path,
                         uint64_t device,
                         uint64_t inode,
                         uint64_t offset,
                         uint64_t length);

#endif
