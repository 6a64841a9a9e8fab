/* SPDX-License-Identifier: MIT
 * What an operator is shown of a pool: a copy that may go to another thread. */
#ifndef UPSTREAM_POOL_REPORT_H
#define UPSTREAM_POOL_REPORT_H

#include "proxy/upstream/backend.h"
#include "proxy/upstream/histogram.h"
#include "proxy/upstream/pool.h"

struct backend_report {
    char name[64];
    char endpoint[256];
    struct backend_view view; /* without its texts */
    uint64_t max_wait_us; /* the oldest without an answer, there or waiting for it alone
                           */
    struct histogram queue_time, app_time;
};

struct pool_report {
    char name[64]; /* the caller's to fill */
    struct pool_stats stats;
    struct pool_settings settings;
    uint32_t queued, sent;
    uint64_t max_wait_us; /* the oldest in the queue */
    bool is_asgi;
    uint32_t backend_count;
    struct backend_report *backends; /* owned; in the order in which they were added */
};

void pool_report(struct pool *pool, uint64_t now_us, struct pool_report *ret_report);
void pool_report_fini(struct pool_report *report);

#endif
