/* SPDX-License-Identifier: MIT
 * A worker is a process of its own from here on. */
#include "appserver/child.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "appserver/master.h"
#include "protocol/base/log.h"

static void on_ignored_signal(int number)
{
    (void)number;
}

/* Signals that the terminal sends to all of us are the master's business. A handler,
 * not SIG_IGN: what the application executes starts with the default again. */
static void set_signals(const sigset_t *mask)
{
    struct sigaction ignore = {.sa_handler = on_ignored_signal, .sa_flags = SA_RESTART};
    sigset_t without = *mask;

    (void)sigaction(SIGINT, &ignore, NULL);
    (void)sigaction(SIGHUP, &ignore, NULL);
    sigaddset(&without, SIGTERM);
    (void)pthread_sigmask(SIG_SETMASK, &without, NULL);
}

/* Threads to come inherit it. */
static void use_batches(const struct app_options *options)
{
    static const struct sched_param no_priority;

    if (options->sched_batch && sched_setscheduler(0, SCHED_BATCH, &no_priority) != 0)
        log_debug(NULL, "no SCHED_BATCH: %s", strerror(errno));
}

void child_prepare(const struct app_options *options,
                   uint32_t number,
                   const sigset_t *mask)
{
    char name[16];

    (void)snprintf(name, sizeof name, "banyan-app-%u", number % 10000);
    (void)prctl(PR_SET_NAME, name);
    log_set_name(name + strlen("banyan-"));
    use_batches(options);
    set_signals(mask);
}

static void say(const struct worker_options *options, char word)
{
    (void)!write(options->words_fd, &word, 1);
}

void worker_say_prepared(const struct worker_options *options)
{
    say(options, WORD_PREPARED);
}

enum turn worker_turn(const struct worker_options *options, int stop_fd, int timeout_ms)
{
    struct pollfd stop_go[] = {
        {.fd = stop_fd, .events = POLLIN},
        {.fd = options->go_fd, .events = POLLIN},
    };

    if (options->go_fd < 0)
        return TURN_NOW;
    while (poll(stop_go, 2, timeout_ms) < 0 && errno == EINTR)
        continue;
    if (stop_go[0].revents != 0)
        return TURN_NEVER;
    return stop_go[1].revents != 0 ? TURN_NOW : TURN_LATER;
}

void worker_say_ready(const struct worker_options *options)
{
    say(options, WORD_READY);
}

void worker_say_spent(const struct worker_options *options)
{
    say(options, WORD_SPENT);
}
