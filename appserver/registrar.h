/* SPDX-License-Identifier: MIT
 * The master's side of self-registration (--register): a process of its own tells the
 * proxies which workers are ready (herald.c), and this is how the master tells it. It
 * is no thread, because the master forks, and no worker, because it must live and stay
 * quick whatever the application does. */
#ifndef APPSERVER_REGISTRAR_H
#define APPSERVER_REGISTRAR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "appserver/options.h"
#include "protocol/base/check.h"

struct keys;
struct registrar;
struct slot;

enum { REGISTRAR_WITHDRAW_S = 5 }; /* a worker leaves then, whatever the proxies say */

/* NULL: there is no --register; all others then do nothing. Starts nothing yet. */
MUST_CHECK struct registrar *registrar_new(const struct app_options *options);
/* Before the first step; borrowed. NULL: there are none. */
void registrar_use_keys(struct registrar *r, struct keys *keys);
/* The keys are to be read again. */
void registrar_reread(struct registrar *r);
/* Ends its process. */
void registrar_free(struct registrar **registrar_p);

/* In each turn of the master's loop: starts the process when it is due, and stops the
 * slots whose proxies have agreed. */
void registrar_step(struct registrar *r, struct slot *const *slots, uint32_t count);
/* When the next turn is due, at the latest. UINT64_MAX: when something happens. */
uint64_t
registrar_next_us(const struct registrar *r, struct slot *const *slots, uint32_t count);
int registrar_fd(const struct registrar *r); /* readable: a turn is due; -1: none */
/* In another child of the master: it has nothing to do with it. */
void registrar_leave(struct registrar *r);
/* The process has ended, whoever reaped it: true. */
bool registrar_reap(struct registrar *r);
bool registrar_ended(struct registrar *r, pid_t pid, int status);

/* The slot's process is ready. */
void registrar_on_ready(struct registrar *r, const struct slot *slot);
/* The slot's process has ended. */
void registrar_on_end(struct registrar *r, const struct slot *slot);
/* slot_stop, as soon as no proxy sends anything more there. */
void registrar_stop(struct registrar *r, struct slot *slot, uint64_t kill_at_us);

#endif
