/* SPDX-License-Identifier: MIT
 * Sharing of windows: small wants are filled first, the rest is split evenly. */
#include "appserver/core/credit.h"

#include "protocol/base/check.h"

#define CREDIT_OF(n) NODE_OF(n, struct credit, node)

uint32_t credit_ahead(uint32_t service_us16)
{
    if (service_us16 == 0)
        return 0;
    uint32_t ahead = CREDIT_AHEAD_US * 16 / service_us16;
    return ahead > CREDIT_AHEAD_MAX ? CREDIT_AHEAD_MAX : ahead;
}

static uint32_t wanted(const struct credit *c)
{
    uint32_t peak = c->peak > c->last_peak ? c->peak : c->last_peak;

    if (c->hit || c->last_hit)
        return UINT32_MAX;
    return peak > 0 ? peak : 1;
}

/* Fills every unfilled want that is at most an even share of what is left. */
static bool fill_small(struct list *links, uint32_t *left, uint32_t *unfilled)
{
    uint32_t share = *left / *unfilled;
    bool filled = false;

    LIST_FOREACH(links, n) {
        struct credit *c = CREDIT_OF(n);
        if (c->target != 0 || wanted(c) > share)
            continue;
        c->target = wanted(c);
        *left -= c->target;
        *unfilled -= 1;
        filled = true;
    }
    return filled && *unfilled > 0;
}

void credit_share(struct list *links, uint32_t budget)
{
    uint32_t left = budget, count = 0;

    LIST_FOREACH(links, n) {
        CREDIT_OF(n)->target = 0;
        count++;
    }
    if (count == 0)
        return;
    uint32_t unfilled = count;
    while (fill_small(links, &left, &unfilled))
        continue;

    /* Either some still want more than an even share and get just that, or all are
     * filled and the remainder is for everybody. */
    uint32_t even = left / (unfilled > 0 ? unfilled : count);
    LIST_FOREACH(links, n) {
        struct credit *c = CREDIT_OF(n);
        if (c->target == 0)
            c->target = even > 0 ? even : 1;
        else if (unfilled == 0)
            c->target += even;
    }
}

bool credit_should_grant(const struct credit *c)
{
    if (c->window == 0 || (c->hit && c->target > c->window))
        return true;
    uint32_t slack = c->window / 4;
    return c->target > c->window + slack || c->target + slack < c->window;
}

void credit_granted(struct credit *c, uint64_t now_us)
{
    c->window = c->target;
    if (c->window >= c->ceiling) {
        c->ceiling = c->window;
        c->lowered_us = 0;
    } else if (c->lowered_us == 0) {
        c->lowered_us = now_us;
    }
}

bool credit_admits(struct credit *c, uint32_t inside)
{
    if (inside > c->peak)
        c->peak = inside;
    if (inside >= c->window)
        c->hit = true;
    return inside <= c->ceiling;
}

void credit_observe(struct credit *c, uint32_t inside, uint64_t now_us)
{
    c->last_peak = c->peak;
    c->last_hit = c->hit;
    c->peak = inside;
    c->hit = false;
    if (c->lowered_us != 0 && now_us - c->lowered_us >= CREDIT_BELIEF_US) {
        c->ceiling = c->window;
        c->lowered_us = 0;
    }
}
