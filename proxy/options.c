/* SPDX-License-Identifier: MIT
 * The rows of banyan-proxy's command line, and what must hold between them. */
#include "proxy/options.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "protocol/frame.h"
#include "protocol/link.h"
#include "proxy/bind.h"
#include "proxy/options_priv.h"

enum { MOST_DEFAULT_THREADS = 4 };

#define ROW(field) offsetof(struct proxy_options, field)
static const struct option_row rows[] = {
    {"config", 'c', OPTION_TEXT, ROW(config), "FILE", NULL, 0, 0, "Configuration",
     "YAML: options by these names, pools of app servers, routes; this command line "
     "outranks its options"},
    {"check", 0, OPTION_FLAG, ROW(check), NULL, NULL, 0, 0, NULL,
     "only say whether file and command line are good: exit code 0, else 2"},

    {"bind", 'b', OPTION_LIST, ROW(bind), "ADDRESS", "127.0.0.1:8000", 0, 0,
     "Addresses",
     "listen here: HOST:PORT, [IPV6]:PORT, :PORT (every address), unix:/path or "
     "fd:NAME "
     "(a socket that systemd passes); repeatable"},
    {"backend", 0, OPTION_LIST, ROW(backend), "[NAME=]ENDPOINT", NULL, 0, 0, NULL,
     "an app server: ipc:///path or tcp://host:port; repeatable; the default names are "
     "b1, b2 ..."},
    {"resolve-interval", 0, OPTION_SECONDS, ROW(resolve_interval_s), "SECONDS", "5",
     0.1, 86400, NULL,
     "how often a backend's host that is a name is looked up; each of its addresses is "
     "an app server"},
    {"insecure", 0, OPTION_FLAG, ROW(insecure), NULL, NULL, 0, 0, NULL,
     "allow tcp:// to other than loopback addresses, without keys"},
    {"key", 0, OPTION_TEXT, ROW(key), "FILE", NULL, 0, 0, NULL,
     "this proxy's key pair, as `banyan keygen` makes it: every tcp:// is encrypted, "
     "and "
     "both ends prove who they are"},
    {"authorized-keys", 0, OPTION_TEXT, ROW(authorized_keys), "FILE", NULL, 0, 0, NULL,
     "whom --key lets in and goes to: lines ROLE PUBLIC-KEY [NAME]; read again, with "
     "--key, at a reload"},
    {"threads", 0, OPTION_COUNT, ROW(threads), "N", "0", 0, 64, NULL,
     "edge threads; 0: one for two cores, at most 4"},

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
    {"max-head", 0, OPTION_SIZE, ROW(max_head), "SIZE", "64K", 1024, HTTP_MAX_HEAD,
     NULL, "longest request head; beyond: 431"},
    {"max-target", 0, OPTION_SIZE, ROW(max_target), "SIZE", "16K", 64, 64 * 1024, NULL,
     "longest request target; beyond: 414"},
    {"max-fields", 0, OPTION_COUNT, ROW(max_fields), "N", "100", 1, HTTP_MAX_FIELDS,
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
     "set a cookie of this name, which takes a client back to the app server it was "
     "at; "
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
     "once; "
     "0: all wait their turn"},
    {"queue-interval", 0, OPTION_SECONDS, ROW(queue_interval_s), "SECONDS", "0.1", 0.01,
     3600, NULL, "how long the wait is beyond --queue-target before that is overload"},
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
    {"sendfile-root", 0, OPTION_LIST, ROW(sendfile_root), "DIR", NULL, 0, 0, NULL,
     "files below it may be sent by the proxy itself; repeatable"},

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
    {"graceful-timeout", 0, OPTION_SECONDS, ROW(graceful_timeout_s), "SECONDS", "30", 0,
     86400, NULL, "how long running requests may take after SIGTERM"},
    {"upgrade-timeout", 0, OPTION_SECONDS, ROW(upgrade_timeout_s), "SECONDS", "3600", 0,
     30 * 86400, NULL,
     "how long connections may live on in a proxy that an upgrade has replaced, "
     "WebSockets among them"},
    {"heartbeat-timeout", 0, OPTION_SECONDS, ROW(heartbeat_timeout_s), "SECONDS", "3",
     0.5, 3600, NULL,
     "silence after which an app server that owes an answer is given up"},
    {"retry-budget", 0, OPTION_COUNT, ROW(retry_budget), "PERCENT", "20", 0, 100, NULL,
     "of the last ten seconds' requests may be sent a second time; at least 3 may"},

    {"check-path", 0, OPTION_TEXT, ROW(check_path), "PATH", NULL, 0, 0, "Health",
     "ask each app server for it now and then; one that does not answer with 2xx or "
     "3xx "
     "gets nothing; default: no checks"},
    {"check-host", 0, OPTION_TEXT, ROW(check_host), "NAME", "localhost", 0, 0, NULL,
     "Host of those requests"},
    {"check-interval", 0, OPTION_SECONDS, ROW(check_interval_s), "SECONDS", "5", 0.1,
     3600, NULL, "between two of them, for each edge thread"},
    {"check-timeout", 0, OPTION_SECONDS, ROW(check_timeout_s), "SECONDS", "2", 0.1,
     3600, NULL, "how long an answer may take"},
    {"check-rise", 0, OPTION_COUNT, ROW(check_rise), "N", "2", 1, 1000, NULL,
     "good answers in a row, and it gets requests again"},
    {"check-fall", 0, OPTION_COUNT, ROW(check_fall), "N", "3", 1, 1000, NULL,
     "bad ones in a row, and it gets none"},
    {"slow-start", 0, OPTION_SECONDS, ROW(slow_start_s), "SECONDS", "0", 0, 3600, NULL,
     "until an app server that came up, or was made ready, has its whole share; 0: at "
     "once"},
    {"eject-after", 0, OPTION_COUNT, ROW(eject_after), "N", "5", 0, 1000, NULL,
     "an app server gets nothing for a while after so many failures in a row (500 and "
     "above, no answer), unless the others fail as well; 0: never"},
    {"eject-rate", 0, OPTION_COUNT, ROW(eject_rate), "PERCENT", "40", 0, 100, NULL,
     "likewise when so many more of its requests fail than of the others'; 0: never"},
    {"eject-time", 0, OPTION_SECONDS, ROW(eject_time_s), "SECONDS", "10", 0.1, 300,
     NULL, "for how long; so much more each time that it happens again, up to 300"},
    {"eject-most", 0, OPTION_COUNT, ROW(eject_most), "PERCENT", "50", 0, 100, NULL,
     "of a pool's app servers are ejected at once, at most"},
    {"panic-threshold", 0, OPTION_COUNT, ROW(panic_threshold), "PERCENT", "50", 0, 100,
     NULL, "when fewer of the app servers that are up are healthy, all are used"},

    {"websocket-ping-interval", 0, OPTION_SECONDS, ROW(websocket_ping_interval_s),
     "SECONDS", "20", 0, 86400, "WebSocket",
     "ping a client that was silent for so long; 0: never"},
    {"websocket-ping-timeout", 0, OPTION_SECONDS, ROW(websocket_ping_timeout_s),
     "SECONDS", "20", 0, 86400, NULL,
     "drop a client that is silent for so long after a ping; 0: never"},
    {"websocket-close-timeout", 0, OPTION_SECONDS, ROW(websocket_close_timeout_s),
     "SECONDS", "5", 0.1, 3600, NULL, "how long a client may take to answer a Close"},
    {"websocket-max-message", 0, OPTION_SIZE, ROW(websocket_max_message), "SIZE", "16M",
     125, 1e15, NULL,
     "longest message of a client, after inflation; beyond: Close 1009"},
    {"websocket-compression", 0, OPTION_FLAG, ROW(websocket_compression), NULL, "yes",
     0, 0, NULL, "agree to permessage-deflate when a client offers it"},

    {"control", 0, OPTION_LIST, ROW(control), "[ROLE:]ADDRESS", NULL, 0, 0, "Running",
     "for the banyan command: a path, of a Unix socket of mode 0600, or "
     "tcp://HOST:PORT; "
     "ROLE: what one may do there: viewer, operator, admin (of a path the default), or "
     "app: register app servers; repeatable"},
    {"control-idle-timeout", 0, OPTION_SECONDS, ROW(control_idle_timeout_s), "SECONDS",
     "300", 0.1, 86400, NULL,
     "forget who said nothing for so long over a tcp:// --control"},
    {"metrics", 0, OPTION_TEXT, ROW(metrics), "ADDRESS", NULL, 0, 0, NULL,
     "GET /metrics for Prometheus here, e.g. 127.0.0.1:9464; default: nowhere"},
    {"state-file", 0, OPTION_TEXT, ROW(state_file), "PATH", NULL, 0, 0, NULL,
     "what an operator decided is kept here and holds again after a restart; default: "
     "nowhere"},
    {"access-logfile", 0, OPTION_TEXT, ROW(access_logfile), "PATH", NULL, 0, 0, NULL,
     "one line per request; -: standard output; default: none"},
    {"log-level", 0, OPTION_TEXT, ROW(log.level), "LEVEL", "info", 0, 0, NULL,
     "error, warning, info or debug"},
    {"log-format", 0, OPTION_TEXT, ROW(log.format), "FORMAT", "text", 0, 0, NULL,
     "of diagnostics and of the access log: text, or json: an object a line"},
    {"log-output", 0, OPTION_TEXT, ROW(log.output), "WHERE", "stderr", 0, 0, NULL,
     "where diagnostics go: stderr or stdout"},
    {"sched-batch", 0, OPTION_FLAG, ROW(sched_batch), NULL, "yes", 0, 0, NULL,
     "ask the kernel for longer time slices and fewer wake-ups"},
    {"help", 'h', OPTION_FLAG, ROW(help), NULL, NULL, 0, 0, NULL, "this text"},
    {"version", 'V', OPTION_FLAG, ROW(version), NULL, NULL, 0, 0, NULL, "the version"},
};
#undef ROW

