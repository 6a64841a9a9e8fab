/* SPDX-License-Identifier: MIT
 * deploy/banyan/top_table.c: rows out of JSON, rates, order, and what fits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "deploy/banyan/top_table.h"

#define POOLS                                                                          \
    "{\"code\":0,\"pools\":[{\"pool\":\"default\",\"state\":\"serving\","              \
    "\"backends\":2,\"backends_up\":1,\"requests\":30}]}\n"

static struct top_proxy proxy;
static struct top_table table;

static int set_up(void **state)
{
    (void)state;
    proxy = (struct top_proxy){.path = "/run/one.sock"};
    top_table_init(&table, TOP_BACKENDS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    top_proxy_fini(&proxy);
    top_table_fini(&table);
    return 0;
}

static void see(const char *backends, uint64_t at_us)
{
    top_proxy_see(&proxy, SLICE(POOLS), slice_from(backends), at_us);
}

static unsigned column(const char *head)
{
    unsigned c = top_column_find(TOP_BACKENDS, head);
    assert_true(c < top_column_count(TOP_BACKENDS));
    return c;
}

/* All cells of a line, with single blanks. */
static void assert_line(int row, const char *want)
{
    struct buf text, squeezed;
    buf_init(&text, 0);
    buf_init(&squeezed, 0);
    if (row < 0)
        top_table_head(&table, &text);
    else
        top_table_line(&table, (uint32_t)row, &text);
    struct slice s = buf_slice(&text);
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] != ' ' || (i > 0 && s.ptr[i - 1] != ' '))
            buf_add(&squeezed, slice_of(&s.ptr[i], 1));
    buf_add(&squeezed, slice_of("", 1));
    assert_string_equal(buf_slice(&squeezed).ptr, want);
    buf_fini(&text);
    buf_fini(&squeezed);
}

static void fill(const struct top_proxy *proxies, size_t count, struct top_order order)
{
    top_table_fill(&table, proxies, count, order);
    top_table_fit(&table, 80);
}

static void shows_rates_from_the_second_look_on(void **state)
{
    (void)state;
    struct top_order by_name = {column("BACKEND"), false};
    see("{\"backends\":[{\"backend\":\"default/a\",\"requests\":10,\"errors\":1}]}", 1);
    fill(&proxy, 1, by_name);
    assert_int_equal(table.count, 1);
    assert_true(table.requests == 0);
    see("{\"backends\":[{\"backend\":\"default/b\",\"requests\":7,\"errors\":0},"
        "{\"backend\":\"default/a\",\"requests\":30,\"errors\":2}]}",
        2 * 1000000 + 1);
    fill(&proxy, 1, by_name);
    assert_int_equal(table.count, 2);
    assert_true(table.requests == 10 && table.errors == 0.5);
    assert_line(
        -1, "BACKEND STATE HEALTH RUN WAIT REQ/s ERR/s QUEUE99/ms APP50/ms APP99/ms");
    assert_line(0, "default/a - - - - 10.0 0.5 - - -");
    assert_line(1, "default/b - - - - - - - - -");
    /* Its counters start again. */
    see("{\"backends\":[{\"backend\":\"default/a\",\"requests\":3,\"errors\":0}]}",
        3 * 1000000 + 1);
    fill(&proxy, 1, by_name);
    assert_true(table.requests == 0);
}

static void sorts_numbers_and_names(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        bool is_reverse;
        const char *first, *last;
    } rows[] = {
        {"BACKEND", false, "p/a", "p/c"}, {"BACKEND", true, "p/c", "p/a"},
        {"RUN", false, "p/b", "p/a"},     {"RUN", true, "p/a", "p/b"},
        {"STATE", false, "p/c", "p/b"}, /* drain, ready, ready */
        {"WEIGHT", true, "p/a", "p/c"}, /* all alike: by name */
    };
    see("{\"backends\":[{\"backend\":\"p/b\",\"in_flight\":2,\"state\":\"ready\"},"
        "{\"backend\":\"p/a\",\"in_flight\":10,\"state\":\"ready\"},"
        "{\"backend\":\"p/c\",\"in_flight\":3,\"state\":\"drain\"}]}",
        1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct top_order order = {column(rows[i].head), rows[i].is_reverse};
        struct buf text;
        fill(&proxy, 1, order);
        buf_init(&text, 0);
        top_table_line(&table, 0, &text);
        assert_memory_equal(buf_slice(&text).ptr, rows[i].first, 3);
        buf_clear(&text);
        top_table_line(&table, 2, &text);
        assert_memory_equal(buf_slice(&text).ptr, rows[i].last, 3);
        buf_fini(&text);
    }
}

