/* SPDX-License-Identifier: MIT
 * What every parent of long-lived processes needs: how a child ended in words, when to
 * start it again, and that it dies with its parent. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/base/check.h"

enum {
    PROCESS_REASON_BYTES = 64,
    BACKOFF_FIRST_US = 100 * 1000,
    BACKOFF_LAST_US = 5 * 1000 * 1000,
    BACKOFF_RESET_US =
        10 * 1000 * 1000, /* alive this long: the next death is the first */
};

/* "exited with code 3", "was killed by SIGKILL", of a waitpid(2) status. */
void process_reason(int status, char ret_text[PROCESS_REASON_BYTES]);

/* Reaps `child` if it has ended. False: it runs. A child that somebody else reaped
 * counts as ended with status 0. */
MUST_CHECK bool process_reap(pid_t child, int *ret_status);
/* As PID 1 of a container we inherit every orphan: reaps any child that has ended; 0:
 * none. Without being PID 1 this would take the children of others in this process. */
MUST_CHECK pid_t process_reap_any(int *ret_status);

/* In a child, first of all: the kernel sends it `signal_number` when the thread that
 * forked it ends, however it ends. False: `parent` (getpid() before fork) is gone
 * already. */
MUST_CHECK bool process_die_with(pid_t parent, int signal_number);

/* Restarts: at once the first time, then 0.1 s doubling to 5 s. Zeroed at the start. */
struct backoff {
    uint32_t deaths; /* in a row */
};

/* The child ended after `alive_us`: how long to wait before it is started again. */
uint64_t backoff_next(struct backoff *b, uint64_t alive_us);

#endif
