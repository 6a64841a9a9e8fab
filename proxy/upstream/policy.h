/* SPDX-License-Identifier: MIT
 * How a pool treats its queue and its app servers: what an operator chooses, each as
 * the option of the same name says. */
#ifndef UPSTREAM_POLICY_H
#define UPSTREAM_POLICY_H

#include <stdint.h>

/* What the policy `hash` keeps together. */
enum hash_source { HASH_ADDRESS, HASH_HEADER, HASH_COOKIE };
struct hash_by {
    enum hash_source source;
    char name[64]; /* of the header field or cookie */
};

/* A cookie that takes a client back to the app server it was at. */
enum same_site { SAME_SITE_LAX, SAME_SITE_STRICT, SAME_SITE_NONE };
struct sticky {
    char name[64];      /* of the cookie; empty: none is set and none is understood */
    uint64_t wait_us;   /* a request waits so long for its own app server */
    uint64_t max_age_s; /* 0: until the browser ends */
    enum same_site same_site;
};

struct pool_policy {
    struct hash_by hash;
    struct sticky sticky;
    uint64_t queue_target_us; /* shed.h; 0: the queue is FIFO, however long it takes */
    uint64_t queue_interval_us;
    /* check.h */
    char check_path[256]; /* with its query; empty: there are no checks */
    char check_host[128];
    uint64_t check_interval_us, check_timeout_us;
    uint32_t check_rise, check_fall; /* results in a row */
    uint64_t slow_start_us; /* until one that came up has its whole share; 0: at once */
    /* outlier.h; all 0: nobody is ejected */
    uint32_t eject_after;        /* failures in a row; 0: however many */
    uint32_t eject_rate_percent; /* points above the others'; 0: however far */
    uint32_t eject_most_percent; /* of the app servers, at once */
    uint64_t eject_us;           /* the first time, and so much more each time */
    uint32_t panic_percent;      /* fewer are healthy: all are used */
};

#endif
