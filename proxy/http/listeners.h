/* SPDX-License-Identifier: MIT
 * What an edge thread accepts from: listening sockets that come and go while it runs.
 */
#ifndef HTTP_LISTENERS_H
#define HTTP_LISTENERS_H

#include "protocol/base/check.h"
#include "proxy/http/clients.h"

struct event_base;
struct listeners;

/* All borrowed, outlive them. */
MUST_CHECK struct listeners *
listeners_new(struct event_base *base, struct clients *clients, struct stats *stats);
/* No socket is left, and no client either: theirs are the names. */
void listeners_free(struct listeners **listeners_p);

/* Takes over `fd` (bound, listening, non-blocking). "http://127.0.0.1:8000",
 * "unix:/path"; there may be several of a name. */
void listeners_add(struct listeners *all, int fd, const char *name);
/* Those of that name close, NULL: all: what waits already is accepted first. */
void listeners_close(struct listeners *all, const char *name);
/* All close; what waits is for others who listen there. */
void listeners_leave(struct listeners *all);

#endif
