/* SPDX-License-Identifier: MIT
 * GET /metrics for Prometheus (text format 0.0.4), at addresses of their own: what an
 * operator watches must not share the way of the requests. Plain HTTP, read only,
 * nothing about single requests. */
#ifndef ADMIN_METRICS_H
#define ADMIN_METRICS_H

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

struct admin;
struct operation;

/* Takes a connection to --metrics. */
void metrics_accept(struct admin *admin, int fd);
void metrics_free(struct admin *admin);

/* The page, from the operation's snapshots. */
void metrics_write(const struct operation *op, struct buf *out);

#endif
