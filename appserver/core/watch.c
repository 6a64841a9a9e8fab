/* SPDX-License-Identifier: MIT
 * The watch thread: one tick looks at every handler that runs, under the core lock. */
#include "appserver/core/watch.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "appserver/core/core_priv.h"
#include "protocol/base/log.h"

enum {
    WEIGHED_WORKERS =
        8, /* more running ones than this are not asked for their CPU time */
};

/* What one tick saw. */
struct survey {
    bool moving; /* some running worker has changed its request since the last tick */
    bool stuck;  /* some has not */
    struct worker *waits;   /* some that was taken to compute waits, or takes long */
    struct worker *overdue; /* past --timeout, to be reported */
};

#define WORKER_OF(n) NODE_OF(n, struct worker, node)

static void *watch_main(void *arg);
static void wait_for_tick(struct core *core);
static bool may_sleep(const struct core *core);
static bool may_doze(const struct core *core);
static bool has_no_errand(const struct core *core);
static void tick(struct core *core, uint64_t now_us);
static void look_at_workers(struct core *core, uint64_t now_us, struct survey *ret);
static void
look_at_stuck(struct core *core, struct worker *w, uint64_t now_us, struct survey *s);
static void find_reader(struct core *core, const struct survey *s, uint64_t now_us);
static void read_myself(struct core *core);
static void leave_reading(struct core *core);
static void ask_for_worker(struct core *core);
static void report_periodically(struct core *core, uint64_t now_us);
static void report_overdue(struct core *core, struct worker *w, uint64_t now_us);
static void rouse_free_workers(struct core *core);
static void flush_unlocked(struct core *core);
static void *tell_stuck(void *arg);
static uint64_t cpu_us(const struct worker *w);
static bool is_asleep(const struct worker *w);

enum err watch_start(struct core *core)
{
    struct watch *watch = &core->watch;
    bool is_loop = core->options.is_loop;

    sleeper_init(&watch->sleeper);
    watch->tick_us = WATCH_TICK_US;
    watch->wake_fd = is_loop ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
    if (is_loop && watch->wake_fd < 0)
        return ERR_SYSTEM;
    ASSERT(pthread_create(&watch->thread, NULL, is_loop ? loop_watch_main : watch_main,
                          core) == 0);
    (void)pthread_setname_np(watch->thread, "watch");
    return ERR_NONE;
}

void watch_stop(struct core *core)
{
    core_lock(core);
    core->watch.stop = true;
    core_unlock(core);
    watch_rouse(core);
    (void)pthread_join(core->watch.thread, NULL);
    if (core->watch.wake_fd >= 0)
        (void)close(core->watch.wake_fd);
}

void watch_wake(struct core *core)
{
    core->watch.asleep = false;
    watch_rouse(core);
}

void watch_rouse(struct core *core)
{
    uint64_t one = 1;

    if (core->watch.wake_fd < 0)
        sleeper_wake(&core->watch.sleeper);
    else if (write(core->watch.wake_fd, &one, sizeof(one)) < 0)
        return; /* it is readable already */
}

static void *watch_main(void *arg)
{
    struct core *core = CAST_OBJ(arg, struct core, CORE_MAGIC);
    struct watch *watch = &core->watch;

    core_lock(core);
    while (!watch->stop) {
        uint64_t now = clock_now_us();
        bool asked = atomic_load(&core->drain_asked) && core->state == CORE_SERVING;
        if (now - watch->ticked_us >= watch->tick_us || asked) {
            tick(core, now);
            watch->ticked_us = now;
        }
        wait_for_tick(core);
    }
    core_unlock(core);
    return NULL;
}

/* Under the lock, left meanwhile. */
static void wait_for_tick(struct core *core)
{
    struct watch *watch = &core->watch;
    uint64_t until = watch->ticked_us + watch->tick_us;

    if (watch->reads) {
        core_unlock(core);
        (void)reader_pump(core);
        core_lock(core);
        worker_offer(core);
        if (!watch->reads)
            return;
        core_unlock(core);
        reader_glance(core, until);
        core_lock(core);
        return;
    }
    if (may_sleep(core)) {
        watch->asleep = true;
        until = SLEEP_FOREVER;
    } else if (may_doze(core)) {
        watch->asleep = true;
        until = watch->ticked_us + WATCH_DOZE_US;
    }
    core_unlock(core);
    (void)sleeper_wait(&watch->sleeper, until);
    core_lock(core);
    watch->asleep = false;
}

