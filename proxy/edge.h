/* SPDX-License-Identifier: MIT
 * One edge thread: its event_base, listeners, clients, pool. Shares nothing with the
 * others; the control thread talks to it through a PAIR (proxy/control.h). */
#ifndef PROXY_EDGE_H
#define PROXY_EDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/link.h"
#include "proxy/options.h"

struct access_log;

/* What the control thread may say over the PAIR: one struct per message. */
enum edge_order_kind { EDGE_ADD, EDGE_DRAIN_BACKEND, EDGE_REMOVE, EDGE_SHUTDOWN };
struct edge_order {
    enum edge_order_kind kind;
    char name[64];
    char endpoint[256];
};
/* What the edge says back. */
enum edge_report_kind { EDGE_READY, EDGE_FAILED, EDGE_STOPPED };
struct edge_report {
    enum edge_report_kind kind;
    uint32_t number;
};

struct edge_options {
    const struct proxy_options *proxy; /* outlives the edge */
    uint32_t number, count;
    struct link_context *context;
    struct link *orders;  /* the edge's end of the PAIR; the edge frees it */
    const int *listeners; /* bound, listening, non-blocking fds; the edge closes them */
    const char *const *listener_names; /* "http://127.0.0.1:8000" or "unix:/path" */
    uint32_t listener_count;
    struct access_log *access_log; /* NULL: none; thread-safe, one write(2) per turn */
    uint64_t instance;
};

/* The thread's body: returns when it was told to shut down and is done (graceful
 * timeout included). */
void edge_run(const struct edge_options *options);

#endif
