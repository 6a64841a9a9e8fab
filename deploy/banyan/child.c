/* SPDX-License-Identifier: MIT
 * fork, exec, and the pipe on which a child says that it is ready. */
#include "deploy/banyan/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "protocol/base/notify.h"

enum {
    CHILD_MAGIC = 0x0c417d00,
    LINE_MAX_BYTES = 1024, /* of a ready line */
    EXIT_NOT_EXECUTED = 127,
};

static void append_word(struct child *child, char *word);
NO_RETURN static void run_program(struct child *child,
                                  pid_t parent,
                                  const int ready[2],
                                  const sigset_t *mask);

struct child *
child_new(const char *name, const char *program, enum child_readiness readiness)
{
    struct child *child = mem_zalloc(sizeof *child);
    child->magic = CHILD_MAGIC;
    child->name = name;
    child->readiness = readiness;
    child->ready_fd = child->pidfd = -1;
    buf_init(&child->ready_line, LINE_MAX_BYTES);
    append_word(child, mem_strdup(program));
    return child;
}

void child_free(struct child **child_p)
{
    struct child *child = take(*child_p);
    if (child == NULL)
        return;
    CHECK_OBJ(child, CHILD_MAGIC);
    ASSERT(child->pid == 0);
    child->magic = 0;
    if (child->ready_fd >= 0)
        (void)close(child->ready_fd);
    if (child->pidfd >= 0)
        (void)close(child->pidfd);
    buf_fini(&child->ready_line);
    for (uint32_t i = 0; i < child->word_count; i++)
        mem_free(&child->words[i]);
    mem_free(&child->words);
    mem_free(&child);
}

void child_add(struct child *child, const char *format, ...)
{
    va_list arguments;
    char *word = NULL;

    CHECK_OBJ(child, CHILD_MAGIC);
    va_start(arguments, format);
    int length = vasprintf(&word, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0);
    append_word(child, word);
}

/* Takes `word`. */
static void append_word(struct child *child, char *word)
{
    child->words =
        mem_realloc(child->words, (child->word_count + 2) * sizeof *child->words);
    child->words[child->word_count++] = word;
    child->words[child->word_count] = NULL;
}

bool child_start(struct child *child, const sigset_t *mask)
{
    CHECK_OBJ(child, CHILD_MAGIC);
    ASSERT(child->pid == 0);
    int ready[2] = {-1, -1};

    if (child->readiness == CHILD_REPORTS) {
        if (pipe2(ready, O_CLOEXEC) != 0)
            return false;
        (void)fcntl(ready[0], F_SETFL, O_NONBLOCK);
    }
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        run_program(child, parent, ready, mask);
    int error = errno;
    if (ready[1] >= 0)
        (void)close(ready[1]);
    if (pid < 0) {
        if (ready[0] >= 0)
            (void)close(ready[0]);
        errno = error;
        return false;
    }
    child->pid = pid;
    child->ready_fd = ready[0];
    child->started_us = clock_now_us();
    return true;
}

static void set_number(const char *name, long value)
{
    own(mem) char *text = mem_printf("%ld", value);
    (void)setenv(name, text, 1);
}

/* In the child: what a service manager has told us is not for it, but for what we pass
 * on. */
static void set_environment(const struct child *child)
{
    notify_forget();
    if (child->notify != NULL) {
        (void)setenv("NOTIFY_SOCKET", child->notify, 1);
        if (child->watchdog_us > 0) {
            set_number("WATCHDOG_USEC", (long)child->watchdog_us);
            set_number("WATCHDOG_PID", getpid());
        }
    }
    for (int i = 0; i < child->passed_files; i++)
        (void)fcntl(CHILD_READY_FD + i, F_SETFD, 0);
    if (child->passed_files > 0) {
        set_number("LISTEN_PID", getpid());
    } else {
        (void)unsetenv("LISTEN_FDS");
        (void)unsetenv("LISTEN_PID");
        (void)unsetenv("LISTEN_FDNAMES");
    }
}

static void
run_program(struct child *child, pid_t parent, const int ready[2], const sigset_t *mask)
{
    if (!process_die_with(parent, SIGKILL))
        _exit(EXIT_NOT_EXECUTED);
    (void)setpgid(0, 0);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null > STDIN_FILENO)
        (void)dup2(null, STDIN_FILENO);
    if (ready[1] == CHILD_READY_FD)
        (void)fcntl(ready[1], F_SETFD, 0);
    else if (ready[1] >= 0)
        (void)dup2(ready[1], CHILD_READY_FD);
    set_environment(child);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)pthread_sigmask(SIG_SETMASK, mask, NULL);
    (void)execv(child->words[0], child->words);
    (void)fprintf(stderr, "banyan: cannot run %s: %s\n", child->words[0],
                  strerror(errno));
    _exit(EXIT_NOT_EXECUTED);
}

void child_signal(const struct child *child, int number)
{
    CHECK_OBJ(child, CHILD_MAGIC);
    if (child->pid != 0)
        (void)kill(child->pid, number);
}

bool child_follow(struct child *child, pid_t pid)
{
    CHECK_OBJ(child, CHILD_MAGIC);
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0)
        return false;
    if (child->pidfd >= 0)
        (void)close(child->pidfd);
    child->pidfd = pidfd;
    child->pid = pid;
    child->started_us = clock_now_us();
    return true;
}

void child_ended(struct child *child, uint64_t delay_us)
{
    CHECK_OBJ(child, CHILD_MAGIC);
    child->pid = 0;
    if (child->pidfd >= 0)
        (void)close(child->pidfd);
    child->pidfd = -1;
    child->start_at_us = clock_now_us() + delay_us;
    if (child->ready_fd >= 0)
        (void)close(child->ready_fd);
    child->ready_fd = -1;
    buf_clear(&child->ready_line);
}

bool child_read_line(struct child *child, struct buf *ret_line)
{
    CHECK_OBJ(child, CHILD_MAGIC);
    char byte;

    /* Short and rare: byte by byte, so that a line never crosses into the next. */
    while (child->ready_fd >= 0) {
        ssize_t got = read(child->ready_fd, &byte, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return false;
        if (got <= 0) {
            (void)close(child->ready_fd);
            child->ready_fd = -1;
            return false;
        }
        if (byte == '\n') {
            buf_clear(ret_line);
            buf_add(ret_line, buf_slice(&child->ready_line));
            buf_clear(&child->ready_line);
            return true;
        }
        /* Longer than any of ours: the rest of it is not kept. */
        (void)!buf_append(&child->ready_line, slice_of(&byte, 1));
    }
    return false;
}
