/* SPDX-License-Identifier: MIT
 * What the choice of a backend costs, with 2 and with 1,000 of them: pick, one request
 * more in flight, and one fewer somewhere. Prints nanoseconds of CPU per request, the
 * median of seven runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/upstream/balance.h"
#include "proxy/upstream/key.h"

enum { ROUNDS = 1000000, RUNS = 7, MOST = 1000 };

/* A backend is more than its load: they do not lie next to each other. */
struct padded {
    struct load load;
    char other[768];
};

static struct padded backends[MOST];

static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void change(struct balance_set *set, struct load *load, uint32_t by)
{
    load->in_flight += by;
    balance_update(set, load, true);
}

/* `busy` requests are under way at any time. */
static double one_run(const struct balancer *balancer, uint32_t count, uint32_t busy)
{
    struct balance_set set;
    static struct load *under_way[4 * MOST];
    memset(under_way, 0, sizeof under_way);
    balance_init(&set, balancer, 42);
    for (uint32_t i = 0; i < count; i++) {
        struct load *load = &backends[i].load;
        load_init(load);
        load->slots = 16;
        load->service_us = 400;
        load->key = balance_mix(i + 1);
        balance_join(&set, load);
        balance_update(&set, load, true);
    }
    struct load *warm_up = balance_pick(&set, 1, NULL); /* makes the table */
    ASSERT(warm_up != NULL);
    double start = cpu_seconds();
    for (uint32_t n = 0; n < ROUNDS; n++) {
        struct load **oldest = &under_way[n % busy];
        if (*oldest != NULL)
            change(&set, *oldest, UINT32_MAX);
        *oldest = balance_pick(&set, balance_mix(n + 1), NULL);
        change(&set, *oldest, 1);
    }
    double seconds = cpu_seconds() - start;
    balance_fini(&set);
    return seconds / ROUNDS * 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const struct balancer *balancer, uint32_t count, uint32_t busy)
{
    double times[RUNS];
    for (int run = 0; run < RUNS; run++)
        times[run] = one_run(balancer, count, busy);
    qsort(times, RUNS, sizeof times[0], compare);
    printf("%-12s %5u backends, %5u requests there: %6.1f ns\n", balancer->name, count,
           busy, times[RUNS / 2]);
}

int main(void)
{
    static const struct balancer *const policies[] = {
        &balance_least_load, &balance_round_robin, &balance_hash};
    static const uint32_t counts[] = {2, 16, 100, 1000};
    for (size_t p = 0; p < sizeof policies / sizeof policies[0]; p++)
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
            for (uint32_t each = 0; each <= 4; each += 4)
                measure(policies[p], counts[i], each == 0 ? 1 : each * counts[i]);
    return 0;
}
