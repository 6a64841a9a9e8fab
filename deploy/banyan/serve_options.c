/* SPDX-License-Identifier: MIT
 * Each row is also a row of the program it is passed on to; a unit test compares them.
 */
#include "deploy/banyan/serve_options.h"

#include <ctype.h>
#include <inttypes.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/log.h"

enum { EXIT_USAGE = 2 };

#define ROW(field) offsetof(struct serve_options, field)
/* clang-format off */
static const struct option_row ROWS[] = {
    {"bind", 'b', OPTION_LIST, ROW(bind), "ADDRESS", "127.0.0.1:8000", 0, 0, "Serving",
     "listen here: HOST:PORT, [IPV6]:PORT, :PORT (every address), unix:/path or fd:NAME "
     "(a socket that systemd passes); repeatable"},
    {"workers", 'w', OPTION_COUNT, ROW(workers), "N", "0", 0, SERVE_WORKERS_MAX, NULL,
     "application processes; 0: one for each core"},
    {"threads", 0, OPTION_COUNT, ROW(threads), "N", "16", 1, 4096, NULL,
     "WSGI: requests that run at once in each process"},
    {"threads-max", 0, OPTION_COUNT, ROW(threads_max), "N", "0", 0, 4096, NULL,
     "threads a process may grow to while all are blocked; 0: as --threads"},
    {"concurrency", 0, OPTION_COUNT, ROW(concurrency), "N", "1000", 1, 100000, NULL,
     "ASGI: requests that run at once in each process"},
    {"max-websockets", 0, OPTION_COUNT, ROW(max_websockets), "N", "10000", 0, 1000000,
     NULL,
     "ASGI: accepted WebSockets in each process that do not count as running "
     "requests; further ones do"},
    {"edge-threads", 0, OPTION_COUNT, ROW(edge_threads), "N", "0", 0, 64, NULL,
     "threads of the proxy; 0: one for two cores, at most 4"},
    {"access-logfile", 0, OPTION_TEXT, ROW(access_logfile), "PATH", NULL, 0, 0, NULL,
     "one line per request; -: standard output; default: none"},
    {"metrics", 0, OPTION_TEXT, ROW(metrics), "ADDRESS", NULL, 0, 0, NULL,
     "GET /metrics for Prometheus here, e.g. 127.0.0.1:9464; default: nowhere"},
    {"state-file", 0, OPTION_TEXT, ROW(state_file), "PATH", NULL, 0, 0, NULL,
     "what an operator decided is kept here and holds again after a restart; default: "
     "nowhere"},
    {"log-level", 0, OPTION_TEXT, ROW(log.level), "LEVEL", "info", 0, 0, NULL,
     "error, warning, info or debug"},
    {"log-format", 0, OPTION_TEXT, ROW(log.format), "FORMAT", "text", 0, 0, NULL,
     "of diagnostics and of the access log: text, or json: an object a line"},
    {"log-output", 0, OPTION_TEXT, ROW(log.output), "WHERE", "stderr", 0, 0, NULL,
     "where diagnostics go: stderr or stdout"},

    {"chdir", 0, OPTION_TEXT, ROW(chdir), "DIR", NULL, 0, 0, "Application",
     "go there first; modules are found there"},
    {"pythonpath", 0, OPTION_TEXT, ROW(pythonpath), "DIRS", NULL, 0, 0, NULL,
     "more directories with modules, separated by colons"},
    {"python", 0, OPTION_TEXT, ROW(python), "PATH", NULL, 0, 0, NULL,
     "the interpreter; default: $VIRTUAL_ENV/bin/python, else python3 on PATH"},
    {"embedded", 0, OPTION_FLAG, ROW(embedded), NULL, NULL, 0, 0, NULL,
     "run in the Python library that banyan-app was linked with"},
    {"env", 'e', OPTION_LIST, ROW(env), "NAME=VALUE", NULL, 0, 0, NULL,
     "set in the environment before the application is imported"},
    {"preload", 0, OPTION_FLAG, ROW(preload), NULL, NULL, 0, 0, NULL,
     "import the application once, before the processes are forked"},
    {"interface", 0, OPTION_TEXT, ROW(interface), "NAME", "auto", 0, 0, NULL,
     "what the application speaks: wsgi, asgi, asgi2, or auto: by its signature"},
    {"loop", 0, OPTION_TEXT, ROW(loop), "NAME", "auto", 0, 0, NULL,
     "ASGI: the event loop: asyncio, uvloop, or auto: uvloop when it is installed"},
    {"lifespan", 0, OPTION_TEXT, ROW(lifespan), "WHEN", "auto", 0, 0, NULL,
     "ASGI: tell the application of start and end: on, off, or auto: unless it raises"},
    {"root-path", 0, OPTION_TEXT, ROW(root_path), "PATH", "", 0, 0, NULL,
     "where the application is mounted: SCRIPT_NAME, which is taken off PATH_INFO; "
     "root_path of ASGI, whose path keeps it"},
    {"timeout", 0, OPTION_SECONDS, ROW(timeout_s), "SECONDS", "30", 0, 86400, NULL,
     "a request that runs longer gets an exception, then its process is replaced; "
     "0: never"},
    {"graceful-timeout", 0, OPTION_SECONDS, ROW(graceful_timeout_s), "SECONDS", "30",
     0, 86400, NULL, "how long running requests may take after SIGTERM"},
    {"upgrade-timeout", 0, OPTION_SECONDS, ROW(upgrade_timeout_s), "SECONDS", "3600", 0,
     30 * 86400, NULL,
     "how long connections may live on in a proxy that an upgrade has replaced, "
     "WebSockets among them"},
    {"max-requests", 0, OPTION_COUNT, ROW(max_requests), "N", "0", 0, 1e15, NULL,
     "replace a process after so many requests; 0: never"},
    {"max-requests-jitter", 0, OPTION_COUNT, ROW(max_requests_jitter), "N", "0",
     0, 1e15, NULL,
     "up to so many more, by chance, so that not all are replaced at once"},
    {"max-memory", 0, OPTION_SIZE, ROW(max_memory_bytes), "SIZE", "0", 0, 0, NULL,
     "replace a process whose memory grew past it; 0: never"},
    {"max-age", 0, OPTION_SECONDS, ROW(max_age_s), "SECONDS", "0", 0, 365 * 86400,
     NULL, "replace a process that has served for so long; 0: never"},
    {"sched-batch", 0, OPTION_FLAG, ROW(sched_batch), NULL, "yes", 0, 0, NULL,
     "ask the kernel for longer time slices and fewer wake-ups, for the proxy"},
    {"trusted-proxies", 0, OPTION_TEXT, ROW(trusted_proxies), "LIST", NULL, 0, 0,
     "Requests",
     "networks whose forwarding headers are believed, e.g. 127.0.0.0/8,::1,unix; *: "
     "everybody"},
    {"underscore-headers", 0, OPTION_TEXT, ROW(underscore_headers), "WHAT", "drop", 0,
     0, NULL,
     "header names with an underscore: drop, reject or keep (never the twin of a known "
     "one)"},
    {"lenient", 0, OPTION_FLAG, ROW(lenient), NULL, NULL, 0, 0, NULL,
     "accept lines of a head that end in LF alone"},
    {"max-body", 0, OPTION_SIZE, ROW(max_body), "SIZE", "1G", 1, 1e18, NULL,
     "longest request body; beyond: 413"},
    {"max-head", 0, OPTION_SIZE, ROW(max_head), "SIZE", "64K", 1024, 240 * 1024,
     NULL, "longest request head; beyond: 431"},
    {"max-target", 0, OPTION_SIZE, ROW(max_target), "SIZE", "16K", 64, 64 * 1024, NULL,
     "longest request target; beyond: 414"},
    {"max-fields", 0, OPTION_COUNT, ROW(max_fields), "N", "100", 1, 128,
     NULL, "most header fields of a request; beyond: 431"},
    {"max-pipeline", 0, OPTION_SIZE, ROW(max_pipeline), "SIZE", "16K", 1024,
     1024 * 1024, NULL, "read so much of what a client sends ahead of its answers"},

    {"max-connections", 0, OPTION_COUNT, ROW(max_connections), "N", "10000", 1, 1e7,
     "Capacity", "client connections of all edge threads together"},
    {"balance", 0, OPTION_TEXT, ROW(balance), "POLICY", "least_load", 0, 0, NULL,
     "which app server is next: least_load, round_robin or hash"},
    {"hash-by", 0, OPTION_TEXT, ROW(hash_by), "WHAT", "address", 0, 0, NULL,
     "--balance hash keeps together: the client's address, header:NAME or cookie:NAME"},
    {"sticky", 0, OPTION_TEXT, ROW(sticky), "NAME", NULL, 0, 0, NULL,
     "set a cookie of this name, which takes a client back to the app server it was at; "
     "default: none"},
    {"sticky-wait", 0, OPTION_SECONDS, ROW(sticky_wait_s), "SECONDS", "5", 0, 86400,
     NULL,
     "how long a request waits for that app server while it is busy; then any other "
     "takes it"},
    {"sticky-ttl", 0, OPTION_SECONDS, ROW(sticky_ttl_s), "SECONDS", "0", 0, 34560000,
     NULL, "Max-Age of that cookie; 0: until the browser is closed"},
    {"sticky-same-site", 0, OPTION_TEXT, ROW(sticky_same_site), "WHEN", "lax", 0, 0,
     NULL, "SameSite of that cookie: lax, strict or none"},
    {"max-queue", 0, OPTION_COUNT, ROW(max_queue), "N", "1000", 0, 1e6, NULL,
     "requests that wait for an app server, per edge thread; beyond: 503"},
    {"queue-target", 0, OPTION_SECONDS, ROW(queue_target_s), "SECONDS", "0", 0, 3600,
     NULL,
     "longest wait under sustained overload: who would wait for longer gets 503 at "
     "once; 0: all wait their turn"},
    {"request-buffering", 0, OPTION_TEXT, ROW(request_buffering), "WHEN", "auto", 0, 0,
     NULL,
     "gather a body before an app server is bothered: on, off, or auto: unless the "
     "application speaks ASGI"},
    {"request-buffer", 0, OPTION_SIZE, ROW(request_buffer), "SIZE", "1G", 0, 1e18, NULL,
     "gather so much of a body: 64K in memory, the rest in --temp-dir; beyond: passed "
     "on as it comes"},
    {"response-buffer", 0, OPTION_SIZE, ROW(response_buffer), "SIZE", "256K", 64 * 1024,
     64 * 1024 * 1024, NULL, "take so much of an answer ahead of its client"},
    {"temp-dir", 0, OPTION_TEXT, ROW(temp_dir), "DIR", NULL, 0, 0, NULL,
     "for unlinked temporary files; default: $TMPDIR, else /tmp"},

    {"header-timeout", 0, OPTION_SECONDS, ROW(header_timeout_s), "SECONDS", "10", 0,
     86400, "Timeouts", "from the first byte of a request to the end of its head"},
    {"body-timeout", 0, OPTION_SECONDS, ROW(body_timeout_s), "SECONDS", "60", 0, 86400,
     NULL, "between two pieces of a request's body"},
    {"body-min-rate", 0, OPTION_COUNT, ROW(body_min_rate), "BYTES", "500", 0, 1e12,
     NULL, "slowest upload, in bytes a second after --body-grace; 0: any"},
    {"body-grace", 0, OPTION_SECONDS, ROW(body_grace_s), "SECONDS", "10", 0, 86400,
     NULL, "how long an upload may be slower than --body-min-rate"},
    {"queue-timeout", 0, OPTION_SECONDS, ROW(queue_timeout_s), "SECONDS", "30", 0,
     86400, NULL, "how long a request waits for an app server; then 503"},
    {"request-timeout", 0, OPTION_SECONDS, ROW(request_timeout_s), "SECONDS", "60", 0,
     86400, NULL,
     "how long the application may take to begin its answer; then 504; 0: for ever"},
    {"keepalive-timeout", 0, OPTION_SECONDS, ROW(keepalive_timeout_s), "SECONDS", "75",
     0, 86400, NULL,
     "between two requests of a connection; 0: it is closed after each answer"},
    {"write-timeout", 0, OPTION_SECONDS, ROW(write_timeout_s), "SECONDS", "60", 0,
     86400, NULL, "how long a client may read nothing of its answer"},
    {"heartbeat-timeout", 0, OPTION_SECONDS, ROW(heartbeat_timeout_s), "SECONDS", "3",
     0.5, 3600, NULL,
     "silence after which an app server that owes an answer is given up"},
    {"retry-budget", 0, OPTION_COUNT, ROW(retry_budget), "PERCENT", "20", 0, 100, NULL,
     "of the last ten seconds' requests may be sent a second time; at least 3 may"},

    {"websocket-ping-interval", 0, OPTION_SECONDS, ROW(websocket_ping_interval_s),
     "SECONDS", "20", 0, 86400, "WebSocket",
     "ping a client that was silent for so long; 0: never"},
    {"websocket-ping-timeout", 0, OPTION_SECONDS, ROW(websocket_ping_timeout_s),
     "SECONDS", "20", 0, 86400, NULL,
     "drop a client that is silent for so long after a ping; 0: never"},
    {"websocket-close-timeout", 0, OPTION_SECONDS, ROW(websocket_close_timeout_s),
     "SECONDS", "5", 0.1, 3600, NULL, "how long a client may take to answer a Close"},
    {"websocket-max-message", 0, OPTION_SIZE, ROW(websocket_max_message), "SIZE", "16M",
     125, 1e15, NULL, "longest message of a client, after inflation; beyond: Close 1009"},
    {"websocket-compression", 0, OPTION_FLAG, ROW(websocket_compression), NULL, "yes", 0,
     0, NULL, "agree to permessage-deflate when a client offers it"},

    {"help", 'h', OPTION_FLAG, ROW(help), NULL, NULL, 0, 0, "Help", "this text"},
    {"version", 'V', OPTION_FLAG, ROW(version), NULL, NULL, 0, 0, NULL, "the version"},
};
/* clang-format on */
#undef ROW

