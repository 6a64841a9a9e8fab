/* SPDX-License-Identifier: MIT
 * banyan-app's options, from one table. Strings are borrowed from argv, the environment
 * or the table and live as long as the process. */
#ifndef APPSERVER_OPTIONS_H
#define APPSERVER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/log.h"
#include "protocol/base/option.h"

struct app_options {
    const char *application; /* "module:attr", "module", "module:factory()" */
    const char *bind;        /* endpoint, with {n} and {g} */
    int64_t processes;
    int64_t threads, threads_max; /* threads_max 0: the same as threads */
    const char *chdir;
    const char *pythonpath; /* colon-separated, put first on sys.path after chdir */
    const char *python;
    bool embedded;
    struct option_list env; /* K=V, set before the application is imported */
    double timeout_s;       /* --timeout; 0: never */
    double graceful_timeout_s;
    bool preload;
    const char *pool;
    const char *interface;  /* "auto", "wsgi", "asgi", "asgi2" */
    int64_t concurrency;    /* ASGI: requests that run at once */
    int64_t max_websockets; /* ASGI: open ones that do not count as such */
    const char *loop;       /* "auto", "asyncio", "uvloop" */
    const char *lifespan;   /* "auto", "on", "off" */
    const char *root_path;
    int64_t max_requests, max_requests_jitter;
    int64_t max_memory_bytes;
    double max_age_s;
    struct log_options log;
    struct option_list registers; /* proxies' control endpoints */
    const char *advertise;        /* endpoint, with {n} and {g}; NULL: bind */
    const char *name;             /* NULL: the host's */
    double lease_s;
    bool insecure;
    const char *key, *authorized_keys; /* files; both or none */
    bool sched_batch;
    int64_t ready_fd; /* -1: none */
    bool help, version;
};

extern const struct option_table app_option_table;

/* All that a program does with this command line: parses it, prints --help or
 * --version, takes MODULE:APP and checks what concerns several options. False: the
 * program ends with *ret_code, everything has been said. argv[0] is skipped. */
MUST_CHECK bool
app_options_read(int argc, char **argv, struct app_options *ret_options, int *ret_code);

#endif
