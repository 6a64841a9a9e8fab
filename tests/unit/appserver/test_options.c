/* SPDX-License-Identifier: MIT
 * appserver/options.c: what is accepted, what is refused and with which exit code. */
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

#include "appserver/options.h"

enum { MAX_WORDS = 12 };

/* Splits `line` at blanks; option parsing may reorder the words. */
static bool read_line(const char *line, struct app_options *ret, int *ret_code)
{
    static char text[256];
    char *argv[MAX_WORDS + 2];
    int argc = 0;
    (void)snprintf(text, sizeof text, "banyan-app %s", line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    return app_options_read(argc, argv, ret, ret_code);
}

static void has_defaults_for_all_but_endpoint_and_application(void **state)
{
    (void)state;
    struct app_options o;
    int code = -1;
    assert_true(read_line("--bind ipc:///tmp/a.sock demo:app", &o, &code));
    assert_string_equal(o.application, "demo:app");
    assert_string_equal(o.bind, "ipc:///tmp/a.sock");
    assert_int_equal(o.processes, 1);
    assert_int_equal(o.threads, 16);
    assert_int_equal(o.threads_max, 0);
    assert_true(o.timeout_s > 29.9 && o.timeout_s < 30.1);
    assert_true(o.graceful_timeout_s > 29.9 && o.graceful_timeout_s < 30.1);
    assert_string_equal(o.pool, "default");
    assert_string_equal(o.interface, "auto");
    assert_int_equal(o.concurrency, 1000);
    assert_int_equal(o.max_websockets, 10000);
    assert_string_equal(o.loop, "auto");
    assert_string_equal(o.lifespan, "auto");
    assert_string_equal(o.root_path, "");
    assert_string_equal(o.log.level, "info");
    assert_int_equal(o.max_requests, 0);
    assert_int_equal(o.max_memory_bytes, 0);
    assert_true(o.max_age_s == 0);
    assert_int_equal(o.ready_fd, -1);
    assert_false(o.embedded || o.preload || o.insecure);
}

static void takes_options_on_both_sides_of_the_application(void **state)
{
    (void)state;
    struct app_options o;
    int code = -1;
    assert_true(read_line(
        "-b tcp://127.0.0.1:7001 demo:app --processes 4 -e A=1 -e B=2=3", &o, &code));
    assert_string_equal(o.application, "demo:app");
    assert_int_equal(o.processes, 4);
    assert_int_equal(o.env.count, 2);
    assert_string_equal(o.env.items[1], "B=2=3");
}

static void refuses_with_2_what_makes_no_sense(void **state)
{
    (void)state;
    static const char *const LINES[] = {
        "",
        "demo:app",
        "--bind ipc:///tmp/a",
        "--bind ipc:///tmp/a demo:app other:app",
        "--bind ipc:///tmp/a --processes 2 demo:app",
        "--bind ipc:///tmp/a --processes 0 demo:app",
        "--bind ipc:///tmp/a --threads 8 --threads-max 4 demo:app",
        "--bind ipc:///tmp/a --interface cgi demo:app",
        "--bind ipc:///tmp/a --interface asg demo:app",
        "--bind ipc:///tmp/a --loop trio demo:app",
        "--bind ipc:///tmp/a --lifespan yes demo:app",
        "--bind ipc:///tmp/a --concurrency 0 demo:app",
        "--bind ipc:///tmp/a --log-level loud demo:app",
        "--bind ipc:///tmp/a --env A demo:app",
        "--bind ipc:///tmp/a --env =1 demo:app",
        "--bind ipc:///tmp/a --timeout soon demo:app",
        "--bind ipc:///tmp/a --register 127.0.0.1:7070 demo:app",
        "--bind ipc:///tmp/a --register ipc:///tmp/b demo:app",
        "--bind ipc:///tmp/a --register tcp://proxy:7070 demo:app",
        "--bind ipc:///tmp/a --register tcp://127.0.0.1:1 --pool a/b demo:app",
        "--bind ipc:///tmp/a --register tcp://127.0.0.1:1 --advertise web demo:app",
        "--bind ipc:///tmp/a --name a/b demo:app",
        "--bind ipc:///tmp/a --lease 0.5 demo:app",
        "--bind ipc:///tmp/a --unknown demo:app",
    };
    for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++) {
        struct app_options o;
        int code = -1;
        assert_false(read_line(LINES[i], &o, &code));
        assert_int_equal(code, 2);
    }
}

static void several_proxies_and_a_name_are_taken(void **state)
{
    (void)state;
    struct app_options o;
    int code = -1;
    assert_true(read_line("--bind ipc:///tmp/a --register tcp://127.0.0.1:7070 "
                          "--register tcp://proxy:7070 --insecure --name w{n}.{g} "
                          "demo:app",
                          &o, &code));
    assert_int_equal(o.registers.count, 2);
    assert_true(o.lease_s == 10);
    assert_null(o.advertise);
}

static void help_and_version_end_with_0(void **state)
{
    (void)state;
    struct app_options o;
    int code = -1;
    assert_false(read_line("--version", &o, &code));
    assert_int_equal(code, 0);
    code = -1;
    assert_false(read_line("--help", &o, &code));
    assert_int_equal(code, 0);
}

static void the_environment_names_every_option(void **state)
{
    (void)state;
    struct app_options o;
    int code = -1;
    assert_int_equal(setenv("BANYAN_BIND", "ipc:///tmp/{n}", 1), 0);
    assert_int_equal(setenv("BANYAN_PROCESSES", "3", 1), 0);
    assert_true(read_line("demo:app", &o, &code));
    assert_int_equal(o.processes, 3);
    assert_string_equal(o.bind, "ipc:///tmp/{n}");
    assert_true(read_line("--processes 5 demo:app", &o, &code));
    assert_int_equal(o.processes, 5);
    assert_int_equal(unsetenv("BANYAN_BIND"), 0);
    assert_int_equal(unsetenv("BANYAN_PROCESSES"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_defaults_for_all_but_endpoint_and_application),
        cmocka_unit_test(takes_options_on_both_sides_of_the_application),
        cmocka_unit_test(refuses_with_2_what_makes_no_sense),
        cmocka_unit_test(several_proxies_and_a_name_are_taken),
        cmocka_unit_test(help_and_version_end_with_0),
        cmocka_unit_test(the_environment_names_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
