/* SPDX-License-Identifier: MIT
 * The environment may change later (notify_forget): it is read each time. */
#include "protocol/base/notify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "protocol/base/clock.h"

enum { SAY_BYTES = 1024 };

bool notify_is_wanted(void)
{
    return getenv("NOTIFY_SOCKET") != NULL;
}

void notify_say(const char *format, ...)
{
    char text[SAY_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0 && (size_t)length < sizeof text);
    (void)sd_notify(0, text);
}

void notify_reloading(void)
{
    notify_say("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_now_us());
}

uint64_t notify_watchdog_us(void)
{
    uint64_t us = 0;
    return sd_watchdog_enabled(0, &us) > 0 ? us : 0;
}

int notify_passed_files(void)
{
    int count = sd_listen_fds(0);
    return count < 0 ? 0 : count;
}

void notify_forget(void)
{
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
}
