/* SPDX-License-Identifier: MIT
 * One line, one write(2). What clients and applications put into a line cannot start
 * another line or steer a terminal: control bytes and invalid UTF-8 come out as \xNN.
 */
#include "protocol/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base/buf.h"

enum {
    LINE_MAX_BYTES = 8 * 1024,
    TEXT_MAX_BYTES = 256 * 1024,
    MARK_BYTES = 4, /* the end of a clipped line: "..." and the newline */
};

static char process_name[32] = "banyan";
static atomic_int level_on = LOG_INFO;

static const struct {
    const char *name;
    enum log_level level;
} LEVELS[] = {
    {"critical", LOG_ERROR}, {"error", LOG_ERROR}, {"warning", LOG_WARN},
    {"warn", LOG_WARN},      {"info", LOG_INFO},   {"debug", LOG_DEBUG},
};

struct line {
    size_t length;
    bool clipped; /* takes nothing more */
    char bytes[LINE_MAX_BYTES];
};

static void
begin_line(struct line *line, enum log_level level, const struct log_ctx *ctx);
static void add_escaped(struct line *line, const char *text, size_t length);
static void end_line(struct line *line);
static size_t utf8_length(const unsigned char *at, size_t left);
static void write_all(const char *bytes, size_t length);

void log_set_name(const char *name)
{
    (void)snprintf(process_name, sizeof process_name, "%s", name);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&level_on, (int)level, memory_order_relaxed);
}

bool log_parse_level(const char *name, enum log_level *ret_level)
{
    for (size_t i = 0; i < sizeof LEVELS / sizeof LEVELS[0]; i++) {
        if (strcasecmp(name, LEVELS[i].name) == 0) {
            *ret_level = LEVELS[i].level;
            return true;
        }
    }
    return false;
}

bool log_is_on(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&level_on, memory_order_relaxed);
}

void log_write(enum log_level level, const struct log_ctx *ctx, const char *format, ...)
{
    if (!log_is_on(level))
        return;

    int saved = errno; /* so that "%m" works and callers may log before looking at it */
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);

    struct line line;
    begin_line(&line, level, ctx);
    if (length > 0) {
        size_t whole = (size_t)length;
        bool fits = whole < sizeof text;
        add_escaped(&line, text, fits ? whole : sizeof text - 1);
        line.clipped = line.clipped || !fits;
    }
    end_line(&line);
    write_all(line.bytes, line.length);
    errno = saved;
}

void log_text(enum log_level level, const struct log_ctx *ctx, struct slice text)
{
    if (!log_is_on(level))
        return;

    int saved = errno;
    struct buf all; /* gathered, so that the lines of two threads do not mix */
    buf_init(&all, 0);
    struct line line;
    while (text.len > 0 && buf_len(&all) < TEXT_MAX_BYTES) {
        const char *newline = memchr(text.ptr, '\n', text.len);
        size_t length = newline == NULL ? text.len : (size_t)(newline - text.ptr);
        size_t visible = length;
        if (visible > 0 && text.ptr[visible - 1] == '\r')
            visible--;
        begin_line(&line, level, ctx);
        add_escaped(&line, text.ptr, visible);
        end_line(&line);
        buf_add(&all, slice_of(line.bytes, line.length));
        size_t taken = newline == NULL ? length : length + 1;
        text = slice_of(text.ptr + taken, text.len - taken);
    }
    if (text.len > 0) {
        begin_line(&line, level, ctx);
        add_escaped(&line, "...", 3);
        end_line(&line);
        buf_add(&all, slice_of(line.bytes, line.length));
    }
    write_all(all.data, buf_len(&all));
    buf_fini(&all);
    errno = saved;
}

static void
begin_line(struct line *line, enum log_level level, const struct log_ctx *ctx)
{
    static const char *const WORDS[] = {"ERROR", "WARN ", "INFO ", "DEBUG"};
    struct timespec now;
    struct tm utc;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    int length = snprintf(line->bytes, sizeof line->bytes,
                          "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s %ld %s ",
                          utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
                          utc.tm_min, utc.tm_sec, (int)(now.tv_nsec / 1000000),
                          process_name, (long)getpid(), WORDS[level]);
    line->length = length > 0 ? (size_t)length : 0;
    line->clipped = false;
    if (ctx != NULL && ctx->prefix[0] != '\0') {
        add_escaped(line, ctx->prefix, strnlen(ctx->prefix, sizeof ctx->prefix));
        add_escaped(line, " ", 1);
    }
}

static void add_escaped(struct line *line, const char *text, size_t length)
{
    static const char HEX[] = "0123456789abcdef";
    const unsigned char *at = (const unsigned char *)text;

    for (size_t i = 0; i < length && !line->clipped;) {
        size_t run = utf8_length(at + i, length - i);
        size_t needed = run > 0 ? run : at[i] == '\n' || at[i] == '\t' ? 2 : 4;
        char *out = line->bytes + line->length;
        if (line->length + needed > LINE_MAX_BYTES - MARK_BYTES) {
            line->clipped = true;
            return;
        }
        if (run > 0) {
            memcpy(out, at + i, run);
            i += run;
        } else {
            out[0] = '\\';
            if (needed == 2) {
                out[1] = at[i] == '\n' ? 'n' : 't';
            } else {
                out[1] = 'x';
                out[2] = HEX[at[i] >> 4];
                out[3] = HEX[at[i] & 15];
            }
            i++;
        }
        line->length += needed;
    }
}

static void end_line(struct line *line)
{
    const char *mark = line->clipped ? "...\n" : "\n";
    size_t length = strlen(mark);
    ASSERT(line->length + length <= sizeof line->bytes);
    memcpy(line->bytes + line->length, mark, length);
    line->length += length;
}

/* Bytes of the printable character at `at`; 0: a control character (C1 ones too) or not
 * UTF-8. */
static size_t utf8_length(const unsigned char *at, size_t left)
{
    unsigned char first = at[0];
    if (first < 0x80)
        return first >= 0x20 && first != 0x7f;

    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (first == 0xc2 && at[1] < 0xa0)      /* C1 controls */
               || (first == 0xe0 && at[1] < 0xa0)   /* overlong */
               || (first == 0xed && at[1] >= 0xa0)  /* surrogates */
               || (first == 0xf0 && at[1] < 0x90)   /* overlong */
               || (first == 0xf4 && at[1] >= 0x90); /* past U+10FFFF */
    return bad ? 0 : length;
}

/* A log that cannot be written is nobody's business. */
static void write_all(const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        bytes += written;
        length -= (size_t)written;
    }
}