const struct option_table proxy_option_table = {
    .program = "banyan-proxy",
    .synopsis =
        "[OPTIONS] --backend ENDPOINT...\n       banyan-proxy [OPTIONS] --config FILE",
    .summary = "Terminates HTTP and hands requests to Banyan's app servers.",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
};

static bool check_keys(const struct proxy_options *o, struct buf *message);
static bool check_addresses(const struct proxy_options *o, struct buf *message);
static bool check_backends(const struct proxy_options *o, struct buf *message);
static bool check_controls(const struct proxy_options *o, struct buf *message);
static bool check_words(struct proxy_options *o, struct buf *message);
static bool check_sizes(const struct proxy_options *o, struct buf *message);

bool proxy_options_check(struct proxy_options *o, struct buf *ret_message)
{
    if (!check_keys(o, ret_message) || !check_addresses(o, ret_message) ||
        !check_controls(o, ret_message) || !check_backends(o, ret_message) ||
        !check_words(o, ret_message) || !check_sizes(o, ret_message))
        return false;

    if (o->threads == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        o->threads = cores < 2                          ? 1
                     : cores / 2 > MOST_DEFAULT_THREADS ? MOST_DEFAULT_THREADS
                                                        : cores / 2;
    }
    http_limits_init(&o->limits);
    o->limits.max_head = (uint32_t)o->max_head;
    o->limits.max_target = (uint32_t)o->max_target;
    o->limits.max_fields = (uint32_t)o->max_fields;
    o->limits.lenient = o->lenient;
    if (o->limits.max_field > o->limits.max_head)
        o->limits.max_field = o->limits.max_head;
    if (!options_fill_policy(o, ret_message))
        return false;
    o->rules.max_body = (uint64_t)o->max_body;
    return true;
}

