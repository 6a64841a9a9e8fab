/* SPDX-License-Identifier: MIT
 * The file is open for appending, so that whole writes of several threads do not mix;
 * reopening replaces what the descriptor stands for, so that nobody needs a lock. */
#include "proxy/http/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base/buf.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/base/text.h"

enum {
    LOG_MAGIC = 0xacce5510,
    WRITER_MAGIC = 0xacce5511,
    MAX_BUFFERED = 64 * 1024, /* bytes; a longer turn writes more than once */
    MAX_TEXT = 8 * 1024,      /* bytes of one field of a line */
};

struct access_log {
    uint32_t magic;
    int fd;
    char *path; /* NULL: standard output */
};

struct access_writer {
    uint32_t magic;
    struct access_log *log;
    struct buf lines;
    time_t stamped; /* the second that `stamp` shows */
    char stamp[40];
};

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

struct access_log *access_log_open(const char *path)
{
    bool is_stdout = strcmp(path, "-") == 0;
    int fd = is_stdout ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0) : open_file(path);
    if (fd < 0)
        return NULL;
    struct access_log *log = mem_zalloc(sizeof(*log));
    log->magic = LOG_MAGIC;
    log->fd = fd;
    log->path = is_stdout ? NULL : mem_strdup(path);
    return log;
}

void access_log_free(struct access_log **log_p)
{
    struct access_log *log = *log_p;
    if (log == NULL)
        return;
    CHECK_OBJ(log, LOG_MAGIC);
    log->magic = 0;
    (void)close(log->fd);
    mem_free(&log->path);
    mem_free(log_p);
}

bool access_log_reopen(struct access_log *log)
{
    CHECK_OBJ(log, LOG_MAGIC);
    if (log->path == NULL)
        return true;
    int fd = open_file(log->path);
    if (fd < 0)
        return false;
    int replaced = dup3(fd, log->fd, O_CLOEXEC);
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return replaced >= 0;
}

struct access_writer *access_writer_new(struct access_log *log)
{
    CHECK_OBJ(log, LOG_MAGIC);
    struct access_writer *w = mem_zalloc(sizeof(*w));
    w->magic = WRITER_MAGIC;
    w->log = log;
    w->stamped = -1;
    buf_init(&w->lines, 0);
    return w;
}

void access_writer_free(struct access_writer **writer_p)
{
    struct access_writer *w = *writer_p;
    if (w == NULL)
        return;
    CHECK_OBJ(w, WRITER_MAGIC);
    access_writer_flush(w);
    w->magic = 0;
    buf_fini(&w->lines);
    mem_free(writer_p);
}

/* What a client chose cannot end a quoted field or a line, nor move a cursor. */
static void add_text(struct buf *to, struct slice text)
{
    static const char digits[] = "0123456789abcdef";
    if (text.len == 0) {
        buf_add(to, SLICE("-"));
        return;
    }
    size_t plain = 0; /* start of the run that needs no escape */
    size_t end = text.len < MAX_TEXT ? text.len : MAX_TEXT;
    for (size_t i = 0; i < end; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\')
            continue;
        buf_add(to, slice_of(text.ptr + plain, i - plain));
        char escaped[4] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        buf_add(to, slice_of(escaped, sizeof(escaped)));
        plain = i + 1;
    }
    buf_add(to, slice_of(text.ptr + plain, end - plain));
}

static void add_number(struct buf *to, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    buf_add(to, slice_of(digits + at, sizeof(digits) - at));
}

/* Seconds with six decimals. */
static void add_seconds(struct buf *to, uint64_t us)
{
    char decimals[7] = ".";
    uint64_t rest = us % 1000000;
    for (int i = 6; i >= 1; i--, rest /= 10)
        decimals[i] = (char)('0' + rest % 10);
    add_number(to, us / 1000000);
    buf_add(to, slice_of(decimals, sizeof(decimals)));
}

static void refresh_stamp(struct access_writer *w)
{
    struct timespec now;
    struct tm broken;
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == w->stamped)
        return;
    w->stamped = now.tv_sec;
    localtime_r(&now.tv_sec, &broken);
    size_t length =
        strftime(w->stamp, sizeof(w->stamp), "[%d/%b/%Y:%H:%M:%S %z]", &broken);
    ASSERT(length > 0);
}

