/* SPDX-License-Identifier: MIT
 * The scheduler: which worker reads, which runs, which sleeps (appserver/README.md).
 *
 * The worker that reads runs what it read. Others are woken only when that one is about
 * to enter a handler that waits, or when the watch finds that a handler surprised us.
 */
#include <sys/resource.h>
#include <unistd.h>

#include "appserver/core/core_priv.h"

enum {
    GATHER_US = 100,      /* answers wait for more at most so long, */
    GATHER_MAX_US = 1000, /* or as long as requests wait here anyway, within this */
    SERVICE_WEIGHT = 32,  /* a request's share of the average service time is 1/32 */
};

static void start(struct worker *w, struct request *r, uint64_t now_us);
static void wake_successor(struct core *core);
static uint64_t gather_limit_us(uint64_t service_us, uint32_t waiting);
static bool has_aged(struct worker *w, uint64_t left_us, uint64_t limit_us);
static void leave(struct worker *w);
static void conclude(struct worker *w);
static void finish(struct worker *w);
static void weigh(uint64_t *ret_cpu_us, uint64_t *ret_waits);
static void read_idle(struct worker *w);
static void read_while_waiting(struct request *r, ready_fn *ready, uint64_t until_us);
static void take_role(struct core *core, struct worker *w);
static void leave_role(struct core *core);
static void poll_input(struct core *core, uint64_t until_us);
static struct worker *idle_top(struct core *core);

struct worker *core_worker_enter(struct core *core, uint64_t thread_tag)
{
    struct worker *w = mem_zalloc(sizeof(*w));

    w->magic = WORKER_MAGIC;
    w->core = core;
    w->thread_tag = thread_tag;
    w->thread = gettid();
    sleeper_init(&w->sleeper);
    ASSERT(pthread_getcpuclockid(pthread_self(), &w->cpu_clock) == 0);
    core_lock(core);
    core->worker_count++;
    if (core->growing > 0) {
        core->growing--;
        if (core->slots < core->options.threads_max)
            core->slots++;
    }
    core_unlock(core);
    return w;
}

void core_worker_leave(struct worker **w_p)
{
    struct worker *w = *w_p;

    if (w == NULL)
        return;
    CHECK_OBJ(w, WORKER_MAGIC);
    struct core *core = w->core;
    if (w->request != NULL) {
        conclude(w);
        core_lock(core);
        finish(w);
        core_unlock(core);
    }
    (void)reader_flush(core);
    core_lock(core);
    core->worker_count--;
    worker_offer(core);
    core_unlock(core);
    w->magic = 0;
    mem_free(w_p);
}

struct request *core_next(struct worker *w)
{
    CHECK_OBJ(w, WORKER_MAGIC);
    struct core *core = w->core;
    struct request *r = NULL;

    if (w->request != NULL)
        conclude(w);
    uint64_t now = clock_now_us();
    core_lock(core);
    if (w->request != NULL)
        finish(w);
    while ((r = inbox_pop(core, now)) == NULL && core_may_start(core)) {
        /* Who computes will read when it is done, and the watch if that takes long. */
        if (core->polling == NULL && core->computing < core->processors) {
            read_idle(w);
        } else if (outbox_is_pending(&core->outbox)) {
            core_unlock(core);
            (void)reader_flush(core);
            core_lock(core);
        } else {
            list_push_front(&core->idle, &w->idle);
            (void)worker_sleep(w, SLEEP_FOREVER);
        }
        now = clock_now_us();
    }
    if (r == NULL) {
        core_unlock(core);
        (void)reader_flush(core);
        return NULL;
    }
    start(w, r, now);
    return r;
}

void request_finish(struct request **r_p)
{
    struct request *r = *r_p;

    if (r == NULL)
        return;
    CHECK_OBJ(r, REQUEST_MAGIC);
    struct core *core = r->core;
    if (core->options.is_loop) {
        request_conclude(r);
        loop_finish(r);
    } else {
        conclude(r->worker);
        core_lock(core);
        finish(r->worker);
        core_unlock(core);
    }
    *r_p = NULL;
}

