/* SPDX-License-Identifier: MIT
 * The exchanges of an edge thread, and what they share. */
#include <stdlib.h>
#include <time.h>

#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "proxy/exchange_priv.h"

/* It may be set while we run. */
static void read_unix_time(struct exchanges *all)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    all->unix_us = now_us - clock_now_us();
}

struct exchanges *exchanges_new(const struct exchanges_options *options)
{
    struct exchanges *all = mem_zalloc(sizeof(*all));
    all->magic = EXCHANGES_MAGIC;
    all->options = *options;
    list_init(&all->open);
    list_init(&all->spare);
    buf_init(&all->headers, 0);
    buf_init(&all->repacked, 0);
    buf_init(&all->cookie, 0);
    const char *temp_dir = options->proxy->temp_dir;
    if (temp_dir == NULL)
        temp_dir = getenv("TMPDIR");
    all->temp_dir = mem_strdup(temp_dir == NULL ? "/tmp" : temp_dir);
    exchange_id_prefix(all);
    read_unix_time(all);
    for (int line = 0; line < DEADLINE_REQUEST_LINES; line++)
        deadlines_set(options->deadlines, (enum deadline_kind)(DEADLINE_REQUEST + line),
                      0, exchange_on_deadline);
    all->websockets = websockets_new(all);
    return all;
}

void exchanges_free(struct exchanges **exchanges_p)
{
    struct exchanges *all = *exchanges_p;
    if (all == NULL)
        return;
    CHECK_OBJ(all, EXCHANGES_MAGIC);
    ASSERT(list_is_empty(&all->open));
    struct node *n;
    while ((n = list_pop_front(&all->spare)) != NULL) {
        struct exchange *x = NODE_OF(n, struct exchange, node);
        exchange_free(&x);
    }
    websockets_free(&all->websockets);
    all->magic = 0;
    buf_fini(&all->headers);
    buf_fini(&all->repacked);
    buf_fini(&all->cookie);
    mem_free(&all->temp_dir);
    mem_free(exchanges_p);
}

void exchanges_set(struct exchanges *all)
{
    CHECK_OBJ(all, EXCHANGES_MAGIC);
    websockets_set(all->websockets);
}

void exchanges_stop(struct exchanges *all, double seconds)
{
    CHECK_OBJ(all, EXCHANGES_MAGIC);
    websockets_stop(all->websockets, seconds);
}

void exchanges_tick(struct exchanges *all)
{
    CHECK_OBJ(all, EXCHANGES_MAGIC);
    read_unix_time(all);
    websockets_tick(all->websockets);
}
