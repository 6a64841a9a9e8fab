/* SPDX-License-Identifier: MIT
 * One loop: wait for a signal, a death or a worker that became ready; then bring the
 * slots to where they should be. Everything that is decided about a worker is decided
 * here. */
#include "appserver/master_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "appserver/child.h"
#include "appserver/endpoint.h"
#include "appserver/identity.h"
#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"

static bool master_init(struct master *m);
static void master_fini(struct master *m);
static void run_loop(struct master *m);
static void start_due(struct master *m);
static void start_slot(struct master *m, struct slot *slot);
static pid_t
fork_worker(struct master *m, struct slot *slot, int go_fd, int *ret_words_fd);
NO_RETURN static void
run_worker(struct master *m, struct slot *slot, int words_fd, int go_fd);
static void wait_for_news(struct master *m);
static int next_timeout_ms(const struct master *m);
static void read_signals(struct master *m);
static void on_stop_signal(struct master *m, int number);
static void on_word(struct master *m, struct slot *slot);
static void on_ready(struct master *m, struct slot *slot);
static void reap_workers(struct master *m);
static void on_end(struct master *m, struct slot *slot, int status);
static void stop_all(struct master *m, int exit_code);
static void kill_overdue(struct master *m);
static void drop_done(struct master *m);

int master_run(const struct app_options *options, const struct master_hooks *hooks)
{
    struct master m = {
        .options = options,
        .hooks = hooks,
        .signal_fd = -1,
        .report_fd = (int)options->ready_fd,
        .registrar = registrar_new(options),
    };

    if (master_init(&m))
        run_loop(&m);
    master_fini(&m);
    return m.exit_code;
}

/* ---- start and end ---- */

