/* SPDX-License-Identifier: MIT
 * deploy/banyan/serve_options.c: its rows against those of the programs that they are
 * passed on to, and the command lines it makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appserver/options.h"
#include "deploy/banyan/serve_options.h"
#include "proxy/options.h"

enum { MAX_WORDS = 32 };

static bool read_line(const char *line, struct serve_options *ret, int *ret_code)
{
    static char text[512];
    char *argv[MAX_WORDS + 2];
    int argc = 0;
    (void)snprintf(text, sizeof text, "serve %s", line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    return serve_options_read(argc, argv, ret, ret_code);
}

static const struct option_row *find_row(const struct option_table *table,
                                         const char *name)
{
    for (size_t i = 0; i < table->row_count; i++) {
        if (strcmp(table->rows[i].name, name) == 0)
            return &table->rows[i];
    }
    return NULL;
}

static void assert_same_text(const char *a, const char *b)
{
    assert_true((a == NULL) == (b == NULL));
    if (a != NULL)
        assert_string_equal(a, b);
}

/* Names that mean something of their own here. */
static bool is_own(const struct option_table *table, const char *name)
{
    return strcmp(name, "help") == 0 || strcmp(name, "version") == 0 ||
           (table == &proxy_option_table && strcmp(name, "threads") == 0) ||
           (table == &app_option_table && strcmp(name, "bind") == 0) ||
           strcmp(name, "sched-batch") == 0; /* the proxy's */
}

static void rows_agree_with_the_programs_they_are_passed_on_to(void **state)
{
    (void)state;
    const struct option_table *tables[] = {&app_option_table, &proxy_option_table};
    size_t compared = 0;
    for (size_t t = 0; t < 2; t++) {
        for (size_t i = 0; i < tables[t]->row_count; i++) {
            const struct option_row *theirs = &tables[t]->rows[i];
            const struct option_row *ours = find_row(&serve_option_table, theirs->name);
            if (ours == NULL || is_own(tables[t], theirs->name))
                continue;
            compared++;
            print_message("%s\n", ours->name);
            assert_int_equal(ours->type, theirs->type);
            assert_true(ours->low == theirs->low);
            assert_true(ours->high == theirs->high);
            assert_same_text(ours->fallback, theirs->fallback);
            assert_same_text(ours->argument, theirs->argument);
            assert_same_text(ours->help, theirs->help);
        }
    }
    assert_in_range(compared, 40, 100);
}

static struct child *words_for(const char *line, bool app, char *directory)
{
    struct serve_options o;
    int code = -1;
    assert_true(read_line(line, &o, &code));
    struct child *child = child_new("x", "/bin/x", CHILD_PLAIN);
    if (app)
        serve_options_tell_app(&o, directory, child);
    else
        serve_options_tell_proxy(&o, directory, child);
    return child;
}

static char directory[] = "/run/banyan-1-abcdef";

static void what_it_tells_the_app_server_is_understood_there(void **state)
{
    (void)state;
    struct child *child =
        words_for("-w 3 --threads 7 --chdir /srv --python py -e A=1,2 -e B=2 "
                  "--timeout 0.25 --graceful-timeout 500ms --max-memory 1G --max-age "
                  "90m --preload demo:app",
                  true, directory);
    struct app_options o;
    int code = -1;
    assert_true(app_options_read((int)child->word_count, child->words, &o, &code));
    assert_string_equal(o.application, "demo:app");
    assert_string_equal(o.bind, "ipc:///run/banyan-1-abcdef/app-{n}.sock");
    assert_int_equal(o.processes, 3);
    assert_int_equal(o.threads, 7);
    assert_int_equal(o.ready_fd, CHILD_READY_FD);
    assert_string_equal(o.chdir, "/srv");
    assert_string_equal(o.python, "py");
    assert_int_equal(o.env.count, 2);
    assert_string_equal(o.env.items[0], "A=1,2");
    assert_true(o.timeout_s > 0.249 && o.timeout_s < 0.251);
    assert_true(o.graceful_timeout_s > 0.499 && o.graceful_timeout_s < 0.501);
    assert_int_equal(o.max_memory_bytes, 1 << 30);
    assert_true(o.max_age_s > 5399 && o.max_age_s < 5401);
    assert_true(o.preload);
    assert_false(o.sched_batch || o.embedded);
    child_free(&child);
}

