/* SPDX-License-Identifier: MIT
 * Everything is prepared before the fork: between it and exec a process with threads
 * may do little. */
#include "proxy/successor.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/base/process.h"
#include "protocol/base/program.h"

enum {
    SUCCESSOR_MAGIC = 0x50cce550,
    FIRST_FD = 3,
    REASON_BYTES = 2048, /* of what it has said last */
    EXIT_NOT_EXECUTED = 127,
};

enum progress { NOT_STARTED, STARTING, READY, GONE_LIVE, SERVING, ENDED };

struct successor {
    uint32_t magic;
    struct successor_options options;
    enum progress progress;
    pid_t pid;
    int *fds; /* copies, beyond all numbers that it will have */
    char **names;
    uint32_t count;
    int line, voice; /* our ends; -1: closed */
    struct event *line_event, *voice_event, *patience;
    struct buf said; /* the last that came out of its standard error */
    char reason[128];
};

/* What the child needs between fork and exec. */
struct launch {
    char *program, **environment;
    char *pid_text[2]; /* where its own number belongs; NULL: nowhere */
    int said;          /* its standard error */
    pid_t parent;
};

static void on_line(evutil_socket_t fd, short what, void *arg);
static void on_voice(evutil_socket_t fd, short what, void *arg);
static void on_late(evutil_socket_t fd, short what, void *arg);
NO_RETURN static void
become(const struct successor *s, const struct launch *l, const int *fds);

struct successor *successor_new(const struct successor_options *options)
{
    struct successor *s = mem_zalloc(sizeof *s);
    s->magic = SUCCESSOR_MAGIC;
    s->options = *options;
    s->line = s->voice = -1;
    buf_init(&s->said, 0);
    return s;
}

