/* SPDX-License-Identifier: MIT
 * proxy/stats.c: which counter a status goes to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/stats.h"

static void each_class_of_status_has_its_counter(void **state)
{
    (void)state;
    struct stats s = {0};
    static const int statuses[] = {103, 200, 204, 302, 304, 301,
                                   400, 404, 499, 429, 500};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        stats_count_status(&s, statuses[i]);
    assert_int_equal(s.responses_1xx, 1);
    assert_int_equal(s.responses_2xx, 2);
    assert_int_equal(s.responses_3xx, 3);
    assert_int_equal(s.responses_4xx, 4);
    assert_int_equal(s.responses_5xx, 1);
    stats_log(&s, 0); /* at debug: silent here */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_class_of_status_has_its_counter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
