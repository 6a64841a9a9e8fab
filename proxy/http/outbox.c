/* SPDX-License-Identifier: MIT
 * One system call per flush for bytes; a file goes from the page cache to the socket.
 */
#include "proxy/http/outbox.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    FILE_PER_FLUSH = 1024 * 1024, /* bytes of a file before others get their turn */
    KEEP_CAP = 4 * 1024,          /* a larger empty buffer is given back */
};

void outbox_init(struct outbox *o)
{
    *o = (struct outbox){.file = -1};
    buf_init(&o->bytes, 0);
}

static void drop_file(struct outbox *o)
{
    if (o->file >= 0)
        (void)close(o->file);
    o->file = -1;
    o->file_left = 0;
}

void outbox_fini(struct outbox *o)
{
    buf_fini(&o->bytes);
    drop_file(o);
}

static bool is_busy_errno(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK;
}

enum outbox_result outbox_write(struct outbox *o, int fd, struct slice data)
{
    ASSERT(o->file < 0);
    struct slice before = buf_slice(&o->bytes);
    struct iovec parts[2] = {
        {.iov_base = (void *)(uintptr_t)before.ptr, .iov_len = before.len},
        {.iov_base = (void *)(uintptr_t)data.ptr, .iov_len = data.len},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n;
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && !is_busy_errno())
        return OUTBOX_FAILED;

    size_t sent = n < 0 ? 0 : (size_t)n;
    size_t sent_before = sent < before.len ? sent : before.len;
    buf_consume(&o->bytes, sent_before);
    sent -= sent_before;
    if (sent == data.len)
        return OUTBOX_EMPTY;
    buf_add(&o->bytes, slice_of(data.ptr + sent, data.len - sent));
    return OUTBOX_WAITS;
}

void outbox_put_file(struct outbox *o, int file, uint64_t offset, uint64_t length)
{
    ASSERT(o->file < 0);
    o->file = file;
    o->file_offset = offset;
    o->file_left = length;
    if (length == 0)
        drop_file(o);
}

static enum outbox_result flush_bytes(struct outbox *o, int fd)
{
    struct slice bytes = buf_slice(&o->bytes);
    if (bytes.len == 0)
        return OUTBOX_EMPTY;
    /* What the file brings right after belongs into the same segment. */
    int more = o->file >= 0 ? MSG_MORE : 0;
    ssize_t n;
    do
        n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT | more);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return is_busy_errno() ? OUTBOX_WAITS : OUTBOX_FAILED;
    buf_consume(&o->bytes, (size_t)n);
    if (buf_len(&o->bytes) > 0)
        return OUTBOX_WAITS;
    if (o->bytes.cap > KEEP_CAP)
        buf_fini(&o->bytes);
    return OUTBOX_EMPTY;
}

static enum outbox_result flush_file(struct outbox *o, int fd)
{
    size_t budget = FILE_PER_FLUSH;
    while (o->file_left > 0) {
        if (budget == 0)
            return OUTBOX_MORE;
        size_t piece = o->file_left < budget ? (size_t)o->file_left : budget;
        off_t offset = (off_t)o->file_offset;
        ssize_t n = sendfile(fd, o->file, &offset, piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && is_busy_errno())
            return OUTBOX_WAITS;
        if (n <= 0) /* 0: the file became shorter than it was promised to be */
            return OUTBOX_FAILED;
        o->file_offset += (uint64_t)n;
        o->file_left -= (uint64_t)n;
        budget -= (size_t)n;
    }
    drop_file(o);
    return OUTBOX_EMPTY;
}

enum outbox_result outbox_flush(struct outbox *o, int fd)
{
    enum outbox_result result = flush_bytes(o, fd);
    if (result == OUTBOX_EMPTY && o->file >= 0)
        result = flush_file(o, fd);
    return result;
}