void successor_pass(struct successor *s, int fd, const char *name)
{
    CHECK_OBJ(s, SUCCESSOR_MAGIC);
    s->fds = mem_realloc(s->fds, (s->count + 1) * sizeof *s->fds);
    s->names = mem_realloc(s->names, (s->count + 1) * sizeof *s->names);
    s->fds[s->count] = fd;
    s->names[s->count++] = mem_strdup(name);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void free_event(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

void successor_free(struct successor **successor_p)
{
    struct successor *s = take(*successor_p);
    if (s == NULL)
        return;
    CHECK_OBJ(s, SUCCESSOR_MAGIC);
    if (s->pid > 0 && s->progress < SERVING) {
        int status;
        (void)kill(s->pid, SIGKILL);
        while (!process_reap(s->pid, &status))
            (void)usleep(1000);
    }
    free_event(&s->line_event);
    free_event(&s->voice_event);
    free_event(&s->patience);
    close_fd(&s->line);
    close_fd(&s->voice);
    for (uint32_t i = 0; i < s->count; i++)
        mem_free(&s->names[i]);
    mem_free(&s->names);
    mem_free(&s->fds);
    buf_fini(&s->said);
    s->magic = 0;
    mem_free(&s);
}

pid_t successor_pid(const struct successor *s)
{
    CHECK_OBJ(s, SUCCESSOR_MAGIC);
    return s->pid;
}

/* ---- start ---- */

static int write_state(struct slice text)
{
    int fd = memfd_create(PREDECESSOR_STATE, MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    while (text.len > 0) {
        ssize_t wrote = write(fd, text.ptr, text.len);
        if (wrote <= 0) {
            (void)close(fd);
            return -1;
        }
        text = slice_of(text.ptr + wrote, text.len - (size_t)wrote);
    }
    return lseek(fd, 0, SEEK_SET) == 0 ? fd : -1;
}

/* The names of all that is passed, with colons between. */
static char *join_names(const struct successor *s)
{
    struct buf names;
    buf_init(&names, 0);
    buf_addf(&names, "LISTEN_FDNAMES=");
    for (uint32_t i = 0; i < s->count; i++)
        buf_addf(&names, "%s%s", i == 0 ? "" : ":", s->names[i]);
    char *text = mem_printf("%.*s", SLICE_FMT(buf_slice(&names)));
    buf_fini(&names);
    return text;
}

/* "NAME=" and room for a number, of which *ret_number points to the first digit. */
static char *number_room(const char *name, char **ret_number)
{
    char *text = mem_printf("%s=0000000000", name);
    *ret_number = text + strlen(name) + 1;
    return text;
}

/* Ours, but for what is about descriptors and processes. */
static void build_environment(const struct successor *s, struct launch *l)
{
    static const char *const others[] = {
        "LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=", "WATCHDOG_PID="};
    size_t count = 0, at = 0;
    while (environ[count] != NULL)
        count++;
    l->environment = mem_zalloc((count + 5) * sizeof *l->environment);
    for (size_t i = 0; i < count; i++) {
        bool is_other = false;
        for (size_t n = 0; n < sizeof others / sizeof others[0]; n++)
            is_other |= strncmp(environ[i], others[n], strlen(others[n])) == 0;
        if (!is_other)
            l->environment[at++] = mem_strdup(environ[i]);
    }
    l->environment[at++] = mem_printf("LISTEN_FDS=%u", s->count);
    l->environment[at++] = join_names(s);
    l->environment[at++] = number_room("LISTEN_PID", &l->pid_text[0]);
    if (getenv("WATCHDOG_PID") != NULL)
        l->environment[at++] = number_room("WATCHDOG_PID", &l->pid_text[1]);
}

static void free_launch(struct launch *l)
{
    mem_free(&l->program);
    for (size_t i = 0; l->environment != NULL && l->environment[i] != NULL; i++)
        mem_free(&l->environment[i]);
    mem_free(&l->environment);
}

/* The path as it was given: what stands there now. */
static char *find_program(const char *name)
{
    return strchr(name, '/') != NULL ? mem_strdup(name) : program_find(name);
}

/* High enough that dup2 to FIRST_FD on overwrites none of them. */
static bool lift(const struct successor *s, int *to)
{
    for (uint32_t i = 0; i < s->count; i++) {
        to[i] = fcntl(s->fds[i], F_DUPFD_CLOEXEC, FIRST_FD + (int)s->count);
        if (to[i] < 0)
            return false;
    }
    return true;
}

static bool fork_it(struct successor *s, struct launch *l)
{
    own(mem) int *lifted = mem_alloc((s->count + 1) * sizeof *lifted);
    for (uint32_t i = 0; i < s->count; i++)
        lifted[i] = -1;
    bool is_good = lift(s, lifted);
    l->parent = getpid();
    if (is_good && (s->pid = fork()) == 0)
        become(s, l, lifted);
    int error = errno;
    for (uint32_t i = 0; i < s->count; i++)
        close_fd(&lifted[i]);
    errno = error;
    return is_good && s->pid > 0;
}

static void watch(struct successor *s)
{
    struct event_base *base = s->options.base;
    struct timeval patience = {(time_t)(s->options.patience_us / 1000000),
                               (suseconds_t)(s->options.patience_us % 1000000)};
    (void)fcntl(s->line, F_SETFL, O_NONBLOCK);
    (void)fcntl(s->voice, F_SETFL, O_NONBLOCK);
    s->line_event = event_new(base, s->line, EV_READ | EV_PERSIST, on_line, s);
    s->voice_event = event_new(base, s->voice, EV_READ | EV_PERSIST, on_voice, s);
    s->patience = evtimer_new(base, on_late, s);
    ASSERT(s->line_event != NULL && s->voice_event != NULL && s->patience != NULL);
    ASSERT(event_add(s->line_event, NULL) == 0 &&
           event_add(s->voice_event, NULL) == 0 &&
           evtimer_add(s->patience, &patience) == 0);
}

bool successor_start(struct successor *s, struct buf *ret_message)
{
    CHECK_OBJ(s, SUCCESSOR_MAGIC);
    int line[2] = {-1, -1}, voice[2] = {-1, -1}, state = -1;
    struct launch l = {.program = find_program(s->options.argv[0])};
    bool is_good = false;
    errno = ENOENT;
    if (l.program != NULL && program_is(l.program) &&
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) == 0 &&
        pipe2(voice, O_CLOEXEC) == 0 && (state = write_state(s->options.state)) >= 0) {
        successor_pass(s, line[1], PREDECESSOR_LINE);
        successor_pass(s, state, PREDECESSOR_STATE);
        successor_pass(s, STDERR_FILENO, PREDECESSOR_STDERR);
        build_environment(s, &l);
        l.said = voice[1];
        s->line = line[0];
        s->voice = voice[0];
        line[0] = voice[0] = -1;
        is_good = fork_it(s, &l);
    }
    if (!is_good)
        buf_addf(ret_message, "cannot run %s: %s", s->options.argv[0], strerror(errno));
    free_launch(&l);
    for (int i = 0; i < 2; i++) {
        close_fd(&line[i]);
        close_fd(&voice[i]);
    }
    close_fd(&state);
    if (is_good) {
        s->progress = STARTING;
        watch(s);
    }
    return is_good;
}

/* ---- between fork and exec: only what a signal handler may do ---- */

static void write_number(char *to, unsigned long value)
{
    char digits[10];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < count; i++)
        to[i] = digits[count - 1 - i];
    to[count] = '\0';
}

static void become(const struct successor *s, const struct launch *l, const int *fds)
{
    static const char failed[] = "banyan-proxy: cannot execute: ";
    if (!process_die_with(l->parent, SIGKILL))
        _exit(EXIT_NOT_EXECUTED);
    (void)dup2(l->said, STDERR_FILENO);
    for (uint32_t i = 0; i < s->count; i++)
        (void)dup2(fds[i], FIRST_FD + (int)i);
    for (size_t i = 0; i < 2; i++)
        if (l->pid_text[i] != NULL)
            write_number(l->pid_text[i], (unsigned long)getpid());
    (void)signal(SIGPIPE, SIG_DFL);
    (void)pthread_sigmask(SIG_SETMASK, s->options.signals, NULL);
    (void)execve(l->program, s->options.argv, l->environment);
    const char *why = strerrordesc_np(errno);
    (void)!write(STDERR_FILENO, failed, sizeof failed - 1);
    (void)!write(STDERR_FILENO, why, strlen(why));
    (void)!write(STDERR_FILENO, "\n", 1);
    _exit(EXIT_NOT_EXECUTED);
}

/* ---- what comes from it ---- */

static void keep_last(struct buf *said, struct slice text)
{
    buf_add(said, text);
    if (buf_len(said) > REASON_BYTES)
        buf_consume(said, buf_len(said) - REASON_BYTES);
}

static void on_voice(evutil_socket_t fd, short what, void *arg)
{
    struct successor *s = CAST_OBJ(arg, struct successor, SUCCESSOR_MAGIC);
    char text[4096];
    (void)what;
    ssize_t got = read(fd, text, sizeof text);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        free_event(&s->voice_event);
        close_fd(&s->voice);
        return;
    }
    (void)!write(STDERR_FILENO, text, (size_t)got);
    keep_last(&s->said, slice_of(text, (size_t)got));
}

