/* SPDX-License-Identifier: MIT
 * Counting is an increment; the names come from the table. */
#include "proxy/stats.h"

#include <inttypes.h>
#include <stdio.h>

#include "protocol/base/log.h"

void stats_count_status(struct stats *stats, int status)
{
    if (status < 200)
        stats->responses_1xx++;
    else if (status < 300)
        stats->responses_2xx++;
    else if (status < 400)
        stats->responses_3xx++;
    else if (status < 500)
        stats->responses_4xx++;
    else
        stats->responses_5xx++;
}

void stats_log(const struct stats *stats, uint32_t thread)
{
    struct log_ctx ctx;
    (void)snprintf(ctx.prefix, sizeof(ctx.prefix), "edge-%u", thread);
    const struct {
        const char *name, *help;
        uint64_t value;
    } rows[] = {
#define STAT(name, help) {#name, help, stats->name},
#include "proxy/stats.def"
#undef STAT
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].value > 0)
            log_debug(&ctx, "%s: %" PRIu64 " %s", rows[i].name, rows[i].value,
                      rows[i].help);
    for (int e = 0; e < ERR_COUNT; e++)
        if (stats->failures[e] > 0)
            log_debug(&ctx, "failures: %" PRIu64 " %s", stats->failures[e],
                      err_name((enum err)e));
}
