/* SPDX-License-Identifier: MIT
 * Route numbers and their averages. */
#include "appserver/core/route.h"

enum {
    WEIGHT = 8,            /* a sample's share of the average is 1/WEIGHT */
    WAITS_OFTEN16 = 8,     /* every second time, in sixteenths */
    SAMPLE_MAX = 60000000, /* us; keeps the sixteenths within 32 bits */
};

uint32_t average16(uint32_t old16, uint64_t sample, uint32_t weight)
{
    uint32_t new16 = (uint32_t)(sample > SAMPLE_MAX ? SAMPLE_MAX : sample) * 16;

    if (old16 == 0)
        old16 = new16;
    else if (new16 >= old16)
        old16 += (new16 - old16) / weight;
    else
        old16 -= (old16 - new16 + weight - 1) / weight;
    return old16 > 0 ? old16 : 1;
}

static uint32_t hash_bytes(uint32_t h, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)bytes[i]) * 16777619u;
    return h;
}

uint8_t route_number(struct slice method, struct slice target)
{
    size_t end = 0;
    unsigned segments = 0;

    while (end < target.len && target.ptr[end] != '?') {
        if (target.ptr[end] == '/' && ++segments > 2)
            break;
        end++;
    }
    uint32_t h = hash_bytes(2166136261u, method.ptr, method.len);
    h = hash_bytes(h, target.ptr, end);
    return (uint8_t)(h ^ h >> 8 ^ h >> 16 ^ h >> 24);
}

void route_took(struct route *r, uint64_t wall_us)
{
    r->wall_us16 = average16(r->wall_us16, wall_us, WEIGHT);
}

void route_weighed(struct route *r, uint64_t cpu_us, uint64_t waits)
{
    r->cpu_us16 = average16(r->cpu_us16, cpu_us, WEIGHT);
    r->waits16 = average16(r->waits16, waits, WEIGHT);
}

void route_lasts(struct route *r, uint64_t wall_us, uint64_t cpu_us, bool waits)
{
    if (r->wall_us16 / 16 >= wall_us)
        return;
    r->wall_us16 = average16(0, wall_us, WEIGHT);
    if (r->cpu_us16 == 0)
        route_weighed(r, cpu_us, waits ? 1 : 0);
}

bool route_is_slow(const struct route *r)
{
    return r->wall_us16 > ROUTE_SLOW_US * 16;
}

uint64_t route_wall_us(const struct route *r)
{
    return r->wall_us16 / 16;
}

bool route_waits(const struct route *r)
{
    return route_is_slow(r) && r->cpu_us16 != 0 && r->waits16 >= WAITS_OFTEN16 &&
           (uint64_t)r->cpu_us16 * 4 < (uint64_t)r->wall_us16 * 3;
}
