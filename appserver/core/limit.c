/* SPDX-License-Identifier: MIT
 * The lowest limit, and who hears of it when it changes. */
#include "appserver/core/limit.h"

#include "appserver/core/core_priv.h"

static void review(struct core *core, uint64_t now_us);

void limit_set(struct core *core, struct peer *p, uint32_t running, uint64_t now_us)
{
    if (p->limit == running)
        return;
    p->limit = running;
    review(core, now_us);
}

void limit_lapse(struct core *core, struct peer *p)
{
    if (p->limit == 0)
        return;
    p->limit = 0;
    review(core, clock_now_us());
}

void limit_one_fewer(struct core *core)
{
    if (!core->is_above_limit || core->running > core_slots(core))
        return;
    core->is_above_limit = false;
    peers_load(core, clock_now_us());
}

/* Windows follow at once: nobody else would say so while the links are idle. */
static void review(struct core *core, uint64_t now_us)
{
    uint32_t before = core_slots(core);

    core->limit = peers_lowest_limit(core);
    uint32_t slots = core_slots(core);
    if (slots == before)
        return;
    core->is_above_limit = core->running > slots;
    if (slots < before)
        peers_tighten(core, now_us);
    else
        peers_grant(core, now_us);
    peers_load(core, now_us);
    worker_offer(core);
    watch_wake(core); /* flushes, should nobody else */
}
