/* SPDX-License-Identifier: MIT
 * proxy/config/marks.c: where things stand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "proxy/config/marks.h"

static struct marks *read_text(const char *text)
{
    struct mark mark;
    const char *reason;
    struct marks *marks = marks_new(slice_from(text), &mark, &reason);
    assert_non_null(marks);
    return marks;
}

static void assert_at(struct mark mark, size_t line, size_t column)
{
    assert_int_equal(mark.line, line);
    assert_int_equal(mark.column, column);
}

static void a_path_leads_to_a_value_or_what_is_there_of_it(void **state)
{
    (void)state;
    struct marks *m = read_text("a: 1\n"
                                "pools:\n"
                                "  - name: web\n"
                                "    backends: [{x: 1}, {x: 22, y: 3}]\n"
                                "b: two\n");
    assert_at(marks_find(m, "a"), 1, 4);
    assert_at(marks_find(m, "b"), 5, 4);
    assert_at(marks_find(m, "pools[0].name"), 3, 11);
    assert_at(marks_find(m, "pools[0].backends[1].y"), 4, 35);
    assert_at(marks_find(m, "pools[0].backends[1].z"), 4, 24);
    assert_at(marks_find(m, "pools[0].backends[7]"), 4, 15);
    assert_at(marks_find(m, "pools[3].name"), 3, 3);
    assert_at(marks_find(m, "a[0]"), 1, 4);
    assert_at(marks_find(m, "c"), 1, 1);
    marks_free(&m);
    assert_null(m);
}

static void a_key_is_found_from_a_place_on(void **state)
{
    (void)state;
    struct marks *m = read_text("x: {k: 1}\nk: 2\ny:\n - k: 3\n");
    assert_at(marks_find_key(m, "k", (struct mark){1, 1}), 1, 5);
    assert_at(marks_find_key(m, "k", (struct mark){1, 6}), 2, 1);
    assert_at(marks_find_key(m, "k", (struct mark){3, 1}), 4, 4);
    assert_at(marks_find_key(m, "k", (struct mark){5, 1}), 5, 1);
    marks_free(&m);
}

static void an_empty_text_is_a_document(void **state)
{
    (void)state;
    struct marks *m = read_text("");
    assert_at(marks_find(m, "pools[1]"), 1, 1);
    marks_free(&m);
    m = read_text("# nothing\n");
    marks_free(&m);
    m = read_text("---\na: 1\n...\n");
    marks_free(&m);
}

static void what_is_no_document_says_where_and_why(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t line, column;
    } rows[] = {
        {"a: [1\nb: 2\n", 2, 2}, {"\ta: 1\n", 1, 1},          {"a: *x\n", 1, 4},
        {"a: \"x\n", 2, 1},      {"a: 1\n---\nb: 2\n", 2, 1}, {"a: \xff\n", 1, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mark mark = {0};
        const char *reason = NULL;
        assert_null(marks_new(slice_from(rows[i].text), &mark, &reason));
        assert_non_null(reason);
        if (mark.line != rows[i].line || mark.column != rows[i].column)
            fail_msg("row %zu: %zu:%zu %s", i, mark.line, mark.column, reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_leads_to_a_value_or_what_is_there_of_it),
        cmocka_unit_test(a_key_is_found_from_a_place_on),
        cmocka_unit_test(an_empty_text_is_a_document),
        cmocka_unit_test(what_is_no_document_says_where_and_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