static bool master_init(struct master *m)
{
    log_set_name("app");
    log_set_up(&m->options->log);
    (void)prctl(PR_SET_NAME, "banyan-app");
    (void)signal(SIGPIPE, SIG_IGN);
    m->exit_code = 1;
    sigemptyset(&m->signals);
    sigaddset(&m->signals, SIGTERM);
    sigaddset(&m->signals, SIGINT);
    sigaddset(&m->signals, SIGHUP);
    sigaddset(&m->signals, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, &m->signals, &m->old_signals);
    m->signal_fd = signalfd(-1, &m->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (m->signal_fd < 0) {
        log_error(NULL, "signalfd: %s", strerror(errno));
        return false;
    }
    if (m->report_fd >= 0)
        (void)fcntl(m->report_fd, F_SETFD, FD_CLOEXEC);
    if (!identity_open(m->options, &m->keys))
        return false;
    registrar_use_keys(m->registrar, m->keys);
    registrar_step(m->registrar, m->slots, 0); /* before anything is imported */
    if (m->options->chdir != NULL && chdir(m->options->chdir) != 0) {
        log_error(NULL, "--chdir %s: %s", m->options->chdir, strerror(errno));
        return false;
    }
    if (m->options->preload && m->hooks->preload != NULL &&
        !m->hooks->preload(m->options)) {
        m->exit_code = EXIT_IMPORT;
        return false;
    }
    m->exit_code = 0;
    if (!master_add_generation(m)) {
        m->exit_code = 1;
        return false;
    }
    return true;
}

static void master_fini(struct master *m)
{
    registrar_free(&m->registrar);
    for (uint32_t i = 0; i < m->slot_count; i++)
        slot_free(&m->slots[i]);
    mem_free(&m->slots);
    keys_free(&m->keys);
    if (m->signal_fd >= 0)
        (void)close(m->signal_fd);
    (void)pthread_sigmask(SIG_SETMASK, &m->old_signals, NULL);
}

/* The workers read them again as well: those of removed keys must not wait for their
 * successors. */
bool master_reread_keys(struct master *m)
{
    if (!identity_reread(m->keys))
        return false;
    for (uint32_t i = 0; i < m->slot_count; i++)
        slot_reread(m->slots[i]);
    registrar_reread(m->registrar);
    return true;
}

bool master_add_generation(struct master *m)
{
    uint32_t count = (uint32_t)m->options->processes;

    m->slots = mem_realloc(m->slots, (m->slot_count + count) * sizeof *m->slots);
    m->generation++;
    for (uint32_t n = 0; n < count; n++) {
        struct slot *slot = slot_new(m->options->bind, n, m->generation);
        if (slot == NULL) {
            log_error(NULL, "--bind %s: no port is left for process %u",
                      m->options->bind, n);
            while (n-- > 0)
                slot_free(&m->slots[--m->slot_count]);
            m->generation--;
            return false;
        }
        m->slots[m->slot_count++] = slot;
    }
    return true;
}

/* ---- the loop ---- */

static void tell_service(struct master *m)
{
    struct service_view view = {
        .ready = slots_ready(m->slots, m->slot_count),
        .all = (uint32_t)m->options->processes,
        .is_reloading = m->roll != ROLL_NONE,
        .is_stopping = m->stopping,
    };
    view.can_serve = view.ready > 0;
    service_step(&m->service, &view);
}

static void run_loop(struct master *m)
{
    service_begin(&m->service, SERVICE_PINGS);
    while (m->slot_count > 0) {
        tell_service(m);
        registrar_step(m->registrar, m->slots, m->slot_count);
        start_due(m);
        wait_for_news(m);
        roll_advance(m);
        kill_overdue(m);
        drop_done(m);
    }
}

static void start_due(struct master *m)
{
    uint64_t now_us = clock_now_us();

    for (uint32_t i = 0; i < m->slot_count; i++) {
        struct slot *slot = m->slots[i];
        if (slot->state == SLOT_WAITING && slot->start_at_us <= now_us)
            start_slot(m, slot);
    }
}

static void start_slot(struct master *m, struct slot *slot)
{
    int words_fd;
    pid_t pid = fork_worker(m, slot, -1, &words_fd);
    if (pid < 0)
        slot->start_at_us = clock_now_us() + backoff_next(&slot->backoff, 0);
    else
        slot_started(slot, pid, words_fd);
}

/* False: it was said why. */
bool master_start_next(struct master *m, struct slot *slot)
{
    int words_fd, go_fd = eventfd(0, EFD_CLOEXEC);
    if (go_fd < 0) {
        log_error(NULL, "worker %u: eventfd: %s", slot->number, strerror(errno));
        return false;
    }
    pid_t pid = fork_worker(m, slot, go_fd, &words_fd);
    if (pid < 0)
        (void)close(go_fd);
    else
        slot_prepare(slot, pid, words_fd, go_fd);
    return pid >= 0;
}

/* -1: it was said why. */
static pid_t
fork_worker(struct master *m, struct slot *slot, int go_fd, int *ret_words_fd)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) != 0) {
        log_error(NULL, "worker %u: pipe: %s", slot->number, strerror(errno));
        return -1;
    }
    pid_t parent = getpid();
    if (m->hooks->before_fork != NULL)
        m->hooks->before_fork();
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(fds[0]);
        if (!process_die_with(parent, SIGKILL))
            _exit(1);
        run_worker(m, slot, fds[1], go_fd);
    }
    int error = errno;
    if (m->hooks->after_fork_parent != NULL)
        m->hooks->after_fork_parent();
    (void)close(fds[1]);
    *ret_words_fd = fds[0];
    if (pid < 0) {
        (void)close(fds[0]);
        log_error(NULL, "worker %u: fork: %s", slot->number, strerror(error));
    }
    return pid;
}

static void run_worker(struct master *m, struct slot *slot, int words_fd, int go_fd)
{
    (void)close(m->signal_fd);
    if (m->report_fd >= 0)
        (void)close(m->report_fd);
    registrar_leave(m->registrar);
    for (uint32_t i = 0; i < m->slot_count; i++) {
        if (m->slots[i]->words_fd >= 0)
            (void)close(m->slots[i]->words_fd);
        if (m->slots[i] != slot && m->slots[i]->reread_fd >= 0)
            (void)close(m->slots[i]->reread_fd);
        if (m->slots[i]->next.words_fd >= 0)
            (void)close(m->slots[i]->next.words_fd);
        if (m->slots[i]->next.go_fd >= 0)
            (void)close(m->slots[i]->next.go_fd);
    }
    if (m->keys != NULL)
        keys_forked(m->keys);
    child_prepare(m->options, slot->number, &m->old_signals);
    if (m->hooks->after_fork_child != NULL)
        m->hooks->after_fork_child();

    struct worker_options worker = {
        .app = m->options,
        .number = slot->number,
        .generation = slot->generation,
        .endpoint = slot->endpoint,
        .words_fd = words_fd,
        .go_fd = go_fd,
        .keys = m->keys,
        .reread_fd = slot->reread_fd,
    };
    int code = m->hooks->work(&worker);
    (void)fflush(NULL);
    _exit(code);
}

/* ---- news ---- */

