/* SPDX-License-Identifier: MIT
 * proxy/http/chars.c and chars.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <ctype.h>

#include "proxy/http/chars.h"
#include "tests/support/assert_slice.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_among(int c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

static void knows_the_class_of_every_byte(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        bool is_letter = c < 128 && isalpha(c), is_digit = c < 128 && isdigit(c);
        bool is_word = is_letter || is_digit;
        char byte = (char)c;
        assert_int_equal(char_is(byte, CHAR_ALPHA), is_letter);
        assert_int_equal(char_is(byte, CHAR_DIGIT), is_digit);
        assert_int_equal(char_is(byte, CHAR_HEX), c < 128 && isxdigit(c));
        assert_int_equal(char_is(byte, CHAR_TOKEN),
                         is_word || is_among(c, "!#$%&'*+-.^_`|~"));
        assert_int_equal(char_is(byte, CHAR_HOST), is_word || is_among(c, "-._~"));
        assert_int_equal(char_is(byte, CHAR_SCHEME), is_word || is_among(c, "+-."));
        assert_int_equal(char_is(byte, CHAR_SPACE), c == ' ' || c == '\t');
        assert_int_equal(char_is(byte, CHAR_TARGET),
                         c > 0x20 && c < 0x7f && !is_among(c, "#%\\"));
        assert_int_equal((unsigned char)char_lower(byte), c < 128 ? tolower(c) : c);
    }
}

static void finds_control_bytes_wherever_they_stand(void **state)
{
    (void)state;
    char text[24];

    for (unsigned byte = 0; byte < 256; byte++) {
        bool is_control = byte < 0x20 || byte == 0x7f;
        for (size_t at = 0; at < sizeof(text); at++) {
            for (unsigned other = 0x20; other < 0x100; other += 0x1f) {
                memset(text, other == 0x7f ? 0x7e : (int)other, sizeof(text));
                text[at] = (char)byte;
                const char *end = text + sizeof(text);
                assert_ptr_equal(find_control(text, end), is_control ? text + at : end);
            }
        }
    }
}

static void takes_visible_text_for_a_value(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        bool is_value;
    } cases[] = {
        {{"", 0}, true},         {{"a b", 3}, true},     {{"a\tb\t", 4}, true},
        {{"\xff\x80", 2}, true}, {{"a\0b", 3}, false},   {{"a\r", 2}, false},
        {{"\n", 1}, false},      {{"\t\x01", 2}, false}, {{"12345678\x7f", 9}, false},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(chars_are_value(cases[i].text), cases[i].is_value);
}

static void wants_one_byte_at_least_of_a_class(void **state)
{
    (void)state;
    assert_true(chars_are(SLICE("12"), CHAR_DIGIT));
    assert_true(chars_are(SLICE("1a"), CHAR_DIGIT | CHAR_ALPHA));
    assert_false(chars_are(SLICE("1a"), CHAR_DIGIT));
    assert_false(chars_are(SLICE(""), CHAR_DIGIT));
}

static void trims_blanks_and_nothing_else(void **state)
{
    (void)state;
    assert_slice(chars_trim(SLICE(" \ta b\t ")), "a b");
    assert_slice(chars_trim(SLICE("\v a")), "\v a");
    assert_slice(chars_trim(SLICE(" \t")), "");
    assert_slice(chars_trim(SLICE("")), "");
}

static void walks_a_list_with_its_empty_elements(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        const char *items[5];
    } cases[] = {
        {"", {""}},
        {"a", {"a"}},
        {"a,b", {"a", "b"}},
        {" a\t, b c ", {"a", "b c"}},
        {",a,,", {"", "a", "", ""}},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct list_cursor list = {.rest = slice_from(cases[i].list)};
        struct slice item;
        size_t count = 0;
        for (; list_next_item(&list, &item); count++) {
            assert_non_null(cases[i].items[count]);
            assert_slice(item, cases[i].items[count]);
        }
        assert_null(cases[i].items[count]);
    }
}

static void reads_lengths_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_good;
        uint64_t value;
    } cases[] = {
        {"0", true, 0},
        {"10", true, 10},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"18446744073709551616", false, 0},
        {"", false, 0},
        {"00", false, 0},
        {"01", false, 0},
        {"+1", false, 0},
        {"1 ", false, 0},
        {"0x1", false, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t value = 42;
        assert_int_equal(chars_to_length(slice_from(cases[i].text), &value),
                         cases[i].is_good);
        assert_int_equal(value, cases[i].is_good ? cases[i].value : 42);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_class_of_every_byte),
        cmocka_unit_test(finds_control_bytes_wherever_they_stand),
        cmocka_unit_test(takes_visible_text_for_a_value),
        cmocka_unit_test(wants_one_byte_at_least_of_a_class),
        cmocka_unit_test(trims_blanks_and_nothing_else),
        cmocka_unit_test(walks_a_list_with_its_empty_elements),
        cmocka_unit_test(reads_lengths_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
