/* SPDX-License-Identifier: MIT
 * proxy/config/raw.c: the form of a file, and what is said of another one. */
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

#include "proxy/config/raw.h"

static const struct option_row rows[] = {
    {"threads", 0, OPTION_COUNT, 0, NULL, NULL, 0, 0, NULL, "x"},
    {"bind", 0, OPTION_LIST, 0, NULL, NULL, 0, 0, NULL, "x"},
    {"secret", 0, OPTION_TEXT, 0, NULL, NULL, 0, 0, NULL, "x"},
};
static const struct option_table table = {.rows = rows, .row_count = 3};
static const char *const hidden[] = {"secret", NULL};

static char path[] = "/tmp/banyan-test-raw-XXXXXX";

static struct raw *load(const char *text, struct buf *message)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    return raw_load(path, &table, hidden, message);
}

static void every_part_of_a_file_is_there_as_it_stands(void **state)
{
    (void)state;
    struct buf message, place;
    buf_init(&message, 0);
    buf_init(&place, 0);
    struct raw *raw = load("threads: 2\n"
                           "bind: [':80', '[::]:81']\n"
                           "pools:\n"
                           "  - name: web\n"
                           "    max-queue: 7\n"
                           "    backends:\n"
                           "      - {name: b1, endpoint: 'ipc:///a', weight: 5}\n"
                           "      - endpoint: ipc:///b\n"
                           "  - name: api\n"
                           "routes:\n"
                           "  - {host: a.org, pool: web}\n"
                           "  - {path: /x, pool: api}\n",
                           &message);
    assert_non_null(raw);
    const struct raw_values *v = raw->values;
    assert_string_equal(v->options[0], "2");
    assert_int_equal(v->lists[1].count, 2);
    assert_string_equal(v->lists[1].items[1], "[::]:81");
    assert_int_equal(v->pool_count, 2);
    for (size_t i = 0; i < RAW_POOL_OPTIONS; i++) {
        if (strcmp(raw_pool_options[i], "max-queue") == 0)
            assert_string_equal(v->pools[0].options[i], "7");
        else
            assert_null(v->pools[0].options[i]);
    }
    assert_int_equal(v->pools[0].backend_count, 2);
    assert_string_equal(v->pools[0].backends[0].weight, "5");
    assert_null(v->pools[0].backends[1].name);
    assert_int_equal(v->pools[1].backend_count, 0);
    assert_int_equal(v->route_count, 2);
    assert_string_equal(v->routes[0].host, "a.org");
    assert_null(v->routes[1].host);
    raw_place(raw, &place, "pools[%d].backends[%d].endpoint", 0, 1);
    buf_add(&place, slice_of("", 1));
    assert_string_equal(buf_slice(&place).ptr + strlen(path), ":8:19");
    raw_free(&raw);
    assert_null(raw);

    raw = load("", &message);
    assert_non_null(raw);
    assert_null(raw->values);
    raw_free(&raw);
    buf_fini(&message);
    buf_fini(&place);
}

static void another_form_is_refused_with_its_place_and_what_is_expected(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"thread: 1\n", ":1:1: unknown key \"thread\"; expected pools, routes, or an"},
        {"threads: 1\nsecret: x\n", ":2:1: unknown key \"secret\""},
        {"threads: [1]\n", ":1:10: threads: expected a single value"},
        {"bind: :80\n", ":1:7: bind: expected a list: entries that begin with"},
        {"threads: 1\nthreads: 2\n", "the key \"threads\" is given twice"},
        {"pools:\n  - name: a\n    bakends: []\n",
         ":3:5: unknown key \"bakends\"; expected name, backends, balance, "},
        {"pools:\n  - name: a\n    backends:\n      - {endpoint: x, wait: 1}\n",
         ":4:23: unknown key \"wait\"; expected name, endpoint, weight or limit"},
        {"pools:\n  - backends: []\n", "an entry of pools lacks the key \"name\""},
        {"pools:\n  - name: a\n    backends:\n     - name: x\n",
         "an entry of backends lacks the key \"endpoint\""},
        {"routes:\n  - path: /x\n", "an entry of routes lacks the key \"pool\""},
        {"pools:\n  - name: ''\n", ":2:11: name: expected a value"},
        {"pools: {name: a}\n", ":1:8: pools: expected a list"},
        {"pools:\n  - web\n", ":2:5: pools: expected keys with values"},
        {"- a\n", ":1:1: the file: expected keys with values"},
        {"a: &x 1\nb: *x\n", "unknown key \"a\""},
        {"threads: &x 1\nbind: *x\n", "aliases (*NAME) are not taken"},
        {"a: [1\n", "did not find"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf message;
        buf_init(&message, 0);
        assert_null(load(cases[i].text, &message));
        buf_add(&message, slice_of("", 1));
        const char *said = buf_slice(&message).ptr;
        if (strncmp(said, path, strlen(path)) != 0 || strchr(said, '\n') != NULL ||
            strstr(said, cases[i].want) == NULL)
            fail_msg("\"%s\" says \"%s\"", cases[i].text, said);
        buf_fini(&message);
    }
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
    (void)state;
    struct buf message;
    buf_init(&message, 0);
    assert_null(raw_load("/nonexistent/x.yaml", &table, hidden, &message));
    assert_null(raw_load("/", &table, hidden, &message));
    assert_true(buf_len(&message) > 40);
    buf_fini(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_of_a_file_is_there_as_it_stands),
        cmocka_unit_test(another_form_is_refused_with_its_place_and_what_is_expected),
        cmocka_unit_test(a_file_that_cannot_be_read_says_why),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    (void)close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return failed;
}
