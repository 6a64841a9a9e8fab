/* SPDX-License-Identifier: MIT */
#include "protocol/allow_list.h"

#include "tests/support/key_files.h"

#define KEY_1 "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define KEY_2 "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define KEY_3 "0#34567890123456789012345678901234567890"

static struct buf message;
static struct allow_list list;

static bool parse(const char *text)
{
    buf_fini(&message);
    allow_list_fini(&list);
    return allow_list_parse(slice_from(text), "keys", &list, &message);
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&message);
    allow_list_fini(&list);
    return 0;
}

static void lines_become_users(void **state)
{
    (void)state;
    assert_true(parse("# who may come\n"
                      "\n"
                      "proxy " KEY_1 " edge-1\n"
                      "  app\t" KEY_2 "   # no name\r\n"
                      "admin " KEY_3 " ada@example.org # with a name"));
    assert_int_equal(list.count, 3);
    assert_int_equal(list.users[0].role, KEY_PROXY);
    assert_string_equal(list.users[0].key, KEY_1);
    assert_string_equal(list.users[0].name, "edge-1");
    assert_int_equal(list.users[1].role, KEY_APP);
    assert_string_equal(list.users[1].name, "rq:rM>}U");
    assert_int_equal(list.users[2].role, KEY_ADMIN);
    assert_string_equal(list.users[2].key, KEY_3);
    assert_string_equal(list.users[2].name, "ada@example.org");
    assert_int_equal(list.lines[2], 5);
    assert_ptr_equal(allow_list_find(&list, KEY_2), &list.users[1]);
    assert_null(allow_list_find(&list, "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hIE"));
}

static void nobody_is_a_list_too(void **state)
{
    (void)state;
    assert_true(parse(""));
    assert_int_equal(list.count, 0);
    assert_null(allow_list_find(&list, KEY_1));
}

static void mistakes_are_told_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"\nroot " KEY_1, "keys:2: \"root\" is no role; expected proxy, app"},
        {"Proxy " KEY_1, "keys:1: \"Proxy\" is no role"},
        {"proxy", "keys:1: expected a public key behind `proxy`"},
        {"proxy edge-1 " KEY_1, "keys:1: expected a public key"},
        {"proxy " KEY_1 "0", "keys:1: expected a public key"},
        {"proxy " KEY_1 " edge one", "keys:1: \"one\" is too much"},
        {"proxy " KEY_1 " a/b", "keys:1: \"a/b\" is no name"},
        {"app " KEY_1 "\nadmin " KEY_1,
         "keys:2: this key is on line 1 already, as app"},
        {"app " KEY_1 "\n\napp " KEY_1, "keys:3: this key is on line 1 already"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_false(parse(cases[i].text));
        assert_int_equal(list.count, 0);
        assert_says(&message, cases[i].says);
    }
}

static void all_mistakes_are_told_at_once(void **state)
{
    (void)state;
    assert_false(parse("x\nproxy " KEY_1 "\ny\n"));
    assert_says(&message, "keys:1: ");
    assert_says(&message, "\nkeys:3: ");
    assert_int_equal(list.count, 0);
}

static void a_long_name_is_refused(void **state)
{
    (void)state;
    own(mem) char *fits = mem_printf("app %s %063d", KEY_1, 7);
    own(mem) char *does_not = mem_printf("app %s %064d", KEY_1, 7);
    assert_true(parse(fits));
    assert_false(parse(does_not));
}

static void roles_have_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KEY_ROLE_COUNT; i++) {
        enum key_role role;
        assert_true(key_role_parse(slice_from(key_role_name((enum key_role)i)), &role));
        assert_int_equal(role, i);
    }
    enum key_role role;
    assert_false(key_role_parse(SLICE("adm"), &role));
    assert_false(key_role_parse(SLICE(""), &role));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
    const struct CMUnitTest tests[] = {
        TEST(lines_become_users),        TEST(nobody_is_a_list_too),
        TEST(mistakes_are_told_by_line), TEST(all_mistakes_are_told_at_once),
        TEST(a_long_name_is_refused),    TEST(roles_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