const struct option_table serve_option_table = {
    .program = "banyan serve",
    .synopsis = "[OPTIONS] MODULE:APP",
    .summary = "Serves a Python web application on this machine: one proxy, N workers.",
    .rows = ROWS,
    .row_count = sizeof ROWS / sizeof ROWS[0],
};

/* Passed on under their own names. */
static const char *const FOR_APP[] = {
    "threads",
    "threads-max",
    "chdir",
    "pythonpath",
    "python",
    "embedded",
    "env",
    "preload",
    "interface",
    "concurrency",
    "max-websockets",
    "loop",
    "lifespan",
    "root-path",
    "timeout",
    "graceful-timeout",
    "max-requests",
    "max-memory",
    "max-requests-jitter",
    "max-age",
    "log-level",
    "log-format",
    "log-output",
};
static const char *const FOR_PROXY[] = {
    "bind",
    "access-logfile",
    "metrics",
    "state-file",
    "log-level",
    "log-format",
    "log-output",
    "graceful-timeout",
    "upgrade-timeout",
    "sched-batch",
    "trusted-proxies",
    "lenient",
    "underscore-headers",
    "max-body",
    "max-head",
    "max-target",
    "max-fields",
    "max-pipeline",
    "max-connections",
    "balance",
    "hash-by",
    "sticky",
    "sticky-wait",
    "sticky-ttl",
    "sticky-same-site",
    "max-queue",
    "queue-target",
    "request-buffering",
    "request-buffer",
    "response-buffer",
    "temp-dir",
    "header-timeout",
    "body-timeout",
    "body-min-rate",
    "body-grace",
    "queue-timeout",
    "request-timeout",
    "keepalive-timeout",
    "heartbeat-timeout",
    "write-timeout",
    "retry-budget",
    "websocket-ping-interval",
    "websocket-ping-timeout",
    "websocket-close-timeout",
    "websocket-max-message",
    "websocket-compression",
};

