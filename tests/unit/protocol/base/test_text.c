/* SPDX-License-Identifier: MIT
 * protocol/base/text.c: what is a character, and strings that are JSON whatever is in
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/base/text.h"

static const struct {
    const char *in;
    size_t length, printable;
} CHARACTERS[] = {
    {"a", 1, 1},
    {"\n", 1, 0},
    {"\x7f", 1, 0},
    {"\xc3\xa4", 2, 2},
    {"\xc2\x9b", 2, 0}, /* C1: CSI */
    {"\xc2\xa0", 2, 2},
    {"\xe2\x82\xac", 3, 3},
    {"\xf0\x9f\x98\x80", 4, 4},
    {"\xc3", 0, 0},
    {"\x80", 0, 0},
    {"\xc3(", 0, 0},
    {"\xc0\xaf", 0, 0}, /* overlong */
    {"\xe0\x80\xaf", 0, 0},
    {"\xf0\x80\x80\xaf", 0, 0},
    {"\xed\xa0\x80", 0, 0},     /* surrogate */
    {"\xf4\x90\x80\x80", 0, 0}, /* past the end */
    {"\xff", 0, 0},
};

static void characters_are_utf8(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CHARACTERS / sizeof CHARACTERS[0]; i++) {
        const unsigned char *at = (const unsigned char *)CHARACTERS[i].in;
        size_t left = strlen(CHARACTERS[i].in);
        print_message("%zu\n", i);
        assert_int_equal(text_char(at, left), CHARACTERS[i].length);
        assert_int_equal(text_printable(at, left), CHARACTERS[i].printable);
        if (CHARACTERS[i].length > 1)
            assert_int_equal(text_char(at, left - 1), 0); /* cut off */
    }
}

static void strings_are_json_whatever_is_in_them(void **state)
{
    (void)state;
    static const struct {
        struct slice in;
        const char *want;
    } rows[] = {{{NULL, 0}, "\"\""},
                {{"a\"b\\c", 5}, "\"a\\\"b\\\\c\""},
                {{"two\nlines\n", 10}, "\"two\\nlines\\n\""},
                {{"\x01\x1f\x7f", 3}, "\"\\u0001\\u001f\\u007f\""},
                {{"a\0b", 3}, "\"a\\u0000b\""},
                {{"\xc3\xa4\xf0\x9f\x98\x80", 6}, "\"\xc3\xa4\xf0\x9f\x98\x80\""},
                {{"\xc2\x9b!", 3}, "\"\\u009b!\""},
                {{"\xc3", 1}, "\"\\u00c3\""},
                {{"\xed\xa0\x80", 3}, "\"\\u00ed\\u00a0\\u0080\""},
                {{"\xff!", 2}, "\"\\u00ff!\""}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf out;
        buf_init(&out, 0);
        text_add_json(&out, rows[i].in);
        buf_add(&out, slice_of("", 1));
        assert_string_equal(buf_slice(&out).ptr, rows[i].want);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_are_utf8),
        cmocka_unit_test(strings_are_json_whatever_is_in_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
