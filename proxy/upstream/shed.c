/* SPDX-License-Identifier: MIT
 * How many leave the queue is counted in spans of an interval: from the moment that the
 * delay is beyond the target, so that it is what the app servers can do, not what they
 * were asked to. */
#include "proxy/upstream/shed.h"

/* Of the target, so that hardly anybody comes to wait for all of it. */
static const double SHARE = 0.8;

void shed_init(struct shed *s, uint64_t target_us, uint64_t interval_us)
{
    *s = (struct shed){.target_us = target_us, .interval_us = interval_us};
}

void shed_reset(struct shed *s)
{
    shed_init(s, s->target_us, s->interval_us);
}

/* The times of one turn of the loop are not all read at once. */
static uint64_t passed(uint64_t since_us, uint64_t now_us)
{
    return now_us > since_us ? now_us - since_us : 0;
}

static void measure(struct shed *s, uint64_t now_us)
{
    double per_us = s->left / (double)passed(s->counted_us, now_us);
    s->per_us = s->per_us == 0 ? per_us : (s->per_us + per_us) / 2;
    s->left = 0;
    s->counted_us = now_us;
}

static void look(struct shed *s, uint64_t delay_us, uint64_t now_us)
{
    if (s->is_overloaded) {
        if (passed(s->counted_us, now_us) >= s->interval_us)
            measure(s, now_us);
        if (delay_us <= s->target_us && passed(s->refused_us, now_us) >= s->interval_us)
            shed_reset(s);
    } else if (delay_us <= s->target_us) {
        s->above_us = 0;
    } else if (s->above_us == 0) {
        s->above_us = s->counted_us = now_us;
        s->left = 0;
    } else if (passed(s->above_us, now_us) >= s->interval_us) {
        s->is_overloaded = true;
        s->refused_us = now_us;
        measure(s, now_us);
    }
}

void shed_left(struct shed *s, uint64_t delay_us, uint64_t now_us)
{
    if (s->target_us == 0)
        return;
    s->left++;
    look(s, delay_us, now_us);
}

void shed_tick(struct shed *s, uint64_t delay_us, uint64_t now_us)
{
    if (s->target_us != 0)
        look(s, delay_us, now_us);
}

uint32_t shed_room(const struct shed *s)
{
    if (!s->is_overloaded)
        return UINT32_MAX;
    double room = s->per_us * (double)s->target_us * SHARE;
    return room < 1 ? 1 : room < (double)UINT32_MAX ? (uint32_t)room : UINT32_MAX;
}

bool shed_is_late(const struct shed *s, uint64_t delay_us)
{
    return s->is_overloaded && delay_us > s->target_us;
}

void shed_refused(struct shed *s, uint64_t now_us)
{
    s->refused_us = now_us;
}
