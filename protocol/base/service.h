/* SPDX-License-Identifier: MIT
 * What a supervisor of processes tells its service manager (notify.h): each step says
 * what has changed since the last one. */
#ifndef BASE_SERVICE_H
#define BASE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"

struct service_view {
    uint32_t ready, all; /* processes */
    bool can_serve;
    bool is_reloading, is_stopping;
};

struct service {
    bool was_ready, was_reloading, was_stopping;
    uint32_t ready; /* as it was told */
    uint64_t watchdog_us, next_us;
};

/* Zeroed before. PINGS: WATCHDOG=1 at half the time that the manager waits for it,
 * as long as there are steps; SILENT: the caller says it. */
enum service_watchdog { SERVICE_PINGS, SERVICE_SILENT };
void service_begin(struct service *s, enum service_watchdog watchdog);
void service_step(struct service *s, const struct service_view *view);
/* clock.h: when there shall be a step; UINT64_MAX: no need. */
uint64_t service_next_us(const struct service *s);

#endif
