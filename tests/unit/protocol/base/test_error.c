/* SPDX-License-Identifier: MIT
 * The table of failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <string.h>

#include "protocol/base/error.h"

static void every_failure_has_a_name_a_sentence_and_a_status(void **state)
{
    (void)state;
    for (unsigned e = 0; e < ERR_COUNT; e++) {
        const char *name = err_name((enum err)e), *text = err_text((enum err)e);
        int status = err_status((enum err)e);
        assert_true(strlen(name) > 0 && strlen(text) > 0);
        for (const char *c = name; *c != '\0'; c++)
            assert_true(isupper((unsigned char)*c) || *c == '_');
        assert_false(isspace((unsigned char)text[0]));
        assert_int_not_equal(text[strlen(text) - 1], '.');
        assert_true(status == 0 || (status >= 400 && status <= 599));
    }
}

static void names_are_unique(void **state)
{
    (void)state;
    for (unsigned a = 0; a < ERR_COUNT; a++)
        for (unsigned b = a + 1; b < ERR_COUNT; b++)
            assert_string_not_equal(err_name((enum err)a), err_name((enum err)b));
}

static void a_lost_backend_is_a_502(void **state)
{
    (void)state;
    assert_string_equal(err_name(ERR_BACKEND_LOST), "BACKEND_LOST");
    assert_string_equal(err_text(ERR_BACKEND_LOST), "app server went away");
    assert_int_equal(err_status(ERR_BACKEND_LOST), 502);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failure_has_a_name_a_sentence_and_a_status),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(a_lost_backend_is_a_502),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