static bool may_sleep(const struct core *core)
{
    return core->running == 0 && core->watch.quiet_ticks > WATCH_LINGER_TICKS &&
           (core->polling != NULL || core->worker_count == 0) && has_no_errand(core);
}

/* All that run are known to wait, and somebody reads: there is only the time to watch.
 */
static bool may_doze(const struct core *core)
{
    return core->running > 0 && core->computing == 0 && core->waiting == 0 &&
           core->polling != NULL && core->watch.quiet_ticks >= WATCH_STILL_TICKS &&
           has_no_errand(core);
}

static bool has_no_errand(const struct core *core)
{
    return core->state != CORE_DRAINING && !core->watch.stop &&
           !(atomic_load(&core->drain_asked) && core->state == CORE_SERVING) &&
           !outbox_is_pending(&core->outbox) && !outbox_is_stuck(&core->outbox);
}

static void tick(struct core *core, uint64_t now_us)
{
    struct watch *watch = &core->watch;
    struct survey s;

    if (atomic_load(&core->drain_asked) && core->state == CORE_SERVING) {
        watch_begin_drain(core);
        now_us = clock_now_us(); /* handlers went on meanwhile */
    }
    look_at_workers(core, now_us, &s);
    if (s.waits != NULL)
        worker_cede(s.waits);
    find_reader(core, &s, now_us);
    watch->tick_us = s.stuck || core->running == 0 ? WATCH_TICK_US : watch->tick_us * 2;
    if (watch->tick_us > WATCH_MAX_TICK_US)
        watch->tick_us = WATCH_MAX_TICK_US;
    report_periodically(core, now_us);
    watch_flush(core, false);
    if (core->state == CORE_DRAINING) {
        rouse_free_workers(core);
        watch_end_drain(core);
    }
    watch->quiet_ticks++;
    if (core->starts != watch->seen_starts) {
        watch->seen_starts = core->starts;
        watch->quiet_ticks = 0;
        watch->moved_us = now_us;
    }
    if (s.overdue != NULL)
        report_overdue(core, s.overdue, now_us);
}

static void look_at_workers(struct core *core, uint64_t now_us, struct survey *ret)
{
    uint64_t timeout_us = (uint64_t)(core->options.request_timeout_s * 1e6);
    bool some = core->polling == NULL && core->running <= WEIGHED_WORKERS;

    *ret = (struct survey){.moving = false};
    LIST_FOREACH(&core->busy, n) {
        struct worker *w = WORKER_OF(n);
        struct watched *seen = &w->watched;
        if (seen->starts != w->starts) {
            *seen = (struct watched){.starts = w->starts, .since_us = now_us};
            seen->weighed = some || w->computes;
            if (seen->weighed)
                seen->cpu_us = cpu_us(w);
            ret->moving = true;
            continue;
        }
        ret->stuck = true;
        look_at_stuck(core, w, now_us, ret);
        /* A handler that sends or reads is not stuck, nor is one whose client is slow.
         */
        uint64_t since = w->moved_us > seen->asked_us ? w->moved_us : seen->asked_us;
        if (timeout_us > 0 && seen->asked < 2 && !w->is_waiting &&
            now_us - since >= timeout_us)
            ret->overdue = w;
    }
}

/* Inside the same handler as a tick ago: its route learns that before it ends. One that
 * was taken to compute gives up its place when it waits, or has computed for long; one
 * that was only kept off its CPU by others does not: they would not help. */
