/* SPDX-License-Identifier: MIT
 * Until `go` this process dies with its predecessor, whose child it is. When that one
 * has finished, the kernel gives it to the supervisor: from then on it dies with that
 * one, if the predecessor would have. */
#include "proxy/predecessor.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/base/process.h"
#include "proxy/inherited.h"

enum { PREDECESSOR_MAGIC = 0x93edece5, ADOPTION_US = 10 * 1000, EXIT_ABANDONED = 1 };

struct predecessor {
    uint32_t magic;
    int line, its_stderr;
    int parent_fd; /* pidfd; -1: none */
    pid_t pid;
    struct buf state;
    const struct predecessor_events *events;
    void *owner;
    struct event *line_event, *adoption, *parent_event;
    struct parent parent; /* to be */
    bool is_serving;
};

static void on_line(evutil_socket_t fd, short what, void *arg);
static void on_adoption(evutil_socket_t fd, short what, void *arg);
static void on_parent_end(evutil_socket_t fd, short what, void *arg);
static void watch_parent(struct predecessor *p);

struct parent parent_of_this_process(void)
{
    struct parent parent = {.pid = getppid()};
    (void)prctl(PR_GET_PDEATHSIG, &parent.signal);
    return parent;
}

static void read_state(struct predecessor *p, int fd)
{
    char bytes[4096];
    ssize_t got;
    while (fd >= 0 && (got = read(fd, bytes, sizeof bytes)) > 0)
        buf_add(&p->state, slice_of(bytes, (size_t)got));
    if (fd >= 0)
        (void)close(fd);
}

struct predecessor *predecessor_new(struct inherited *inherited)
{
    int line = inherited_take(inherited, PREDECESSOR_LINE);
    if (line < 0)
        return NULL;
    struct predecessor *p = mem_zalloc(sizeof *p);
    p->magic = PREDECESSOR_MAGIC;
    p->line = line;
    p->its_stderr = inherited_take(inherited, PREDECESSOR_STDERR);
    p->pid = getppid();
    p->parent_fd = -1;
    buf_init(&p->state, 0);
    read_state(p, inherited_take(inherited, PREDECESSOR_STATE));
    return p;
}

void predecessor_free(struct predecessor **predecessor_p)
{
    struct predecessor *p = take(*predecessor_p);
    if (p == NULL)
        return;
    CHECK_OBJ(p, PREDECESSOR_MAGIC);
    if (p->line_event != NULL)
        event_free(p->line_event);
    if (p->adoption != NULL)
        event_free(p->adoption);
    if (p->parent_event != NULL)
        event_free(p->parent_event);
    if (p->parent_fd >= 0)
        (void)close(p->parent_fd);
    (void)close(p->line);
    if (p->its_stderr >= 0)
        (void)close(p->its_stderr);
    buf_fini(&p->state);
    p->magic = 0;
    mem_free(&p);
}

struct slice predecessor_state(const struct predecessor *p)
{
    CHECK_OBJ(p, PREDECESSOR_MAGIC);
    return buf_slice(&p->state);
}

static void say(const struct predecessor *p, struct slice word)
{
    (void)!send(p->line, word.ptr, word.len, MSG_NOSIGNAL); /* else on_line hears it */
}

void predecessor_say_ready(struct predecessor *p,
                           struct event_base *base,
                           const struct predecessor_events *events,
                           void *owner)
{
    CHECK_OBJ(p, PREDECESSOR_MAGIC);
    p->events = events;
    p->owner = owner;
    (void)fcntl(p->line, F_SETFL, O_NONBLOCK);
    p->line_event = event_new(base, p->line, EV_READ | EV_PERSIST, on_line, p);
    p->adoption = evtimer_new(base, on_adoption, p);
    ASSERT(p->line_event != NULL && p->adoption != NULL &&
           event_add(p->line_event, NULL) == 0);
    say(p, SLICE("ready\n"));
}

void predecessor_say_serving(struct predecessor *p)
{
    CHECK_OBJ(p, PREDECESSOR_MAGIC);
    p->is_serving = true;
    (void)prctl(PR_SET_PDEATHSIG, 0);
    if (p->its_stderr >= 0) {
        (void)dup2(p->its_stderr, STDERR_FILENO);
        (void)close(p->its_stderr);
        p->its_stderr = -1;
    }
    say(p, SLICE("serving\n"));
}

/* ---- what comes from it ---- */

/* "go PID SIGNAL\n" */
static bool read_go(struct predecessor *p, char *word)
{
    char *at;
    if (strncmp(word, "go ", 3) != 0)
        return false;
    p->parent.pid = (pid_t)strtol(word + 3, &at, 10);
    p->parent.signal = (int)strtol(at, &at, 10);
    return *at == '\n';
}

static void watch_adoption(struct predecessor *p)
{
    static const struct timeval pause = {0, ADOPTION_US};
    if (p->parent.signal != 0)
        ASSERT(evtimer_add(p->adoption, &pause) == 0);
}

static void on_end(struct predecessor *p)
{
    (void)event_del(p->line_event);
    if (p->is_serving) {
        watch_adoption(p);
        return;
    }
    log_error(NULL, "the proxy that started this one has ended before it was replaced");
    _exit(EXIT_ABANDONED);
}

static void on_line(evutil_socket_t fd, short what, void *arg)
{
    struct predecessor *p = CAST_OBJ(arg, struct predecessor, PREDECESSOR_MAGIC);
    char word[64];
    (void)what;
    ssize_t got = recv(fd, word, sizeof word - 1, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    word[got < 0 ? 0 : got] = '\0';
    if (got <= 0)
        on_end(p);
    else if (!p->is_serving && read_go(p, word))
        p->events->go(p->owner, &p->parent);
}

/* It has closed its end; the kernel makes us somebody else's child in a moment. */
static void on_adoption(evutil_socket_t fd, short what, void *arg)
{
    struct predecessor *p = CAST_OBJ(arg, struct predecessor, PREDECESSOR_MAGIC);
    (void)fd;
    (void)what;
    if (getppid() == p->pid) {
        watch_adoption(p);
        return;
    }
    if (getppid() == p->parent.pid && process_die_with(p->parent.pid, p->parent.signal))
        return;
    watch_parent(p);
}

/* It is no reaper of orphans, or it has ended, and may be a zombie. */
static void watch_parent(struct predecessor *p)
{
    p->parent_fd = pidfd_open(p->parent.pid, 0);
    if (p->parent_fd < 0 && errno == ESRCH)
        p->events->orphaned(p->owner, p->parent.signal);
    if (p->parent_fd < 0)
        return;
    p->parent_event =
        event_new(event_get_base(p->adoption), p->parent_fd, EV_READ, on_parent_end, p);
    ASSERT(p->parent_event != NULL && event_add(p->parent_event, NULL) == 0);
}

static void on_parent_end(evutil_socket_t fd, short what, void *arg)
{
    struct predecessor *p = CAST_OBJ(arg, struct predecessor, PREDECESSOR_MAGIC);
    (void)fd;
    (void)what;
    p->events->orphaned(p->owner, p->parent.signal);
}
