/* SPDX-License-Identifier: MIT
 * Proxies that were replaced and finish what runs there: children of ours, or of one
 * another, whoever reaps them. */
#ifndef BANYAN_FORMERS_H
#define BANYAN_FORMERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/base/check.h"

struct formers;

/* NULL: errno says why. */
MUST_CHECK struct formers *formers_new(void);
void formers_free(struct formers **formers_p); /* lets go of those that run */
/* One that has ended by now is none. */
void formers_add(struct formers *f, pid_t pid);
uint32_t formers_count(const struct formers *f);
int formers_fd(const struct formers *f); /* readable: one has ended */
void formers_look(struct formers *f);    /* forgets those that have ended */
void formers_signal(const struct formers *f, int number);

#endif
