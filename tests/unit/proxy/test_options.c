/* SPDX-License-Identifier: MIT
 * proxy/options.c: defaults, what is refused and in which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <string.h>

#include "proxy/options.h"

enum { MAX_WORDS = 8 };

/* False: refused, by the table or by the check. */
static bool read_options(const char *const *words,
                         struct proxy_options *ret_options,
                         struct buf *ret_message)
{
    static char store[MAX_WORDS][64]; /* the options borrow from it */
    char *argv[MAX_WORDS + 2];
    char program[] = "banyan-proxy";
    int argc = 0, rest;
    argv[argc++] = program;
    for (size_t i = 0; i < MAX_WORDS && words[i] != NULL; i++) {
        assert_true(strlen(words[i]) < sizeof store[i]);
        argv[argc++] = strcpy(store[i], words[i]);
    }
    argv[argc] = NULL;
    return option_parse(&proxy_option_table, argc, argv, ret_options, &rest,
                        ret_message) == ERR_NONE &&
           proxy_options_check(ret_options, ret_message);
}

static void the_defaults_are_those_of_the_manual(void **state)
{
    (void)state;
    static const char *const words[MAX_WORDS] = {"--backend", "ipc:///tmp/a.sock"};
    static struct proxy_options o;
    struct buf message;
    buf_init(&message, 0);
    assert_true(read_options(words, &o, &message));
    assert_int_equal(o.bind.count, 1);
    assert_string_equal(o.bind.items[0], "127.0.0.1:8000");
    assert_in_range(o.threads, 1, 4);
    assert_true(o.header_timeout_s == 10 && o.body_timeout_s == 60);
    assert_true(o.queue_timeout_s == 30 && o.request_timeout_s == 60);
    assert_true(o.keepalive_timeout_s == 75 && o.write_timeout_s == 60);
    assert_true(o.graceful_timeout_s == 30 && o.heartbeat_timeout_s == 3);
    assert_int_equal(o.body_min_rate, 500);
    assert_true(o.body_grace_s == 10);
    assert_int_equal(o.max_connections, 10000);
    assert_int_equal(o.max_queue, 1000);
    assert_int_equal(o.max_body, 1 << 30);
    assert_int_equal(o.request_buffer, 1 << 30);
    assert_int_equal(o.response_buffer, 256 * 1024);
    assert_int_equal(o.retry_budget, 20);
    assert_int_equal(o.policy.queue_target_us, 0);
    assert_int_equal(o.policy.queue_interval_us, 100000);
    assert_string_equal(o.policy.sticky.name, "");
    assert_int_equal(o.policy.sticky.wait_us, 5000000);
    assert_int_equal(o.policy.sticky.max_age_s, 0);
    assert_int_equal(o.policy.sticky.same_site, SAME_SITE_LAX);
    assert_true(o.websocket_ping_interval_s == 20 && o.websocket_ping_timeout_s == 20);
    assert_true(o.websocket_close_timeout_s == 5);
    assert_int_equal(o.websocket_max_message, 16 * 1024 * 1024);
    assert_true(o.websocket_compression);
    assert_true(o.sched_batch);
    assert_false(o.lenient);
    assert_null(o.access_logfile);
    /* derived */
    assert_int_equal(o.limits.max_head, 64 * 1024);
    assert_int_equal(o.limits.max_target, 16 * 1024);
    assert_int_equal(o.limits.max_fields, 100);
    assert_int_equal(o.rules.max_body, 1 << 30);
    assert_int_equal(o.rules.underscore, UNDERSCORE_DROP);
    assert_int_equal(o.buffering, BUFFERING_AUTO);
    assert_int_equal(o.trusted.count, 0);
    buf_fini(&message);
}