static bool check_addresses(const struct proxy_options *o, struct buf *message)
{
    for (size_t i = 0; i < o->bind.count; i++) {
        struct bind_address address;
        if (!bind_parse(o->bind.items[i], &address, message))
            return false;
        for (size_t n = 0; n < i; n++) {
            if (strcmp(o->bind.items[n], o->bind.items[i]) != 0)
                continue;
            buf_addf(message, "--bind: \"%s\" is given twice", o->bind.items[i]);
            return false;
        }
    }
    return true;
}

static bool is_name(const char *text, size_t length)
{
    if (length == 0 || length >= sizeof((struct proxy_backend *)0)->name)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && strchr("._-", text[i]) == NULL)
            return false;
    return true;
}

bool proxy_name_check(const char *text)
{
    return is_name(text, strlen(text));
}

bool proxy_may_leave_host(const struct proxy_options *options)
{
    return options->insecure || options->key != NULL;
}

static bool check_keys(const struct proxy_options *o, struct buf *message)
{
    if ((o->key == NULL) != (o->authorized_keys == NULL))
        buf_addf(message, "%s is needed with %s: %s",
                 o->key == NULL ? "--key" : "--authorized-keys",
                 o->key == NULL ? "--authorized-keys" : "--key",
                 o->key == NULL ? "`banyan keygen FILE` makes a key"
                                : "the public keys of those to trust");
    else if (o->key != NULL && o->insecure)
        buf_addf(message, "--insecure and --key: with keys every tcp:// is secure; "
                          "leave one out");
    else
        return true;
    return false;
}

