/* SPDX-License-Identifier: MIT
 * One edge thread: its event_base, listeners, clients, pool. Shares nothing with the
 * others; the control thread talks to it through a PAIR (proxy/control.h). */
#ifndef PROXY_EDGE_H
#define PROXY_EDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/link.h"
#include "proxy/bind.h"
#include "proxy/config/config.h"
#include "proxy/exchange_report.h"
#include "proxy/http/clients_report.h"
#include "proxy/stats.h"
#include "proxy/upstream/pool_report.h"

struct access_log;
struct dealer;
struct sites;

/* What the control thread may say over the PAIR: one struct per message. Orders are
 * followed one after the other: a snapshot shows what was ordered before it. */
enum edge_order_kind {
    EDGE_ADD, /* name, endpoint, settings */
    EDGE_SET, /* name, settings */
    EDGE_REMOVE,
    EDGE_ABORT_ALL,    /* what runs at `name` */
    EDGE_KILL_REQUEST, /* whose id is `name` */
    EDGE_KILL_CLIENT,  /* client */
    EDGE_SET_POOL,     /* pool_settings */
    EDGE_SET_TUNING,   /* tuning */
    EDGE_RESET_COUNTERS,
    EDGE_SNAPSHOT,  /* fills `snapshot` and says EDGE_SNAPSHOT_TAKEN */
    EDGE_CONFIGURE, /* config: its options, pools and routes; says EDGE_CONFIGURED */
    EDGE_RETIRE,    /* pool_retire */
    EDGE_LISTEN,    /* listen: the socket is the edge's */
    EDGE_UNLISTEN,  /* listen: all of that name; their connections go on */
    EDGE_LEAVE,     /* another process listens there: finish each connection in its own
                       time, then stop */
    EDGE_PROBE,     /* says EDGE_TURNED */
    EDGE_KEYS,      /* they were read again */
    EDGE_SHUTDOWN,
};
struct edge_order {
    enum edge_order_kind kind;
    char pool[64];
    char name[64]; /* of a backend there */
    union {
        struct {
            char endpoint[256];
            struct backend_settings settings;
        } backend;
        struct pool_settings pool_settings;
        struct edge_tuning {
            uint32_t max_queue, retry_budget_percent;
            double queue_timeout_s, request_timeout_s, heartbeat_timeout_s,
                graceful_timeout_s;
        } tuning;
        uint64_t client;             /* its number */
        struct snapshot *snapshot;   /* the edge's until it says so */
        const struct config *config; /* borrowed until it says so */
        struct {
            int fd;                   /* bound, listening, non-blocking */
            bool is_shared;           /* its connections are dealt out */
            char name[BIND_MAX_NAME]; /* "http://127.0.0.1:8000" or "unix:/path" */
        } listen;
    };
};
/* What the edge says back. */
enum edge_report_kind {
    EDGE_READY,
    EDGE_FAILED,
    EDGE_STOPPED,
    EDGE_CONFIGURED,
    EDGE_TURNED,         /* its loop turns */
    EDGE_SNAPSHOT_TAKEN, /* snapshot: the control thread's again */
    EDGE_NOTICE,         /* text: an app server came up or went down */
};
struct edge_report {
    enum edge_report_kind kind;
    uint32_t number;
    struct snapshot *snapshot;
    char pool[64], name[64], text[160];
};

/* One edge thread at one moment. */
enum snapshot_part {
    SNAPSHOT_REQUESTS = 1,
    SNAPSHOT_CLIENTS = 2,
    SNAPSHOT_REFUSALS = 4
};
struct snapshot {
    unsigned parts;    /* wanted beyond pool and stats */
    uint64_t owner;    /* whose it is in the control thread */
    uint32_t number;   /* of the edge */
    bool was_followed; /* the kill before it found its request, or its client */
    uint32_t connections;
    struct stats stats;
    struct pool_report *pools; /* owned; those that are leaving, too */
    uint32_t pool_count;
    struct requests_report requests;
    struct clients_report clients;
    struct refusals refusals;
};
MUST_CHECK struct snapshot *snapshot_new(unsigned parts, uint64_t owner);
void snapshot_free(struct snapshot **snapshot_p);
/* All pools, those that are leaving too unless they have a successor. */
void snapshot_pools(struct snapshot *s, struct sites *sites, uint64_t now_us);
/* NULL: the edge has no such pool. */
const struct pool_report *snapshot_pool(const struct snapshot *s, const char *name);

struct edge_options {
    const struct config *config; /* borrowed until EDGE_READY; its pools are made, their
                                    backends come by EDGE_ADD */
    uint32_t number, count;
    struct link_context *context;
    struct keys *keys;             /* NULL: none */
    struct link *orders;           /* the edge's end of the PAIR; the edge frees it */
    struct dealer *dealer;         /* NULL: there is one edge */
    struct access_log *access_log; /* NULL: none; thread-safe, one write(2) per turn */
    uint64_t instance;
};

/* The thread's body: returns when it was told to shut down and is done (graceful
 * timeout included). */
void edge_run(const struct edge_options *options);

#endif