/* What it has said last, or else how it ended. */
static void tell_failed(struct successor *s)
{
    struct buf why;
    buf_init(&why, 0);
    while (s->voice_event != NULL) {
        size_t before = buf_len(&s->said);
        on_voice(s->voice, EV_READ, s);
        if (buf_len(&s->said) == before)
            break;
    }
    buf_addf(&why, "%s", s->reason);
    struct slice said = buf_slice(&s->said);
    while (said.len > 0 && said.ptr[said.len - 1] == '\n')
        said.len--;
    if (said.len > 0)
        buf_addf(&why, "; it said:\n%.*s", SLICE_FMT(said));
    buf_add(&why, slice_of("", 1));
    s->progress = ENDED;
    s->options.events->failed(s->options.owner, buf_slice(&why).ptr);
    buf_fini(&why);
}

void successor_reap(struct successor *s)
{
    CHECK_OBJ(s, SUCCESSOR_MAGIC);
    int status;
    if (s->pid <= 0 || !process_reap(s->pid, &status))
        return;
    char how[PROCESS_REASON_BYTES];
    process_reason(status, how);
    if (s->progress == SERVING)
        log_write(status == 0 ? LOG_INFO : LOG_WARN, NULL, "the new proxy (pid %d) %s",
                  (int)s->pid, how);
    if (s->reason[0] == '\0')
        (void)snprintf(s->reason, sizeof s->reason, "the new proxy %s", how);
    s->pid = 0;
    if (s->progress < SERVING)
        tell_failed(s);
}

static void end_it(struct successor *s, const char *reason)
{
    (void)snprintf(s->reason, sizeof s->reason, "%s", reason);
    (void)kill(s->pid, SIGKILL); /* then it is reaped, and `failed` is told */
    free_event(&s->line_event);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
    struct successor *s = CAST_OBJ(arg, struct successor, SUCCESSOR_MAGIC);
    (void)fd;
    (void)what;
    if (s->progress < SERVING)
        end_it(s, "the new proxy was not ready in time");
}

static void on_word(struct successor *s, struct slice word)
{
    if (s->progress == STARTING && slice_eq(word, SLICE("ready\n"))) {
        s->progress = READY;
        s->options.events->ready(s->options.owner);
    } else if (s->progress == GONE_LIVE && slice_eq(word, SLICE("serving\n"))) {
        s->progress = SERVING;
        free_event(&s->patience);
        free_event(&s->line_event);
        s->options.events->serving(s->options.owner);
    } else {
        end_it(s, "the new proxy does not speak as this one does");
    }
}

/* Each word is the answer to one of ours: it comes alone. At the end there is SIGCHLD,
 * too. */
static void on_line(evutil_socket_t fd, short what, void *arg)
{
    struct successor *s = CAST_OBJ(arg, struct successor, SUCCESSOR_MAGIC);
    char word[32];
    (void)what;
    ssize_t got = recv(fd, word, sizeof word, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        free_event(&s->line_event);
    else
        on_word(s, slice_of(word, (size_t)got));
}

void successor_go(struct successor *s, const struct parent *parent)
{
    CHECK_OBJ(s, SUCCESSOR_MAGIC);
    ASSERT(s->progress == READY);
    char word[64];
    int length =
        snprintf(word, sizeof word, "go %d %d\n", (int)parent->pid, parent->signal);
    s->progress = GONE_LIVE;
    if (send(s->line, word, (size_t)length, MSG_NOSIGNAL) != length)
        end_it(s, ""); /* how it ended is the reason */
}
