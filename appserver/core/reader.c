/* SPDX-License-Identifier: MIT
 * The only file that calls the link. */
#include "appserver/core/reader.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "appserver/core/core_priv.h"
#include "protocol/base/log.h"

enum {
    PUMP_MESSAGES = 256,   /* received in one turn */
    STUCK_RETRY_US = 2000, /* until refused messages are tried again */
};

#define OUTLET_PEER(o) NODE_OF(o, struct peer, outlet)
#define BATCH_OF(n) NODE_OF(n, struct batch, node)

static bool wait_for_input(struct core *core, int wake_fd, uint64_t until_us);
static void send_pending(struct core *core);
static enum err send_batches(struct core *core,
                             struct peer *p,
                             struct list *batches,
                             struct slice bulk);
static bool receive_all(struct core *core);
static bool receive_if_manned(struct core *core);
static void take_events(struct core *core);
static void lose_peer(struct core *core, struct peer *p);

enum err reader_init(struct core *core)
{
    struct reader *rd = &core->reader;
    enum link_policy policy = core->options.insecure ? LINK_INSECURE : LINK_LOCAL_ONLY;

    *rd = (struct reader){.link_fd = -1, .monitor_fd = -1, .wake_fd = -1};
    ASSERT(pthread_mutex_init(&rd->io, NULL) == 0);
    rd->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (rd->wake_fd < 0)
        return ERR_SYSTEM;
    link_refusals_init(&rd->refusals);
    const char *endpoint = core->options.endpoint;
    enum err e = core->options.keys == NULL || link_endpoint_is_local(endpoint)
                     ? link_bind(core->context, endpoint, policy, &rd->link)
                     : link_bind_secure(core->context, endpoint, ZAP_APP, &rd->link);
    if (e != ERR_NONE)
        return e;
    rd->link_fd = link_fd(rd->link);
    rd->monitor_fd = link_monitor_fd(rd->link);
    return ERR_NONE;
}

void reader_fini(struct core *core)
{
    struct reader *rd = &core->reader;

    if (rd->link != NULL)
        link_free(&rd->link);
    if (rd->wake_fd >= 0)
        (void)close(rd->wake_fd);
    (void)pthread_mutex_destroy(&rd->io);
}

bool reader_flush(struct core *core)
{
    bool received = false, more;

    (void)pthread_mutex_lock(&core->reader.io);
    do {
        send_pending(core);
        more = receive_if_manned(core);
        received |= more;
    } while (more && outbox_is_pending(&core->outbox));
    (void)pthread_mutex_unlock(&core->reader.io);
    return received;
}

bool reader_pump(struct core *core)
{
    bool drained;

    (void)pthread_mutex_lock(&core->reader.io);
    /* What comes in may be answered here, such as a PING. */
    do {
        send_pending(core);
        drained = receive_all(core);
    } while (drained && outbox_is_pending(&core->outbox));
    (void)pthread_mutex_unlock(&core->reader.io);
    return drained;
}

static void say_refusal(struct core *core, const struct link_event *event)
{
    const char *text = link_refusals_note(&core->reader.refusals, event,
                                          core->options.keys != NULL, clock_now_us());

    if (text != NULL)
        log_warn(NULL, "refused a connection from %s: %s", link_refusals_address(event),
                 text);
}

/* The connections' events. */
static void take_events(struct core *core)
{
    struct link_event event;

    atomic_store_explicit(&core->reader.has_events, false, memory_order_relaxed);
    while (link_next_event(core->reader.link, &event)) {
        if (event.kind == LINK_REFUSED)
            say_refusal(core, &event);
        if (event.kind != LINK_DOWN || event.peer == 0)
            continue;
        core_lock(core);
        peer_down(core, event.peer);
        core_unlock(core);
    }
}

void reader_poll(struct core *core, uint64_t until_us)
{
    if (wait_for_input(core, core->reader.wake_fd, until_us)) {
        uint64_t count;
        if (read(core->reader.wake_fd, &count, sizeof(count)) < 0)
            ASSERT(errno == EAGAIN || errno == EINTR);
    }
}

void reader_glance(struct core *core, uint64_t until_us)
{
    (void)wait_for_input(core, -1, until_us);
}

void reader_kick(struct core *core)
{
    uint64_t one = 1;
    ssize_t n = write(core->reader.wake_fd, &one, sizeof(one));
    (void)n; /* EAGAIN: it is readable already */
}

