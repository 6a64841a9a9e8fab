/* SPDX-License-Identifier: MIT
 * Requests for an event loop: which have news, which may start, and the one descriptor
 * that says so.
 *
 *   epoll of   the link        input; its edge is re-read after every send (reader.c)
 *              its monitor     connections that ended
 *              the wake        news that came while the loop was not looking
 *              the timer       a full link is to be tried again */
#include "appserver/core/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "appserver/core/core_priv.h"

enum {
    RETRY_NS = 2000000,  /* until a full link is tried again */
    SERVICE_WEIGHT = 32, /* a request's share of the average service time is 1/32 */
};

enum source { SOURCE_LINK, SOURCE_MONITOR, SOURCE_WAKE, SOURCE_TIMER, SOURCES };

static bool add_source(struct core *core, enum source source, int fd);
static void take_readiness(struct core *core);
static size_t
hand_out(struct core *core, struct loop_news *ret_news, size_t max, uint64_t now_us);
static struct loop_news take_news(struct request *r);
static void retry_if_stuck(struct core *core);

enum err loop_init(struct core *core)
{
    struct loop *loop = &core->loop;
    const struct reader *rd = &core->reader;

    loop->fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->fd < 0 || loop->timer_fd < 0 ||
        !add_source(core, SOURCE_LINK, rd->link_fd) ||
        !add_source(core, SOURCE_WAKE, rd->wake_fd) ||
        !add_source(core, SOURCE_TIMER, loop->timer_fd) ||
        (rd->monitor_fd >= 0 && !add_source(core, SOURCE_MONITOR, rd->monitor_fd)))
        return ERR_SYSTEM;
    atomic_store_explicit(&core->reader.manned, true, memory_order_release);
    return ERR_NONE;
}

void loop_fini(struct core *core)
{
    if (core->loop.fd >= 0)
        (void)close(core->loop.fd);
    if (core->loop.timer_fd >= 0)
        (void)close(core->loop.timer_fd);
}

void core_loop_enter(struct core *core, uint64_t thread_tag)
{
    CHECK_OBJ(core, CORE_MAGIC);
    ASSERT(core->options.is_loop);
    core_lock(core);
    core->loop.thread_tag = thread_tag;
    core_unlock(core);
}

int core_loop_fd(const struct core *core)
{
    return core->loop.fd;
}

size_t core_loop_turn(struct core *core, struct loop_news *ret_news, size_t max)
{
    struct loop *loop = &core->loop;

    ASSERT(max > 0);
    atomic_fetch_add_explicit(&loop->turns, 1, memory_order_relaxed);
    take_readiness(core);
    core_lock(core);
    loop->turning = true;
    loop->roused = false;
    core_unlock(core);
    bool is_drained = reader_pump(core);

    uint64_t now = clock_now_us();
    core_lock(core);
    peers_unstall(core);
    size_t count = hand_out(core, ret_news, max, now);
    if (loop->is_behind) {
        loop->is_behind = false;
        peers_grant(core, now);
    }
    if (now - loop->reviewed_us >= WATCH_REVIEW_US) {
        loop->reviewed_us = now;
        peers_review(core, now);
    }
    core_unlock(core);
    if (outbox_is_pending(&core->outbox))
        (void)reader_flush(core);

    core_lock(core);
    loop->turning = false;
    if (!is_drained || !list_is_empty(&loop->news) || worker_may_start(core))
        loop_rouse(core);
    core_unlock(core);
    retry_if_stuck(core);
    return count;
}

void core_loop_flush(struct core *core)
{
    if (outbox_is_pending(&core->outbox) || outbox_is_stuck(&core->outbox))
        worker_flush(core);
}

bool core_loop_has_pending(const struct core *core)
{
    return outbox_is_pending(&core->outbox);
}

bool core_is_draining(const struct core *core)
{
    return atomic_load(&core->drain_asked);
}