bool worker_sleep(struct worker *w, uint64_t until_us)
{
    struct core *core = w->core;

    w->asleep = true;
    core_unlock(core);
    bool roused = sleeper_wait(&w->sleeper, until_us);
    core_lock(core);
    if (roused)
        return true;
    if (w->asleep) {
        w->asleep = false;
        node_leave(&w->idle);
        return false;
    }
    /* Somebody just decided to wake us: the wake must not hit a later sleep. */
    core_unlock(core);
    (void)sleeper_wait(&w->sleeper, SLEEP_FOREVER);
    core_lock(core);
    return true;
}

void worker_rouse(struct worker *w)
{
    if (w->asleep) {
        w->asleep = false;
        node_leave(&w->idle);
        sleeper_wake(&w->sleeper);
    } else if (w->core->polling == w && w->core->in_poll) {
        reader_kick(w->core);
    }
}

void worker_offer(struct core *core)
{
    struct worker *w = idle_top(core);

    if (!worker_may_start(core))
        return;
    if (core->options.is_loop)
        loop_rouse(core);
    if (w == NULL && core->polling != NULL && core->polling->request == NULL)
        w = core->polling;
    if (w != NULL)
        worker_rouse(w);
}

bool worker_may_start(const struct core *core)
{
    return core->waiting > 0 && core->running < core_slots(core) &&
           worker_has_processor(core);
}

bool worker_has_processor(const struct core *core)
{
    const struct request *r = NODE_OF(core->inbox.head.next, struct request, node);

    return core->computing < core->processors || route_waits(&core->routes[r->route]);
}

void worker_cede(struct worker *w)
{
    struct core *core = w->core;

    if (!w->computes)
        return;
    w->computes = false;
    core->computing--;
    wake_successor(core);
}

void worker_wait(struct request *r, ready_fn *ready)
{
    struct core *core = r->core;
    uint64_t until = r->deadline_us != 0 ? r->deadline_us : SLEEP_FOREVER;

    ASSERT(!core->options.is_loop);
    r->worker->is_waiting = true;
    if (!ready(r))
        worker_cede(r->worker);
    while (!ready(r) && request_gone_reason(r) == ERR_NONE) {
        if (until != SLEEP_FOREVER && clock_now_us() >= until)
            request_lost(r, ERR_REQUEST_TIMEOUT);
        else if (core->polling == NULL)
            read_while_waiting(r, ready, until);
        else
            (void)worker_sleep(r->worker, until);
    }
    r->worker->is_waiting = false;
    r->worker->moved_us = clock_now_us();
}

void worker_flush(struct core *core)
{
    bool received = reader_flush(core);

    if (core->options.is_loop) {
        loop_sent(core);
    } else if (received) {
        core_lock(core);
        worker_offer(core);
        core_unlock(core);
    }
}

enum err
worker_send_bulk(struct core *core, struct peer *p, uint32_t stream, struct slice bulk)
{
    bool received;
    enum err e = reader_send_bulk(core, p, stream, bulk, &received);

    if (core->options.is_loop) {
        loop_sent(core);
    } else if (received) {
        core_lock(core);
        worker_offer(core);
        core_unlock(core);
    }
    return e;
}

/* The handler is entered. Called with the core lock, returns without it. */
static void start(struct worker *w, struct request *r, uint64_t now_us)
{
    struct core *core = w->core;
    struct route *route = &core->routes[r->route];

    request_started(r);
    r->worker = w;
    w->request = r;
    w->starts++;
    w->started_us = w->moved_us = now_us;
    w->entered_us = 0;
    bool computes = !route_waits(route);
    w->computes = computes;
    core->computing += computes;
    list_push_back(&core->busy, &w->node);
    w->weighing = route_is_slow(route);
    if (!computes)
        wake_successor(core);
    uint64_t service_us = route_wall_us(route);
    uint64_t limit_us = gather_limit_us(service_us, core->waiting);
    core_unlock(core);
    /* A slow handler must not hold back answers that are ready, nor many fast ones. */
    if (outbox_is_pending(&core->outbox) &&
        (!computes || has_aged(w, now_us + service_us, limit_us)))
        worker_flush(core);
    if (w->weighing)
        weigh(&w->cpu_us, &w->waits);
}

void request_enter(struct request *r)
{
    struct worker *w = r->worker;

    w->entered_us = clock_now_us();
    if (w->weighing)
        weigh(&w->cpu_us, &w->waits);
}

void request_leave(struct request *r)
{
    leave(r->worker);
}

