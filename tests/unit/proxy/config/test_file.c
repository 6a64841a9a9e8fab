/* SPDX-License-Identifier: MIT
 * proxy/config/file.c: what a file means, and what is wrong with one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/config/config.h"
#include "proxy/upstream/balance.h"

static char path[] = "/tmp/banyan-test-file-XXXXXX";

/* NULL: what it said is in `said`, closed by a 0. */
static struct config *load(const char *text, const char *more, struct buf *said)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    static char program[] = "banyan-proxy", option[] = "--config";
    static char third[256];
    (void)snprintf(third, sizeof third, "%s", more == NULL ? "" : more);
    char *argv[] = {program, option, path, third, NULL};
    struct config *config = NULL;
    buf_init(said, 0);
    enum err err = config_load(more == NULL ? 3 : 4, argv, &config, said);
    assert_int_equal(err == ERR_NONE, config != NULL);
    buf_add(said, slice_of("", 1));
    return config;
}

#define ONE_POOL "pools: [{name: web, backends: [{endpoint: 'ipc:///a'}]}]\n"

static void options_of_the_file_are_outranked_by_the_command_line(void **state)
{
    (void)state;
    struct buf said;
    struct config *c = load("queue-timeout: 5\nrequest-timeout: 500ms\nlenient: yes\n"
                            "bind: ['127.0.0.1:1', '127.0.0.1:2']\nmax-body: 1M\n"
                            "temp-dir:\n" ONE_POOL,
                            "--queue-timeout=6", &said);
    assert_non_null(c);
    assert_true(c->options.queue_timeout_s == 6);
    assert_true(c->options.request_timeout_s == 0.5);
    assert_int_equal(c->options.max_body, 1024 * 1024);
    assert_int_equal(c->options.rules.max_body, 1024 * 1024);
    assert_true(c->options.lenient);
    assert_null(c->options.temp_dir);
    assert_int_equal(c->options.bind.count, 2);
    assert_string_equal(c->options.bind.items[1], "127.0.0.1:2");
    config_free(&c);
    buf_fini(&said);

    c = load("bind: ['127.0.0.1:1', '127.0.0.1:2']\n" ONE_POOL, "--bind=127.0.0.1:3",
             &said);
    assert_non_null(c);
    assert_int_equal(c->options.bind.count, 1);
    assert_string_equal(c->options.bind.items[0], "127.0.0.1:3");
    config_free(&c);
    buf_fini(&said);
}

static void pools_and_routes_are_as_they_say(void **state)
{
    (void)state;
    struct buf said;
    struct config *c = load("queue-timeout: 5\n"
                            "pools:\n"
                            "- name: web\n"
                            "  backends:\n"
                            "  - endpoint: ipc:///a\n"
                            "  - {name: x, endpoint: 'ipc:///b', weight: 0, limit: 3}\n"
                            "- name: api\n"
                            "  queue-timeout: 1\n"
                            "  max-queue: 9\n"
                            "  request-buffering: off\n"
                            "  request-buffer: 1K\n"
                            "  balance: round_robin\n"
                            "  sticky: node\n"
                            "  sticky-wait: 250ms\n"
                            "  sticky-ttl: 1h\n"
                            "  sticky-same-site: Strict\n"
                            "routes:\n"
                            "- {host: WWW.a.org, pool: web}\n"
                            "- {path: /api/, pool: api, strip-prefix: Yes}\n",
                            NULL, &said);
    assert_non_null(c);
    assert_int_equal(c->pool_count, 2);
    const struct config_pool *web = &c->pools[0], *api = &c->pools[1];
    assert_true(web->is_named && api->is_named);
    assert_ptr_equal(config_find_pool(c, "api"), api);
    assert_int_equal(web->site.queue_timeout_us, 5000000);
    assert_int_equal(web->site.own, 0);
    assert_int_equal(web->backend_count, 2);
    assert_string_equal(web->backends[0].name, "b1");
    assert_int_equal(web->backends[0].weight, WEIGHT_DEFAULT);
    assert_int_equal(web->backends[1].weight, 0);
    assert_int_equal(web->backends[1].limit, 3);
    assert_int_equal(api->site.queue_timeout_us, 1000000);
    assert_int_equal(api->site.max_queue, 9);
    assert_int_equal(api->site.own, SITE_OWN_MAX_QUEUE | SITE_OWN_QUEUE_TIMEOUT);
    assert_int_equal(api->site.buffering, BUFFERING_OFF);
    assert_int_equal(api->site.request_buffer, 1024);
    assert_string_equal(api->balancer, "round_robin");
    assert_string_equal(api->policy.sticky.name, "node");
    assert_int_equal(api->policy.sticky.wait_us, 250000);
    assert_int_equal(api->policy.sticky.max_age_s, 3600);
    assert_int_equal(api->policy.sticky.same_site, SAME_SITE_STRICT);
    assert_string_equal(web->policy.sticky.name, "");
    assert_string_equal(web->balancer, "least_load");
    assert_int_equal(c->route_count, 2);
    assert_string_equal(c->routes[0].host, "www.a.org");
    assert_string_equal(c->routes[1].prefix, "/api");
    assert_true(c->routes[1].strips && !c->routes[0].strips);
    assert_int_equal(c->routes[1].target, 1);
    config_free(&c);
    buf_fini(&said);
}

