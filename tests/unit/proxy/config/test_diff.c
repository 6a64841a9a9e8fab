/* SPDX-License-Identifier: MIT
 * proxy/config/diff.c: what is told of two configurations. */
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

#include "proxy/config/diff.h"

static char path[] = "/tmp/banyan-test-diff-XXXXXX";
static char heard[2048];

static struct config *load(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    static char program[] = "banyan-proxy", option[] = "--config";
    static char *argv[] = {program, option, path, NULL};
    struct config *config = NULL;
    struct buf said;
    buf_init(&said, 0);
    assert_int_equal(config_load(3, argv, &config, &said), ERR_NONE);
    buf_fini(&said);
    return config;
}

static void on_change(void *arg, const struct config_change *c)
{
    static const char *const kinds[] = {"option", "restart",  "pool+",
                                        "pool-",  "pool",     "add",
                                        "remove", "settings", "routes"};
    (void)arg;
    size_t at = strlen(heard);
    (void)snprintf(
        heard + at, sizeof heard - at, "%s%s%s%s%s ", kinds[c->kind],
        c->pool == NULL ? "" : " ", c->pool == NULL ? "" : c->pool->site.name,
        c->backend == NULL ? "" : "/", c->backend == NULL ? "" : c->backend->name);
    assert_true(strlen(c->text) > 0);
}

static void assert_differ(const char *from, const char *to, const char *want)
{
    struct config *old = load(from), *new = load(to);
    heard[0] = '\0';
    config_diff(old, old, new, on_change, NULL);
    assert_string_equal(heard, want);
    heard[0] = '\0';
    config_diff(new, new, new, on_change, NULL);
    assert_string_equal(heard, "");
    config_free(&old);
    config_free(&new);
}

#define A(more)                                                                        \
    "pools:\n- name: a\n  backends:\n  - {name: x, endpoint: 'ipc:///x'" more

static void each_difference_is_told_once(void **state)
{
    (void)state;
    assert_differ(A("}\n"), A("}\n"), "");
    assert_differ(A("}\n"), "body-timeout: 7\nthreads: 3\n" A("}\n"),
                  "restart option ");
    assert_differ("queue-timeout: 5s\n" A("}\n"), "queue-timeout: 5000ms\n" A("}\n"),
                  "");
    assert_differ(A("}\n"), "queue-timeout: 5\n" A("}\n"), "option pool a ");
    assert_differ(A("}\n"), A("}\n  max-queue: 5\n"), "pool a ");
    assert_differ(A("}\n"), A("}\n  balance: round_robin\n"), "pool a ");
    assert_differ(A("}\n"), A(", weight: 5}\n"), "settings a/x ");
    assert_differ(A(", limit: 5}\n"), A("}\n"), "settings a/x ");
    assert_differ(A("}\n"), A("}\n  - {name: y, endpoint: 'ipc:///y'}\n"), "add a/y ");
    assert_differ(A("}\n  - {name: y, endpoint: 'ipc:///y'}\n"), A("}\n"),
                  "remove a/y ");
    assert_differ(A("}\n"),
                  "pools: [{name: a, backends: [{name: x, endpoint: 'ipc:///z'}]}]",
                  "remove a/x add a/x ");
    assert_differ(A("}\n") "routes: [{pool: a}]\n", A("}\n"), "routes ");
    assert_differ(A("}\n") "routes: [{pool: a}]\n",
                  A("}\n") "routes: [{path: /b, pool: a}]\n", "routes ");
    assert_differ(
        A("}\n"),
        "pools:\n- {name: b, backends: [{endpoint: 'ipc:///b'}]}\n- {name: c}\n"
        "routes: [{pool: b}]\n",
        "pool- a pool+ b add b/b1 pool+ c routes ");
    assert_differ(A("}\n- name: b\nroutes: [{pool: a}]\n"),
                  "pools: [{name: b}, {name: a, backends: [{name: x, endpoint: "
                  "'ipc:///x'}]}]\nroutes: [{pool: a}]\n",
                  "");
}

static void what_takes_a_restart_is_told_until_then(void **state)
{
    (void)state;
    struct config *one = load(A("}\n")),
                  *two = load("threads: 3\nbody-timeout: 7\n" A("}\n"));
    heard[0] = '\0';
    config_diff(one, two, two, on_change, NULL);
    assert_string_equal(heard, "restart ");
    heard[0] = '\0';
    config_diff(one, two, one, on_change, NULL);
    assert_string_equal(heard, "option ");
    config_free(&one);
    config_free(&two);
}

static void what_is_live_has_a_row(void **state)
{
    (void)state;
    assert_true(config_is_live(option_find(&proxy_option_table, "queue-timeout")));
    assert_false(config_is_live(option_find(&proxy_option_table, "threads")));
    assert_null(option_find(&proxy_option_table, "nothing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_difference_is_told_once),
        cmocka_unit_test(what_takes_a_restart_is_told_until_then),
        cmocka_unit_test(what_is_live_has_a_row),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    (void)close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return failed;
}
