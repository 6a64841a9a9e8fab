/* SPDX-License-Identifier: MIT
 * Threads, and who does what:
 *
 *   main           waits without the GIL, always: it must be able to end a process
 * whose GIL an extension module never gives back banyan-0 ..    threading.Thread each,
 * loop over core_next (crew.c) banyan-keeper  does for the core what needs the GIL:
 * starts threads, interrupts one */
#include <Python.h>

#include "appserver/wsgi/workers.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "appserver/core/core.h"
#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/interp.h"
#include "appserver/wsgi/crew.h"
#include "protocol/base/clock.h"
#include "protocol/base/log.h"

enum {
    MEMORY_CHECK_MS = 1000,
    DRAIN_STEP_US = 50 * 1000,
    FLUSH_US = 200 * 1000, /* for the last answers, when a stuck request never drains */
};
static const double JOIN_S = 5, END_S = 15; /* for threads, for all after the drain */

/* What the main thread is woken for. Written from signal handlers and any thread. */
static struct {
    int fd; /* eventfd */
    atomic_bool is_told;
    atomic_uint stuck;
    atomic_bool is_served_out;
} news = {.fd = -1};

static struct crew *make_crew(const struct app_options *o, PyObject *app);
static enum err
make_core(const struct worker_options *o, struct crew *crew, struct core **ret_core);
static bool begin(const struct worker_options *o, struct crew *crew, struct core *core);
static int wait_for_reason(const struct app_options *o);
static bool drain(const struct app_options *o, struct core *core);
static uint64_t pick_limit(const struct app_options *o);
static uint64_t resident_bytes(void);
static void on_served_out(void);
static void on_stuck_again(void *arg, const char *request_id);
static void take_sigterm(void);
static void wake_main(void);

int workers_run(const struct worker_options *options, PyObject *app)
{
    struct core *core = NULL;
    int code = EXIT_FAILURE;

    news.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct crew *crew = news.fd < 0 ? NULL : make_crew(options->app, app);
    if (crew == NULL)
        (void)failure_report(NULL, "starting");
    else if (make_core(options, crew, &core) == ERR_NONE &&
             begin(options, crew, core)) {
        GIL_YIELD;
        code = wait_for_reason(options->app);
        interp_end_within(options->app->graceful_timeout_s + END_S, code);
        if (!drain(options->app, core))
            _exit(code);
    }
    if (crew != NULL && core != NULL && !crew_join(crew, JOIN_S))
        _exit(code);
    if (core != NULL) {
        GIL_YIELD;
        core_free(&core);
    }
    crew_free(&crew);
    return code;
}

/* ---- starting ---- */

static struct crew *make_crew(const struct app_options *o, PyObject *app)
{
    int64_t most = o->threads_max > o->threads ? o->threads_max : o->threads;
    struct crew_options options = {
        .environ = {.is_multithread = most > 1, .is_multiprocess = o->processes > 1},
        .threads = (uint32_t)o->threads,
        .max_requests = pick_limit(o),
        .on_served_out = on_served_out,
    };

    return crew_new(app, &options);
}

/* The jitter keeps processes that started together from being replaced together. */
static uint64_t pick_limit(const struct app_options *o)
{
    uint64_t chance = 0;

    if (o->max_requests <= 0)
        return 0;
    if (o->max_requests_jitter > 0 && getrandom(&chance, sizeof chance, 0) > 0)
        chance %= (uint64_t)o->max_requests_jitter + 1;
    return (uint64_t)o->max_requests + chance;
}

