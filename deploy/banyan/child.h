/* SPDX-License-Identifier: MIT
 * One program that the supervisor runs: its command line, the process that executes it
 * now, and when it is started again. */
#ifndef BANYAN_CHILD_H
#define BANYAN_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/process.h"

enum { CHILD_READY_FD = 3 }; /* what --ready-fd of a child with readiness says */

enum child_readiness { CHILD_PLAIN, CHILD_REPORTS };

struct child {
    uint32_t magic;
    const char *name; /* "proxy", for the log; borrowed */
    enum child_readiness readiness;
    char **words; /* owned, NULL at the end; words[0] is the program's path */
    uint32_t word_count;
    pid_t pid;             /* 0: not running */
    int ready_fd;          /* reading end of its descriptor 3; -1: none */
    struct buf ready_line; /* the part of a line that came so far */
    uint64_t started_us, start_at_us;
    struct backoff backoff;
    const char *notify;   /* its NOTIFY_SOCKET, and WATCHDOG_PID is its own; NULL: it
                             has nobody to tell. Borrowed */
    uint64_t watchdog_us; /* within which it tells; 0: never */
    int passed_files;     /* LISTEN_FDS: so many descriptors from 3 on are for it */
    int pidfd;            /* of one that we did not start; -1: none */
};

/* `program` is executed as it stands. */
MUST_CHECK struct child *
child_new(const char *name, const char *program, enum child_readiness readiness);
void child_free(struct child **child_p); /* its process must be gone */

void child_add(struct child *child, const char *format, ...) PRINTF_LIKE(2, 3);

/* In a process group of its own (the terminal's ^C is the supervisor's business), input
 * from /dev/null, dying with the supervisor, `mask` as its signal mask. False: errno
 * says why. */
MUST_CHECK bool child_start(struct child *child, const sigset_t *mask);
/* Another process is it from here on: a child or grandchild of ours. False: it has
 * ended. */
MUST_CHECK bool child_follow(struct child *child, pid_t pid);
void child_signal(const struct child *child, int number); /* nothing when not running */
/* It was reaped; due again in `delay_us`. */
void child_ended(struct child *child, uint64_t delay_us);

/* One line that it wrote to its descriptor 3, without the newline, in ret_line (cleared
 * first). False: no whole line yet; call again when ready_fd is readable. */
MUST_CHECK bool child_read_line(struct child *child, struct buf *ret_line);

#endif