static bool check_options(struct serve_options *o, struct buf *message);
static int64_t count_cores(void);
static void leave_environment(void);
static void tell(const struct serve_options *o, const char *name, struct child *child);

bool serve_options_read(int argc,
                        char **argv,
                        struct serve_options *ret_options,
                        int *ret_code)
{
    struct buf message;
    int rest = argc;
    bool good = false;

    buf_init(&message, 0);
    memset(ret_options, 0, sizeof *ret_options);
    enum err e =
        option_parse(&serve_option_table, argc, argv, ret_options, &rest, &message);
    *ret_code = EXIT_USAGE;
    if (e == ERR_NONE && ret_options->help) {
        option_help(&serve_option_table, stdout);
        *ret_code = 0;
    } else if (e == ERR_NONE && ret_options->version) {
        (void)printf("banyan %s\n", BANYAN_VERSION);
        *ret_code = 0;
    } else if (e == ERR_NONE && argc - rest != 1) {
        buf_addf(&message, argc == rest
                               ? "MODULE:APP is missing, e.g. banyan serve demo:app"
                               : "one MODULE:APP is expected");
    } else if (e == ERR_NONE) {
        ret_options->application = argv[rest];
        good = check_options(ret_options, &message);
    }
    struct slice text = buf_slice(&message);
    if (text.ptr != NULL && text.len > 0)
        (void)fprintf(stderr, "banyan serve: %.*s\n", SLICE_FMT(text));
    buf_fini(&message);
    if (good)
        leave_environment();
    return good;
}