bool proxy_endpoint_check(const char *endpoint,
                          const struct proxy_options *options,
                          const char *who,
                          struct buf *ret_message)
{
    if (strlen(endpoint) >= sizeof((struct proxy_backend *)0)->endpoint ||
        link_check_endpoint(endpoint, LINK_INSECURE) != ERR_NONE) {
        buf_addf(ret_message,
                 "%s: \"%s\" is no endpoint; expected ipc:///path, "
                 "tcp://host:port or inproc://name",
                 who, endpoint);
        return false;
    }
    if (proxy_may_leave_host(options) ||
        link_check_endpoint(endpoint, LINK_LOCAL_ONLY) == ERR_NONE)
        return true;
    buf_addf(ret_message,
             "%s: %s is not on loopback: its frames would pass in the "
             "clear and anybody there could answer: give --key and --authorized-keys; "
             "--insecure allows it all the same",
             who, endpoint);
    return false;
}

bool proxy_backend_parse(const char *text,
                         size_t index,
                         struct proxy_backend *ret_backend)
{
    struct proxy_backend b = {0};
    const char *scheme = strstr(text, "://");
    const char *equals = strchr(text, '=');
    if (equals != NULL && (scheme == NULL || equals < scheme)) {
        size_t length = (size_t)(equals - text);
        if (!is_name(text, length))
            return false;
        memcpy(b.name, text, length);
        text = equals + 1;
    } else {
        (void)snprintf(b.name, sizeof b.name, "b%zu", index + 1);
    }
    if (strlen(text) >= sizeof b.endpoint)
        return false;
    memcpy(b.endpoint, text, strlen(text));
    *ret_backend = b;
    return true;
}

static bool is_name_taken(const struct proxy_options *o, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        struct proxy_backend other;
        if (proxy_backend_parse(o->backend.items[i], i, &other) &&
            strcmp(other.name, name) == 0)
            return true;
    }
    return false;
}

static bool check_backends(const struct proxy_options *o, struct buf *message)
{
    if (o->backend.count == 0 && o->control.count == 0 && o->config == NULL) {
        buf_addf(message, "--backend is needed: where is an app server? e.g. "
                          "--backend ipc:///run/app.sock (or --control, to add them "
                          "later)");
        return false;
    }
    for (size_t i = 0; i < o->backend.count; i++) {
        const char *text = o->backend.items[i];
        struct proxy_backend b;
        if (!proxy_backend_parse(text, i, &b)) {
            buf_addf(message,
                     "--backend: \"%s\" is not accepted; expected ENDPOINT or "
                     "NAME=ENDPOINT, the name of letters, digits, '.', '_', '-'",
                     text);
            return false;
        }
        if (!proxy_endpoint_check(b.endpoint, o, "--backend", message))
            return false;
        if (is_name_taken(o, i, b.name)) {
            buf_addf(message, "--backend: the name \"%s\" is given twice", b.name);
            return false;
        }
    }
    return true;
}

bool proxy_control_parse(const char *text, struct proxy_control *ret_control)
{
    static const char *const roles[] = {"viewer", "operator", "admin", "app"};
    static const char scheme[] = "tcp://";
    struct proxy_control c = {.address = text};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        size_t length = strlen(roles[i]);
        if (strncmp(text, roles[i], length) == 0 && text[length] == ':') {
            c.role = slice_of(text, length);
            c.address = text + length + 1;
        }
    }
    c.is_remote = strncmp(c.address, scheme, sizeof scheme - 1) == 0;
    if (!c.is_remote) {
        size_t colon = strcspn(c.address, ":/"); /* ROLE:PATH with no such role */
        if (c.address[0] == '\0' || c.address[colon] == ':' ||
            strlen(c.address) > BIND_MAX_PATH)
            return false;
    }
    *ret_control = c;
    return true;
}

