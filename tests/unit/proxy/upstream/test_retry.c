/* SPDX-License-Identifier: MIT
 * proxy/upstream/retry.c: the share, the floor, the window. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "proxy/upstream/retry.h"

enum { SECOND = 1000000 };

static uint32_t take_all(struct retry_budget *b, uint64_t now_us)
{
    uint32_t taken = 0;
    while (retry_take(b, now_us))
        taken++;
    return taken;
}

static void allows_the_floor_without_any_request(void **state)
{
    (void)state;
    struct retry_budget b;
    retry_init(&b, 20);
    assert_int_equal(take_all(&b, 5 * SECOND), RETRY_FLOOR);
}

static void allows_the_share_of_many_requests(void **state)
{
    (void)state;
    static const struct {
        uint32_t percent, requests, want;
    } cases[] = {{20, 100, 20}, {20, 14, 3}, {20, 20, 4}, {0, 1000, 3}, {100, 50, 50}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct retry_budget b;
        retry_init(&b, cases[i].percent);
        for (uint32_t n = 0; n < cases[i].requests; n++)
            retry_count_request(&b, 100 * SECOND + n);
        assert_int_equal(take_all(&b, 100 * SECOND), cases[i].want);
    }
}

static void forgets_what_is_ten_seconds_old(void **state)
{
    (void)state;
    struct retry_budget b;
    retry_init(&b, 20);
    for (int n = 0; n < 1000; n++)
        retry_count_request(&b, 10 * SECOND);
    assert_int_equal(take_all(&b, 19 * SECOND), 200);
    assert_int_equal(take_all(&b, 20 * SECOND),
                     0); /* the retries are still remembered */
    assert_int_equal(take_all(&b, 29 * SECOND), RETRY_FLOOR);
    assert_int_equal(take_all(&b, 1000 * SECOND), RETRY_FLOOR);
}

static void slides_second_by_second(void **state)
{
    (void)state;
    struct retry_budget b;
    retry_init(&b, 20);
    for (uint64_t second = 0; second < 40; second++) {
        for (int n = 0; n < 10; n++)
            retry_count_request(&b, second * SECOND);
        uint32_t taken = take_all(&b, second * SECOND);
        assert_in_range(taken, 0, 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allows_the_floor_without_any_request),
        cmocka_unit_test(allows_the_share_of_many_requests),
        cmocka_unit_test(forgets_what_is_ten_seconds_old),
        cmocka_unit_test(slides_second_by_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
