/* SPDX-License-Identifier: MIT
 * The options of `banyan serve`: those of banyan-app and of banyan-proxy under the same
 * names, from one table, and the command lines of the two made from them. */
#ifndef BANYAN_SERVE_OPTIONS_H
#define BANYAN_SERVE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "deploy/banyan/child.h"
#include "protocol/base/log.h"
#include "protocol/base/option.h"

enum { SERVE_WORKERS_MAX = 64 }; /* as many --backend fit on the proxy's command line */

struct serve_options {
    const char *application; /* MODULE:APP */
    struct option_list bind, env;
    int64_t workers; /* 0: cores */
    int64_t threads, threads_max, concurrency, max_websockets, edge_threads;
    const char *chdir, *pythonpath, *python, *interface;
    const char *loop, *lifespan, *root_path;
    bool embedded, preload;
    double timeout_s, graceful_timeout_s;
    int64_t max_requests, max_requests_jitter, max_memory_bytes;
    double max_age_s;
    const char *access_logfile, *metrics, *state_file;
    struct log_options log;
    bool sched_batch;
    /* the proxy's */
    double header_timeout_s, body_timeout_s, body_grace_s, queue_timeout_s,
        request_timeout_s, keepalive_timeout_s, write_timeout_s, heartbeat_timeout_s,
        upgrade_timeout_s;
    int64_t body_min_rate, max_connections, max_queue, max_pipeline, retry_budget;
    int64_t max_body, max_head, max_target, max_fields;
    int64_t request_buffer, response_buffer;
    const char *balance, *hash_by, *sticky, *sticky_same_site;
    double queue_target_s, sticky_wait_s, sticky_ttl_s;
    const char *trusted_proxies, *underscore_headers, *request_buffering, *temp_dir;
    double websocket_ping_interval_s, websocket_ping_timeout_s,
        websocket_close_timeout_s;
    int64_t websocket_max_message;
    bool websocket_compression;
    bool lenient;
    bool help, version;
};

extern const struct option_table serve_option_table;

/* As app_options_read. Afterwards the BANYAN_* variables of these options are gone from
 * the environment: the children are told everything on their command lines, and a name
 * means another thing to some of them. */
MUST_CHECK bool serve_options_read(int argc,
                                   char **argv,
                                   struct serve_options *ret_options,
                                   int *ret_code);

/* The words after the program's name; the endpoints are ipc:///`directory`/app-N.sock.
 */
void serve_options_tell_app(const struct serve_options *o,
                            const char *directory,
                            struct child *app);
void serve_options_tell_proxy(const struct serve_options *o,
                              const char *directory,
                              struct child *proxy);

#endif
