/* SPDX-License-Identifier: MIT
 * How a draining process parts with what is open. WebSockets are closed one after the
 * other over the first half of the grace time, so that their clients do not all come
 * back at once; requests may go on until shortly before its end, when their tasks are
 * cancelled. */
#ifndef ASGI_DRAIN_H
#define ASGI_DRAIN_H

#include <Python.h>

#include <stdbool.h>

#include "protocol/base/check.h"

struct server;
struct drain;

/* Begins; the loop is stopped when nothing is open and the core is drained, or by
 * force. NULL: an exception is set. */
struct drain *drain_new(struct server *server);
void drain_free(struct drain **drain_p);

/* A request ended while draining, or the core has news. */
void drain_look(struct drain *drain);

/* The loop was stopped. */
bool drain_is_over(const struct drain *drain);

#endif
