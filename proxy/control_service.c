/* SPDX-License-Identifier: MIT
 * What a service manager is told of this process (protocol/base/notify.h): that it
 * serves, reads its configuration, stops; how many app servers are up; and, when it
 * wants to know, that every edge thread's loop turns. */
#include <event2/event.h>

#include "protocol/base/log.h"
#include "protocol/base/notify.h"
#include "proxy/control_priv.h"

static bool is_ours_to_say(const struct control *c)
{
    return !c->is_replaced && notify_is_wanted();
}

/* ---- the watchdog ---- */

static void say_when_all_turned(struct control *c)
{
    for (uint32_t i = 0; i < c->edge_count; i++)
        if (c->edges[i].is_probed && !c->edges[i].is_stopped)
            return;
    if (is_ours_to_say(c))
        notify_say("WATCHDOG=1");
}

static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
    static const struct edge_order probe = {.kind = EDGE_PROBE};
    struct control *c = arg;
    (void)fd;
    (void)what;
    for (uint32_t i = 0; i < c->edge_count; i++) {
        struct edge_thread *e = &c->edges[i];
        if (e->is_probed && !e->is_stopped)
            log_warn(NULL, "edge thread %u does not answer: the watchdog is not told",
                     i);
        if (e->is_probed || e->is_stopped)
            continue;
        e->is_probed = true;
        control_order(e, &probe);
    }
    say_when_all_turned(c);
}

void control_service_turned(struct control *c, struct edge_thread *e)
{
    e->is_probed = false;
    say_when_all_turned(c);
}

static void start_watchdog(struct control *c)
{
    uint64_t half_us = notify_watchdog_us() / 2;
    struct timeval pause = {(time_t)(half_us / 1000000),
                            (suseconds_t)(half_us % 1000000)};
    if (half_us == 0)
        return;
    c->watchdog = event_new(c->base, -1, EV_PERSIST, on_watchdog, c);
    ASSERT(c->watchdog != NULL && event_add(c->watchdog, &pause) == 0);
}

/* ---- states ---- */

void control_service_ready(struct control *c)
{
    if (!is_ours_to_say(c))
        return;
    notify_say("READY=1\nSTATUS=serving");
    start_watchdog(c);
    control_service_look(c);
}

void control_service_reloading(struct control *c)
{
    if (is_ours_to_say(c))
        notify_reloading();
}

void control_service_reloaded(struct control *c, bool is_in_force)
{
    if (!is_ours_to_say(c))
        return;
    notify_say("READY=1\nSTATUS=%s", is_in_force ? "the configuration was read again"
                                                 : "reload: nothing has changed, "
                                                   "there are mistakes; see the log");
    if (is_in_force)
        control_service_look(c);
}

void control_service_stopping(struct control *c)
{
    if (is_ours_to_say(c))
        notify_say("STOPPING=1\nSTATUS=finishing what runs");
}

/* ---- app servers ---- */

void control_service_look(struct control *c)
{
    if (!is_ours_to_say(c) || !c->is_announced || c->is_stopping)
        return;
    c->must_look_again = c->is_looking;
    if (c->is_looking)
        return;
    c->is_looking = true;
    admin_look_at_backends(c->admin);
}

void control_service_backends(void *owner, uint32_t up, uint32_t wanted)
{
    struct control *c = owner;
    c->is_looking = false;
    if (is_ours_to_say(c) && !c->is_stopping)
        notify_say("STATUS=serving, app servers up: %u of %u", up, wanted);
    if (c->must_look_again)
        control_service_look(c);
}
