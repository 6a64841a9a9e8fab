/* SPDX-License-Identifier: MIT
 * Counters of one edge thread, from stats.def; and failures by their error. */
#ifndef PROXY_STATS_H
#define PROXY_STATS_H

#include <stdint.h>

#include "protocol/base/error.h"

struct stats {
#define STAT(name, help) uint64_t name;
#include "proxy/stats.def"
#undef STAT
    uint64_t failures[ERR_COUNT];
};

/* Counts a final or informational status. */
void stats_count_status(struct stats *stats, int status);
/* One line per counter that is not 0, at debug; `thread` is the edge thread's number.
 */
void stats_log(const struct stats *stats, uint32_t thread);

#endif
