/* SPDX-License-Identifier: MIT
 * Supervision: two children that are started together, restarted when they die, and
 * stopped in order: the proxy first, so that every request it accepted meets a living
 * application, then the app server. */
#include "deploy/banyan/serve.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deploy/banyan/child.h"
#include "deploy/banyan/formers.h"
#include "deploy/banyan/notices.h"
#include "deploy/banyan/rundir.h"
#include "deploy/banyan/serve_options.h"
#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/base/notify.h"
#include "protocol/base/program.h"
#include "protocol/base/service.h"

enum {
    PROXY,
    APP,
    CHILD_COUNT,

    SECOND_US = 1000 * 1000,
    EXIT_IMPORT = 3, /* of banyan-app */
};

/*   RUNNING -> DRAINING_PROXY -> DRAINING_APP -> (both gone)
 *      |              |               |
 *      +--------------+-------> ENDING, with no wait for running requests
 */
enum phase { RUNNING, DRAINING_PROXY, DRAINING_APP, ENDING };

struct serve {
    struct serve_options options;
    struct rundir *directory;
    struct child *children[CHILD_COUNT];
    bool was_up[CHILD_COUNT]; /* served at least once: its end is no failure to start */
    uint32_t ready_count;     /* different workers that were ready */
    int pids[SERVE_WORKERS_MAX];
    int signal_fd;
    sigset_t old_signals;
    enum phase phase;
    uint64_t graceful_end_us; /* of both drains together */
    uint64_t next_force_us;   /* then what still runs is pressed harder; 0: never */
    uint32_t forced;          /* how often it was */
    int exit_code;
    struct notices *notices; /* what the proxy says */
    pid_t coming;            /* the proxy that takes over when it is ready; 0: none */
    bool is_proxy_ready;
    struct formers *formers;
    struct service service;
};

static bool prepare(struct serve *s);
static bool add_children(struct serve *s, struct buf *message);
static void clean_up(struct serve *s);
static void run_loop(struct serve *s);
static void start_due(struct serve *s);
static void wait_for_news(struct serve *s);
static int next_timeout_ms(const struct serve *s);
static void read_ready_lines(struct serve *s);
static void read_notices(struct serve *s);
static void look_at_proxy(struct serve *s);
static void tell_service(struct serve *s, bool is_reloading);
static void on_worker_ready(struct serve *s, const char *line);
static void read_signals(struct serve *s);
static void reap_children(struct serve *s);
static void on_end(struct serve *s, int which, int status);
static void begin_stop(struct serve *s);
static void drain_app(struct serve *s);
static void end_now(struct serve *s, int exit_code);
static void force(struct serve *s);

int serve_main(int argc, char **argv)
{
    struct serve s = {.signal_fd = -1, .exit_code = 1};
    int code = 1;

    if (!serve_options_read(argc, argv, &s.options, &code))
        return code;
    if (prepare(&s))
        run_loop(&s);
    clean_up(&s);
    return s.exit_code;
}

/* ---- start and end ---- */

static bool prepare(struct serve *s)
{
    sigset_t signals;
    struct buf message;

    log_set_name("banyan");
    log_set_up(&s->options.log);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGUSR2);
    sigaddset(&signals, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, &signals, &s->old_signals);
    s->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0) {
        log_error(NULL, "signalfd: %s", strerror(errno));
        return false;
    }
    buf_init(&message, 0);
    /* A proxy that was replaced leaves its successor to us. */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    s->formers = formers_new();
    if (s->formers == NULL)
        buf_addf(&message, "cannot watch processes: %s", strerror(errno));
    else
        s->directory = rundir_new(&message);
    bool good = s->directory != NULL;
    if (good) {
        buf_clear(&message);
        s->notices = notices_new(rundir_path(s->directory), &message);
        good = s->notices != NULL && add_children(s, &message);
    }
    if (!good)
        log_error(NULL, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    if (!good)
        return false;
    log_info(NULL, "banyan %s", BANYAN_VERSION);
    log_info(NULL, "control: banyan --proxy %s/control.sock show backends",
             rundir_path(s->directory));
    log_info(NULL, "application %s (interface %s)", s->options.application,
             s->options.interface);
    s->exit_code = 0;
    return true;
}

