/* SPDX-License-Identifier: MIT
 * Opens first and judges the open file: a path can be exchanged between a check and its
 * use, a descriptor cannot. */
#include "proxy/http/file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/mem.h"

enum { ROOTS_MAGIC = 0xf11e0075 };

struct file_roots {
    uint32_t magic;
    size_t count;
    char **paths; /* resolved; "/" is "" */
};

struct file_roots *file_roots_new(const char *const *paths, size_t count)
{
    struct file_roots *roots = mem_zalloc(sizeof(*roots));
    roots->magic = ROOTS_MAGIC;
    roots->paths = mem_zalloc((count + 1) * sizeof(*roots->paths));
    for (size_t i = 0; i < count; i++) {
        char resolved[PATH_MAX];
        if (realpath(paths[i], resolved) == NULL)
            continue;
        if (strcmp(resolved, "/") == 0)
            resolved[0] = '\0';
        roots->paths[roots->count++] = mem_strdup(resolved);
    }
    return roots;
}

void file_roots_free(struct file_roots **roots_p)
{
    struct file_roots *roots = *roots_p;
    if (roots == NULL)
        return;
    CHECK_OBJ(roots, ROOTS_MAGIC);
    roots->magic = 0;
    for (size_t i = 0; i < roots->count; i++)
        mem_free(&roots->paths[i]);
    mem_free(&roots->paths);
    mem_free(roots_p);
}

static bool is_under_root(const struct file_roots *roots, int fd)
{
    char link_name[40], real[PATH_MAX];
    (void)snprintf(link_name, sizeof(link_name), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link_name, real, sizeof(real) - 1);
    if (n <= 0)
        return false;
    real[n] = '\0';
    for (size_t i = 0; i < roots->count; i++) {
        size_t length = strlen(roots->paths[i]);
        if (strncmp(real, roots->paths[i], length) == 0 && real[length] == '/')
            return true;
    }
    return false;
}

int file_open(const struct file_roots *roots,
              struct slice path,
              uint64_t device,
              uint64_t inode,
              uint64_t offset,
              uint64_t length)
{
    char name[PATH_MAX];
    if (roots->count == 0 || path.len == 0 || path.len >= sizeof(name) ||
        path.ptr[0] != '/' || memchr(path.ptr, '\0', path.len) != NULL)
        return -1;
    memcpy(name, path.ptr, path.len);
    name[path.len] = '\0';

    /* O_NONBLOCK: a named pipe must not hold the edge. */
    int fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
        (uint64_t)status.st_dev == device && (uint64_t)status.st_ino == inode &&
        offset <= (uint64_t)status.st_size &&
        length <= (uint64_t)status.st_size - offset && is_under_root(roots, fd))
        return fd;
    (void)close(fd);
    return -1;
}
