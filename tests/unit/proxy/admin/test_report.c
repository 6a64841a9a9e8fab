/* SPDX-License-Identifier: MIT
 * proxy/admin/report.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <string.h>

#include "proxy/admin/report.h"

static const struct report_column columns[] = {{"name", "NAME", ALIGN_LEFT},
                                               {"wait_ms", "WAIT/ms", ALIGN_RIGHT},
                                               {"by", "BY", ALIGN_LEFT}};

static void expect(struct report *r, int code, const char *want)
{
    struct buf out;
    buf_init(&out, 0);
    report_finish(r, code, 7, &out);
    buf_add(&out, slice_of("", 1));
    assert_string_equal(buf_slice(&out).ptr, want);
    buf_fini(&out);
    report_fini(r);
}

static void fill(struct report *r, enum report_form form)
{
    report_init(r, form);
    report_table(r, "rows", columns, 3);
    report_text(r, "a");
    report_ms(r, 1500);
    report_text(r, NULL);
    report_text(r, "longer");
    report_ms(r, 123456);
    report_text(r, "me");
    report_facts(r, "facts");
    report_fact_text(r, "key", "value");
    report_fact_count(r, "longest", 3);
    report_say(r, "done %d", 1);
    report_say(r, "twice");
}

static void people_get_aligned_columns(void **state)
{
    (void)state;
    struct report r;
    fill(&r, REPORT_TEXT);
    expect(&r, 0,
           "NAME    WAIT/ms  BY\n"
           "a          1.50  -\n"
           "longer      123  me\n"
           "\n"
           "key      value\n"
           "longest  3\n"
           "done 1\n"
           "twice\n");
}

static void programs_get_one_object(void **state)
{
    (void)state;
    struct report r;
    fill(&r, REPORT_JSON);
    expect(&r, 2,
           "{\"code\":2,\"generation\":7,\"rows\":["
           "{\"name\":\"a\",\"wait_ms\":1.500,\"by\":null},"
           "{\"name\":\"longer\",\"wait_ms\":123.456,\"by\":\"me\"}],"
           "\"facts\":{\"key\":\"value\",\"longest\":3},"
           "\"text\":\"done 1\\ntwice\"}\n");
}

static void some_columns_are_for_programs_only(void **state)
{
    (void)state;
    static const struct report_column two[] = {
        {"a", "A", ALIGN_LEFT}, {"b", NULL, ALIGN_LEFT}, {"c", "C", ALIGN_LEFT}};
    struct report r;
    report_init(&r, REPORT_TEXT);
    report_table(&r, "rows", two, 3);
    report_text(&r, "x");
    report_text(&r, "hidden");
    report_text(&r, "y");
    expect(&r, 0, "A  C\nx  y\n");
}

static void empty_tables_are_there(void **state)
{
    (void)state;
    struct report r;
    report_init(&r, REPORT_JSON);
    report_table(&r, "rows", columns, 3);
    expect(&r, 0, "{\"code\":0,\"generation\":7,\"rows\":[]}\n");
    report_init(&r, REPORT_TEXT);
    report_table(&r, "rows", columns, 3);
    expect(&r, 0, "NAME  WAIT/ms  BY\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(people_get_aligned_columns),
        cmocka_unit_test(programs_get_one_object),
        cmocka_unit_test(some_columns_are_for_programs_only),
        cmocka_unit_test(empty_tables_are_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