/* Beside this program, where build and installation put them; else on PATH. */
static char *find_sibling(const char *name, struct buf *message)
{
    own(mem) char *directory = program_directory();
    own(mem) char *beside = mem_printf("%s/%s", directory, name);

    if (program_is(beside))
        return take(beside);
    char *found = program_find(name);
    if (found == NULL)
        buf_addf(message,
                 "%s is neither in %s nor on PATH; build or install the whole "
                 "project",
                 name, directory);
    return found;
}

static bool add_children(struct serve *s, struct buf *message)
{
    const char *directory = rundir_path(s->directory);
    own(mem) char *proxy = find_sibling("banyan-proxy", message);
    own(mem) char *app = proxy == NULL ? NULL : find_sibling("banyan-app", message);

    if (app == NULL)
        return false;
    s->children[PROXY] = child_new("proxy", proxy, CHILD_PLAIN);
    s->children[APP] = child_new("app server", app, CHILD_REPORTS);
    s->children[PROXY]->notify = notices_path(s->notices);
    s->children[PROXY]->watchdog_us = notify_watchdog_us();
    s->children[PROXY]->passed_files = notify_passed_files();
    serve_options_tell_proxy(&s->options, directory, s->children[PROXY]);
    serve_options_tell_app(&s->options, directory, s->children[APP]);
    return true;
}

static void clean_up(struct serve *s)
{
    for (int i = 0; i < CHILD_COUNT; i++)
        child_free(&s->children[i]);
    notices_free(&s->notices);
    formers_free(&s->formers);
    rundir_free(&s->directory);
    if (s->signal_fd >= 0)
        (void)close(s->signal_fd);
    (void)pthread_sigmask(SIG_SETMASK, &s->old_signals, NULL);
}

/* ---- the loop ---- */

static bool is_over(const struct serve *s)
{
    return s->phase != RUNNING && s->children[PROXY]->pid == 0 &&
           formers_count(s->formers) == 0 && s->children[APP]->pid == 0;
}

static void run_loop(struct serve *s)
{
    service_begin(&s->service, SERVICE_SILENT);
    while (!is_over(s)) {
        start_due(s);
        tell_service(s, false);
        wait_for_news(s);
        if (s->phase == DRAINING_PROXY && s->children[PROXY]->pid == 0 &&
            formers_count(s->formers) == 0)
            drain_app(s);
        force(s);
    }
}

static void start_due(struct serve *s)
{
    uint64_t now_us = clock_now_us();

    /* While the proxy drains, its requests still need the application. */
    for (int i = 0; i < CHILD_COUNT; i++) {
        struct child *child = s->children[i];
        bool wanted = s->phase == RUNNING || (i == APP && s->phase == DRAINING_PROXY);
        if (!wanted || child->pid != 0 || child->start_at_us > now_us)
            continue;
        if (!child_start(child, &s->old_signals)) {
            log_error(NULL, "cannot start the %s: %s", child->name, strerror(errno));
            child->start_at_us = now_us + backoff_next(&child->backoff, 0);
        } else if (i == PROXY) {
            log_info(NULL, "proxy pid %d", (int)child->pid);
        }
    }
}

static void wait_for_news(struct serve *s)
{
    struct pollfd fds[] = {
        {.fd = s->signal_fd, .events = POLLIN},
        {.fd = s->children[APP]->ready_fd, .events = POLLIN},
        {.fd = notices_fd(s->notices), .events = POLLIN},
        {.fd = s->children[PROXY]->pidfd, .events = POLLIN},
        {.fd = formers_fd(s->formers), .events = POLLIN},
    };

    if (poll(fds, sizeof fds / sizeof fds[0], next_timeout_ms(s)) <= 0)
        return;
    /* What was said before an end comes before it. */
    read_notices(s);
    if (fds[3].revents != 0)
        look_at_proxy(s);
    if (fds[4].revents != 0)
        formers_look(s->formers);
    if (fds[1].revents != 0)
        read_ready_lines(s);
    if (fds[0].revents != 0)
        read_signals(s);
}

static int next_timeout_ms(const struct serve *s)
{
    uint64_t next_us = s->next_force_us == 0 ? UINT64_MAX : s->next_force_us;

    for (int i = 0; i < CHILD_COUNT; i++) {
        const struct child *child = s->children[i];
        if (s->phase <= DRAINING_PROXY && child->pid == 0 &&
            child->start_at_us < next_us)
            next_us = child->start_at_us;
    }
    return clock_poll_ms(next_us);
}

/* ---- readiness ---- */

