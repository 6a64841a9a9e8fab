/* SPDX-License-Identifier: MIT
 * The directory is synced too: else the rename may be forgotten. */
#include "proxy/admin/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/mem.h"

/* Closes it; false with errno. */
static bool fill(int fd, struct slice text)
{
    bool ok = true;
    while (ok && text.len > 0) {
        ssize_t wrote = write(fd, text.ptr, text.len);
        if (wrote < 0 && errno == EINTR)
            continue;
        ok = wrote >= 0;
        if (ok)
            text = slice_of(text.ptr + wrote, text.len - (size_t)wrote);
    }
    ok = ok && fsync(fd) == 0;
    int error = errno;
    (void)close(fd);
    errno = error;
    return ok;
}

static bool sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    own(mem) char *directory = slash == NULL
                                   ? mem_strdup(".")
                                   : mem_printf("%.*s/", (int)(slash - path), path);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = fsync(fd) == 0;
    (void)close(fd);
    return ok;
}

bool state_file_write(const char *path, struct slice text)
{
    own(mem) char *beside = mem_printf("%s.new", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    if (fill(fd, text) && rename(beside, path) == 0)
        return sync_directory(path);
    int error = errno;
    (void)unlink(beside);
    errno = error;
    return false;
}

bool state_file_read(const char *path, struct buf *ret_text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = -1;
    if (fd < 0)
        return false;
    while (buf_len(ret_text) <= STATE_FILE_MAX) {
        ASSERT(buf_reserve(ret_text, 64 * 1024));
        got = read(fd, buf_tail(ret_text), buf_room(ret_text));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        buf_commit(ret_text, (size_t)got);
    }
    int error = got > 0 ? EFBIG : errno;
    (void)close(fd);
    errno = error;
    return got == 0;
}
