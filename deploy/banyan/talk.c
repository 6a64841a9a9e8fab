/* SPDX-License-Identifier: MIT
 * Lines in, lines out; all proxies at once. */
#include "deploy/banyan/talk.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deploy/banyan/proxies.h"
#include "protocol/base/clock.h"

enum { READ_BYTES = 64 * 1024 };

static void end_talk(struct talk *t, int code)
{
    if (t->fd >= 0)
        (void)close(t->fd);
    t->fd = -1;
    t->code = code;
}

void talk_give_up(struct talk *t, enum talk_code code, const char *why)
{
    buf_addf(&t->complaint, "%s: %s\n", t->path, why);
    end_talk(t, code);
}

/* A line is short: the socket takes it at once. */
void talk_begin(struct talk *t, const char *path, struct slice line)
{
    *t = (struct talk){.path = path, .code = TALK_NONE};
    buf_init(&t->in, 0);
    buf_init(&t->out, 0);
    buf_init(&t->complaint, 0);
    t->fd = proxies_connect(path);
    if (t->fd < 0)
        talk_give_up(t, TALK_UNREACHABLE, strerror(errno));
    else if (send(t->fd, line.ptr, line.len, MSG_NOSIGNAL) != (ssize_t)line.len)
        talk_give_up(t, TALK_UNREACHABLE, "cannot send");
}

void talk_fini(struct talk *t)
{
    if (t->fd >= 0)
        (void)close(t->fd);
    t->fd = -1;
    buf_fini(&t->in);
    buf_fini(&t->out);
    buf_fini(&t->complaint);
}

static void on_line(struct talk *t, struct slice line)
{
    struct slice text = slice_of(line.ptr + 1, line.len - 1);
    if (line.ptr[0] == '=') {
        end_talk(t, text.len == 1 ? text.ptr[0] - '0' : TALK_UNREACHABLE);
    } else if (line.ptr[0] == '!') {
        buf_addf(&t->complaint, "%.*s\n", SLICE_FMT(text));
    } else if (line.ptr[0] == ' ' && t->is_streaming) {
        (void)fwrite(text.ptr, 1, text.len, stdout);
        (void)putchar('\n');
    } else if (line.ptr[0] == ' ') {
        buf_add(&t->out, text);
        buf_add(&t->out, SLICE("\n"));
    }
}

void talk_hear(struct talk *t)
{
    ASSERT(buf_reserve(&t->in, READ_BYTES));
    ssize_t got = recv(t->fd, buf_tail(&t->in), buf_room(&t->in), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        talk_give_up(t, TALK_UNREACHABLE, "the proxy ended the connection");
        return;
    }
    buf_commit(&t->in, (size_t)got);
    t->was_heard = true;
    while (t->fd >= 0) {
        struct slice in = buf_slice(&t->in);
        const char *end = in.len == 0 ? NULL : memchr(in.ptr, '\n', in.len);
        if (end == NULL)
            break;
        size_t length = (size_t)(end - in.ptr);
        if (length > 0)
            on_line(t, slice_of(in.ptr, length));
        buf_consume(&t->in, length + 1);
    }
    if (t->is_streaming)
        (void)fflush(stdout);
}

/* Those that are open; those whose time is over are given up. */
static bool watch(struct talk *t, uint64_t spent_us, uint64_t patience_us, int *wait_ms)
{
    if (t->fd >= 0 && patience_us != 0 && spent_us >= patience_us)
        talk_give_up(t, t->was_heard ? TALK_LATE : TALK_UNREACHABLE,
                     "the proxy does not answer");
    if (t->fd < 0)
        return false;
    int left_ms = patience_us == 0 ? -1 : (int)((patience_us - spent_us) / 1000) + 1;
    if (left_ms >= 0 && (*wait_ms < 0 || left_ms < *wait_ms))
        *wait_ms = left_ms;
    return true;
}

void talks_listen(struct talk *talks,
                  size_t count,
                  uint64_t hear_us,
                  uint64_t patience_us)
{
    uint64_t begun_us = clock_now_us();
    ASSERT(count <= PROXIES_MAX);
    for (;;) {
        struct pollfd fds[PROXIES_MAX];
        int wait_ms = -1;
        bool is_open = false;
        uint64_t spent_us = clock_now_us() - begun_us;
        for (size_t i = 0; i < count; i++) {
            struct talk *t = &talks[i];
            is_open |=
                watch(t, spent_us, t->was_heard ? patience_us : hear_us, &wait_ms);
            fds[i] = (struct pollfd){.fd = t->fd, .events = POLLIN};
        }
        if (!is_open)
            return;
        if (poll(fds, count, wait_ms) < 0)
            continue;
        for (size_t i = 0; i < count; i++)
            if (fds[i].fd >= 0 && fds[i].revents != 0)
                talk_hear(&talks[i]);
    }
}