static void read_ready_lines(struct serve *s)
{
    struct buf line;

    buf_init(&line, 0);
    while (child_read_line(s->children[APP], &line)) {
        buf_add(&line, slice_of("", 1));
        on_worker_ready(s, buf_slice(&line).ptr);
    }
    buf_fini(&line);
}

/* "ready N PID ENDPOINT" */
static void on_worker_ready(struct serve *s, const char *line)
{
    char *at;

    if (strncmp(line, "ready ", 6) != 0)
        return;
    unsigned long number = strtoul(line + 6, &at, 10);
    long pid = strtol(at, &at, 10);
    if (number >= (unsigned long)s->options.workers)
        return;
    s->was_up[APP] = true;
    if (s->pids[number] == 0)
        s->ready_count++;
    bool first = s->pids[number] == 0;
    s->pids[number] = (int)pid;
    if (!first || s->ready_count < (uint32_t)s->options.workers)
        return;
    struct buf text;
    buf_init(&text, 0);
    for (int64_t n = 0; n < s->options.workers; n++)
        buf_addf(&text, " %d", s->pids[n]);
    log_info(NULL, "workers %" PRId64 " x %" PRId64 " threads, pids%.*s",
             s->options.workers, s->options.threads, SLICE_FMT(buf_slice(&text)));
    buf_fini(&text);
}

/* ---- what the proxy says ---- */

static void tell_service(struct serve *s, bool is_reloading)
{
    struct service_view view = {
        .ready = s->ready_count,
        .all = (uint32_t)s->options.workers,
        .can_serve = s->is_proxy_ready && s->ready_count > 0,
        .is_reloading = is_reloading,
        .is_stopping = s->phase != RUNNING,
    };
    service_step(&s->service, &view);
}

static void follow_new_proxy(struct serve *s)
{
    struct child *proxy = s->children[PROXY];
    pid_t before = proxy->pid;
    if (!child_follow(proxy, s->coming)) {
        log_error(NULL, "proxy pid %d: %s", (int)s->coming, strerror(errno));
        return;
    }
    formers_add(s->formers, before);
    log_info(NULL, "proxy pid %d, in place of pid %d", (int)s->coming, (int)before);
    s->coming = 0;
}

static void on_notice(struct serve *s, pid_t from, struct slice text)
{
    struct child *proxy = s->children[PROXY];
    char number[16] = "";
    struct slice main_pid = notice_value(text, "MAINPID");
    if (main_pid.len > 0 && main_pid.len < sizeof number && from == proxy->pid) {
        memcpy(number, main_pid.ptr, main_pid.len);
        pid_t pid = (pid_t)strtol(number, NULL, 10);
        s->coming = pid == from ? 0 : pid;
    }
    if (notice_value(text, "READY").len > 0 && from != 0 && from == s->coming)
        follow_new_proxy(s);
    if (from != proxy->pid)
        return;
    s->is_proxy_ready |= notice_value(text, "READY").len > 0;
    if (notice_value(text, "WATCHDOG").len > 0)
        notify_say("WATCHDOG=1");
}

static void read_notices(struct serve *s)
{
    struct buf text;
    pid_t from;
    buf_init(&text, 0);
    while (notices_read(s->notices, &from, &text))
        on_notice(s, from, buf_slice(&text));
    buf_fini(&text);
}

/* One that we did not start has ended; whether we are to reap it, or the one before
 * it. */
static void look_at_proxy(struct serve *s)
{
    int status;
    pid_t pid = s->children[PROXY]->pid;
    if (pid != 0 && process_reap(pid, &status))
        on_end(s, PROXY, status);
}

/* ---- signals and deaths ---- */

static void on_stop_signal(struct serve *s, int number)
{
    if (s->phase == RUNNING) {
        log_info(NULL, "stopping on SIG%s", sigabbrev_np(number));
        begin_stop(s);
    } else {
        log_warn(NULL, "stopping at once on a second SIG%s", sigabbrev_np(number));
        end_now(s, s->exit_code);
    }
}

static void read_signals(struct serve *s)
{
    struct signalfd_siginfo info;
    bool died = false;

    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGCHLD:
            died = true;
            break;
        case SIGHUP:
            tell_service(s, true);
            child_signal(s->children[APP], SIGHUP);
            break;
        case SIGUSR2:
            child_signal(s->children[PROXY], SIGUSR2);
            break;
        case SIGUSR1:
            child_signal(s->children[PROXY], SIGUSR1);
            break;
        default:
            on_stop_signal(s, (int)info.ssi_signo);
        }
    }
    if (died)
        reap_children(s);
}

