/* SPDX-License-Identifier: MIT
 * Datagrams of lines. */
#include "deploy/banyan/notices.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/base/mem.h"

enum { NOTICES_MAGIC = 0x407cce5, NOTICE_BYTES = 4096 };

struct notices {
    uint32_t magic;
    int fd;
    struct sockaddr_un at;
};

struct notices *notices_new(const char *directory, struct buf *ret_message)
{
    struct notices *n = mem_zalloc(sizeof *n);
    int on = 1;
    n->magic = NOTICES_MAGIC;
    n->at.sun_family = AF_UNIX;
    own(mem) char *path = mem_printf("%s/notify.sock", directory);
    size_t length = strlen(path);
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    errno = n->fd >= 0 ? ENAMETOOLONG : errno;
    bool is_good = n->fd >= 0 && length < sizeof n->at.sun_path;
    if (is_good) {
        memcpy(n->at.sun_path, path, length + 1);
        const struct sockaddr *address = (const struct sockaddr *)(const void *)&n->at;
        is_good = bind(n->fd, address, sizeof n->at) == 0 &&
                  setsockopt(n->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0;
    }
    if (is_good)
        return n;
    buf_addf(ret_message, "cannot open %s: %s", path, strerror(errno));
    notices_free(&n);
    return NULL;
}

void notices_free(struct notices **notices_p)
{
    struct notices *n = take(*notices_p);
    if (n == NULL)
        return;
    CHECK_OBJ(n, NOTICES_MAGIC);
    if (n->fd >= 0) {
        (void)close(n->fd);
        (void)unlink(n->at.sun_path);
    }
    n->magic = 0;
    mem_free(&n);
}

const char *notices_path(const struct notices *n)
{
    CHECK_OBJ(n, NOTICES_MAGIC);
    return n->at.sun_path;
}

int notices_fd(const struct notices *n)
{
    CHECK_OBJ(n, NOTICES_MAGIC);
    return n->fd;
}

static pid_t sender_of(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL;
         c = CMSG_NXTHDR(message, c)) {
        struct ucred who;
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
            continue;
        memcpy(&who, CMSG_DATA(c), sizeof who);
        return who.pid;
    }
    return 0;
}

bool notices_read(struct notices *n, pid_t *ret_pid, struct buf *ret_text)
{
    CHECK_OBJ(n, NOTICES_MAGIC);
    char text[NOTICE_BYTES];
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
    } control = {0};
    struct iovec part = {text, sizeof text};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    ssize_t got = recvmsg(n->fd, &message, MSG_CMSG_CLOEXEC);
    if (got < 0)
        return false;
    *ret_pid = sender_of(&message);
    buf_clear(ret_text);
    buf_add(ret_text, slice_of(text, (size_t)got));
    return true;
}

struct slice notice_value(struct slice text, const char *name)
{
    size_t length = strlen(name);
    while (text.len > 0) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t line = end == NULL ? text.len : (size_t)(end - text.ptr);
        if (line > length && memcmp(text.ptr, name, length) == 0 &&
            text.ptr[length] == '=')
            return slice_of(text.ptr + length + 1, line - length - 1);
        line += end != NULL;
        text = slice_of(text.ptr + line, text.len - line);
    }
    return (struct slice){0};
}