static void what_cannot_be_is_refused_with_a_remedy(void **state)
{
    static const struct {
        const char *words[MAX_WORDS];
        const char *say; /* a part of the message */
    } cases[] = {
        {{NULL}, "--backend is needed"},
        {{"--backend", "localhost:9000"}, "expected ipc:///path, tcp://host:port"},
        {{"--backend", "tcp://192.0.2.7:9000"}, "--insecure allows it"},
        {{"--backend", "a b=ipc:///x"}, "expected ENDPOINT or NAME=ENDPOINT"},
        {{"--backend", "=ipc:///x"}, "expected ENDPOINT or NAME=ENDPOINT"},
        {{"--backend", "b2=ipc:///x", "--backend", "ipc:///y"},
         "\"b2\" is given twice"},
        {{"--backend", "ipc:///x", "--bind", "8000"}, "expected HOST:PORT"},
        {{"--backend", "ipc:///x", "--bind", "::1:80"}, "[IPV6]:PORT"},
        {{"--backend", "ipc:///x", "-b", ":80", "-b", ":80"}, "\":80\" is given twice"},
        {{"--backend", "ipc:///x", "--underscore-headers", "eat"},
         "--underscore-headers: \"eat\" is not accepted; expected drop, reject or "
         "keep"},
        {{"--backend", "ipc:///x", "--request-buffering", "yes"}, "auto, on or off"},
        {{"--backend", "ipc:///x", "--log-level", "loud"}, "error, warning, info"},
        {{"--backend", "ipc:///x", "--trusted-proxies", "10.0.0.0/99"}, "networks"},
        {{"--backend", "ipc:///x", "--max-head", "2K"}, "raise --max-head"},
        {{"--backend", "ipc:///x", "--max-fields", "1000"}, "from 1 to 128"},
        {{"--backend", "ipc:///x", "--heartbeat-timeout", "0"}, "from 0.5"},
        {{"--backend", "ipc:///x", "--response-buffer", "1"}, "from 65536"},
        {{"--backend", "ipc:///x", "--retry-budget", "101"}, "from 0 to 100"},
        {{"--backend", "ipc:///x", "--websocket-close-timeout", "0"}, "from 0.1"},
        {{"--backend", "ipc:///x", "--websocket-max-message", "100"}, "from 125"},
        {{"--backend", "ipc:///x", "--balance", "best"},
         "least_load, round_robin or hash"},
        {{"--backend", "ipc:///x", "--check-path", "health"}, "such as /health"},
        {{"--backend", "ipc:///x", "--check-path", "/a b"}, "without spaces"},
        {{"--backend", "ipc:///x", "--hash-by", "url"}, "header:NAME"},
        {{"--backend", "ipc:///x", "--hash-by", "cookie:"}, "cookie:NAME"},
        {{"--backend", "ipc:///x", "--hash-by", "header:a b"}, "header:NAME"},
        {{"--control", "root:/run/x"}, "viewer:, operator:, admin: or app:"},
        {{"--control", "app:"}, "viewer:, operator:, admin: or app:"},
        {{"--control", "tcp://127.0.0.1:7070"}, "app:tcp://127.0.0.1:7070"},
        {{"--control", "app:tcp://127.0.0.1"}, "expected tcp://HOST:PORT"},
        {{"--control", "app:tcp://0.0.0.0:7070"}, "--insecure allows it"},
        {{"--control", "/x", "--control-idle-timeout", "0"}, "from 0.1"},
        {{"--backend", "ipc:///x", "--sticky", "a=b"}, "--sticky: \"a=b\" is not acc"},
        {{"--backend", "ipc:///x", "--sticky-same-site", "x"}, "lax, strict or none"},
        {{"--backend", "ipc:///x", "--sticky-wait", "-1"}, "--sticky-wait"},
        {{"--backend", "ipc:///x", "--sticky-ttl", "500d"}, "--sticky-ttl"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct proxy_options o;
        struct buf message;
        buf_init(&message, 0);
        assert_false(read_options(cases[i].words, &o, &message));
        buf_add(&message, slice_of("", 1));
        if (strstr(buf_slice(&message).ptr, cases[i].say) == NULL)
            fail_msg("case %zu: %s", i, buf_slice(&message).ptr);
        buf_fini(&message);
    }
}

static void control_endpoints_are_paths_or_addresses(void **state)
{
    static const struct {
        const char *text, *role, *address;
        bool is_remote;
    } cases[] = {
        {"/run/x.sock", "", "/run/x.sock", false},
        {"x.sock", "", "x.sock", false},
        {"viewer:/run/x.sock", "viewer", "/run/x.sock", false},
        {"/run/app:x", "", "/run/app:x", false},
        {"tcp://127.0.0.1:7070", "", "tcp://127.0.0.1:7070", true},
        {"app:tcp://[::1]:7070", "app", "tcp://[::1]:7070", true},
        {"admin:tcp://h:1", "admin", "tcp://h:1", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct proxy_control c;
        assert_true(proxy_control_parse(cases[i].text, &c));
        assert_true(slice_eq(c.role, slice_from(cases[i].role)));
        assert_string_equal(c.address, cases[i].address);
        assert_int_equal(c.is_remote, cases[i].is_remote);
    }
    static const char *const words[MAX_WORDS] = {"--control", "app:tcp://0.0.0.0:7070",
                                                 "--insecure", "--control",
                                                 "admin:tcp://127.0.0.1:7071"};
    static struct proxy_options o;
    struct buf message;
    buf_init(&message, 0);
    assert_true(read_options(words, &o, &message));
    assert_true(o.control_idle_timeout_s == 300);
    buf_fini(&message);
}

static void words_are_taken_in_any_case(void **state)
{
    (void)state;
    static const char *const words[MAX_WORDS] = {
        "--backend",           "ipc:///x", "--underscore-headers", "KEEP",
        "--request-buffering", "Off"};
    static struct proxy_options o;
    struct buf message;
    buf_init(&message, 0);
    assert_true(read_options(words, &o, &message));
    assert_int_equal(o.rules.underscore, UNDERSCORE_KEEP);
    assert_int_equal(o.buffering, BUFFERING_OFF);
    buf_fini(&message);
}

static void backends_have_names(void **state)
{
    static const struct {
        const char *text, *name, *endpoint;
    } cases[] = {
        {"ipc:///tmp/a=b.sock", "b4", "ipc:///tmp/a=b.sock"},
        {"tcp://127.0.0.1:7001", "b4", "tcp://127.0.0.1:7001"},
        {"web-1=tcp://127.0.0.1:7001", "web-1", "tcp://127.0.0.1:7001"},
        {"x=ipc:///tmp/a=b.sock", "x", "ipc:///tmp/a=b.sock"},
        {"a.b_c=inproc://app", "a.b_c", "inproc://app"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct proxy_backend b;
        assert_true(proxy_backend_parse(cases[i].text, 3, &b));
        assert_string_equal(b.name, cases[i].name);
        assert_string_equal(b.endpoint, cases[i].endpoint);
    }
    char longest[400];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "ipc:///", 7);
    longest[sizeof longest - 1] = '\0';
    struct proxy_backend b;
    assert_false(proxy_backend_parse(longest, 0, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_those_of_the_manual),
        cmocka_unit_test(what_cannot_be_is_refused_with_a_remedy),
        cmocka_unit_test(control_endpoints_are_paths_or_addresses),
        cmocka_unit_test(words_are_taken_in_any_case),
        cmocka_unit_test(backends_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
