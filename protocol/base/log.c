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

#include "protocol/base/text.h"

enum {
    LINE_MAX_BYTES = 8 * 1024,
    TEXT_MAX_BYTES = 256 * 1024,
    MARK_BYTES = 4, /* the end of a clipped line: "..." and the newline */
};

static char process_name[32] = "banyan";
static atomic_int level_on = LOG_INFO;
static atomic_int output_fd = STDERR_FILENO;
static atomic_bool is_json;

static const struct {
    const char *name;
    enum log_level level;
} LEVELS[] = {
    {"critical", LOG_ERROR}, {"error", LOG_ERROR}, {"warning", LOG_WARN},
    {"warn", LOG_WARN},      {"info", LOG_INFO},   {"debug", LOG_DEBUG},
};

static const char *const FORMATS[] = {"text", "json"};
static const char *const OUTPUTS[] = {"stderr", "stdout"};

struct line {
    size_t length;
    bool clipped; /* takes nothing more */
    char bytes[LINE_MAX_BYTES];
};

static void
begin_line(struct line *line, enum log_level level, const struct log_ctx *ctx);
static void add_escaped(struct line *line, const char *text, size_t length);
static void end_line(struct line *line);
static void write_all(const char *bytes, size_t length);

/* The place of `word` in a list of two; 2: it is not there. */
static int find_word(const char *const words[2], const char *word)
{
    int i = 0;
    while (i < 2 && strcasecmp(words[i], word) != 0)
        i++;
    return i;
}

bool log_check(const struct log_options *options, struct buf *ret_message)
{
    enum log_level level;

    if (!log_parse_level(options->level, &level))
        buf_addf(ret_message,
                 "--log-level: \"%s\" is not accepted; expected error, warning, info "
                 "or debug",
                 options->level);
    else if (find_word(FORMATS, options->format) == 2)
        buf_addf(ret_message,
                 "--log-format: \"%s\" is not accepted; expected text or json",
                 options->format);
    else if (find_word(OUTPUTS, options->output) == 2)
        buf_addf(ret_message,
                 "--log-output: \"%s\" is not accepted; expected stderr or stdout",
                 options->output);
    else
        return true;
    return false;
}

void log_set_up(const struct log_options *options)
{
    enum log_level level;

    if (log_parse_level(options->level, &level))
        log_set_level(level);
    atomic_store_explicit(&is_json, find_word(FORMATS, options->format) == 1,
                          memory_order_relaxed);
    atomic_store_explicit(&output_fd,
                          find_word(OUTPUTS, options->output) == 1 ? STDOUT_FILENO
                                                                   : STDERR_FILENO,
                          memory_order_relaxed);
}

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

bool log_is_json(void)
{
    return atomic_load_explicit(&is_json, memory_order_relaxed);
}

void log_stamp(char ret_stamp[32])
{
    struct timespec now;
    struct tm utc;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    size_t length = strftime(ret_stamp, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(ret_stamp + length, 32 - length, ".%03dZ",
                   (int)(now.tv_nsec / 1000000));
}

static void write_json(enum log_level level,
                       const struct log_ctx *ctx,
                       struct slice text,
                       bool is_clipped)
{
    static const char *const WORDS[] = {"error", "warning", "info", "debug"};
    struct buf to;
    char stamp[32];

    buf_init(&to, 0);
    log_stamp(stamp);
    buf_addf(&to, "{\"time\":\"%s\",\"type\":\"log\",\"program\":", stamp);
    text_add_json(&to, slice_from(process_name));
    buf_addf(&to, ",\"pid\":%ld,\"level\":\"%s\"", (long)getpid(), WORDS[level]);
    if (ctx != NULL && ctx->prefix[0] != '\0') {
        buf_add(&to, SLICE(",\"context\":"));
        text_add_json(&to,
                      slice_of(ctx->prefix, strnlen(ctx->prefix, sizeof ctx->prefix)));
    }
    buf_add(&to, SLICE(",\"message\":"));
    text_add_json(&to, text);
    if (is_clipped)
        buf_add(&to, SLICE(",\"clipped\":true"));
    buf_add(&to, SLICE("}\n"));
    write_all(buf_slice(&to).ptr, buf_len(&to));
    buf_fini(&to);
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

    bool fits = length < (int)sizeof text;
    size_t visible = length < 0 ? 0 : fits ? (size_t)length : sizeof text - 1;
    if (log_is_json()) {
        write_json(level, ctx, slice_of(text, visible), !fits);
    } else {
        struct line line;
        begin_line(&line, level, ctx);
        add_escaped(&line, text, visible);
        line.clipped = line.clipped || !fits;
        end_line(&line);
        write_all(line.bytes, line.length);
    }
    errno = saved;
}

void log_text(enum log_level level, const struct log_ctx *ctx, struct slice text)
{
    if (!log_is_on(level) || text.len == 0)
        return;

    int saved = errno;
    if (log_is_json()) {
        bool fits = text.len <= TEXT_MAX_BYTES;
        struct slice whole = slice_of(text.ptr, fits ? text.len : TEXT_MAX_BYTES);
        while (whole.len > 0 && whole.ptr[whole.len - 1] == '\n')
            whole.len--;
        write_json(level, ctx, whole, !fits);
        errno = saved;
        return;
    }
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
    char stamp[32];

    log_stamp(stamp);
    int length = snprintf(line->bytes, sizeof line->bytes, "%s %s %ld %s ", stamp,
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
        size_t run = text_printable(at + i, length - i);
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

/* A log that cannot be written is nobody's business. */
static void write_all(const char *bytes, size_t length)
{
    int fd = atomic_load_explicit(&output_fd, memory_order_relaxed);
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        bytes += written;
        length -= (size_t)written;
    }
}