/* For how long answers may be gathered while `waiting` requests of so much work each
 * wait here. */
static uint64_t gather_limit_us(uint64_t service_us, uint32_t waiting)
{
    uint64_t limit_us = service_us * waiting;

    if (limit_us > GATHER_MAX_US)
        return GATHER_MAX_US;
    return limit_us < GATHER_US ? GATHER_US : limit_us;
}

/* Whether what is pending would be older than that when the handler is left. */
static bool has_aged(struct worker *w, uint64_t left_us, uint64_t limit_us)
{
    uint64_t round = outbox_rounds(&w->core->outbox);

    if (round != w->round) {
        w->round = round;
        w->round_us = w->started_us;
    }
    return left_us - w->round_us > limit_us;
}

/* A handler that waits leaves the processor to another, who must be awake to take it:
 * for the next request, or to read. One that computes would only be disturbed. */
static void wake_successor(struct core *core)
{
    if (worker_may_start(core)) {
        worker_offer(core);
    } else if (core->polling == NULL && core->computing < core->processors) {
        struct worker *next = idle_top(core);
        if (next != NULL)
            worker_rouse(next);
    }
}

/* The handler was left: whatever is missing of its answer, and what it took. No lock.
 */
static void conclude(struct worker *w)
{
    request_conclude(w->request);
    if (w->entered_us == 0) {
        w->entered_us = w->started_us;
        leave(w);
    }
}

static void leave(struct worker *w)
{
    uint64_t now_us = clock_now_us();

    w->took_us = now_us > w->entered_us ? now_us - w->entered_us : 0;
    if (w->weighing) {
        uint64_t cpu, waits;
        weigh(&cpu, &waits);
        w->cpu_us = cpu - w->cpu_us;
        w->waits = waits - w->waits;
    }
}

/* Its request's memory goes back. Core lock. */
static void finish(struct worker *w)
{
    struct core *core = w->core;
    struct request *r = w->request;
    struct route *route = &core->routes[r->route];

    route_took(route, w->took_us);
    if (w->weighing)
        route_weighed(route, w->cpu_us, w->waits);
    core->service_us16 = average16(core->service_us16, w->took_us, SERVICE_WEIGHT);
    node_leave(&w->node);
    core->running--;
    limit_one_fewer(core);
    core->computing -= w->computes;
    w->computes = false;
    w->request = NULL;
    request_recycle(r);
}

/* What the calling thread has computed and how often it waited. */
static void weigh(uint64_t *ret_cpu_us, uint64_t *ret_waits)
{
    struct rusage u;

    ASSERT(getrusage(RUSAGE_THREAD, &u) == 0);
    *ret_cpu_us = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
                  (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    *ret_waits = (uint64_t)u.ru_nvcsw;
}

/* A free worker takes the reader's role until requests wait. Core lock, left meanwhile.
 */
static void read_idle(struct worker *w)
{
    struct core *core = w->core;

    take_role(core, w);
    core_unlock(core);
    bool drained = reader_pump(core);
    core_lock(core);
    if (drained && core_may_start(core) && !worker_may_start(core))
        poll_input(core, SLEEP_FOREVER);
    leave_role(core);
}

/* The same for a worker inside a handler: requests are for others. */
static void read_while_waiting(struct request *r, ready_fn *ready, uint64_t until_us)
{
    struct core *core = r->core;

    take_role(core, r->worker);
    core_unlock(core);
    bool drained = reader_pump(core);
    core_lock(core);
    worker_offer(core);
    if (drained && !ready(r) && request_gone_reason(r) == ERR_NONE)
        poll_input(core, until_us);
    leave_role(core);
}

static void take_role(struct core *core, struct worker *w)
{
    core->polling = w;
    core->watch.reads = false;
    atomic_store_explicit(&core->reader.manned, true, memory_order_release);
}

static void leave_role(struct core *core)
{
    core->polling = NULL;
    atomic_store_explicit(&core->reader.manned, false, memory_order_release);
}

static void poll_input(struct core *core, uint64_t until_us)
{
    core->in_poll = true;
    core_unlock(core);
    reader_poll(core, until_us);
    core_lock(core);
    core->in_poll = false;
}

static struct worker *idle_top(struct core *core)
{
    struct node *n = list_first(&core->idle);
    return n == NULL ? NULL : NODE_OF(n, struct worker, idle);
}
