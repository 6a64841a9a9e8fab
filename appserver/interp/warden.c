/* SPDX-License-Identifier: MIT */
#include "appserver/interp/warden.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base/clock.h"
#include "protocol/base/log.h"

enum {
    MEMORY_CHECK_US = 1000 * 1000,
    DRAIN_STEP_US = 50 * 1000,
    FLUSH_US = 200 * 1000, /* for the last answers, when a stuck request never drains */
};
static const double END_S = 15; /* for all that is not the drain */

/* What the warden is woken for. Written from signal handlers and any thread. */
static struct {
    int fd;    /* eventfd */
    pid_t pid; /* whose it is */
    atomic_bool is_told;
    atomic_uint stuck;
    atomic_bool is_served_out;
} news = {.fd = -1};

static int wait_for_reason(const struct worker_options *o);
static int look_again_ms(const struct app_options *o, uint64_t old_at_us);
static bool is_spent(const struct app_options *o, uint64_t old_at_us);
static void end_within(double seconds, int code);
static void *end_process(void *arg);
static uint64_t resident_bytes(void);
static void on_sigterm(int number);
static void wake(void);

bool warden_init(void)
{
    news.pid = getpid();
    news.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return news.fd >= 0;
}

void warden_take_sigterm(void)
{
    struct sigaction action = {.sa_handler = on_sigterm, .sa_flags = SA_RESTART};
    sigset_t set;

    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int warden_fd(void)
{
    return news.fd;
}

uint64_t warden_pick_limit(const struct app_options *o)
{
    uint64_t chance = 0;

    if (o->max_requests <= 0)
        return 0;
    if (o->max_requests_jitter > 0 && getrandom(&chance, sizeof chance, 0) > 0)
        chance %= (uint64_t)o->max_requests_jitter + 1;
    return (uint64_t)o->max_requests + chance;
}

int warden_wait(const struct worker_options *o)
{
    int code = wait_for_reason(o);

    end_within(o->app->graceful_timeout_s + END_S, code);
    return code;
}

void warden_end_soon(int code)
{
    end_within(END_S, code);
}

/* Returns the exit code that goes with the reason. */
static int wait_for_reason(const struct worker_options *o)
{
    uint64_t age_us = (uint64_t)(o->app->max_age_s * 1e6);
    uint64_t old_at_us = age_us == 0 ? UINT64_MAX : clock_now_us() + age_us;
    bool has_asked = false;
    eventfd_t ignored;

    for (;;) {
        struct pollfd fd = {.fd = news.fd, .events = POLLIN};
        (void)poll(&fd, 1, has_asked ? -1 : look_again_ms(o->app, old_at_us));
        (void)eventfd_read(news.fd, &ignored);
        if (atomic_load(&news.is_told))
            return EXIT_SUCCESS;
        if (atomic_load(&news.stuck) > 0)
            return EXIT_STUCK;
        if (!has_asked && is_spent(o->app, old_at_us)) {
            worker_say_spent(o);
            has_asked = true;
        }
    }
}

static int look_again_ms(const struct app_options *o, uint64_t old_at_us)
{
    uint64_t check_us = clock_now_us() + MEMORY_CHECK_US;

    return clock_poll_ms(o->max_memory_bytes > 0 && check_us < old_at_us ? check_us
                                                                         : old_at_us);
}

/* It was said why. */
static bool is_spent(const struct app_options *o, uint64_t old_at_us)
{
    if (atomic_load(&news.is_served_out)) {
        log_info(NULL, "--max-requests is reached");
        return true;
    }
    if (clock_now_us() >= old_at_us) {
        log_info(NULL, "--max-age is reached");
        return true;
    }
    if (o->max_memory_bytes <= 0)
        return false;
    uint64_t bytes = resident_bytes();
    if (bytes <= (uint64_t)o->max_memory_bytes)
        return false;
    log_info(NULL, "%llu MiB of memory are more than --max-memory",
             (unsigned long long)(bytes >> 20));
    return true;
}

bool warden_drain(const struct app_options *o, struct core *core)
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
    return warden_flush(core);
}

bool warden_flush(struct core *core)
{
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

void warden_served_out(void)
{
    atomic_store(&news.is_served_out, true);
    wake();
}

void warden_stuck(void *unused, const char *request_id)
{
    (void)unused;
    if (request_id[0] == '\0')
        log_error(NULL, "the event loop does not turn; the process is replaced");
    else
        log_error(
            NULL,
            "%s: the application did not end the request; the process is replaced",
            request_id);
    atomic_fetch_add(&news.stuck, 1);
    wake();
}

unsigned warden_stuck_count(void)
{
    return atomic_load(&news.stuck);
}

static void on_sigterm(int number)
{
    int error = errno;

    if (getpid() != news.pid) { /* forked by the application (multiprocessing) */
        (void)signal(number, SIG_DFL);
        (void)raise(number);
        return;
    }
    /* Once or often: a service manager may tell the whole group while the master does.
     */
    atomic_store(&news.is_told, true);
    wake();
    errno = error;
}

static void wake(void)
{
    (void)!write(news.fd, &(uint64_t){1}, sizeof(uint64_t));
}

/* ---- the end, whatever happens ---- */

struct ending {
    double seconds;
    int code;
};

/* The process ends with `code` at the latest after so long. */
static void end_within(double seconds, int code)
{
    static struct ending ending; /* read by the thread until the process ends */
    pthread_t thread;

    ending = (struct ending){.seconds = seconds, .code = code};
    if (pthread_create(&thread, NULL, end_process, &ending) == 0)
        (void)pthread_detach(thread);
}

/* A thread or an atexit function of the application that never ends must not keep the
 * process. */
static void *end_process(void *arg)
{
    const struct ending *ending = arg;
    double whole = (double)(time_t)ending->seconds;
    struct timespec left = {
        .tv_sec = (time_t)ending->seconds,
        .tv_nsec = (long)((ending->seconds - whole) * 1e9),
    };

    while (nanosleep(&left, &left) != 0)
        continue;
    _exit(ending->code);
}
