/* SPDX-License-Identifier: MIT
 * The connections of an edge thread: what they share, who is idle, who has something to
 * write, who is closed and waits for the end of the turn to be freed. */
#ifndef HTTP_CLIENTS_H
#define HTTP_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "proxy/deadline.h"
#include "proxy/http/client.h"
#include "proxy/http/refusals.h"
#include "proxy/stats.h"

struct event_base;
struct sockaddr_storage;
struct clients;

struct clients_options { /* all borrowed, outlive the clients */
    const struct http_limits *limits;
    const struct rules_options *rules;
    uint32_t max_connections;
    size_t max_pipeline;    /* bytes kept of what is sent ahead of its answers */
    uint64_t body_min_rate; /* bytes/s after body_grace_us; 0: off */
    uint64_t body_grace_us;
    uint64_t header_timeout_us, body_timeout_us, write_timeout_us;
    uint64_t keepalive_timeout_us; /* 0: no connection is kept */
    const struct client_events *events;
    void *owner;
    struct deadlines *deadlines;
    struct stats *stats;
};

MUST_CHECK struct clients *clients_new(struct event_base *base,
                                       const struct clients_options *options);
/* From here on; limits, timeouts and rates may differ, the rest is as before. */
void clients_set(struct clients *all, const struct clients_options *options);
/* Closes all: gone() for those with a request. */
void clients_free(struct clients **clients_p);

/* Takes over a connected non-blocking socket; at the connection limit the longest idle
 * one makes room. `peer` as accept told it; `listener_path`: of a unix: listener, else
 * empty (borrowed, outlives the client). */
void clients_add(struct clients *all,
                 int fd,
                 const struct sockaddr_storage *peer,
                 struct slice listener_path);

uint32_t clients_count(const struct clients *all);
/* Below the connection limit, or somebody is idle. */
bool clients_has_room(const struct clients *all);
/* Closes the longest idle one. False: nobody is idle. */
bool clients_evict(struct clients *all);

/* The end of a turn: writes, goes on reading where there is room again, frees the
 * closed. True: some could go on at once. */
MUST_CHECK bool clients_turn(struct clients *all);
/* Something to write came up since. */
bool clients_has_output(const struct clients *all);

/* Somebody else serves from here on: each is closed after its next answer, or when it
 * was idle for as long as ever. */
void clients_leave(struct clients *all);
/* Shutting down: each is closed after its next answer, or when none was asked for
 * within a second. */
void clients_stop(struct clients *all);

/* "Sat, 21 Nov 2026 07:32:01 GMT" of now. */
struct slice clients_date(struct clients *all);

#endif