static void
look_at_stuck(struct core *core, struct worker *w, uint64_t now_us, struct survey *s)
{
    struct watched *seen = &w->watched;
    bool is_long = now_us - w->started_us > WATCH_COMPUTE_US;

    if (!seen->weighed || (is_long && !w->computes))
        return;
    uint64_t elapsed = now_us - seen->since_us, computed = cpu_us(w) - seen->cpu_us;
    bool computing = computed * 2 >= elapsed;
    bool was_asleep = seen->asleep;
    seen->asleep = !computing && is_asleep(w);
    /* Twice, for once it may wait for the very lock that this tick holds. */
    bool waits = was_asleep && seen->asleep;
    if (w->computes && (waits || computed >= WATCH_COMPUTE_US))
        s->waits = w;
    if (!is_long && (waits || computing))
        route_lasts(&core->routes[w->request->route], now_us - w->started_us, computed,
                    waits);
}

/* Nobody makes progress: somebody must take what waits, and somebody must read. */
static void find_reader(struct core *core, const struct survey *s, uint64_t now_us)
{
    bool unread = core->polling == NULL;
    struct node *idle = list_first(&core->idle);
    bool is_free = idle != NULL || (!unread && core->polling->request == NULL);

    if (s->moving || core->starts != core->watch.seen_starts) {
        if (core->watch.reads && core->state == CORE_SERVING)
            leave_reading(core);
        return;
    }
    if (core->waiting > 0 && worker_has_processor(core)) {
        if (is_free && worker_may_start(core)) {
            worker_offer(core);
            return;
        }
        /* Else one was woken and is on its way. */
        if (core->running >= core->worker_count || core->running >= core_slots(core)) {
            ask_for_worker(core);
            watch_give_back(core, now_us);
        }
    }
    if (core->polling != NULL ||
        (core->worker_count == 0 && core->state == CORE_SERVING))
        return;
    if (idle != NULL && core->computing < core->processors)
        worker_rouse(NODE_OF(idle, struct worker, idle));
    else
        read_myself(core);
}

/* Until a worker takes the role away. */
static void read_myself(struct core *core)
{
    core->watch.reads = true;
    atomic_store_explicit(&core->reader.manned, true, memory_order_release);
}

/* Handlers end again: workers will read when they have run what waits. */
static void leave_reading(struct core *core)
{
    core->watch.reads = false;
    atomic_store_explicit(&core->reader.manned, false, memory_order_release);
}

/* All workers are inside handlers that wait, and requests wait, too. More than a limit
 * lets run at once would find nothing to do. */
static void ask_for_worker(struct core *core)
{
    if (core->worker_count + core->growing >= core->options.threads_max ||
        (core->limit != 0 && core->slots + core->growing >= core->limit) ||
        core->growing >= core->waiting || core->events.grow == NULL)
        return;
    core->growing++;
    core_unlock(core);
    core->events.grow(core->events.arg);
    core_lock(core);
}

/* Requests wait for handlers that take longer than all experience: another app server
 * may have room for them. What was believed about service times is no longer true.
 * Those that came back, since nobody had, are asked to go less often. */
void watch_give_back(struct core *core, uint64_t now_us)
{
    if (core->waiting == 0 || now_us - core->watch.moved_us < WATCH_GIVE_BACK_US)
        return;
    struct watch *watch = &core->watch;
    uint64_t since_us =
        watch->gave_back_us > watch->moved_us ? watch->gave_back_us : watch->moved_us;
    bool again = now_us - since_us >= WATCH_GIVE_BACK_AGAIN_US;
    if (again)
        watch->gave_back_us = now_us;
    core->service_us16 = average16(0, WATCH_GIVE_BACK_US, 1);
    peers_tighten(core, now_us);
    inbox_give_back(core, again ? GIVE_BACK_ALL : GIVE_BACK_FIRST, ERR_QUEUE_FULL);
    flush_unlocked(core);
}

static void report_periodically(struct core *core, uint64_t now_us)
{
    struct watch *watch = &core->watch;

    if (now_us - watch->reviewed_us >= WATCH_REVIEW_US ||
        watch->quiet_ticks == WATCH_LINGER_TICKS) {
        watch->reviewed_us = now_us;
        peers_review(core, now_us);
        /* A busy reader never waits for the monitor's descriptor. */
        atomic_store_explicit(&core->reader.has_events, true, memory_order_relaxed);
    }
    if (core->running > 0 && now_us - watch->loaded_us >= WATCH_LOAD_US) {
        watch->loaded_us = now_us;
        peers_load(core, now_us);
    }
}

