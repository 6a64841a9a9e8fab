/* SPDX-License-Identifier: MIT
 * Who is admitted where; what happens on the wire is in test_link_guard.c. */
#include "protocol/zap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#define KEY "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"

static void each_role_has_its_doors(void **state)
{
    (void)state;
    static const bool app[KEY_ROLE_COUNT] = {[KEY_PROXY] = true};
    for (unsigned r = 0; r < KEY_ROLE_COUNT; r++) {
        assert_int_equal(zap_domain_admits(ZAP_APP, (enum key_role)r), app[r]);
        assert_int_equal(zap_domain_admits(ZAP_CONTROL, (enum key_role)r), !app[r]);
    }
}

static void a_user_id_says_who_it_is(void **state)
{
    (void)state;
    struct key_user user;
    assert_true(zap_parse_user("operator " KEY " olga", &user));
    assert_int_equal(user.role, KEY_OPERATOR);
    assert_string_equal(user.key, KEY);
    assert_string_equal(user.name, "olga");
}

static void any_other_user_id_is_nobody(void **state)
{
    (void)state;
    static const char *const ids[] = {
        "",
        "admin",
        "admin " KEY,
        "root " KEY " x",
        "admin short x",
        "admin  " KEY " x",
        /* a name of 64 */
        "admin " KEY
        " 0123456789012345678901234567890123456789012345678901234567890123",
    };
    struct key_user user;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        assert_false(zap_parse_user(ids[i], &user));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_role_has_its_doors),
        cmocka_unit_test(a_user_id_says_who_it_is),
        cmocka_unit_test(any_other_user_id_is_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