static void without_pools_the_command_line_has_them(void **state)
{
    (void)state;
    struct buf said;
    struct config *c = load("threads: 1\n", "--backend=ipc:///a", &said);
    assert_non_null(c);
    assert_string_equal(c->pools[0].site.name, CONFIG_DEFAULT_POOL);
    assert_false(c->pools[0].is_named);
    assert_int_equal(c->options.threads, 1);
    config_free(&c);
    buf_fini(&said);
}

static void mistakes_name_their_place_and_what_is_expected(void **state)
{
    (void)state;
    static const struct {
        const char *text, *more, *want[3];
    } cases[] = {
        {"threads: x\n" ONE_POOL, NULL, {":1:10: threads: \"x\" is not accepted; exp"}},
        {"threads: 65\n" ONE_POOL, NULL, {":1:10: threads: ", "from 0 to 64"}},
        {"bind: ['127.0.0.1:1', foo]\n" ONE_POOL, NULL, {":1:23: bind: \"foo\" is no"}},
        {"log-level: loud\n" ONE_POOL, NULL, {":1:12: log-level: \"loud\""}},
        {"log-level: info\n" ONE_POOL, "--log-level=loud", {"--log-level: \"loud\""}},
        {"max-target: 64K\nmax-head: 2K\n" ONE_POOL, NULL, {":1:13: max-target "}},
        {ONE_POOL, "--backend=ipc:///b", {":1:8: pools: --backend is given, too"}},
        {"", NULL, {":1:1: pools: expected at least one"}},
        {"pools: [{name: a}, {name: b}]\n", NULL, {":1:1: routes: expected some"}},
        {"pools:\n- name: a\n- name: a\n", NULL, {":3:9: name: \"a\" is given twice"}},
        {"pools:\n- name: a/b\n", NULL, {":2:9: name: \"a/b\" is not accepted"}},
        {"pools:\n- name: a\n  balance: best\n",
         NULL,
         {":3:12: balance: \"best\" is not accepted; expected least_load"}},
        {"pools:\n- name: a\n  queue-timeout: x\n  backends:\n  - endpoint: tcp://1.2."
         "3.4:5\n  - {name: b1, endpoint: x, weight: 257, limit: -1}\n",
         NULL,
         {":3:18: queue-timeout: \"x\"",
          ":5:15: endpoint: tcp://1.2.3.4:5 is not on lo",
          ":6:12: name: \"b1\" is given twice"}},
        {"pools:\n- name: a\n  backends: [{endpoint: x, weight: 257, limit: -1}]\n",
         NULL,
         {":3:25: endpoint: \"x\" is no", ":3:36: weight: \"257\" is not",
          ":3:48: limit: \"-1\" is not accepted; expected a whole number from 0"}},
        {"pools:\n- name: a\n  sticky: a b\n",
         NULL,
         {":3:11: sticky: \"a b\" is not accepted; expected the name of a cookie"}},
        {"pools:\n- name: a\n  sticky-same-site: never\n",
         NULL,
         {":3:21: sticky-same-site: \"never\" is not accepted; expected lax, strict "
          "or"}},
        {"pools:\n- {name: a, sticky: n}\n- {name: b, sticky: n}\nroutes: [{pool: "
         "a}]\n",
         NULL,
         {":3:21: sticky: pool a has the cookie \"n\" already; each pool needs"}},
        {"sticky: n\npools:\n- name: a\n- name: b\nroutes: [{pool: a}]\n",
         NULL,
         {":4:3: sticky: pool a has the cookie \"n\" already; each pool needs"}},
        {"routes:\n- {pool: b}\n- {host: 'a:1', path: x, pool: web}\n" ONE_POOL,
         NULL,
         {":2:10: pool: no pool is called \"b\"", ":3:10: host: \"a:1\" is no host",
          ":3:23: path: \"x\" is no path"}},
        {"routes:\n- {path: /a, pool: web, strip-prefix: maybe}\n"
         "- {pool: web, strip-prefix: yes}\n" ONE_POOL,
         NULL,
         {":2:39: strip-prefix: \"maybe\" is not accepted; expected yes or no",
          ":3:29: strip-prefix: there is nothing to strip"}},
        {"routes:\n- {pool: web}\n- {host: '*', path: /, pool: web}\n" ONE_POOL,
         NULL,
         {":3:3: host * with path / has a route already: number 1 of the list"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf said;
        assert_null(load(cases[i].text, cases[i].more, &said));
        for (size_t n = 0; n < 3 && cases[i].want[n] != NULL; n++)
            if (strstr(buf_slice(&said).ptr, cases[i].want[n]) == NULL)
                fail_msg("\"%s\" says \"%s\", not \"%s\"", cases[i].text,
                         buf_slice(&said).ptr, cases[i].want[n]);
        buf_fini(&said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_of_the_file_are_outranked_by_the_command_line),
        cmocka_unit_test(pools_and_routes_are_as_they_say),
        cmocka_unit_test(without_pools_the_command_line_has_them),
        cmocka_unit_test(mistakes_name_their_place_and_what_is_expected),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    (void)close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return failed;
}
