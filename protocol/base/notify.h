/* SPDX-License-Identifier: MIT
 * What a service manager is told: sd_notify(3). Any thread. Without NOTIFY_SOCKET
 * nothing happens. */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"

bool notify_is_wanted(void);
/* "READY=1\nSTATUS=..." */
void notify_say(const char *format, ...) PRINTF_LIKE(1, 2);
/* RELOADING=1 with the time, as Type=notify-reload expects it; READY=1 ends it. */
void notify_reloading(void);
/* Within how many microseconds it wants to hear WATCHDOG=1 of this process; 0: it does
 * not. */
uint64_t notify_watchdog_us(void);
/* How many descriptors from 3 on were passed to this process; they do not survive an
 * exec. */
int notify_passed_files(void);
/* For a child that is nobody's business there: it inherits none of it. */
void notify_forget(void);

#endif
