/* SPDX-License-Identifier: MIT
 * protocol/base/words.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <string.h>

#include "protocol/base/words.h"

static void words_stand_between_spaces(void **state)
{
    (void)state;
    struct words w;
    const char *error;
    assert_true(words_split(SLICE("  show  backends\t-w \r\n"), &w, &error));
    assert_int_equal(w.count, 3);
    assert_string_equal(w.items[0], "show");
    assert_string_equal(w.items[1], "backends");
    assert_string_equal(w.items[2], "-w");
    words_fini(&w);
    assert_true(words_split(SLICE(""), &w, &error));
    assert_int_equal(w.count, 0);
    words_fini(&w);
}

static void quotes_keep_what_is_in_them(void **state)
{
    (void)state;
    struct words w;
    const char *error;
    assert_true(words_split(SLICE("message=\"back \\\"soon\\\"\\n\" \"\" a\"b c\"d"),
                            &w, &error));
    assert_int_equal(w.count, 3);
    assert_string_equal(w.items[0], "message=back \"soon\"\n");
    assert_string_equal(w.items[1], "");
    assert_string_equal(w.items[2], "ab cd");
    words_fini(&w);
}

static void refuses_what_is_no_line(void **state)
{
    (void)state;
    static const struct slice bad[] = {
        {"\"open", 5}, {"\"\\", 2}, {"\"\\x\"", 4}, {"a\0b", 3}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct words w;
        const char *error = NULL;
        assert_false(words_split(bad[i], &w, &error));
        assert_non_null(error);
        assert_null(w.memory);
    }
    char many[2 * WORDS_MAX + 3];
    memset(many, ' ', sizeof many);
    for (size_t i = 0; i < sizeof many; i += 2)
        many[i] = 'w';
    struct words w;
    const char *error;
    assert_false(words_split(slice_of(many, sizeof many), &w, &error));
    assert_true(words_split(slice_of(many, 2 * WORDS_MAX), &w, &error));
    words_fini(&w);
}

static void what_is_quoted_is_found_again(void **state)
{
    (void)state;
    static const char *const words[] = {
        "plain", "", "two words", "a\"b\\c\nd\re\tf", "k=v w", "\xc3\xa4"};
    struct buf line;
    buf_init(&line, 0);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        words_quote(&line, words[i]);
        buf_add(&line, SLICE(" "));
    }
    struct words w;
    const char *error;
    assert_true(words_split(buf_slice(&line), &w, &error));
    assert_int_equal(w.count, sizeof words / sizeof words[0]);
    for (size_t i = 0; i < w.count; i++)
        assert_string_equal(w.items[i], words[i]);
    words_fini(&w);
    buf_fini(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_stand_between_spaces),
        cmocka_unit_test(quotes_keep_what_is_in_them),
        cmocka_unit_test(refuses_what_is_no_line),
        cmocka_unit_test(what_is_quoted_is_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