static void marks_what_is_aside_and_what_is_wrong(void **state)
{
    (void)state;
    see("{\"backends\":[{\"backend\":\"a\",\"state\":\"ready\",\"health\":\"up\"},"
        "{\"backend\":\"b\",\"state\":\"ready\",\"health\":\"closed\"},"
        "{\"backend\":\"c\",\"state\":\"maint\",\"health\":\"closed\"}]}",
        1);
    fill(&proxy, 1, (struct top_order){column("BACKEND"), false});
    assert_int_equal(top_table_mark(&table, 0), TOP_FINE);
    assert_int_equal(top_table_mark(&table, 1), TOP_BAD);
    assert_int_equal(top_table_mark(&table, 2), TOP_ASIDE);
}

static void names_the_proxies_when_there_are_several(void **state)
{
    (void)state;
    struct top_proxy two[2] = {{.path = "/run/one.sock"}, {.path = "/run/two.sock"}};
    for (int i = 0; i < 2; i++)
        top_proxy_see(&two[i], SLICE(POOLS),
                      SLICE("{\"backends\":[{\"backend\":\"default/a\"}]}"), 1);
    fill(two, 2, (struct top_order){column("BACKEND"), false});
    assert_int_equal(table.count, 2);
    struct buf text;
    buf_init(&text, 0);
    top_table_line(&table, 1, &text);
    assert_memory_equal(buf_slice(&text).ptr, "/run/two.sock default/a", 23);
    buf_fini(&text);
    top_proxy_fini(&two[0]);
    top_proxy_fini(&two[1]);
}

static void a_lost_proxy_has_no_rows_and_a_reason(void **state)
{
    (void)state;
    see("{\"backends\":[{\"backend\":\"a\"}]}", 1);
    top_proxy_lose(&proxy, "Connection refused");
    assert_string_equal(proxy.complaint, "Connection refused");
    fill(&proxy, 1, (struct top_order){column("BACKEND"), false});
    assert_int_equal(table.count, 0);
    see("{\"backends\":[{\"backend\":\"a\"}]}", 2);
    assert_null(proxy.complaint);
    static const char *const none[] = {"", "{", "[]", "{\"backends\":3}", "\xff"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        see(none[i], 3);
        assert_non_null(proxy.complaint);
    }
}

static void nothing_reaches_the_terminal_but_visible_ascii(void **state)
{
    (void)state;
    see("{\"backends\":[{\"backend\":\"a\\u001b[2J\\u00e9\",\"state\":\"\"}]}", 1);
    fill(&proxy, 1, (struct top_order){column("BACKEND"), false});
    assert_line(0, "a?[2J?? - - - - - - - - - -");
}

static void leaves_out_what_does_not_fit(void **state)
{
    (void)state;
    see("{\"backends\":[{\"backend\":\"default/web\",\"endpoint\":\"ipc:///x\"}]}", 1);
    struct top_order order = {column("BACKEND"), false};
    size_t before = 0;
    for (unsigned width = 60; width < 300; width += 10) {
        struct buf text;
        buf_init(&text, 0);
        top_table_fill(&table, &proxy, 1, order);
        top_table_fit(&table, width);
        top_table_line(&table, 0, &text);
        assert_true(buf_len(&text) <= width && buf_len(&text) >= before);
        before = buf_len(&text);
        buf_fini(&text);
    }
    top_table_fit(&table, 0);
    struct buf text;
    buf_init(&text, 0);
    top_table_head(&table, &text);
    assert_non_null(memmem(buf_slice(&text).ptr, buf_len(&text), "ENDPOINT", 8));
    buf_fini(&text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(shows_rates_from_the_second_look_on),
        TEST(sorts_numbers_and_names),
        TEST(marks_what_is_aside_and_what_is_wrong),
        TEST(names_the_proxies_when_there_are_several),
        TEST(a_lost_proxy_has_no_rows_and_a_reason),
        TEST(nothing_reaches_the_terminal_but_visible_ascii),
        TEST(leaves_out_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