static bool check_options(struct serve_options *o, struct buf *message)
{
    if (!log_check(&o->log, message))
        return false;
    if (o->workers == 0)
        o->workers = count_cores();
    return true;
}

static int64_t count_cores(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return count > SERVE_WORKERS_MAX ? SERVE_WORKERS_MAX : count;
}

/* The options borrow from these strings, which unsetenv leaves where they are. */
static void leave_environment(void)
{
    for (size_t i = 0; i < serve_option_table.row_count; i++) {
        char name[64] = "BANYAN_";
        size_t at = strlen(name);
        for (const char *c = ROWS[i].name; *c != '\0' && at < sizeof name - 1; c++)
            name[at++] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        name[at] = '\0';
        (void)unsetenv(name);
    }
}

/* ---- what the programs are told ---- */

void serve_options_tell_app(const struct serve_options *o,
                            const char *directory,
                            struct child *app)
{
    child_add(app, "--bind=ipc://%s/app-{n}.sock", directory);
    child_add(app, "--processes=%" PRId64, o->workers);
    child_add(app, "--ready-fd=%d", CHILD_READY_FD);
    for (size_t i = 0; i < sizeof FOR_APP / sizeof FOR_APP[0]; i++)
        tell(o, FOR_APP[i], app);
    child_add(app, "--");
    child_add(app, "%s", o->application);
}

