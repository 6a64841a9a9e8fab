/* SPDX-License-Identifier: MIT
 * A thousand app servers in one process, which answer every request with five bytes:
 * what a proxy does with so many links can be measured without so many Pythons.
 *
 *   ninja -C build/release bench_peers
 *   bench_peers DIR COUNT           ipc://DIR/0.sock ..., until it is ended */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "protocol/frame.h"
#include "protocol/header_names.h"
#include "protocol/link.h"

enum {
    EVENTS = 256,
    SLOTS = 16,
    MOST_LINKS = 64,
    LOAD_MS = 100,
    SERVICE_US = 10, /* what they say; a short handler's */
};

/* One app server. Of each connection the number is enough: its epoch is written where
 * its frames go, and streams are answered at once. */
struct app {
    struct link *link;
    struct known {
        uint32_t peer;
        uint64_t epoch;
    } known[MOST_LINKS];
    size_t count;
    uint32_t slots;
    bool has_served; /* since the last LOAD */
    struct buf out;
};

static struct slice headers;

static uint64_t *epoch_of(struct app *a, uint32_t peer)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->known[i].peer == peer)
            return &a->known[i].epoch;
    struct known *k = &a->known[a->count < MOST_LINKS ? a->count++ : MOST_LINKS - 1];
    k->peer = peer;
    return &k->epoch;
}

static void say_load(struct app *a, uint64_t epoch, uint64_t sequence)
{
    struct frame f = {.kind = FRAME_LOAD};
    f.load.sequence = sequence;
    f.load.clock_us = clock_now_us();
    f.load.service_us = SERVICE_US;
    f.load.slots = a->slots;
    frame_pack_load(&a->out, epoch, &f);
}

static void say_hello(struct app *a, uint64_t epoch)
{
    struct frame_hello h = {
        .version = PROTOCOL_VERSION,
        .role = SLICE("app"),
        .instance = (uint64_t)(uintptr_t)a,
        .clock_us = clock_now_us(),
        .window_bytes = FRAME_DEFAULT_WINDOW,
        .inline_bytes = FRAME_MAX_INLINE_BODY,
        .has_app = true,
        .pool = SLICE("default"),
        .slots = a->slots,
        .interface = SLICE("wsgi"),
        .pid = (uint32_t)getpid(),
        .page = SLICE(""),
    };
    frame_pack_hello(&a->out, epoch, &h);
    frame_pack_grant(&a->out, epoch, SLOTS);
    say_load(a, epoch, 0); /* as if it had served for a while */
}

static void send_to(struct app *a, uint32_t peer)
{
    if (buf_len(&a->out) > 0 &&
        link_send(a->link, peer, buf_slice(&a->out), SLICE("")) == ERR_LINK_FULL)
        warnx("an answer was lost");
    buf_clear(&a->out);
}

static void hear(struct app *a, uint32_t peer, const struct frame *f)
{
    switch (f->kind) {
    case FRAME_HELLO:
        *epoch_of(a, peer) = f->epoch;
        say_hello(a, f->epoch);
        break;
    case FRAME_REQUEST:
        a->has_served = true;
        frame_pack_response(&a->out, f->stream, 200, SLICE(""), headers,
                            SLICE("hello"));
        break;
    case FRAME_CANCEL:
    case FRAME_DRAIN:
    case FRAME_BYE:
        break;
    case FRAME_PING:
        if (f->epoch == *epoch_of(a, peer))
            say_load(a, f->epoch, f->load.sequence);
        break;
    case FRAME_LIMIT: /* one request at a time is less than any */
        a->slots = f->running != 0 && f->running < SLOTS ? f->running : SLOTS;
        say_load(a, f->epoch, 0);
        break;
    default:
        warnx("what to do with %s?", frame_kind_name(f->kind));
    }
}

static void serve(struct app *a)
{
    struct link_message m;
    struct link_event event;

    do {
        while (link_recv(a->link, &m) == STEP_DONE) {
            struct slice rest = m.frames;
            struct frame f;
            enum err e;
            while (frame_unpack(&rest, &f, &e) == STEP_DONE)
                hear(a, m.peer, &f);
            send_to(a, m.peer);
            link_message_done(&m);
        }
        while (link_next_event(a->link, &event))
            continue;
    } while (link_has_input(a->link));
}

static void tell_load(struct app *a)
{
    if (!a->has_served)
        return;
    a->has_served = false;
    for (size_t i = 0; i < a->count; i++) {
        say_load(a, a->known[i].epoch, 0);
        send_to(a, a->known[i].peer);
    }
    serve(a);
}

static void watch(int epoll, int fd, struct app *a)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = a};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0)
        err(1, "epoll_ctl");
}

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        err(1, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        err(1, "setrlimit");
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    struct header_writer w;
    struct buf packed;

    if (argc != 3)
        errx(2, "usage: bench_peers DIR COUNT");
    unsigned count = (unsigned)strtoul(argv[2], NULL, 10);
    raise_file_limit();
    buf_init(&packed, 0);
    header_begin(&w, &packed);
    header_put(&w, HEADER_CONTENT_TYPE, SLICE(""), SLICE("text/plain"));
    header_put(&w, HEADER_CONTENT_LENGTH, SLICE(""), SLICE("5"));
    header_end(&w);
    headers = buf_slice(&packed);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct link_context *context = link_context_new(count);
    struct app *apps = mem_zalloc(count * sizeof *apps);
    for (unsigned i = 0; i < count; i++) {
        char endpoint[128];
        (void)snprintf(endpoint, sizeof endpoint, "ipc://%s/%u.sock", argv[1], i);
        if (link_bind(context, endpoint, LINK_LOCAL_ONLY, &apps[i].link) != ERR_NONE)
            err(1, "%s", endpoint);
        buf_init(&apps[i].out, 0);
        apps[i].slots = SLOTS;
        watch(epoll, link_fd(apps[i].link), &apps[i]);
        watch(epoll, link_monitor_fd(apps[i].link), &apps[i]);
    }
    puts("ready");
    (void)fflush(stdout);
    for (uint64_t due_us = 0;;) {
        int ready = epoll_wait(epoll, events, EVENTS, LOAD_MS);
        if (ready < 0 && errno != EINTR)
            err(1, "epoll_wait");
        for (int i = 0; i < ready; i++)
            serve(events[i].data.ptr);
        if (clock_now_us() < due_us)
            continue;
        due_us = clock_now_us() + LOAD_MS * 1000;
        for (unsigned i = 0; i < count; i++)
            tell_load(&apps[i]);
    }
}
