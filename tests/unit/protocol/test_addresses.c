/* SPDX-License-Identifier: MIT
 * protocol/addresses.c with what needs no name service. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "protocol/addresses.h"

static void a_numeric_address_is_itself(void **state)
{
    static const char *const same[] = {"tcp://127.0.0.1:7070", "tcp://[::1]:1",
                                       "tcp://192.0.2.7:65535"};
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct addresses a;
        const char *why = NULL;
        assert_true(addresses_resolve(same[i], &a, &why));
        assert_int_equal(a.count, 1);
        assert_string_equal(a.items[0], same[i]);
        assert_true(addresses_have(&a, same[i]));
        assert_false(addresses_have(&a, "tcp://127.0.0.1:7071"));
    }
}

static void an_address_is_written_in_one_way(void **state)
{
    struct addresses a;
    const char *why = NULL;
    (void)state;
    assert_true(addresses_resolve("tcp://[0:0:0::0:1]:7070", &a, &why));
    assert_int_equal(a.count, 1);
    assert_string_equal(a.items[0], "tcp://[::1]:7070");
}

static void a_name_of_this_machine_has_addresses(void **state)
{
    struct addresses a;
    const char *why = NULL;
    (void)state;
    assert_true(addresses_resolve("tcp://localhost:7070", &a, &why));
    assert_int_equal(a.count, 1);
    assert_string_equal(a.items[0], "tcp://127.0.0.1:7070");
}

static void a_name_that_cannot_be_is_an_error_with_a_reason(void **state)
{
    struct addresses a;
    const char *why = NULL;
    (void)state;
    assert_false(addresses_resolve("tcp://a..b:7070", &a, &why));
    assert_non_null(why);
    assert_int_equal(a.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_numeric_address_is_itself),
        cmocka_unit_test(an_address_is_written_in_one_way),
        cmocka_unit_test(a_name_of_this_machine_has_addresses),
        cmocka_unit_test(a_name_that_cannot_be_is_an_error_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