void serve_options_tell_proxy(const struct serve_options *o,
                              const char *directory,
                              struct child *proxy)
{
    for (int64_t n = 0; n < o->workers; n++)
        child_add(proxy, "--backend=app-%" PRId64 "=ipc://%s/app-%" PRId64 ".sock", n,
                  directory, n);
    child_add(proxy, "--threads=%" PRId64, o->edge_threads);
    child_add(proxy, "--control=%s/control.sock", directory);
    /* Same user, same host, and the proxy opens only the very inode that the
     * application named: it may send whatever the application could read. */
    child_add(proxy, "--sendfile-root=/");
    for (size_t i = 0; i < sizeof FOR_PROXY / sizeof FOR_PROXY[0]; i++)
        tell(o, FOR_PROXY[i], proxy);
}

static const struct option_row *find_row(const char *name)
{
    size_t i = 0;

    while (i < serve_option_table.row_count && strcmp(ROWS[i].name, name) != 0)
        i++;
    ASSERT(i < serve_option_table.row_count);
    return &ROWS[i];
}

static void tell(const struct serve_options *o, const char *name, struct child *child)
{
    const struct option_row *row = find_row(name);
    const void *at = (const char *)o + row->offset;
    const struct option_list *list;
    const char *text;

    switch (row->type) {
    case OPTION_FLAG:
        child_add(child, "--%s%s", *(const bool *)at ? "" : "no-", name);
        break;
    case OPTION_TEXT:
        text = *(const char *const *)at;
        if (text != NULL)
            child_add(child, "--%s=%s", name, text);
        break;
    case OPTION_LIST:
        list = at;
        for (size_t i = 0; i < list->count; i++)
            child_add(child, "--%s=%s", name, list->items[i]);
        break;
    case OPTION_COUNT:
    case OPTION_SIZE:
        child_add(child, "--%s=%" PRId64, name, *(const int64_t *)at);
        break;
    case OPTION_SECONDS:
        child_add(child, "--%s=%.9g", name, *(const double *)at);
        break;
    }
}
