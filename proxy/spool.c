/* SPDX-License-Identifier: MIT
 * Memory first, then a file without a name: nothing is left behind by a crash. */
#include "proxy/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/base/mem.h"

void spool_init(struct spool *s, const char *temp_dir)
{
    *s = (struct spool){.fd = -1, .temp_dir = temp_dir};
    buf_init(&s->memory, SPOOL_MEMORY);
}

void spool_fini(struct spool *s)
{
    buf_fini(&s->memory);
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
    s->size = 0;
}

/* O_TMPFILE is not for every file system. */
static int open_unlinked(const char *directory)
{
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;

    own(mem) char *path = mem_printf("%s/banyan-body-XXXXXX", directory);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(path);
    return fd;
}

static enum err write_all(int fd, struct slice data, uint64_t offset)
{
    while (data.len > 0) {
        ssize_t n = pwrite(fd, data.ptr, data.len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_SYSTEM;
        data = slice_of(data.ptr + n, data.len - (size_t)n);
        offset += (uint64_t)n;
    }
    return ERR_NONE;
}

static enum err move_to_file(struct spool *s)
{
    s->fd = open_unlinked(s->temp_dir);
    if (s->fd < 0)
        return ERR_SYSTEM;
    enum err err = write_all(s->fd, buf_slice(&s->memory), 0);
    if (err == ERR_NONE)
        buf_fini(&s->memory);
    return err;
}

enum err spool_append(struct spool *s, struct slice data)
{
    enum err err = ERR_NONE;
    if (s->fd < 0 && s->size + data.len > SPOOL_MEMORY)
        err = move_to_file(s);
    if (err != ERR_NONE)
        return err;

    if (s->fd >= 0) {
        err = write_all(s->fd, data, s->size);
    } else {
        bool fits = buf_append(&s->memory, data);
        ASSERT(fits);
    }
    if (err == ERR_NONE)
        s->size += data.len;
    return err;
}

enum err spool_read(struct spool *s,
                    uint64_t offset,
                    size_t most,
                    char *scratch,
                    struct slice *ret_data)
{
    ASSERT(offset < s->size && most > 0);
    size_t bytes = s->size - offset < most ? (size_t)(s->size - offset) : most;
    if (s->fd < 0) {
        *ret_data = slice_of(buf_slice(&s->memory).ptr + offset, bytes);
        return ERR_NONE;
    }
    ssize_t n;
    do
        n = pread(s->fd, scratch, bytes, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return ERR_SYSTEM;
    *ret_data = slice_of(scratch, (size_t)n);
    return ERR_NONE;
}
