/* SPDX-License-Identifier: MIT
 * proxy/http/status.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <time.h>

#include "proxy/http/respond.h"
#include "tests/support/assert_slice.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void knows_the_phrase_of_a_status(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *reason;
    } cases[] = {
        {100, "Continue"},     {200, "OK"},
        {201, "Created"},      {404, "Not Found"},
        {418, "I'm a Teapot"}, {511, "Network Authentication Required"},
        {0, "Unknown"},        {299, "Unknown"},
        {999, "Unknown"},      {-1, "Unknown"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_slice(status_reason(cases[i].status), cases[i].reason);
}

static void writes_dates_as_http_wants_them(void **state)
{
    (void)state;
    char got[30], want[64];

    http_date(784111777, got);
    assert_string_equal(got, "Sun, 06 Nov 1994 08:49:37 GMT");
    http_date(-5, got);
    assert_string_equal(got, "Thu, 01 Jan 1970 00:00:00 GMT");
    http_date(INT64_MAX, got);
    assert_string_equal(got, "Fri, 31 Dec 9999 23:59:59 GMT");
    /* Every 11 days and some seconds, over leap years and centuries. */
    for (int64_t at = 0; at < INT64_C(20000000000); at += 950417) {
        time_t seconds = (time_t)at;
        struct tm parts;
        assert_non_null(gmtime_r(&seconds, &parts));
        assert_int_equal(
            strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &parts), 29);
        http_date(at, got);
        assert_string_equal(got, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_phrase_of_a_status),
        cmocka_unit_test(writes_dates_as_http_wants_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