/* Answers that were gathered, and then their thread went into something long. */
void watch_flush(struct core *core, bool at_once)
{
    struct watch *watch = &core->watch;
    uint64_t rounds = outbox_rounds(&core->outbox);
    bool is_old = rounds == watch->seen_rounds;

    if (outbox_is_stuck(&core->outbox) ||
        (outbox_is_pending(&core->outbox) && (is_old || at_once)))
        flush_unlocked(core);
    watch->seen_rounds = rounds;
}

struct stuck_call {
    void (*call)(void *arg, uint64_t thread_tag, const char *request_id);
    void *arg;
    uint64_t thread_tag;
    char id[REQUEST_ID_MAX + 1];
};

static void report_overdue(struct core *core, struct worker *w, uint64_t now_us)
{
    bool again = w->watched.asked > 0;

    w->watched.asked++;
    w->watched.asked_us = now_us;
    watch_report_stuck(core, w->thread_tag, w->request->id, again);
}

/* The first time from a thread of its own, since it may have to wait for the
 * interpreter that the stuck thread holds. */
void watch_report_stuck(struct core *core,
                        uint64_t thread_tag,
                        const char *id,
                        bool again)
{
    struct stuck_call *c = mem_alloc(sizeof(*c));
    pthread_t thread;

    *c = (struct stuck_call){core->events.stuck, core->events.arg, thread_tag, ""};
    (void)snprintf(c->id, sizeof(c->id), "%s", id);
    core_unlock(core);
    if (again) {
        if (core->events.stuck_again != NULL)
            core->events.stuck_again(core->events.arg, c->id);
        mem_free(&c);
    } else if (c->call == NULL || pthread_create(&thread, NULL, tell_stuck, c) != 0) {
        mem_free(&c);
    } else {
        (void)pthread_detach(thread);
    }
    core_lock(core);
}

static void *tell_stuck(void *arg)
{
    struct stuck_call *c = arg;

    c->call(c->arg, c->thread_tag, c->id);
    mem_free(&c);
    return NULL;
}

void watch_begin_drain(struct core *core)
{
    uint32_t waiting = core->waiting;

    core->state = CORE_DRAINING;
    peers_drain(core);
    inbox_give_back(core, GIVE_BACK_ALL, ERR_SHUTTING_DOWN);
    log_debug(NULL, "draining: %u running, %u waiting, %u handed back", core->running,
              core->waiting, waiting - core->waiting);
    if (core->options.is_loop)
        loop_rouse(core);
    rouse_free_workers(core);
    flush_unlocked(core);
}

/* Those that nothing can come for any more: they leave. */
static void rouse_free_workers(struct core *core)
{
    struct node *n;

    if (core_may_start(core))
        return;
    while ((n = list_first(&core->idle)) != NULL)
        worker_rouse(NODE_OF(n, struct worker, idle));
    if (core->polling != NULL && core->polling->request == NULL)
        worker_rouse(core->polling);
}

void watch_end_drain(struct core *core)
{
    if (core_open(core) > 0 || core->waiting > 0 || outbox_is_pending(&core->outbox) ||
        outbox_is_stuck(&core->outbox))
        return;
    core->said_bye = true;
    peers_bye(core);
    flush_unlocked(core);
    core->state = CORE_DRAINED;
    if (core->options.is_loop)
        loop_rouse(core);
    (void)pthread_cond_broadcast(&core->drained);
}

static void flush_unlocked(struct core *core)
{
    core_unlock(core);
    worker_flush(core);
    core_lock(core);
}

static uint64_t cpu_us(const struct worker *w)
{
    struct timespec t;

    if (clock_gettime(w->cpu_clock, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Off the CPU because it waits, not because others are on it: the state letter in
 * proc_pid_stat(5). */
static bool is_asleep(const struct worker *w)
{
    char path[64], text[128];
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)w->thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        (void)close(fd);
    if (n <= 0)
        return true;
    text[n] = '\0';
    const char *end = strrchr(text, ')');
    return end == NULL || end[1] == '\0' || end[2] != 'R';
}
