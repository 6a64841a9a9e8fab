/* SPDX-License-Identifier: MIT
 * Lines in, lines out; all proxies at once. */
#include "deploy/banyan/talk.h"

#include <stdio.h>
#include <string.h>

#include "deploy/banyan/channel.h"
#include "deploy/banyan/proxies.h"
#include "protocol/base/clock.h"

static void end_talk(struct talk *t, int code)
{
    channel_free(&t->channel);
    t->code = code;
}

void talk_give_up(struct talk *t, enum talk_code code, const char *why)
{
    buf_addf(&t->complaint, "%s: %s\n", t->address, why);
    end_talk(t, code);
}

void talk_begin(struct talk *t, const char *address, struct slice line)
{
    const char *why;
    *t = (struct talk){.address = address, .code = TALK_NONE};
    buf_init(&t->in, 0);
    buf_init(&t->out, 0);
    buf_init(&t->complaint, 0);
    t->channel = channel_open(address, line, &why);
    if (t->channel == NULL)
        talk_give_up(t, TALK_UNREACHABLE, why);
}

void talk_fini(struct talk *t)
{
    channel_free(&t->channel);
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

static void follow_lines(struct talk *t)
{
    while (t->channel != NULL) {
        struct slice in = buf_slice(&t->in);
        const char *end = in.len == 0 ? NULL : memchr(in.ptr, '\n', in.len);
        if (end == NULL)
            return;
        size_t length = (size_t)(end - in.ptr);
        if (length > 0)
            on_line(t, slice_of(in.ptr, length));
        buf_consume(&t->in, length + 1);
    }
}

void talk_hear(struct talk *t)
{
    enum step step = STEP_DONE;
    const char *why;
    while (t->channel != NULL && step == STEP_DONE) {
        step = channel_read(t->channel, &t->in, &why);
        t->was_heard |= step == STEP_DONE;
        follow_lines(t);
    }
    if (t->channel != NULL && step == STEP_BAD)
        talk_give_up(t, TALK_UNREACHABLE, why);
    if (t->is_streaming)
        (void)fflush(stdout);
}

/* Those that are open; those whose time is over are given up. */
static bool watch(struct talk *t, uint64_t spent_us, uint64_t patience_us, int *wait_ms)
{
    if (t->channel != NULL && patience_us != 0 && spent_us >= patience_us)
        talk_give_up(t, t->was_heard ? TALK_LATE : TALK_UNREACHABLE,
                     "the proxy does not answer");
    if (t->channel == NULL)
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
        struct pollfd fds[PROXIES_MAX * CHANNEL_POLLS];
        nfds_t fd_count = 0;
        int wait_ms = -1;
        bool is_open = false;
        uint64_t spent_us = clock_now_us() - begun_us;
        for (size_t i = 0; i < count; i++) {
            struct talk *t = &talks[i];
            if (!watch(t, spent_us, t->was_heard ? patience_us : hear_us, &wait_ms))
                continue;
            is_open = true;
            fd_count += channel_polls(t->channel, fds + fd_count);
        }
        if (!is_open)
            return;
        if (poll(fds, fd_count, wait_ms) < 0)
            continue;
        for (size_t i = 0; i < count; i++)
            if (talks[i].channel != NULL)
                talk_hear(&talks[i]);
    }
}