/* Without keys whoever reaches it may do as it says: nobody may do much because nobody
 * thought. */
static bool
check_remote(const struct proxy_options *o, const char *text, struct buf *message)
{
    struct proxy_control c;
    bool is_control = proxy_control_parse(text, &c);
    if (!is_control || link_check_endpoint(c.address, LINK_INSECURE) != ERR_NONE)
        buf_addf(message, "--control: \"%s\" is no address; expected tcp://HOST:PORT",
                 text);
    else if (!proxy_may_leave_host(o) &&
             link_check_endpoint(c.address, LINK_LOCAL_ONLY) != ERR_NONE)
        buf_addf(message,
                 "--control: %s is not on loopback, and without keys everybody is let "
                 "in: give --key and --authorized-keys; --insecure allows it all the "
                 "same",
                 c.address);
    else if (o->key != NULL && c.role.len > 0)
        buf_addf(message,
                 "--control: who may do what at %s is said by --authorized-keys: leave "
                 "%.*s: out",
                 c.address, SLICE_FMT(c.role));
    else if (o->key == NULL && c.role.len == 0)
        buf_addf(message,
                 "--control: without keys everybody may do the same at %s: say what, "
                 "e.g. app:%s for app servers that register themselves",
                 c.address, c.address);
    else
        return true;
    return false;
}

static bool check_controls(const struct proxy_options *o, struct buf *message)
{
    struct bind_address metrics;
    if (o->metrics != NULL && !bind_parse(o->metrics, &metrics, message))
        return false;
    for (size_t i = 0; i < o->control.count; i++) {
        struct proxy_control c;
        if (!proxy_control_parse(o->control.items[i], &c)) {
            buf_addf(message,
                     "--control: \"%s\" is not accepted; expected a path of at most %d "
                     "bytes or tcp://HOST:PORT, perhaps with viewer:, operator:, "
                     "admin: or app: before it",
                     o->control.items[i], BIND_MAX_PATH);
            return false;
        }
        if (c.is_remote && !check_remote(o, o->control.items[i], message))
            return false;
    }
    return true;
}

static bool check_words(struct proxy_options *o, struct buf *message)
{
    static const struct option_word underscores[] = {{"drop", UNDERSCORE_DROP},
                                                     {"reject", UNDERSCORE_REJECT},
                                                     {"keep", UNDERSCORE_KEEP}};
    static const struct option_word bufferings[] = {
        {"auto", BUFFERING_AUTO}, {"on", BUFFERING_ON}, {"off", BUFFERING_OFF}};
    static const struct option_word policies[] = {
        {"least_load", 0}, {"round_robin", 1}, {"hash", 2}};
    int underscore, buffering, policy;
    if (!options_pick_word("underscore-headers", o->underscore_headers, underscores,
                           sizeof underscores / sizeof underscores[0], &underscore,
                           message) ||
        !options_pick_word("request-buffering", o->request_buffering, bufferings,
                           sizeof bufferings / sizeof bufferings[0], &buffering,
                           message) ||
        !options_pick_word("balance", o->balance, policies,
                           sizeof policies / sizeof policies[0], &policy, message))
        return false;
    o->rules.underscore = (enum underscore)underscore;
    o->buffering = (enum buffering)buffering;
    o->balance = policies[policy].text;
    if (!log_check(&o->log, message))
        return false;
    o->trusted = (struct trusted_networks){0};
    if (o->trusted_proxies != NULL && !trusted_parse(o->trusted_proxies, &o->trusted)) {
        buf_addf(message,
                 "--trusted-proxies: \"%s\" is not accepted; expected up to 32 "
                 "networks such as 127.0.0.0/8,10.1.2.3,::1, the word unix, or *",
                 o->trusted_proxies);
        return false;
    }
    return true;
}

static bool check_sizes(const struct proxy_options *o, struct buf *message)
{
    if (o->max_target > o->max_head) {
        buf_addf(message,
                 "--max-target (%lld) is more than --max-head (%lld), which holds it: "
                 "raise --max-head",
                 (long long)o->max_target, (long long)o->max_head);
        return false;
    }
    return true;
}
