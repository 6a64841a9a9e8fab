/* SPDX-License-Identifier: MIT
 * A worker process's place in the master: the endpoint, the process that fills it now,
 * and when the next one is due. Forking is the master's; a slot keeps what became of
 * it. */
#ifndef APPSERVER_SLOT_H
#define APPSERVER_SLOT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/base/check.h"
#include "protocol/base/process.h"

/*   WAITING -> STARTING -> READY
 *      ^          |          |
 *      |          v          v
 *      +------ STOPPING <----+         any -> WAITING: died; any -> DONE: died, retired
 */
enum slot_state {
    SLOT_WAITING,  /* no process until start_at_us */
    SLOT_STARTING, /* forked, not ready */
    SLOT_READY,
    SLOT_STOPPING, /* told to drain; killed at kill_at_us */
    SLOT_DONE,     /* no process, none to come; a dropped next one may still end */
};

/* The process that will fill the place next: it imports and starts the application
 * while the one before it still serves, and opens the endpoint when that one has ended.
 * A dropped one does not: it ends. */
struct understudy {
    pid_t pid;           /* 0: none */
    int words_fd;        /* -1: none */
    int go_fd;           /* eventfd: it may open the endpoint; -1: none */
    bool is_prepared;    /* it waits for that */
    bool is_outdated;    /* as the slot's */
    bool is_to_reread;   /* the keys were read again since it was forked */
    uint64_t late_at_us; /* it should be prepared before; 0: whenever, or it was said */
    bool is_dropped;     /* nobody waits for it, */
    uint64_t kill_at_us; /* but it may have an application to shut down; 0: none */
};

struct slot {
    uint32_t magic;
    uint32_t number, generation;
    char *endpoint; /* owned */
    enum slot_state state;
    bool retired;         /* the process is the last one here */
    bool was_ready;       /* some process of it was */
    pid_t pid;            /* 0: none */
    bool is_prepared;     /* the process has imported and started the application, */
    bool is_outdated;     /* maybe an old one: it is to be replaced */
    bool is_spent;        /* it said so: it is to be replaced */
    bool has_turn;        /* of all slots it is the one where that is done (roll.c) */
    int reread_fd;        /* eventfd: its process reads its keys again; -1: none */
    int words_fd;         /* what it says; -1: none, or it is ending */
    uint64_t start_at_us; /* WAITING */
    uint64_t started_us;  /* of the last process */
    uint64_t kill_at_us;  /* STOPPING */
    uint64_t leave_until_us, leave_kill_at_us; /* registrar_stop; 0: it does not */
    struct understudy next;
    uint64_t next_at_us; /* a spent process has no next one before */
    struct backoff backoff;
    uint64_t socket_device, socket_inode; /* of the endpoint's file, once ready */
};

/* NULL: the endpoint has no port left for this number. WAITING, due at once. */
MUST_CHECK struct slot *
slot_new(const char *bind, uint32_t number, uint32_t generation);
/* Its processes must be gone. Removes the endpoint's file if it is still the one that
 * our process made. */
void slot_free(struct slot **slot_p);

/* The master forked `pid`; `words_fd` is taken. */
void slot_started(struct slot *slot, pid_t pid, int words_fd);
/* words_fd is readable: takes one word. WORD_READY: the process is ready now;
 * WORD_SPENT: it is to be replaced; '\0': nothing to act upon. */
MUST_CHECK char slot_hear(struct slot *slot);
/* The application may be another one from now on: a next process that no request waits
 * for is dropped, the others are to be replaced. */
void slot_outdate(struct slot *slot, uint64_t kill_at_us);
/* They are not, after all. */
void slot_keep(struct slot *slot);
/* The master has read the keys again; the processes are to do so. */
void slot_reread(struct slot *slot);

/* The master forked `pid` to be the next one here, as long as there is none; both
 * descriptors are taken. */
void slot_prepare(struct slot *slot, pid_t pid, int words_fd, int go_fd);
/* next.words_fd is readable. */
void slot_hear_next(struct slot *slot);
/* The next one was reaped: there may be another one. */
void slot_next_ended(struct slot *slot);
void slot_kill_next(struct slot *slot);
/* How many of them are ready. */
uint32_t slots_ready(struct slot *const *slots, uint32_t count);
/* The process was reaped: closes what belonged to it. DONE when retired; STARTING when
 * there is a next one, which may open the endpoint now; else WAITING with `delay_us`
 * from now. */
void slot_ended(struct slot *slot, uint64_t delay_us);

/* SIGTERM now, SIGKILL at `kill_at_us`; a process that is not prepared gets SIGKILL at
 * once (both go for a next one that is dropped, too); a waiting slot is due at once, or
 * DONE when retired. */
void slot_stop(struct slot *slot, uint64_t kill_at_us);
void slot_kill(struct slot *slot);
/* The process is not replaced when it ends; a next one is dropped. */
void slot_retire(struct slot *slot, uint64_t kill_at_us);

#endif