enum err reader_send_bulk(struct core *core,
                          struct peer *p,
                          uint32_t stream,
                          struct slice bulk,
                          bool *ret_received)
{
    struct list batches;

    list_init(&batches);
    (void)pthread_mutex_lock(&core->reader.io);
    outbox_take_one(&core->outbox, &p->outlet, &batches);
    struct batch *last = outbox_last(&core->outbox, &batches);
    size_t before = last->frames.end;
    frame_pack_body_bulk(&last->frames, stream);
    enum err e = send_batches(core, p, &batches, bulk);
    if (e == ERR_LINK_FULL) {
        last->frames.end = before;
        outbox_refused(&core->outbox, &p->outlet, &batches);
    } else if (e != ERR_NONE) {
        lose_peer(core, p);
    }
    *ret_received = receive_if_manned(core);
    (void)pthread_mutex_unlock(&core->reader.io);
    return e;
}

/* True: wake_fd is readable. */
static bool wait_for_input(struct core *core, int wake_fd, uint64_t until_us)
{
    struct reader *rd = &core->reader;
    struct pollfd fds[] = {{.fd = rd->link_fd, .events = POLLIN},
                           {.fd = rd->monitor_fd, .events = POLLIN},
                           {.fd = wake_fd, .events = POLLIN}};
    struct timespec limit, *limit_p = NULL;

    if (until_us != SLEEP_FOREVER || outbox_is_stuck(&core->outbox)) {
        uint64_t now = clock_now_us();
        uint64_t left = until_us > now ? until_us - now : 0;
        if (left > STUCK_RETRY_US && outbox_is_stuck(&core->outbox))
            left = STUCK_RETRY_US;
        limit.tv_sec = (time_t)(left / 1000000);
        limit.tv_nsec = (long)(left % 1000000) * 1000;
        limit_p = &limit;
    }
    if (ppoll(fds, sizeof(fds) / sizeof(fds[0]), limit_p, NULL) <= 0)
        return false;
    if (fds[1].revents != 0)
        atomic_store_explicit(&rd->has_events, true, memory_order_relaxed);
    return fds[2].revents != 0;
}

static void send_pending(struct core *core)
{
    struct list turn, batches;
    struct outlet *o;

    if (!outbox_is_pending(&core->outbox) && !outbox_is_stuck(&core->outbox))
        return;
    list_init(&turn);
    list_init(&batches);
    outbox_take(&core->outbox, &turn);
    while ((o = outbox_next(&core->outbox, &turn, &batches)) != NULL) {
        struct peer *p = OUTLET_PEER(o);
        enum err e = send_batches(core, p, &batches, SLICE(""));
        if (e == ERR_LINK_FULL)
            outbox_refused(&core->outbox, o, &batches);
        if ((e != ERR_NONE && e != ERR_LINK_FULL) || outlet_is_overdue(o))
            lose_peer(core, p);
    }
}

/* Each batch is a message; the last one has `bulk` as its second part. What was sent,
 * or can never be, leaves the list. */
static enum err
send_batches(struct core *core, struct peer *p, struct list *batches, struct slice bulk)
{
    enum err e = p->state == PEER_GONE ? ERR_LINK_DOWN : ERR_NONE;
    struct node *n;

    while ((n = list_first(batches)) != NULL) {
        struct batch *b = BATCH_OF(n);
        if (e == ERR_NONE && buf_len(&b->frames) > 0) {
            bool is_last = list_next(batches, n) == NULL;
            e = link_send(core->reader.link, p->number, buf_slice(&b->frames),
                          is_last ? bulk : SLICE(""));
            core->reader.messages_out += e == ERR_NONE;
        }
        if (e == ERR_LINK_FULL)
            return e;
        node_leave(n);
        outbox_recycle(&core->outbox, b);
    }
    return e;
}

/* False: the budget was used up before the end of the input. */
static bool receive_all(struct core *core)
{
    struct reader *rd = &core->reader;
    uint64_t now = clock_now_us();
    struct link_message m;

    for (unsigned budget = PUMP_MESSAGES; budget > 0; budget--) {
        enum step step = link_recv(rd->link, &m);
        if (step == STEP_MORE) {
            if (!atomic_load_explicit(&rd->has_events, memory_order_relaxed)) {
                if (core->peers.gone > 0) {
                    core_lock(core);
                    peers_sweep(core);
                    core_unlock(core);
                }
                return true;
            }
            take_events(core);
            continue;
        }
        rd->messages_in++;
        if (step == STEP_DONE)
            inbox_message(core, &m, now);
        else
            inbox_bad_message(core, &m);
        link_message_done(&m);
    }
    return false;
}

/* After a send: what it may have hidden from the thread in poll is received here. */
static bool receive_if_manned(struct core *core)
{
    struct reader *rd = &core->reader;

    if (!atomic_load_explicit(&rd->manned, memory_order_acquire))
        return false;
    if (!link_has_input(rd->link))
        return false;
    if (!receive_all(core))
        reader_kick(core);
    return true;
}

static void lose_peer(struct core *core, struct peer *p)
{
    core_lock(core);
    peer_gone(core, p);
    core_unlock(core);
}