static void reap_children(struct serve *s)
{
    pid_t pid;
    int status;

    /* All children of this process are ours, or orphans that came to us as PID 1. */
    while ((pid = process_reap_any(&status)) != 0) {
        for (int i = 0; i < CHILD_COUNT; i++) {
            if (s->children[i]->pid == pid)
                on_end(s, i, status);
        }
    }
}

static void on_end(struct serve *s, int which, int status)
{
    struct child *child = s->children[which];
    uint64_t alive_us = clock_now_us() - child->started_us;
    pid_t pid = child->pid;
    char reason[PROCESS_REASON_BYTES];

    if (which == APP)
        read_ready_lines(s);
    else {
        s->is_proxy_ready = false;
        s->coming = 0;
    }
    process_reason(status, reason);
    bool asked = s->phase == ENDING || s->phase == DRAINING_APP ||
                 (which == PROXY && s->phase == DRAINING_PROXY);
    if (asked) {
        child_ended(child, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            log_info(NULL, "%s (pid %d) stopped", child->name, (int)pid);
        else if (s->phase != ENDING)
            log_warn(NULL, "%s (pid %d) %s", child->name, (int)pid, reason);
        return;
    }
    /* A program that gives up while it starts has said why, and would again. */
    bool was_up = s->was_up[which] || (which == PROXY && alive_us >= BACKOFF_RESET_US);
    s->was_up[which] = was_up;
    if (!was_up && WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        child_ended(child, 0);
        log_error(NULL, "%s (pid %d) %s; stopping", child->name, (int)pid,
                  WEXITSTATUS(status) == EXIT_IMPORT && which == APP
                      ? "could not start the application"
                      : reason);
        end_now(s, WEXITSTATUS(status));
        return;
    }
    uint64_t delay_us = backoff_next(&child->backoff, alive_us);
    child_ended(child, delay_us);
    if (delay_us == 0)
        log_warn(NULL, "%s (pid %d) %s; restarting", child->name, (int)pid, reason);
    else
        log_warn(NULL, "%s (pid %d) %s; restarting in %.1f s", child->name, (int)pid,
                 reason, (double)delay_us / 1e6);
}

/* ---- stopping ---- */

static void begin_stop(struct serve *s)
{
    s->phase = DRAINING_PROXY;
    s->graceful_end_us =
        clock_now_us() + (uint64_t)(s->options.graceful_timeout_s * 1e6);
    /* The proxy has the same timeout: it comes to an end by itself. */
    s->next_force_us = s->graceful_end_us + SECOND_US;
    child_signal(s->children[PROXY], SIGTERM);
    formers_signal(s->formers, SIGTERM);
}

static void drain_app(struct serve *s)
{
    uint64_t now_us = clock_now_us();

    s->phase = DRAINING_APP;
    s->next_force_us =
        (s->graceful_end_us > now_us ? s->graceful_end_us : now_us) + SECOND_US;
    s->forced = 0;
    child_signal(s->children[APP], SIGTERM);
}

/* Two different signals: two of one kind might arrive as one. */
static void signal_twice(const struct child *child)
{
    child_signal(child, SIGTERM);
    child_signal(child, SIGINT);
}

static void end_now(struct serve *s, int exit_code)
{
    s->phase = ENDING;
    s->exit_code = exit_code;
    s->forced = 1;
    s->next_force_us = clock_now_us() + SECOND_US;
    for (int i = 0; i < CHILD_COUNT; i++)
        signal_twice(s->children[i]);
    formers_signal(s->formers, SIGKILL);
}

static void force(struct serve *s)
{
    if (s->next_force_us == 0 || clock_now_us() < s->next_force_us)
        return;
    s->next_force_us = clock_now_us() + SECOND_US;
    for (int i = 0; i < CHILD_COUNT; i++) {
        struct child *child = s->children[i];
        if (child->pid == 0 || (i == APP && s->phase == DRAINING_PROXY))
            continue;
        log_warn(NULL, "%s (pid %d) does not stop; %s", child->name, (int)child->pid,
                 s->forced == 0 ? "stopping it at once" : "killing it");
        if (s->forced == 0)
            signal_twice(child);
        else
            child_signal(child, SIGKILL);
    }
    formers_signal(s->formers, s->forced == 0 ? SIGTERM : SIGKILL);
    s->forced++;
}