bool core_is_drained(struct core *core)
{
    core_lock(core);
    bool is_drained = core->state == CORE_DRAINED;
    core_unlock(core);
    return is_drained;
}

void loop_tell(struct request *r, unsigned what)
{
    struct loop *loop = &r->core->loop;

    if (what != NEWS_GONE) {
        what &= r->wants;
        /* An empty piece of body, or a message that came too late. */
        if (what == NEWS_BODY && r->readable == 0 && (!r->body_ended || r->ws.accepted))
            return;
        if (what == 0 || request_gone_reason(r) != ERR_NONE)
            return;
    }
    r->wants &= (uint8_t)~what;
    r->news |= (uint8_t)what;
    if (!node_is_linked(&r->node))
        list_push_back(&loop->news, &r->node);
    loop_rouse(r->core);
}

void loop_rouse(struct core *core)
{
    struct loop *loop = &core->loop;

    if (loop->turning || loop->roused)
        return;
    loop->roused = true;
    reader_kick(core);
}

void loop_sent(struct core *core)
{
    core_lock(core);
    peers_unstall(core);
    if (worker_may_start(core))
        loop_rouse(core);
    core_unlock(core);
    retry_if_stuck(core);
}

void loop_finish(struct request *r)
{
    struct core *core = r->core;
    uint64_t took_us = clock_now_us() - r->started_us;

    core_lock(core);
    node_leave(&r->node);
    /* How long a WebSocket was open says nothing about work. */
    if (!r->ws.accepted)
        core->service_us16 = average16(core->service_us16, took_us, SERVICE_WEIGHT);
    core->running--;
    limit_one_fewer(core);
    request_recycle(r);
    if (worker_may_start(core))
        loop_rouse(core);
    if (core->state == CORE_DRAINING && core_open(core) == 0)
        watch_wake(core);
    core_unlock(core);
}

static bool add_source(struct core *core, enum source source, int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = source};

    return epoll_ctl(core->loop.fd, EPOLL_CTL_ADD, fd, &e) == 0;
}

/* What made the descriptor readable. The link itself is read in any case. */
static void take_readiness(struct core *core)
{
    struct epoll_event events[SOURCES];
    int count = epoll_wait(core->loop.fd, events, SOURCES, 0);
    uint64_t number;

    for (int i = 0; i < count; i++) {
        enum source source = (enum source)events[i].data.u32;
        if (source == SOURCE_MONITOR)
            atomic_store_explicit(&core->reader.has_events, true, memory_order_relaxed);
        else if (source != SOURCE_LINK &&
                 read(source == SOURCE_WAKE ? core->reader.wake_fd
                                            : core->loop.timer_fd,
                      &number, sizeof(number)) < 0)
            ASSERT(errno == EAGAIN || errno == EINTR);
    }
}

static size_t
hand_out(struct core *core, struct loop_news *ret_news, size_t max, uint64_t now_us)
{
    size_t count = 0;
    struct request *r;
    struct node *n;

    while (count < max && (n = list_pop_front(&core->loop.news)) != NULL)
        ret_news[count++] = take_news(NODE_OF(n, struct request, node));
    while (count < max && (r = inbox_pop(core, now_us)) != NULL) {
        request_started(r);
        r->started_us = now_us;
        ret_news[count++] = (struct loop_news){r, NEWS_STARTED};
    }
    return count;
}

static struct loop_news take_news(struct request *r)
{
    struct loop_news news = {r, r->news};

    r->news = 0;
    if ((news.what & NEWS_FILED) != 0 && r->file_taken)
        request_answered(r);
    return news;
}

static void retry_if_stuck(struct core *core)
{
    struct itimerspec once = {.it_value.tv_nsec = RETRY_NS};

    if (outbox_is_stuck(&core->outbox))
        ASSERT(timerfd_settime(core->loop.timer_fd, 0, &once, NULL) == 0);
}