static enum err
make_core(const struct worker_options *o, struct crew *crew, struct core **ret_core)
{
    const struct app_options *app = o->app;
    struct core_options options = {
        .endpoint = o->endpoint,
        .pool = app->pool,
        .interface = "wsgi",
        .threads = (uint32_t)app->threads,
        .threads_max = (uint32_t)(app->threads_max > app->threads ? app->threads_max
                                                                  : app->threads),
        .insecure = app->insecure,
        .processors = 1,
        .request_timeout_s = app->timeout_s,
    };
    struct core_events events = {
        .grow = crew_grow,
        .stuck = crew_interrupt,
        .stuck_again = on_stuck_again,
        .arg = crew,
    };

    GIL_YIELD;
    enum err e = core_new(&options, &events, ret_core);
    if (e != ERR_NONE)
        log_error(NULL, "cannot serve at %s: %s", o->endpoint,
                  e == ERR_SYSTEM ? strerror(errno) : err_text(e));
    return e;
}

/* False: it was reported. */
static bool begin(const struct worker_options *o, struct crew *crew, struct core *core)
{
    take_sigterm();
    if (!crew_start(crew, core)) {
        (void)failure_report(NULL, "starting the threads");
        core_drain(core);
        return false;
    }
    (void)!write(o->ready_fd, "r", 1);
    (void)close(o->ready_fd);
    return true;
}

/* ---- the main thread, without the GIL ---- */

/* Returns the exit code that goes with the reason. */
static int wait_for_reason(const struct app_options *o)
{
    uint64_t most_bytes = o->max_memory_bytes > 0 ? (uint64_t)o->max_memory_bytes : 0;

    for (;;) {
        struct pollfd fd = {.fd = news.fd, .events = POLLIN};
        (void)poll(&fd, 1, most_bytes > 0 ? MEMORY_CHECK_MS : -1);
        if (atomic_load(&news.is_told))
            return EXIT_SUCCESS;
        if (atomic_load(&news.stuck) > 0)
            return EXIT_RECYCLE;
        if (atomic_load(&news.is_served_out)) {
            log_info(NULL, "--max-requests is reached; draining");
            return EXIT_RECYCLE;
        }
        uint64_t bytes = most_bytes > 0 ? resident_bytes() : 0;
        if (bytes > most_bytes) {
            log_info(NULL, "%llu MiB of memory are more than --max-memory; draining",
                     (unsigned long long)(bytes >> 20));
            return EXIT_RECYCLE;
        }
    }
}

/* False: a thread is still inside the application. */
static bool drain(const struct app_options *o, struct core *core)
{
    uint64_t graceful_us = (uint64_t)(o->graceful_timeout_s * 1e6);
    uint64_t until_us = clock_now_us() + graceful_us;
    struct core_stats stats;

    core_drain(core);
    for (;;) {
        if (core_wait_drained(core, DRAIN_STEP_US))
            return true;
        core_stats(core, &stats);
        if (stats.running <= atomic_load(&news.stuck))
            break; /* all others are done */
        if (clock_now_us() >= until_us) {
            log_warn(NULL, "%u requests still run after the graceful timeout",
                     stats.running);
            break;
        }
    }
    return core_wait_drained(core, FLUSH_US);
}

/* Second field of statm: pages in memory. */
static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f != NULL) {
        if (fscanf(f, "%*u %llu", &pages) != 1)
            pages = 0;
        (void)fclose(f);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- news, from anywhere ---- */

static void wake_main(void)
{
    (void)!write(news.fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void on_served_out(void)
{
    atomic_store(&news.is_served_out, true);
    wake_main();
}

static void on_stuck_again(void *arg, const char *request_id)
{
    (void)arg;
    log_error(NULL,
              "%s: the application did not end the request; the process is replaced",
              request_id);
    atomic_fetch_add(&news.stuck, 1);
    wake_main();
}

static void on_sigterm(int number)
{
    int error = errno;

    /* Once or often: a service manager may tell the whole group while the master does.
     */
    (void)number;
    atomic_store(&news.is_told, true);
    wake_main();
    errno = error;
}

/* A handler, not a mask: programs that the application starts would inherit a blocked
 * SIGTERM. Set after the import, so that it stands whatever the application set. */
static void take_sigterm(void)
{
    struct sigaction action = {.sa_handler = on_sigterm, .sa_flags = SA_RESTART};
    sigset_t set;

    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