static void wait_for_news(struct master *m)
{
    uint32_t count = m->slot_count;
    own(mem) struct pollfd *all = mem_zalloc((2 * count + 2) * sizeof *all);
    struct pollfd *signals = all, *registrar = all + 1, *fds = all + 2;
    struct pollfd *nexts = fds + count;

    *signals = (struct pollfd){.fd = m->signal_fd, .events = POLLIN};
    *registrar = (struct pollfd){.fd = registrar_fd(m->registrar), .events = POLLIN};
    for (uint32_t i = 0; i < count; i++) {
        fds[i] = (struct pollfd){.fd = m->slots[i]->words_fd, .events = POLLIN};
        nexts[i] = (struct pollfd){.fd = m->slots[i]->next.words_fd, .events = POLLIN};
    }

    int timeout_ms = next_timeout_ms(m);
    if (m->hooks->wait_begin != NULL)
        m->hooks->wait_begin();
    int got = poll(all, 2 * count + 2, timeout_ms);
    if (m->hooks->wait_end != NULL)
        m->hooks->wait_end();
    if (got <= 0)
        return;
    /* Readiness first: a worker may become ready and die in one turn. */
    for (uint32_t i = 0; i < count; i++) {
        if (fds[i].revents != 0)
            on_word(m, m->slots[i]);
        if (nexts[i].revents != 0)
            slot_hear_next(m->slots[i]);
    }
    if (signals->revents != 0)
        read_signals(m);
}

static int next_timeout_ms(const struct master *m)
{
    uint64_t next_us = registrar_next_us(m->registrar, m->slots, m->slot_count);
    uint64_t others_us[] = {service_next_us(&m->service), roll_next_us(m)};
    for (size_t i = 0; i < sizeof others_us / sizeof others_us[0]; i++)
        if (others_us[i] < next_us)
            next_us = others_us[i];
    for (uint32_t i = 0; i < m->slot_count; i++) {
        const struct slot *slot = m->slots[i];
        if (slot->state == SLOT_WAITING && slot->start_at_us < next_us)
            next_us = slot->start_at_us;
        if (slot->kill_at_us != 0 && slot->kill_at_us < next_us)
            next_us = slot->kill_at_us;
        if (slot->next.kill_at_us != 0 && slot->next.kill_at_us < next_us)
            next_us = slot->next.kill_at_us;
    }
    return clock_poll_ms(next_us);
}

