/* SPDX-License-Identifier: MIT
 * A listening socket in the loop: accepts a bounded number of connections per call,
 * makes room at the connection limit, and pauses when descriptors run out. */
#ifndef HTTP_LISTENER_H
#define HTTP_LISTENER_H

#include "protocol/base/check.h"
#include "proxy/http/clients.h"

struct event_base;
struct listener;

/* Takes over `fd` (bound, listening, non-blocking). `name` is borrowed, outlives the
 * listener: "http://127.0.0.1:8000", "unix:/path". */
MUST_CHECK struct listener *listener_new(struct event_base *base,
                                         int fd,
                                         const char *name,
                                         struct clients *clients,
                                         struct stats *stats);
/* Accepts what waits already, then closes: nobody who got a connection is turned away.
 */
void listener_free(struct listener **listener_p);
/* Closes: what waits is for others who listen there. */
void listener_leave(struct listener **listener_p);

#endif
