/* SPDX-License-Identifier: MIT */
#include "protocol/link_refusals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

enum { START_US = 1000000 };

static const struct link_event broken = {
    .kind = LINK_REFUSED, .refusal = REFUSAL_BROKEN, .address = "192.0.2.7"};

static void who_has_no_keys_is_told_so_once_in_a_while(void **state)
{
    (void)state;
    static struct link_refusals r;
    struct link_event e = {
        .kind = LINK_REFUSED, .refusal = REFUSAL_MECHANISM, .address = "192.0.2.7"};
    link_refusals_init(&r);
    assert_string_equal(link_refusals_note(&r, &e, true, START_US),
                        "it has no keys, and --key demands them here");
    assert_null(link_refusals_note(&r, &e, true, START_US + 1));
    assert_string_equal(
        link_refusals_note(&r, &e, false, START_US + LINK_REFUSALS_PERIOD_US),
        "it demands keys, and there is no --key here");
}

static void what_the_handler_tells_is_not_told_twice(void **state)
{
    (void)state;
    static struct link_refusals r;
    struct link_event e = {.kind = LINK_REFUSED, .refusal = REFUSAL_DENIED};
    link_refusals_init(&r);
    assert_null(link_refusals_note(&r, &e, true, START_US));
}

static void a_probe_now_and_then_is_not_told(void **state)
{
    (void)state;
    static struct link_refusals r;
    link_refusals_init(&r);
    for (uint64_t i = 0; i < 100; i++)
        assert_null(link_refusals_note(&r, &broken, true,
                                       START_US + i * LINK_REFUSALS_PERIOD_US / 4));
}

static void many_broken_handshakes_of_one_address_are(void **state)
{
    (void)state;
    static struct link_refusals r;
    struct link_event other = broken;
    other.address[0] = '2';
    link_refusals_init(&r);
    for (unsigned i = 1; i < LINK_REFUSALS_BROKEN; i++)
        assert_null(link_refusals_note(&r, &broken, true, START_US + i));
    assert_non_null(
        link_refusals_note(&r, &broken, true, START_US + LINK_REFUSALS_BROKEN));
    assert_null(link_refusals_note(&r, &other, true, START_US + LINK_REFUSALS_BROKEN));
}

static void an_address_that_is_not_known_may_be_any(void **state)
{
    (void)state;
    static struct link_refusals r;
    struct link_event unknown = {.kind = LINK_REFUSED, .refusal = REFUSAL_BROKEN};
    unsigned said = 0;
    link_refusals_init(&r);
    for (unsigned i = 0; i < LINK_REFUSALS_BROKEN; i++)
        said += link_refusals_note(&r, i % 2 == 0 ? &unknown : &broken, false,
                                   START_US + i) != NULL;
    assert_int_equal(said, 1);
}

static void an_address_may_be_unknown(void **state)
{
    (void)state;
    struct link_event e = {.kind = LINK_REFUSED};
    assert_string_equal(link_refusals_address(&e), "an unknown address");
    assert_string_equal(link_refusals_address(&broken), "192.0.2.7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_no_keys_is_told_so_once_in_a_while),
        cmocka_unit_test(what_the_handler_tells_is_not_told_twice),
        cmocka_unit_test(a_probe_now_and_then_is_not_told),
        cmocka_unit_test(many_broken_handshakes_of_one_address_are),
        cmocka_unit_test(an_address_that_is_not_known_may_be_any),
        cmocka_unit_test(an_address_may_be_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
