/* SPDX-License-Identifier: MIT
 * proxy/http/refusals.c: what is kept, where it stood, how it is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/base/mem.h"
#include "proxy/http/refusals.h"

static void assert_printed(const struct refusal *row, const char *want)
{
    struct buf text;
    buf_init(&text, 0);
    refusal_print(row, &text);
    buf_add(&text, slice_of("", 1));
    assert_string_equal(buf_slice(&text).ptr, want);
    buf_fini(&text);
}

static void takes_no_memory_before_the_first(void **state)
{
    (void)state;
    struct refusals r = {0}, copy;
    assert_int_equal(refusals_count(&r), 0);
    refusals_copy(&r, &copy);
    assert_null(copy.rows);
    refusals_fini(&copy);
    refusals_fini(&r);
}

static void keeps_the_last_ones_in_their_order(void **state)
{
    (void)state;
    struct refusals r = {0}, copy;
    for (uint64_t i = 0; i < 2 * REFUSALS_KEPT + 5; i++)
        refusals_add(&r)->client = i;
    assert_int_equal(r.total, 2 * REFUSALS_KEPT + 5);
    refusals_copy(&r, &copy);
    refusals_fini(&r);
    assert_int_equal(refusals_count(&copy), REFUSALS_KEPT);
    for (uint32_t i = 0; i < REFUSALS_KEPT; i++)
        assert_int_equal(refusals_get(&copy, i)->client, REFUSALS_KEPT + 5 + i);
    refusals_fini(&copy);
}

static void a_row_that_is_used_again_is_empty(void **state)
{
    (void)state;
    struct refusals r = {0};
    for (int i = 0; i < REFUSALS_KEPT; i++)
        memcpy(refusals_add(&r)->detail, "bad value", 9);
    const struct refusal *row = refusals_add(&r);
    assert_string_equal(row->detail, "");
    assert_true(row->at_ms > 1600000000000);
    refusals_fini(&r);
}

static void keeps_what_stands_around_the_place(void **state)
{
    (void)state;
    char input[1000];
    for (size_t i = 0; i < sizeof input; i++)
        input[i] = (char)('a' + i % 26);
    static const struct {
        size_t size, at;
        uint64_t offset, bytes_at;
        uint32_t length;
    } rows[] = {
        {0, 0, 0, 0, 0},
        {10, 0, 0, 0, 10},
        {10, 10, 10, 0, 10},
        {1000, 0, 0, 0, REFUSAL_BYTES},
        {1000, 500, 500, 500 - REFUSAL_BEFORE, REFUSAL_BYTES},
        {1000, 1000, 1000, 1000 - REFUSAL_BEFORE, REFUSAL_BEFORE},
        {1000, 10, 70010, 70000, REFUSAL_BYTES}, /* a later piece of a body */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct refusal row = {0};
        refusal_keep(&row, slice_of(rows[i].size == 0 ? NULL : input, rows[i].size),
                     rows[i].at, rows[i].offset);
        assert_int_equal(row.offset, rows[i].offset);
        assert_int_equal(row.bytes_at, rows[i].bytes_at);
        assert_int_equal(row.length, rows[i].length);
        size_t first = rows[i].at - (size_t)(row.offset - row.bytes_at);
        assert_memory_equal(row.bytes, input + first, row.length);
    }
}

static void writes_bytes_as_c_would(void **state)
{
    (void)state;
    struct refusal row = {0};
    refusal_keep(&row, SLICE("GET\t/ \\ \"\r\n\0\x7f\xff~"), 0, 0);
    assert_printed(&row, "GET\\t/ \\\\ \"\\r\\n\\x00\\x7f\\xff~");
}

static void parts_have_names(void **state)
{
    (void)state;
    assert_string_equal(refusal_part_name(REFUSED_HEAD), "head");
    assert_string_equal(refusal_part_name(REFUSED_BODY), "body");
    assert_string_equal(refusal_part_name(REFUSED_ANSWER), "answer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_no_memory_before_the_first),
        cmocka_unit_test(keeps_the_last_ones_in_their_order),
        cmocka_unit_test(a_row_that_is_used_again_is_empty),
        cmocka_unit_test(keeps_what_stands_around_the_place),
        cmocka_unit_test(writes_bytes_as_c_would),
        cmocka_unit_test(parts_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
