/* SPDX-License-Identifier: MIT
 * One line to each proxy, all at once. What comes back, line by line:
 *
 *     +        it was understood that somebody asks; what follows may take its time
 *      TEXT    for standard output
 *     !TEXT    for standard error
 *     =CODE    the end */
#include "deploy/banyan/admin.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deploy/banyan/proxies.h"
#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "protocol/base/words.h"

enum {
    EXIT_DONE,
    EXIT_REFUSED,
    EXIT_LATE,
    EXIT_UNREACHABLE,
    EXIT_PARTLY,

    HEAR_S = 5,  /* a proxy that lives has said "+" by then */
    GRACE_S = 5, /* beyond --timeout, which is the proxy's to keep */
};

struct talk {
    const char *path;
    int fd;         /* -1: over */
    struct buf in;  /* not yet a line */
    struct buf out; /* answer, or `complaint` */
    struct buf complaint;
    bool was_heard;
    int code; /* -1: none yet */
};

struct admin_call {
    struct proxies proxies;
    struct talk talks[PROXIES_MAX];
    struct buf line; /* what is sent */
    bool is_json, is_streaming;
    uint64_t timeout_us; /* 0: none given */
};

static bool read_words(struct admin_call *call, int argc, char **argv);
static void begin(struct admin_call *call, struct talk *t, const char *path);
static void listen_to_all(struct admin_call *call);
static int print_all(struct admin_call *call);

static int fail(const char *text, int code)
{
    (void)fprintf(stderr, "banyan: %s\n", text);
    return code;
}

int admin_main(int argc, char **argv)
{
    static struct admin_call call;
    struct buf message;
    proxies_init(&call.proxies);
    buf_init(&call.line, 0);
    buf_init(&message, 0);
    if (!read_words(&call, argc, argv))
        return fail("--proxy: an address is missing, or there are too many",
                    EXIT_REFUSED);
    if (!proxies_find(&call.proxies, &message)) {
        (void)fail(mem_printf("%.*s", SLICE_FMT(buf_slice(&message))), 0);
        if (call.is_json)
            (void)printf("{\"code\":%d,\"text\":\"no proxy\"}\n", EXIT_UNREACHABLE);
        return EXIT_UNREACHABLE;
    }
    call.is_streaming = call.proxies.count == 1;
    for (size_t i = 0; i < call.proxies.count; i++)
        begin(&call, &call.talks[i], call.proxies.paths[i]);
    listen_to_all(&call);
    return print_all(&call);
}

/* ---- words ---- */

/* --proxy is ours; --json and --timeout are looked at and passed on. */
static bool read_words(struct admin_call *call, int argc, char **argv)
{
    static const char proxy[] = "--proxy=", timeout[] = "--timeout=";
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const char *seconds = NULL;
        if (strcmp(word, "--proxy") == 0) {
            if (++i == argc || !proxies_add(&call->proxies, argv[i]))
                return false;
            continue;
        }
        if (strncmp(word, proxy, sizeof proxy - 1) == 0) {
            if (!proxies_add(&call->proxies, word + sizeof proxy - 1))
                return false;
            continue;
        }
        if (strcmp(word, "--json") == 0)
            call->is_json = true;
        else if (strcmp(word, "--timeout") == 0 && i + 1 < argc)
            seconds = argv[i + 1];
        else if (strncmp(word, timeout, sizeof timeout - 1) == 0)
            seconds = word + sizeof timeout - 1;
        if (seconds != NULL && strtod(seconds, NULL) > 0)
            call->timeout_us = (uint64_t)(strtod(seconds, NULL) * 1e6);
        if (buf_len(&call->line) > 0)
            buf_add(&call->line, SLICE(" "));
        words_quote(&call->line, word);
    }
    buf_add(&call->line, SLICE("\n"));
    return true;
}

/* ---- one proxy ---- */

static void end_talk(struct talk *t, int code)
{
    if (t->fd >= 0)
        (void)close(t->fd);
    t->fd = -1;
    t->code = code;
}

static void give_up(struct talk *t, int code, const char *why)
{
    buf_addf(&t->complaint, "%s: %s\n", t->path, why);
    end_talk(t, code);
}

/* A line is short: the socket takes it at once. */
static void begin(struct admin_call *call, struct talk *t, const char *path)
{
    *t = (struct talk){.path = path, .code = -1};
    buf_init(&t->in, 0);
    buf_init(&t->out, 0);
    buf_init(&t->complaint, 0);
    t->fd = proxies_connect(path);
    struct slice line = buf_slice(&call->line);
    if (t->fd < 0)
        give_up(t, EXIT_UNREACHABLE, strerror(errno));
    else if (send(t->fd, line.ptr, line.len, MSG_NOSIGNAL) != (ssize_t)line.len)
        give_up(t, EXIT_UNREACHABLE, "cannot send");
}

