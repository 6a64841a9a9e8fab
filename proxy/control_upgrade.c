/* SPDX-License-Identifier: MIT
 * Replacing this process, and coming in place of another (successor.h, predecessor.h).
 * Both listen for a moment; nobody who connects is turned away. */
#include <event2/event.h>
#include <signal.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/base/notify.h"
#include "proxy/control_priv.h"

/* ---- the process that is replaced ---- */

static void on_ready(void *owner)
{
    struct control *c = owner;
    /* Nobody else may say so later: then it is not the main process any more. */
    notify_say("MAINPID=%d", (int)successor_pid(c->successor));
    successor_go(c->successor, &c->parent);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    struct control *c = arg;
    (void)fd;
    (void)what;
    log_warn(NULL, "--upgrade-timeout is over: stopping what still runs here");
    control_stop(c);
}

static void arm_timeout(struct control *c)
{
    double seconds = c->options->upgrade_timeout_s;
    struct timeval wait = {(time_t)seconds,
                           (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    c->upgrade_end = evtimer_new(c->base, on_timeout, c);
    ASSERT(c->upgrade_end != NULL && evtimer_add(c->upgrade_end, &wait) == 0);
}

static void on_serving(void *owner)
{
    static const struct edge_order order = {.kind = EDGE_LEAVE};
    struct control *c = owner;
    pid_t pid = successor_pid(c->successor);
    log_info(NULL, "pid %d has taken over: finishing what runs here, for at most %g s",
             (int)pid, c->options->upgrade_timeout_s);
    c->is_replaced = true;
    control_order_all(c, &order);
    bind_set_abandon(c->binds);
    bind_set_close(c->binds);
    admin_leave(c->admin, (int)pid);
    arm_timeout(c);
}

static void on_failed(void *owner, const char *reason)
{
    struct control *c = owner;
    log_error(NULL, "upgrade: %s", reason);
    log_error(NULL, "upgrade: this process goes on");
    notify_say("MAINPID=%d", (int)getpid());
    admin_thaw(c->admin, reason);
    successor_free(&c->successor);
}

static void pass_socket(void *arg, int fd, const char *name)
{
    successor_pass(arg, fd, name);
}

static bool refuse(const struct control *c, struct buf *message)
{
    if (c->is_replaced)
        buf_addf(message, "pid %d has taken over already",
                 (int)successor_pid(c->successor));
    else if (c->is_stopping)
        buf_addf(message, "the proxy is shutting down");
    else if (c->successor != NULL || c->predecessor_is_waiting)
        buf_addf(message, "an upgrade is under way");
    return c->is_replaced || c->is_stopping || c->successor != NULL ||
           c->predecessor_is_waiting;
}

bool control_upgrade(struct control *c, uint64_t patience_us, struct buf *ret_message)
{
    static const struct successor_events events = {on_ready, on_serving, on_failed};
    struct buf state;
    buf_init(&state, 0);
    if (refuse(c, ret_message) || !admin_freeze(c->admin, &state, ret_message)) {
        buf_fini(&state);
        return false;
    }
    const struct successor_options options = {
        .base = c->base,
        .argv = c->started->argv,
        .signals = &c->start_signals,
        .state = buf_slice(&state),
        .patience_us = patience_us,
        .events = &events,
        .owner = c,
    };
    c->successor = successor_new(&options);
    bind_set_tell_sockets(c->binds, pass_socket, c->successor);
    admin_tell_sockets(c->admin, pass_socket, c->successor);
    bool is_started = successor_start(c->successor, ret_message);
    if (is_started) {
        log_info(NULL, "upgrade: %s starts as pid %d", c->started->argv[0],
                 (int)successor_pid(c->successor));
    } else {
        admin_thaw(c->admin, NULL);
        successor_free(&c->successor);
    }
    buf_fini(&state);
    return is_started;
}

void control_upgrade_on_signal(struct control *c)
{
    struct buf message;
    buf_init(&message, 0);
    if (!control_upgrade(c, UPGRADE_PATIENCE_US, &message))
        log_error(NULL, "upgrade: %.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
}

void control_end_upgrade(struct control *c)
{
    if (c->successor == NULL || c->is_replaced)
        return;
    notify_say("MAINPID=%d", (int)getpid());
    admin_thaw(c->admin, "the proxy is shutting down");
    successor_free(&c->successor);
}

/* ---- the process that comes ---- */

static void on_go(void *owner, const struct parent *parent)
{
    struct control *c = owner;
    if (c->is_stopping)
        return; /* the predecessor goes on when we have ended */
    c->parent = *parent;
    c->predecessor_is_waiting = false;
    control_begin_listening(c);
    control_announce(c); /* whoever is told that we are ready hears it before its end */
    predecessor_say_serving(c->predecessor);
    log_set_up(&c->options->log);
}

static void on_orphaned(void *owner, int number)
{
    struct control *c = owner;
    (void)number;
    log_error(NULL, "the process that supervised this one has ended");
    control_end_at_once(c);
}

void control_meet_predecessor(struct control *c)
{
    c->parent = parent_of_this_process();
    c->predecessor = predecessor_new(c->inherited);
    c->predecessor_is_waiting = c->predecessor != NULL;
    if (c->predecessor == NULL)
        return;
    /* It hears our standard error, and nothing else, until we serve. */
    struct log_options log = c->options->log;
    log.output = "stderr";
    log_set_up(&log);
}

void control_backends_are_up(void *owner)
{
    static const struct predecessor_events events = {on_go, on_orphaned};
    struct control *c = owner;
    if (!c->is_stopping)
        predecessor_say_ready(c->predecessor, c->base, &events, c);
}

void control_give_back_sockets(struct control *c)
{
    if (!c->predecessor_is_waiting)
        return;
    if (c->binds != NULL)
        bind_set_give_back(c->binds);
    if (c->admin != NULL)
        admin_give_back_sockets(c->admin);
}
