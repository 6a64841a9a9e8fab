/* SPDX-License-Identifier: MIT
 * By their pidfds, of which an epoll says when one is readable. */
#include "deploy/banyan/formers.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"

enum { FORMERS_MAGIC = 0x0f0e3e25 };

struct former {
    pid_t pid;
    int fd;
};

struct formers {
    uint32_t magic;
    int epoll;
    struct former *items;
    uint32_t count;
};

struct formers *formers_new(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        return NULL;
    struct formers *f = mem_zalloc(sizeof *f);
    f->magic = FORMERS_MAGIC;
    f->epoll = epoll;
    return f;
}

void formers_free(struct formers **formers_p)
{
    struct formers *f = take(*formers_p);
    if (f == NULL)
        return;
    CHECK_OBJ(f, FORMERS_MAGIC);
    for (uint32_t i = 0; i < f->count; i++)
        (void)close(f->items[i].fd);
    (void)close(f->epoll);
    mem_free(&f->items);
    f->magic = 0;
    mem_free(&f);
}

void formers_add(struct formers *f, pid_t pid)
{
    CHECK_OBJ(f, FORMERS_MAGIC);
    struct epoll_event event = {.events = EPOLLIN};
    int fd = pidfd_open(pid, 0);
    if (fd < 0)
        return;
    if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        (void)close(fd);
        return;
    }
    f->items = mem_realloc(f->items, (f->count + 1) * sizeof *f->items);
    f->items[f->count++] = (struct former){pid, fd};
}

uint32_t formers_count(const struct formers *f)
{
    CHECK_OBJ(f, FORMERS_MAGIC);
    return f->count;
}

int formers_fd(const struct formers *f)
{
    CHECK_OBJ(f, FORMERS_MAGIC);
    return f->epoll;
}

static bool has_ended(const struct former *one)
{
    struct pollfd look = {.fd = one->fd, .events = POLLIN};
    return poll(&look, 1, 0) > 0;
}

void formers_look(struct formers *f)
{
    CHECK_OBJ(f, FORMERS_MAGIC);
    for (uint32_t i = f->count; i-- > 0;) {
        struct former *one = &f->items[i];
        siginfo_t how;
        if (!has_ended(one))
            continue;
        (void)waitid(P_PIDFD, (id_t)one->fd, &how,
                     WEXITED | WNOHANG); /* if it is ours */
        (void)close(one->fd);
        log_info(NULL, "proxy (pid %d), which was replaced, has finished",
                 (int)one->pid);
        *one = f->items[--f->count];
    }
}

void formers_signal(const struct formers *f, int number)
{
    CHECK_OBJ(f, FORMERS_MAGIC);
    for (uint32_t i = 0; i < f->count; i++)
        (void)pidfd_send_signal(f->items[i].fd, number, NULL, 0);
}
