/* SPDX-License-Identifier: MIT
 * The rows of banyan-app's command line, and what must hold between them. */
#include "appserver/options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "appserver/endpoint.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/link.h"

enum {
    EXIT_USAGE = 2,
    NAME_MAX_BYTES = 48, /* the numbers have room behind it */
};

#define ROW(field) offsetof(struct app_options, field)
/* clang-format off */
static const struct option_row ROWS[] = {
    {"bind", 'b', OPTION_TEXT, ROW(bind), "ENDPOINT", NULL, 0, 0, "Application server",
     "where proxies find it: ipc:///path or tcp://host:port; {n} becomes the process "
     "number, {g} the generation; tcp:// without {n} counts the port up"},
    {"processes", 0, OPTION_COUNT, ROW(processes), "N", "1", 1, 1024, NULL,
     "processes that share nothing"},
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
    {"pool", 0, OPTION_TEXT, ROW(pool), "NAME", "default", 0, 0, NULL,
     "the pool it says it belongs to"},
    {"interface", 0, OPTION_TEXT, ROW(interface), "NAME", "auto", 0, 0, NULL,
     "what the application speaks: wsgi, asgi, asgi2, or auto: by its signature"},
    {"loop", 0, OPTION_TEXT, ROW(loop), "NAME", "auto", 0, 0, NULL,
     "ASGI: the event loop: asyncio, uvloop, or auto: uvloop when it is installed"},
    {"lifespan", 0, OPTION_TEXT, ROW(lifespan), "WHEN", "auto", 0, 0, NULL,
     "ASGI: tell the application of start and end: on, off, or auto: unless it raises"},
    {"root-path", 0, OPTION_TEXT, ROW(root_path), "PATH", "", 0, 0, NULL,
     "where the application is mounted: SCRIPT_NAME, which is taken off PATH_INFO; "
     "root_path of ASGI, whose path keeps it"},
    {"register", 0, OPTION_LIST, ROW(registers), "ENDPOINT", NULL, 0, 0, NULL,
     "register each process with the proxies at tcp://HOST:PORT (banyan-proxy "
     "--control), all that are behind this name; repeatable"},
    {"advertise", 0, OPTION_TEXT, ROW(advertise), "ENDPOINT", NULL, 0, 0, NULL,
     "where the proxies are told to find it, with {n} and {g} as --bind; default: "
     "--bind, with the own address for 0.0.0.0 and [::]"},
    {"name", 0, OPTION_TEXT, ROW(name), "NAME", NULL, 0, 0, NULL,
     "what the proxies call it, with {n} and {g} as --bind; default: the host's name "
     "and the process number"},
    {"lease", 0, OPTION_SECONDS, ROW(lease_s), "SECONDS", "10", 1, 3600, NULL,
     "proxies forget a process that said nothing for so long; it says so three times "
     "as often"},
    {"insecure", 0, OPTION_FLAG, ROW(insecure), NULL, NULL, 0, 0, NULL,
     "allow tcp:// on other than loopback addresses, without keys"},

    {"key", 0, OPTION_TEXT, ROW(key), "FILE", NULL, 0, 0, NULL,
     "this app server's key pair, as `banyan keygen` makes it: every tcp:// is encrypted, "
     "and both ends prove who they are"},
    {"authorized-keys", 0, OPTION_TEXT, ROW(authorized_keys), "FILE", NULL, 0, 0, NULL,
     "which proxies --key lets in: lines proxy PUBLIC-KEY [NAME]; read again, with "
     "--key, on SIGHUP"},

    {"chdir", 0, OPTION_TEXT, ROW(chdir), "DIR", NULL, 0, 0, "Python",
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

    {"timeout", 0, OPTION_SECONDS, ROW(timeout_s), "SECONDS", "30", 0, 86400, "Limits",
     "a request that runs longer gets an exception, then its process is replaced; "
     "0: never"},
    {"graceful-timeout", 0, OPTION_SECONDS, ROW(graceful_timeout_s), "SECONDS", "30",
     0, 86400, NULL, "how long running requests may take after SIGTERM"},
    {"max-requests", 0, OPTION_COUNT, ROW(max_requests), "N", "0", 0, 1e15, NULL,
     "replace a process after so many requests; 0: never"},
    {"max-requests-jitter", 0, OPTION_COUNT, ROW(max_requests_jitter), "N", "0",
     0, 1e15, NULL,
     "up to so many more, by chance, so that not all are replaced at once"},
    {"max-memory", 0, OPTION_SIZE, ROW(max_memory_bytes), "SIZE", "0", 0, 0, NULL,
     "replace a process whose memory grew past it; 0: never"},
    {"max-age", 0, OPTION_SECONDS, ROW(max_age_s), "SECONDS", "0", 0, 365 * 86400,
     NULL, "replace a process that has served for so long; 0: never"},

    {"log-level", 0, OPTION_TEXT, ROW(log.level), "LEVEL", "info", 0, 0, "Running",
     "error, warning, info or debug"},
    {"log-format", 0, OPTION_TEXT, ROW(log.format), "FORMAT", "text", 0, 0, NULL,
     "of diagnostics and of the access log: text, or json: an object a line"},
    {"log-output", 0, OPTION_TEXT, ROW(log.output), "WHERE", "stderr", 0, 0, NULL,
     "where diagnostics go: stderr or stdout"},
    {"sched-batch", 0, OPTION_FLAG, ROW(sched_batch), NULL, NULL, 0, 0, NULL,
     "ask the kernel for longer time slices and fewer wake-ups"},
    {"ready-fd", 0, OPTION_COUNT, ROW(ready_fd), "FD", "-1", -1, 1048576, NULL,
     "write a line `ready N PID ENDPOINT` to this descriptor for each process that "
     "serves"},
    {"help", 'h', OPTION_FLAG, ROW(help), NULL, NULL, 0, 0, NULL, "this text"},
    {"version", 'V', OPTION_FLAG, ROW(version), NULL, NULL, 0, 0, NULL, "the version"},
};
/* clang-format on */
#undef ROW

const struct option_table app_option_table = {
    .program = "banyan-app",
    .synopsis = "[OPTIONS] --bind ENDPOINT MODULE:APP",
    .summary = "Serves a Python web application to Banyan's proxies.",
    .rows = ROWS,
    .row_count = sizeof ROWS / sizeof ROWS[0],
};

static bool check_options(const struct app_options *o, struct buf *message);
static bool check_register(const struct app_options *o, struct buf *message);
static bool check_bind(const struct app_options *o, struct buf *message);
static bool check_keys(const struct app_options *o, struct buf *message);
static bool check_word(const char *option,
                       const char *word,
                       const char *words,
                       struct buf *message);

bool app_options_read(int argc,
                      char **argv,
                      struct app_options *ret_options,
                      int *ret_code)
{
    struct buf message;
    int rest = argc;
    bool good = false;

    buf_init(&message, 0);
    memset(ret_options, 0, sizeof *ret_options);
    enum err e =
        option_parse(&app_option_table, argc, argv, ret_options, &rest, &message);
    if (e != ERR_NONE) {
        *ret_code = EXIT_USAGE;
    } else if (ret_options->help) {
        option_help(&app_option_table, stdout);
        *ret_code = 0;
    } else if (ret_options->version) {
        (void)printf("banyan-app %s\n", BANYAN_VERSION);
        *ret_code = 0;
    } else if (argc - rest != 1) {
        buf_addf(&message, argc == rest
                               ? "MODULE:APP is missing, e.g. banyan-app --bind "
                                 "ipc:///tmp/demo.sock demo:app"
                               : "one MODULE:APP is expected");
        *ret_code = EXIT_USAGE;
    } else {
        ret_options->application = argv[rest];
        good = check_options(ret_options, &message);
        *ret_code = good ? 0 : EXIT_USAGE;
    }
    if (buf_len(&message) > 0)
        (void)fprintf(stderr, "banyan-app: %.*s\n", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return good;
}

static bool check_options(const struct app_options *o, struct buf *message)
{
    if (!check_bind(o, message) || !check_keys(o, message) ||
        !check_register(o, message) || !log_check(&o->log, message))
        return false;
    if (!check_word("interface", o->interface, "auto wsgi asgi asgi2", message) ||
        !check_word("loop", o->loop, "auto asyncio uvloop", message) ||
        !check_word("lifespan", o->lifespan, "auto on off", message))
        return false;
    size_t root = strlen(o->root_path);
    if (root > 0 && (o->root_path[0] != '/' || o->root_path[root - 1] == '/')) {
        buf_addf(message,
                 "--root-path %s: a path such as /app is expected, without a slash at "
                 "its end",
                 o->root_path);
        return false;
    }
    if (o->threads_max != 0 && o->threads_max < o->threads) {
        buf_addf(message, "--threads-max %jd is less than --threads %jd",
                 (intmax_t)o->threads_max, (intmax_t)o->threads);
        return false;
    }
    for (size_t i = 0; i < o->env.count; i++) {
        const char *equals = strchr(o->env.items[i], '=');
        if (equals == NULL || equals == o->env.items[i]) {
            buf_addf(message, "--env %s: NAME=VALUE is expected", o->env.items[i]);
            return false;
        }
    }
    return true;
}

static bool check_bind(const struct app_options *o, struct buf *message)
{
    if (o->bind == NULL) {
        buf_addf(message, "--bind is missing, e.g. --bind ipc:///tmp/demo-{n}.sock");
        return false;
    }
    if (strncmp(o->bind, "ipc://", 6) == 0 && o->processes > 1 &&
        strstr(o->bind, "{n}") == NULL) {
        buf_addf(message, "--bind %s: with more than one process the path needs {n}",
                 o->bind);
        return false;
    }
    return true;
}

/* Of a name: letters, digits and ._- beside {n} and {g}. */
static bool check_name(const char *option, const char *name, struct buf *message)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    own(mem) char *plain = endpoint_expand(name, 0, 0);
    size_t length = strlen(plain);
    if (length > 0 && length <= NAME_MAX_BYTES && plain[strspn(plain, allowed)] == '\0')
        return true;
    buf_addf(message, "--%s %s: a name has up to %d letters, digits, '.', '_' and '-'",
             option, name, NAME_MAX_BYTES);
    return false;
}

static bool check_register(const struct app_options *o, struct buf *message)
{
    enum link_policy policy =
        o->insecure || o->key != NULL ? LINK_INSECURE : LINK_LOCAL_ONLY;
    for (size_t i = 0; i < o->registers.count; i++) {
        const char *endpoint = o->registers.items[i];
        bool is_tcp = strncmp(endpoint, "tcp://", 6) == 0;
        if (!is_tcp || link_check_endpoint(endpoint, LINK_INSECURE) != ERR_NONE) {
            buf_addf(message, "--register %s: tcp://HOST:PORT is expected", endpoint);
            return false;
        }
        if (link_check_endpoint(endpoint, policy) != ERR_NONE) {
            buf_addf(
                message,
                "--register %s is not on loopback: anybody could pose as the "
                "proxy: give --key and --authorized-keys; --insecure allows it all "
                "the same",
                endpoint);
            return false;
        }
    }
    if (o->registers.count > 0 && !check_name("pool", o->pool, message))
        return false;
    own(mem) char *place =
        o->advertise == NULL ? NULL : endpoint_expand(o->advertise, 0, 1);
    if (place != NULL && link_check_endpoint(place, LINK_INSECURE) != ERR_NONE) {
        buf_addf(message, "--advertise %s: tcp://HOST:PORT or ipc://PATH is expected",
                 o->advertise);
        return false;
    }
    if (o->registers.count > 0 && o->key != NULL &&
        strncmp(o->advertise == NULL ? o->bind : o->advertise, "tcp://", 6) != 0) {
        buf_addf(message, "--register with --key: proxies go to tcp:// only; give "
                          "--bind or --advertise tcp://HOST:PORT");
        return false;
    }
    return o->name == NULL || check_name("name", o->name, message);
}

static bool check_keys(const struct app_options *o, struct buf *message)
{
    if ((o->key == NULL) != (o->authorized_keys == NULL)) {
        buf_addf(message, "%s is needed with %s: %s",
                 o->key == NULL ? "--key" : "--authorized-keys",
                 o->key == NULL ? "--authorized-keys" : "--key",
                 o->key == NULL ? "`banyan keygen FILE` makes a key"
                                : "the public keys of the proxies to let in");
        return false;
    }
    if (o->key != NULL && o->insecure) {
        buf_addf(message, "--insecure and --key: with keys every tcp:// is secure; "
                          "leave one out");
        return false;
    }
    own(mem) char *endpoint = endpoint_expand(o->bind, 0, 1);
    if (o->insecure || o->key != NULL ||
        link_check_endpoint(endpoint, LINK_INSECURE) != ERR_NONE ||
        link_check_endpoint(endpoint, LINK_LOCAL_ONLY) == ERR_NONE)
        return true;
    buf_addf(message,
             "--bind %s: not on loopback, so everybody there could send requests and "
             "read the answers: give --key and --authorized-keys; --insecure allows it "
             "all the same",
             o->bind);
    return false;
}

/* `words` are separated by blanks. */
static bool
check_word(const char *option, const char *word, const char *words, struct buf *message)
{
    size_t length = strlen(word);

    for (const char *at = words; at != NULL; at = strchr(at, ' ')) {
        at += *at == ' ';
        if (strcspn(at, " ") == length && strncmp(at, word, length) == 0)
            return true;
    }
    buf_addf(message, "--%s %s: one of these is expected: %s", option, word, words);
    return false;
}