static void on_line(struct admin_call *call, struct talk *t, struct slice line)
{
    struct slice text = slice_of(line.ptr + 1, line.len - 1);
    if (line.ptr[0] == '=') {
        end_talk(t, text.len == 1 ? text.ptr[0] - '0' : EXIT_UNREACHABLE);
    } else if (line.ptr[0] == '!') {
        buf_addf(&t->complaint, "%.*s\n", SLICE_FMT(text));
    } else if (line.ptr[0] == ' ' && call->is_streaming) {
        (void)fwrite(text.ptr, 1, text.len, stdout);
        (void)putchar('\n');
    } else if (line.ptr[0] == ' ') {
        buf_add(&t->out, text);
        buf_add(&t->out, SLICE("\n"));
    }
}

static void hear(struct admin_call *call, struct talk *t)
{
    ASSERT(buf_reserve(&t->in, 64 * 1024));
    ssize_t got = recv(t->fd, buf_tail(&t->in), buf_room(&t->in), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        give_up(t, EXIT_UNREACHABLE, "the proxy ended the connection");
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
            on_line(call, t, slice_of(in.ptr, length));
        buf_consume(&t->in, length + 1);
    }
    if (call->is_streaming)
        (void)fflush(stdout);
}

/* ---- all of them ---- */

/* When to give this one up; 0: never. */
static uint64_t patience_us(const struct admin_call *call, const struct talk *t)
{
    if (!t->was_heard)
        return HEAR_S * 1000000ull;
    return call->timeout_us == 0 ? 0 : call->timeout_us + GRACE_S * 1000000ull;
}

static void listen_to_all(struct admin_call *call)
{
    uint64_t begun_us = clock_now_us();
    for (;;) {
        struct pollfd fds[PROXIES_MAX];
        int wait_ms = -1;
        bool is_open = false;
        uint64_t spent_us = clock_now_us() - begun_us;
        for (size_t i = 0; i < call->proxies.count; i++) {
            struct talk *t = &call->talks[i];
            uint64_t patience = patience_us(call, t);
            if (t->fd >= 0 && patience != 0 && spent_us >= patience)
                give_up(t, t->was_heard ? EXIT_LATE : EXIT_UNREACHABLE,
                        "the proxy does not answer");
            fds[i] = (struct pollfd){.fd = t->fd, .events = POLLIN};
            if (t->fd < 0)
                continue;
            is_open = true;
            int left_ms = patience == 0 ? -1 : (int)((patience - spent_us) / 1000) + 1;
            if (left_ms >= 0 && (wait_ms < 0 || left_ms < wait_ms))
                wait_ms = left_ms;
        }
        if (!is_open)
            return;
        if (poll(fds, call->proxies.count, wait_ms) < 0)
            continue;
        for (size_t i = 0; i < call->proxies.count; i++)
            if (fds[i].fd >= 0 && fds[i].revents != 0)
                hear(call, &call->talks[i]);
    }
}

/* ---- the answer ---- */

static struct slice without_end(const struct buf *b)
{
    struct slice s = buf_slice(b);
    return s.len > 0 ? slice_of(s.ptr, s.len - 1) : s;
}

/* Each proxy's own object is passed on as it came. */
static void print_json(const struct talk *t, bool is_first)
{
    struct slice answer = without_end(&t->out);
    (void)printf("%s{\"proxy\":\"%s\",\"code\":%d,\"answer\":%.*s}",
                 is_first ? "" : ",", t->path, t->code,
                 answer.len == 0 ? 4 : (int)answer.len,
                 answer.len == 0 ? "null" : answer.ptr);
}

static void print_text(const struct talk *t, bool is_alone)
{
    if (!is_alone)
        (void)printf("== %s\n", t->path);
    (void)printf("%.*s", SLICE_FMT(buf_slice(&t->out)));
    (void)fflush(stdout);
    struct slice complaint = buf_slice(&t->complaint);
    if (complaint.len > 0)
        (void)fprintf(stderr, "%.*s", SLICE_FMT(complaint));
}

static int print_all(struct admin_call *call)
{
    size_t count = call->proxies.count;
    bool is_list = call->is_json && count > 1;
    int code = call->talks[0].code;
    if (is_list)
        (void)printf("{\"proxies\":[");
    for (size_t i = 0; i < count; i++) {
        const struct talk *t = &call->talks[i];
        if (is_list)
            print_json(t, i == 0);
        else
            print_text(t, count == 1);
        if (is_list && buf_len(&t->complaint) > 0)
            (void)fprintf(stderr, "%.*s", SLICE_FMT(buf_slice(&t->complaint)));
        if (t->code != code)
            code = EXIT_PARTLY;
    }
    if (is_list)
        (void)printf("]}\n");
    else if (call->is_json && code == EXIT_UNREACHABLE)
        (void)printf("{\"code\":%d,\"text\":\"no proxy\"}\n", code);
    return fflush(stdout) == 0 ? code : EXIT_REFUSED;
}
