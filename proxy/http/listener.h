/* SPDX-License-Identifier: MIT
 * A listening socket in the loop: accepts a bounded number of connections per call,
 * makes room at the connection limit, and pauses when descriptors run out. */
#ifndef HTTP_LISTENER_H
#define HTTP_LISTENER_H

#include "protocol/base/check.h"
#include "proxy/http/clients.h"
#include "proxy/http/dealer.h"

struct event_base;
struct listener;

/* Takes over `fd` (bound, listening, non-blocking). `name` is borrowed, outlives the
 * listener: "http://127.0.0.1:8000", "unix:/path". */
MUST_CHECK struct listener *listener_new(struct event_base *base,
                                         int fd,
                                         const char *name,
                                         struct clients *clients,
                                         struct stats *stats);
/* From here on its connections are dealt out; this thread's seat is `seat`. */
void listener_share(struct listener *listener, struct dealer *dealer, uint32_t seat);
/* Not a socket: what others deal to this seat. `fd` is dealer_sit's; keep_name makes a
 * listener's name outlive the clients. */
MUST_CHECK struct listener *listener_new_seat(struct event_base *base,
                                              int fd,
                                              struct clients *clients,
                                              struct stats *stats,
                                              const char *(*keep_name)(void *arg,
                                                                       const char *),
                                              void *arg);
/* Accepts what waits already. */
void listener_drain(struct listener *listener);
/* Accepts what waits already, then closes: nobody who got a connection is turned away.
 */
void listener_free(struct listener **listener_p);
/* Closes: what waits is for others who listen there. */
void listener_leave(struct listener **listener_p);

#endif