static void read_signals(struct master *m)
{
    struct signalfd_siginfo info;
    bool died = false;

    /* What to do first, then the dead: a worker that ends because of the signal is not
     * a surprise. */
    while (read(m->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            died = true;
        else if (info.ssi_signo == SIGHUP)
            roll_begin(m);
        else
            on_stop_signal(m, (int)info.ssi_signo);
    }
    if (died)
        reap_workers(m);
}

static void on_stop_signal(struct master *m, int number)
{
    if (!m->stopping) {
        log_info(NULL, "stopping on SIG%s", sigabbrev_np(number));
        stop_all(m, 0);
        return;
    }
    log_warn(NULL, "stopping at once on a second SIG%s", sigabbrev_np(number));
    for (uint32_t i = 0; i < m->slot_count; i++) {
        slot_kill(m->slots[i]);
        slot_kill_next(m->slots[i]);
    }
}

static void on_word(struct master *m, struct slot *slot)
{
    char word = slot_hear(slot);
    if (word == WORD_READY)
        on_ready(m, slot);
    else if (word == WORD_SPENT)
        log_info(NULL, "worker %u (pid %d) asks to be replaced", slot->number,
                 (int)slot->pid);
}

static void on_ready(struct master *m, struct slot *slot)
{
    log_info(NULL, "worker %u (pid %d) is ready on %s", slot->number, (int)slot->pid,
             slot->endpoint);
    registrar_on_ready(m->registrar, slot);
    struct pollfd reader = {.fd = m->report_fd, .events = POLLOUT};
    /* None, or one that reads nothing: that must not stop the loop. */
    if (m->report_fd < 0 || poll(&reader, 1, 0) != 1)
        return;
    own(mem) char *line =
        mem_printf("ready %u %d %s\n", slot->number, (int)slot->pid, slot->endpoint);
    ssize_t length = (ssize_t)strlen(line);
    if (write(m->report_fd, line, (size_t)length) != length) {
        /* Whoever asked does not listen any more. */
        (void)close(m->report_fd);
        m->report_fd = -1;
    }
}

static struct slot *find_slot(const struct master *m, pid_t pid)
{
    for (uint32_t i = 0; i < m->slot_count; i++) {
        if (m->slots[i]->pid == pid || m->slots[i]->next.pid == pid)
            return m->slots[i];
    }
    return NULL;
}

static void reap_workers(struct master *m)
{
    int status;

    if (getpid() == 1) {
        pid_t pid;
        while ((pid = process_reap_any(&status)) != 0) {
            struct slot *slot = find_slot(m, pid);
            if (slot != NULL && slot->next.pid == pid)
                roll_next_ended(m, slot, status);
            else if (slot != NULL)
                on_end(m, slot, status);
            else
                (void)registrar_ended(m->registrar, pid, status);
        }
        return;
    }
    (void)registrar_reap(m->registrar);
    for (uint32_t i = 0; i < m->slot_count; i++) {
        struct slot *slot = m->slots[i];
        if (slot->next.pid != 0 && process_reap(slot->next.pid, &status))
            roll_next_ended(m, slot, status);
        if (slot->pid != 0 && process_reap(slot->pid, &status))
            on_end(m, slot, status);
    }
}

static void on_end(struct master *m, struct slot *slot, int status)
{
    uint64_t alive_us = clock_now_us() - slot->started_us;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    bool asked = slot->state == SLOT_STOPPING;
    bool was_ready = slot->state == SLOT_READY;
    pid_t pid = slot->pid;
    char reason[PROCESS_REASON_BYTES];

    process_reason(status, reason);
    registrar_on_end(m->registrar, slot);
    if (asked) {
        log_info(NULL, "worker %u (pid %d) %s", slot->number, (int)pid, reason);
        slot_ended(slot, 0);
        return;
    }
    if (code == EXIT_IMPORT && m->generation == 1 && !slot->was_ready) {
        log_error(NULL, "worker %u (pid %d) could not start %s; stopping", slot->number,
                  (int)pid, m->options->application);
        slot_retire(slot, master_kill_time(m));
        slot_ended(slot, 0);
        stop_all(m, EXIT_IMPORT);
        return;
    }
    if (code == EXIT_STUCK && was_ready) {
        log_info(NULL, "worker %u (pid %d) was stuck; restarting", slot->number,
                 (int)pid);
        slot_ended(slot, 0);
        return;
    }
    uint64_t delay_us = backoff_next(&slot->backoff, alive_us);
    if (code == EXIT_IMPORT)
        (void)snprintf(reason, sizeof reason, "could not start the application");
    if (slot->retired)
        log_warn(NULL, "worker %u (pid %d) %s", slot->number, (int)pid, reason);
    else if (delay_us == 0)
        log_warn(NULL, "worker %u (pid %d) %s; restarting", slot->number, (int)pid,
                 reason);
    else
        log_warn(NULL, "worker %u (pid %d) %s; restarting in %.1f s", slot->number,
                 (int)pid, reason, (double)delay_us / 1e6);
    slot_ended(slot, delay_us);
    if (!was_ready)
        roll_fail(m, slot);
}

/* ---- stopping ---- */

static void stop_all(struct master *m, int exit_code)
{
    m->stopping = true;
    m->roll = ROLL_NONE;
    m->exit_code = exit_code;
    for (uint32_t i = 0; i < m->slot_count; i++) {
        slot_retire(m->slots[i], master_kill_time(m));
        registrar_stop(m->registrar, m->slots[i], master_kill_time(m));
    }
}

static bool
is_overdue(const struct master *m, const struct slot *slot, pid_t pid, uint64_t at_us)
{
    if (at_us == 0 || at_us > clock_now_us())
        return false;
    log_warn(NULL, "worker %u (pid %d) did not stop within %g s; killing it",
             slot->number, (int)pid, m->options->graceful_timeout_s);
    return true;
}

static void kill_overdue(struct master *m)
{
    for (uint32_t i = 0; i < m->slot_count; i++) {
        struct slot *slot = m->slots[i];
        if (is_overdue(m, slot, slot->pid, slot->kill_at_us))
            slot_kill(slot);
        if (is_overdue(m, slot, slot->next.pid, slot->next.kill_at_us))
            slot_kill_next(slot);
    }
}

static void drop_done(struct master *m)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < m->slot_count; i++) {
        if (m->slots[i]->state == SLOT_DONE && m->slots[i]->next.pid == 0)
            slot_free(&m->slots[i]);
        else
            m->slots[kept++] = m->slots[i];
    }
    m->slot_count = kept;
}
