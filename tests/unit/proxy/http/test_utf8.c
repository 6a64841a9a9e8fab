/* SPDX-License-Identifier: MIT
 * proxy/http/utf8.c: what is UTF-8, whole and in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/http/utf8.h"

static const struct {
    const char *name;
    struct slice text;
    bool is_good, is_whole;
} rows[] = {
    {"empty", SLICE(""), true, true},
    {"ascii", SLICE("Hello, World! 0123456789"), true, true},
    {"nul", SLICE("a\0b"), true, true},
    {"two bytes", SLICE("\xc2\x80 \xdf\xbf"), true, true},
    {"three bytes", SLICE("\xe0\xa0\x80 \xef\xbf\xbf"), true, true},
    {"four bytes", SLICE("\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf"), true, true},
    {"noncharacters", SLICE("\xef\xbf\xbe \xf0\x9f\xbf\xbe"), true, true},
    {"around the surrogates", SLICE("\xed\x9f\xbf\xee\x80\x80"), true, true},
    {"Greek", SLICE("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"), true, true},
    {"behind eight and more", SLICE("0123456789\xc3\xa4 0123456789"), true, true},
    {"cut after one of two", SLICE("abc\xc3"), true, false},
    {"cut after two of three", SLICE("\xe2\x82"), true, false},
    {"cut after three of four", SLICE("\xf0\x9f\x98"), true, false},
    {"a continuation alone", SLICE("\x80"), false, false},
    {"the last continuation alone", SLICE("abc\xbf"), false, false},
    {"two continuations too many", SLICE("\xc3\xa4\xa4"), false, false},
    {"overlong slash", SLICE("\xc0\xaf"), false, false},
    {"overlong DEL", SLICE("\xc1\xbf"), false, false},
    {"overlong in three", SLICE("\xe0\x9f\xbf"), false, false},
    {"overlong in four", SLICE("\xf0\x8f\xbf\xbf"), false, false},
    {"first surrogate", SLICE("\xed\xa0\x80"), false, false},
    {"last surrogate", SLICE("\xed\xbf\xbf"), false, false},
    {"a pair of surrogates", SLICE("\xed\xa0\x80\xed\xb0\x80"), false, false},
    {"beyond U+10FFFF", SLICE("\xf4\x90\x80\x80"), false, false},
    {"five bytes", SLICE("\xf8\x88\x80\x80\x80"), false, false},
    {"fe", SLICE("\xfe"), false, false},
    {"ff", SLICE("\xff"), false, false},
    {"a character cut by ASCII", SLICE("\xe2\x82 "), false, false},
    {"a character cut by another", SLICE("\xe2\xe2\x82\xac"), false, false},
};

static void judges_a_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct utf8 u = {0};
        bool is_good = utf8_check(&u, rows[i].text);
        if (is_good != rows[i].is_good ||
            (is_good && utf8_is_whole(&u) != rows[i].is_whole))
            fail_msg("%s", rows[i].name);
    }
}

static void judges_the_same_wherever_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t size = 1; size < 10; size++) {
            struct utf8 u = {0};
            struct slice rest = rows[i].text;
            bool is_good = true;
            while (is_good && rest.len > 0) {
                size_t n = rest.len < size ? rest.len : size;
                is_good = utf8_check(&u, slice_of(rest.ptr, n));
                rest = slice_of(rest.ptr + n, rest.len - n);
            }
            if (is_good != rows[i].is_good ||
                (is_good && utf8_is_whole(&u) != rows[i].is_whole))
                fail_msg("%s in pieces of %zu", rows[i].name, size);
        }
}

static void every_character_passes_and_no_other_number(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x120000; c++) {
        unsigned char t[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n; i-- > 1;)
            t[i] = (unsigned char)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
        t[0] = (unsigned char)(lead[n] | c >> (6 * (n - 1)));
        struct utf8 u = {0};
        bool is_character = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
        assert_int_equal(utf8_check(&u, slice_of(t, n)), is_character);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_a_text),
        cmocka_unit_test(judges_the_same_wherever_it_is_cut),
        cmocka_unit_test(every_character_passes_and_no_other_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