static void add_request_line(struct buf *to, const struct access_entry *e)
{
    buf_add(to, SLICE(" \""));
    add_text(to, e->method);
    if (e->method.len > 0) {
        buf_add(to, SLICE(" "));
        add_text(to, e->target);
        buf_add(to, e->minor == 0 ? SLICE(" HTTP/1.0") : SLICE(" HTTP/1.1"));
    }
    buf_add(to, SLICE("\" "));
}

static void add_line(struct access_writer *w, const struct access_entry *e)
{
    struct buf *to = &w->lines;
    refresh_stamp(w);
    add_text(to, e->client_addr);
    buf_add(to, SLICE(" - - "));
    buf_add(to, slice_from(w->stamp));
    add_request_line(to, e);
    add_number(to, (uint64_t)e->status);
    buf_add(to, SLICE(" "));
    add_number(to, e->sent_bytes);
    buf_add(to, SLICE(" \""));
    add_text(to, e->referer);
    buf_add(to, SLICE("\" \""));
    add_text(to, e->user_agent);
    buf_add(to, SLICE("\" rt="));
    add_seconds(to, e->request_us);
    buf_add(to, SLICE(" qt="));
    add_seconds(to, e->queue_us);
    buf_add(to, SLICE(" rx="));
    add_number(to, e->received_bytes);
    buf_add(to, SLICE(" pool="));
    add_text(to, e->pool);
    buf_add(to, SLICE(" backend="));
    add_text(to, e->backend);
    buf_add(to, SLICE(" id="));
    add_text(to, e->id);
    buf_add(to, SLICE("\n"));
}

/* `name` with what stands around it: ,"name": */
static void add_member(struct buf *to, struct slice name, struct slice value)
{
    if (value.len == 0)
        return;
    buf_add(to, name);
    text_add_json(to, slice_of(value.ptr, value.len < MAX_TEXT ? value.len : MAX_TEXT));
}

static void add_object(struct buf *to, const struct access_entry *e)
{
    char stamp[32];
    log_stamp(stamp);
    buf_add(to, SLICE("{\"time\":\""));
    buf_add(to, slice_from(stamp));
    buf_add(to, SLICE("\",\"type\":\"access\""));
    add_member(to, SLICE(",\"client\":"), e->client_addr);
    add_member(to, SLICE(",\"method\":"), e->method);
    add_member(to, SLICE(",\"target\":"), e->target);
    if (e->method.len > 0)
        add_member(to, SLICE(",\"version\":"),
                   e->minor == 0 ? SLICE("1.0") : SLICE("1.1"));
    buf_add(to, SLICE(",\"status\":"));
    add_number(to, (uint64_t)e->status);
    buf_add(to, SLICE(",\"sent\":"));
    add_number(to, e->sent_bytes);
    buf_add(to, SLICE(",\"received\":"));
    add_number(to, e->received_bytes);
    add_member(to, SLICE(",\"referer\":"), e->referer);
    add_member(to, SLICE(",\"user_agent\":"), e->user_agent);
    buf_add(to, SLICE(",\"request_s\":"));
    add_seconds(to, e->request_us);
    buf_add(to, SLICE(",\"queue_s\":"));
    add_seconds(to, e->queue_us);
    add_member(to, SLICE(",\"pool\":"), e->pool);
    add_member(to, SLICE(",\"backend\":"), e->backend);
    add_member(to, SLICE(",\"id\":"), e->id);
    buf_add(to, SLICE("}\n"));
}

void access_writer_add(struct access_writer *w, const struct access_entry *e)
{
    CHECK_OBJ(w, WRITER_MAGIC);
    if (log_is_json())
        add_object(&w->lines, e);
    else
        add_line(w, e);
    if (buf_len(&w->lines) >= MAX_BUFFERED)
        access_writer_flush(w);
}

/* A log that cannot be written (a full disk) must not stop the service: the lines are
 * lost. */
void access_writer_flush(struct access_writer *w)
{
    while (buf_len(&w->lines) > 0) {
        struct slice lines = buf_slice(&w->lines);
        ssize_t n = write(w->log->fd, lines.ptr, lines.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        buf_consume(&w->lines, (size_t)n);
    }
    buf_clear(&w->lines);
}
