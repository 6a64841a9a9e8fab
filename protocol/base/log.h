/* SPDX-License-Identifier: MIT
 * The diagnostic log: one line per decision, to stderr unless told otherwise. Programs
 * log; the pure files and protocol/ do not. Any thread; a line is one write(2).
 *
 *   2026-11-21T07:32:01.123Z app-1 4242 INFO  c42 text
 *   {"time":"2026-11-21T07:32:01.123Z","type":"log","program":"app-1","pid":4242,
 *    "level":"info","context":"c42","message":"text"}        (one line in the file) */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/slice.h"

enum log_level {
    LOG_ERROR, /* a human must act */
    LOG_WARN,  /* degraded but serving */
    LOG_INFO,  /* life-cycle */
    LOG_DEBUG, /* per frame, per state change */
};

/* Prefix of a line: "c42 r7 b2"; may be NULL. Borrowed. */
struct log_ctx {
    char prefix[48];
};

/* The options of each program, as they were typed. */
struct log_options {
    const char *level;  /* error|warning|info|debug; also warn, critical */
    const char *format; /* text|json */
    const char *output; /* stderr|stdout */
};
/* False: ret_message says which word of which option is not accepted. */
MUST_CHECK bool log_check(const struct log_options *options, struct buf *ret_message);
/* In force from the next line on. log_check was content. */
void log_set_up(const struct log_options *options);

/* Process name shown in each line, e.g. "proxy", "app-1". Copied. */
void log_set_name(const char *name);
void log_set_level(enum log_level level);
MUST_CHECK bool log_parse_level(
    const char *name,
    enum log_level *ret_level); /* error|warning|info|debug, warn, critical */
bool log_is_on(enum log_level level);
bool log_is_json(void);
/* "2026-11-21T07:32:01.123Z", now. */
void log_stamp(char ret_stamp[32]);

/* One line. Control bytes are escaped, text clipped at 8 KiB. */
void log_write(enum log_level level, const struct log_ctx *ctx, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* The same for text of any length with several lines (a traceback): each line gets the
 * prefix; in JSON it is one message. Clipped at 256 KiB. */
void log_text(enum log_level level, const struct log_ctx *ctx, struct slice text);

#define log_error(ctx, ...) log_write(LOG_ERROR, ctx, __VA_ARGS__)
#define log_warn(ctx, ...) log_write(LOG_WARN, ctx, __VA_ARGS__)
#define log_info(ctx, ...) log_write(LOG_INFO, ctx, __VA_ARGS__)
#define log_debug(ctx, ...)                                                            \
    do {                                                                               \
        if (log_is_on(LOG_DEBUG))                                                      \
            log_write(LOG_DEBUG, ctx, __VA_ARGS__);                                    \
    } while (0)

#endif