static void what_it_tells_the_proxy_is_understood_there(void **state)
{
    (void)state;
    struct child *child = words_for(
        "-b 127.0.0.1:9000 -b unix:/tmp/a.sock -w 3 --edge-threads 2 --max-body 10M "
        "--queue-timeout 1m --access-logfile - --log-level debug --no-sched-batch "
        "demo:app",
        false, directory);
    struct proxy_options o;
    struct buf message;
    int rest = 0;
    buf_init(&message, 0);
    assert_int_equal(option_parse(&proxy_option_table, (int)child->word_count,
                                  child->words, &o, &rest, &message),
                     ERR_NONE);
    assert_int_equal(rest, child->word_count);
    assert_int_equal(o.bind.count, 2);
    assert_string_equal(o.bind.items[1], "unix:/tmp/a.sock");
    assert_int_equal(o.backend.count, 3);
    assert_string_equal(o.backend.items[2],
                        "app-2=ipc:///run/banyan-1-abcdef/app-2.sock");
    assert_int_equal(o.threads, 2);
    assert_int_equal(o.max_body, 10 << 20);
    assert_true(o.queue_timeout_s > 59.9 && o.queue_timeout_s < 60.1);
    assert_string_equal(o.access_logfile, "-");
    assert_string_equal(o.log.level, "debug");
    assert_int_equal(o.sendfile_root.count, 1);
    assert_false(o.sched_batch);
    buf_fini(&message);
    child_free(&child);
}

static void as_many_backends_as_workers_may_be_named(void **state)
{
    (void)state;
    struct child *child = words_for("-w 64 demo:app", false, directory);
    struct proxy_options o;
    struct buf message;
    int rest = 0;
    buf_init(&message, 0);
    assert_int_equal(option_parse(&proxy_option_table, (int)child->word_count,
                                  child->words, &o, &rest, &message),
                     ERR_NONE);
    assert_int_equal(o.backend.count, SERVE_WORKERS_MAX);
    buf_fini(&message);
    child_free(&child);
}

static void has_a_worker_for_each_core_by_default(void **state)
{
    (void)state;
    struct serve_options o;
    int code = -1;
    assert_true(read_line("demo:app", &o, &code));
    assert_in_range(o.workers, 1, SERVE_WORKERS_MAX);
}

static void the_children_do_not_see_its_environment(void **state)
{
    (void)state;
    struct serve_options o;
    int code = -1;
    assert_int_equal(setenv("BANYAN_WORKERS", "5", 1), 0);
    assert_int_equal(setenv("BANYAN_THREADS", "9", 1), 0);
    assert_int_equal(setenv("BANYAN_GRACEFUL_TIMEOUT", "7", 1), 0);
    assert_true(read_line("demo:app", &o, &code));
    assert_int_equal(o.workers, 5);
    assert_int_equal(o.threads, 9);
    assert_null(getenv("BANYAN_WORKERS"));
    assert_null(getenv("BANYAN_THREADS"));
    assert_null(getenv("BANYAN_GRACEFUL_TIMEOUT"));
}

static void refuses_with_2_what_makes_no_sense(void **state)
{
    (void)state;
    static const char *const LINES[] = {
        "",
        "demo:app other:app",
        "-w 65 demo:app",
        "-w many demo:app",
        "-k gevent demo:app",
        "--log-level loud demo:app",
        "--threads 0 demo:app",
    };
    for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++) {
        struct serve_options o;
        int code = -1;
        assert_false(read_line(LINES[i], &o, &code));
        assert_int_equal(code, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_agree_with_the_programs_they_are_passed_on_to),
        cmocka_unit_test(what_it_tells_the_app_server_is_understood_there),
        cmocka_unit_test(what_it_tells_the_proxy_is_understood_there),
        cmocka_unit_test(as_many_backends_as_workers_may_be_named),
        cmocka_unit_test(has_a_worker_for_each_core_by_default),
        cmocka_unit_test(the_children_do_not_see_its_environment),
        cmocka_unit_test(refuses_with_2_what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
