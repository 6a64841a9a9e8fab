/* SPDX-License-Identifier: MIT
 * proxy/http/dealer.c: who gets a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "proxy/http/dealer.h"

static void each_gets_one_in_turn(void **state)
{
    (void)state;
    struct dealer *dealer = dealer_new(3);
    int seats[3];
    uint32_t turn = 0, kept = 0;
    for (uint32_t i = 0; i < 3; i++)
        seats[i] = dealer_sit(dealer, i);
    for (int fd = 100; fd < 109; fd++) {
        struct dealt d = {.fd = fd, .name = "unix:/x"};
        kept += !dealer_deal(dealer, &turn, 0, &d);
    }
    assert_int_equal(kept, 3); /* its own */
    for (uint32_t i = 1; i < 3; i++) {
        struct dealt d;
        for (int n = 0; n < 3; n++) {
            assert_true(dealer_take(seats[i], &d));
            assert_int_equal((uint32_t)(d.fd - 99) % 3, i);
            assert_string_equal(d.name, "unix:/x");
        }
        assert_false(dealer_take(seats[i], &d));
    }
    struct dealt d;
    assert_false(dealer_take(seats[0], &d));
    for (uint32_t i = 0; i < 3; i++)
        (void)close(seats[i]);
    dealer_free(&dealer);
}

static void who_takes_none_gets_none(void **state)
{
    (void)state;
    struct dealer *dealer = dealer_new(2);
    struct dealt d = {.fd = 100};
    uint32_t turn = 0;
    assert_false(dealer_deal(dealer, &turn, 0, &d)); /* nobody sits there */
    int first = dealer_sit(dealer, 0), second = dealer_sit(dealer, 1);
    unsigned dealt = 0;
    for (int i = 0; i < 10 * 1000; i++)
        dealt += dealer_deal(dealer, &turn, 0, &d);
    assert_in_range(dealt, 10, 4999); /* then the seat is full */
    dealer_stand_up(dealer, 1);
    while (dealer_take(second, &d))
        dealt--;
    assert_int_equal(dealt, 0);
    assert_false(dealer_deal(dealer, &turn, 0, &d));
    assert_false(dealer_deal(dealer, &turn, 0, &d));
    (void)close(first);
    (void)close(second);
    dealer_free(&dealer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gets_one_in_turn),
        cmocka_unit_test(who_takes_none_gets_none),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
