/* SPDX-License-Identifier: MIT
 * The watch of a core with an event loop: a look every quarter of a second while
 * something runs, every half while that only waits; asleep otherwise, until there is
 * input. A loop whose descriptor stayed readable from one look to the next is inside
 * something long, and the watch reads for it. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "appserver/core/core_priv.h"

enum {
    LOOK_US = 250000,
    QUIET_LOOK_US = 500000, /* when nothing has moved since the last look */
    QUIET_LOOKS = 2,        /* without a move before it goes to sleep */
    LAST_ANSWERS_US = 2000, /* between tries to send them, at the end of a drain */
};

static bool has_to_look(const struct core *core, uint64_t now_us);
static void look(struct core *core, uint64_t now_us);
static void look_at_loop(struct core *core, uint64_t now_us);
static bool waits_for_loop(struct core *core);
static void read_for_loop(struct core *core);
static bool is_readable(int fd);
static bool is_ending(const struct core *core);
static bool may_sleep(const struct core *core);
static void wait_for_look(struct core *core);

void *loop_watch_main(void *arg)
{
    struct core *core = CAST_OBJ(arg, struct core, CORE_MAGIC);
    struct watch *watch = &core->watch;

    core_lock(core);
    while (!watch->stop) {
        uint64_t now = clock_now_us();
        if (has_to_look(core, now)) {
            look(core, now);
            watch->ticked_us = now;
        }
        wait_for_look(core);
    }
    core_unlock(core);
    return NULL;
}

static bool has_to_look(const struct core *core, uint64_t now_us)
{
    const struct watch *watch = &core->watch;
    bool asked = atomic_load(&core->drain_asked) && core->state == CORE_SERVING;

    return asked || is_ending(core) || now_us - watch->ticked_us >= watch->tick_us;
}

static void look(struct core *core, uint64_t now_us)
{
    struct watch *watch = &core->watch;
    uint64_t turns = atomic_load_explicit(&core->loop.turns, memory_order_relaxed);
    bool moved = turns != watch->seen_turns;

    if (atomic_load(&core->drain_asked) && core->state == CORE_SERVING)
        watch_begin_drain(core);
    if (moved) {
        watch->seen_turns = turns;
        watch->behind_us = 0;
        watch->asked = 0;
    }
    look_at_loop(core, now_us);
    if (core->starts != watch->seen_starts) {
        watch->seen_starts = core->starts;
        watch->moved_us = now_us;
    } else if (core->running >= core_slots(core) || waits_for_loop(core)) {
        watch_give_back(core, now_us);
    }
    watch->quiet_ticks = moved ? 0 : watch->quiet_ticks + 1;
    watch->tick_us = moved || watch->behind_us != 0 ? LOOK_US : QUIET_LOOK_US;
    /* Once more when all is quiet: then what was in use is known to be free. */
    if (watch->quiet_ticks <= 1)
        peers_review(core, now_us);
    if (moved && core_open(core) > 0)
        peers_load(core, now_us);
    watch_flush(core, watch->quiet_ticks <= 1 || is_ending(core));
    if (core->state == CORE_DRAINING)
        watch_end_drain(core);
}

/* Twice readable without a turn in between: it does not look. */
static void look_at_loop(struct core *core, uint64_t now_us)
{
    struct watch *watch = &core->watch;
    uint64_t timeout_us = (uint64_t)(core->options.request_timeout_s * 1e6);

    if (watch->behind_us == 0) {
        if (is_readable(core->loop.fd))
            watch->behind_us = now_us;
        return;
    }
    if (is_readable(core->loop.fd))
        read_for_loop(core);
    uint64_t since = watch->asked > 0 ? watch->asked_us : watch->behind_us;
    if (timeout_us == 0 || watch->asked >= 2 || now_us - since < timeout_us)
        return;
    watch->asked_us = now_us;
    watch_report_stuck(core, core->loop.thread_tag, "", watch->asked++ > 0);
}

/* True: requests wait here since the last look for a loop that starts nothing, and
 * another process may. */
static bool waits_for_loop(struct core *core)
{
    struct watch *watch = &core->watch;
    bool is_waiting = watch->behind_us != 0 && core->waiting > 0;
    bool again = is_waiting && watch->seen_waiting;

    watch->seen_waiting = is_waiting;
    core->loop.is_behind |= again;
    return again;
}

/* So that PING is answered, and CANCEL and BODY are news as soon as it looks. */
static void read_for_loop(struct core *core)
{
    atomic_store_explicit(&core->reader.has_events, true, memory_order_relaxed);
    core_unlock(core);
    (void)reader_pump(core);
    core_lock(core);
    /* Also when it was only a PING: its next turn says that it looks again. */
    loop_rouse(core);
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

/* All that is left of a drain is to send the last answers. */
static bool is_ending(const struct core *core)
{
    return core->state == CORE_DRAINING && core_open(core) == 0 && core->waiting == 0;
}

static bool may_sleep(const struct core *core)
{
    return core_open(core) == 0 && core->waiting == 0 &&
           core->watch.quiet_ticks >= QUIET_LOOKS && core->watch.behind_us == 0 &&
           core->state != CORE_DRAINING && !core->watch.stop &&
           !(atomic_load(&core->drain_asked) && core->state == CORE_SERVING) &&
           !outbox_is_pending(&core->outbox) && !outbox_is_stuck(&core->outbox);
}

/* Under the lock, left meanwhile. */
static void wait_for_look(struct core *core)
{
    struct watch *watch = &core->watch;
    struct pollfd fds[] = {{.fd = watch->wake_fd, .events = POLLIN},
                           {.fd = -1, .events = POLLIN}};
    uint64_t now = clock_now_us(), until = watch->ticked_us + watch->tick_us;
    int timeout_ms = until > now ? (int)((until - now) / 1000) + 1 : 0;
    uint64_t count;

    if (is_ending(core))
        timeout_ms = LAST_ANSWERS_US / 1000;
    if (may_sleep(core)) {
        watch->asleep = true;
        timeout_ms = -1;
        fds[1].fd = core->reader.link_fd;
    }
    core_unlock(core);
    (void)poll(fds, 2, timeout_ms);
    if (fds[0].revents != 0 && read(watch->wake_fd, &count, sizeof(count)) < 0)
        ASSERT(errno == EAGAIN || errno == EINTR);
    core_lock(core);
    watch->asleep = false;
    if (timeout_ms < 0) {
        /* What woke it has only just begun. */
        watch->ticked_us = clock_now_us();
        watch->tick_us = LOOK_US;
    }
}
