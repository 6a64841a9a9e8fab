/* SPDX-License-Identifier: MIT
 * banyan-proxy's options, from one table; also the limits and timeouts of the edge. */
#ifndef PROXY_OPTIONS_H
#define PROXY_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/log.h"
#include "protocol/base/option.h"
#include "proxy/http/hop.h"
#include "proxy/http/parse.h"
#include "proxy/http/rules.h"
#include "proxy/upstream/policy.h"

/* Which request bodies are gathered before they are sent on. */
enum buffering { BUFFERING_AUTO, BUFFERING_ON, BUFFERING_OFF };

struct proxy_options {
    struct option_list bind, backend, sendfile_root, control;
    int64_t threads;            /* 0: one for two cores, at most 4 */
    const char *access_logfile; /* NULL: none; "-": stdout */
    const char *state_file, *metrics;
    struct log_options log;
    const char *config;                /* the file; NULL: none */
    const char *key, *authorized_keys; /* files; both or none */
    const char *trusted_proxies, *underscore_headers, *request_buffering, *temp_dir;
    const char *balance; /* a name that balance_find knows */
    const char *hash_by, *check_path, *check_host;
    const char *sticky, *sticky_same_site; /* NULL: none */
    bool lenient, insecure, sched_batch, websocket_compression, check, help, version;
    double header_timeout_s, body_timeout_s, body_grace_s, queue_timeout_s,
        request_timeout_s, keepalive_timeout_s, write_timeout_s, graceful_timeout_s,
        upgrade_timeout_s, heartbeat_timeout_s, queue_target_s, queue_interval_s,
        eject_time_s, slow_start_s, check_interval_s, check_timeout_s,
        resolve_interval_s, control_idle_timeout_s, sticky_wait_s, sticky_ttl_s;
    int64_t check_rise, check_fall;
    int64_t eject_after, eject_rate, eject_most, panic_threshold;
    int64_t body_min_rate;   /* bytes/s after body_grace_s; 0: off */
    int64_t max_connections; /* of the process, shared out over the edge threads */
    int64_t max_queue, max_pipeline, retry_budget;
    int64_t max_body, max_head, max_target, max_fields;
    int64_t request_buffer, response_buffer;
    double websocket_ping_interval_s, websocket_ping_timeout_s,
        websocket_close_timeout_s;
    int64_t websocket_max_message; /* bytes, after inflation */
    /* derived by proxy_options_check */
    struct http_limits limits;
    struct rules_options rules;
    struct trusted_networks trusted;
    enum buffering buffering;
    struct pool_policy policy;
};

extern const struct option_table proxy_option_table;

/* One --backend. */
struct proxy_backend {
    char name[64];
    char endpoint[256];
};
/* "ENDPOINT" or "NAME=ENDPOINT"; the `index`th (from 0) is called b1, b2 ... by
 * default. */
MUST_CHECK bool
proxy_backend_parse(const char *text, size_t index, struct proxy_backend *ret_backend);
/* tcp:// to other hosts is allowed: with keys, or --insecure. */
bool proxy_may_leave_host(const struct proxy_options *options);
/* Of a backend or a pool: up to 63 letters, digits, '.', '_', '-'. */
MUST_CHECK bool proxy_name_check(const char *text);
/* False: ret_message says what would be accepted; `who` goes before it. */
MUST_CHECK bool proxy_endpoint_check(const char *endpoint,
                                     const struct proxy_options *options,
                                     const char *who,
                                     struct buf *ret_message);

/* One --control: "PATH" or "tcp://HOST:PORT", perhaps with a role before it:
 * "viewer:PATH". */
struct proxy_control {
    struct slice role;   /* empty: none is named */
    const char *address; /* points into the text */
    bool is_remote;      /* it is an endpoint, not a path */
};
MUST_CHECK bool proxy_control_parse(const char *text,
                                    struct proxy_control *ret_control);

/* "address", "header:NAME" or "cookie:NAME". */
MUST_CHECK bool proxy_hash_by_parse(const char *text, struct hash_by *ret_by);

/* Ranges over several options, the derived part. On false `ret_message` names the
 * option and the remedy. */
MUST_CHECK bool proxy_options_check(struct proxy_options *options,
                                    struct buf *ret_message);

#endif
