/* SPDX-License-Identifier: MIT
 * What an edge thread accepts from: listening sockets that come and go while it runs.
 */
#ifndef HTTP_LISTENERS_H
#define HTTP_LISTENERS_H

#include "protocol/base/check.h"
#include "proxy/http/clients.h"
#include "proxy/http/dealer.h"

struct event_base;
struct listeners;

/* All borrowed, outlive them. */
MUST_CHECK struct listeners *
listeners_new(struct event_base *base, struct clients *clients, struct stats *stats);
/* This thread takes what others deal from here on, and deals (listeners_share) itself.
 * The dealer is borrowed, outlives them. */
void listeners_sit(struct listeners *all, struct dealer *dealer, uint32_t seat);
/* No socket is left, and no client either: theirs are the names. */
void listeners_free(struct listeners **listeners_p);

/* Takes over `fd` (bound, listening, non-blocking). "http://127.0.0.1:8000",
 * "unix:/path"; there may be several of a name. */
void listeners_add(struct listeners *all, int fd, const char *name);
/* Likewise; its connections are dealt out to all threads that sit. */
void listeners_share(struct listeners *all, int fd, const char *name);
/* Those of that name close, NULL: all: what waits already is accepted first. */
void listeners_close(struct listeners *all, const char *name);
/* All close; what waits is for others who listen there. */
void listeners_leave(struct listeners *all);
/* As listeners_close of all; nothing is taken from other threads any more. */
void listeners_end(struct listeners *all);

#endif
