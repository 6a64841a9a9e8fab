/* SPDX-License-Identifier: MIT
 * What master.c and roll.c share. */
#ifndef APPSERVER_MASTER_PRIV_H
#define APPSERVER_MASTER_PRIV_H

#include <signal.h>

#include "appserver/master.h"
#include "appserver/registrar.h"
#include "appserver/slot.h"
#include "protocol/base/service.h"

/* What SIGHUP has begun. */
enum roll {
    ROLL_NONE,
    ROLL_SLOTS,      /* all slots are outdated, some still */
    ROLL_GENERATION, /* all anew beside the old ones, which then leave */
};

struct master {
    const struct app_options *options;
    const struct master_hooks *hooks;
    struct registrar *registrar; /* NULL: none */
    struct slot **slots;         /* owned; of one generation, while rolling of two */
    uint32_t slot_count;
    uint32_t generation;
    struct keys *keys; /* NULL: none */
    int signal_fd;
    int report_fd; /* --ready-fd; -1: none */
    sigset_t signals, old_signals;
    struct service service;
    bool stopping;
    int exit_code;
    enum roll roll;
    bool roll_again; /* SIGHUP came too late for some of ROLL_GENERATION */
    uint32_t turn;   /* the slot that had its turn last */
};

/* ---- master.c ---- */
/* False: a mistake in them, which was said; those of before are in force. */
MUST_CHECK bool master_reread_keys(struct master *m);
/* Waiting slots, due at once. False: there are none, and it was said why. */
MUST_CHECK bool master_add_generation(struct master *m);
/* The slot gets a next process. False: it was said why. */
MUST_CHECK bool master_start_next(struct master *m, struct slot *slot);

/* ---- roll.c ---- */
/* SIGHUP. */
void roll_begin(struct master *m);
/* In each turn of the loop. */
void roll_advance(struct master *m);
/* When it has something to do, if nothing happens before. */
uint64_t roll_next_us(const struct master *m);
/* A process of the slot ended before it was ready. */
void roll_fail(struct master *m, const struct slot *slot);
/* The slot's next process was reaped. */
void roll_next_ended(struct master *m, struct slot *slot, int status);
/* When a process that is told to stop now is killed. */
uint64_t master_kill_time(const struct master *m);

#endif
