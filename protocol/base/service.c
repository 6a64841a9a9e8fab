/* SPDX-License-Identifier: MIT
 * READY=1 once; RELOADING=1 and READY=1 around a reload; STOPPING=1 at the end. */
#include "protocol/base/service.h"

#include "protocol/base/clock.h"
#include "protocol/base/notify.h"

void service_begin(struct service *s, enum service_watchdog watchdog)
{
    s->watchdog_us = watchdog == SERVICE_PINGS ? notify_watchdog_us() : 0;
    s->next_us = s->watchdog_us == 0 ? UINT64_MAX : clock_now_us();
}

static void say_status(struct service *s, const struct service_view *view)
{
    bool is_new = !s->was_ready && view->can_serve;
    bool is_over = s->was_reloading && !view->is_reloading;
    if (!is_new && !is_over && s->ready == view->ready)
        return;
    s->ready = view->ready;
    s->was_ready |= is_new;
    notify_say("%sSTATUS=workers ready: %u of %u", is_new || is_over ? "READY=1\n" : "",
               view->ready, view->all);
}

void service_step(struct service *s, const struct service_view *view)
{
    if (!notify_is_wanted())
        return;
    uint64_t now_us = clock_now_us();
    if (now_us >= s->next_us) {
        notify_say("WATCHDOG=1");
        s->next_us = now_us + s->watchdog_us / 2;
    }
    if (view->is_stopping && !s->was_stopping)
        notify_say("STOPPING=1\nSTATUS=finishing what runs");
    if (view->is_reloading && !s->was_reloading && s->was_ready)
        notify_reloading();
    if (!view->is_stopping)
        say_status(s, view);
    s->was_stopping = view->is_stopping;
    s->was_reloading = view->is_reloading;
}

uint64_t service_next_us(const struct service *s)
{
    return s->next_us;
}
