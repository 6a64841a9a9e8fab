/* SPDX-License-Identifier: MIT */
#include "deploy/banyan/keys.h"

#include "tests/support/key_files.h"

#define KEY_1 "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define KEY_2 "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"

static struct buf text, message;

static void set_text(const char *as)
{
    buf_fini(&text);
    buf_fini(&message);
    buf_add(&text, slice_from(as));
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&text);
    buf_fini(&message);
    return 0;
}

static void assert_text(const char *want)
{
    assert_true(slice_eq(buf_slice(&text), slice_from(want)));
}

static void a_line_is_added_at_the_end(void **state)
{
    (void)state;
    set_text("# ours\nproxy " KEY_1 " edge # old");
    assert_true(keys_text_add(&text, "app", KEY_2, "web-1", &message));
    assert_int_equal(buf_len(&message), 0);
    assert_text("# ours\nproxy " KEY_1 " edge # old\napp " KEY_2 " web-1\n");
    set_text("");
    assert_true(keys_text_add(&text, "app", KEY_2, NULL, &message));
    assert_text("app " KEY_2 "\n");
}

static void the_same_line_again_changes_nothing(void **state)
{
    (void)state;
    set_text("app " KEY_1 " web\n");
    assert_true(keys_text_add(&text, "app", KEY_1, "web", &message));
    assert_says(&message, "unchanged");
    assert_text("app " KEY_1 " web\n");
}

static void a_wrong_line_is_not_added(void **state)
{
    (void)state;
    static const struct {
        const char *role, *key, *name, *says;
    } cases[] = {
        {"root", KEY_2, NULL, "is no role"},
        {"app", "short", NULL, "expected a public key"},
        {"app", KEY_2, "a b", "is too much"},
        {"app", KEY_2, "a/b", "is no name"},
        {"admin", KEY_1, NULL, "on line 1 already, as app"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_text("app " KEY_1 "\n");
        assert_false(
            keys_text_add(&text, cases[i].role, cases[i].key, cases[i].name, &message));
        assert_says(&message, cases[i].says);
        assert_text("app " KEY_1 "\n");
    }
}

static void one_word_is_never_two_lines(void **state)
{
    (void)state;
    set_text("");
    assert_false(keys_text_add(&text, "app", KEY_1, "x\nadmin " KEY_2, &message));
    assert_text("");
}

static void a_line_is_removed_by_key_or_name(void **state)
{
    (void)state;
    set_text("# a\nproxy " KEY_1 " edge\n\napp " KEY_2 " web\n");
    assert_true(keys_text_remove(&text, KEY_1, &message));
    assert_text("# a\n\napp " KEY_2 " web\n");
    assert_true(keys_text_remove(&text, "web", &message));
    assert_text("# a\n\n");
}

static void the_last_line_needs_no_end(void **state)
{
    (void)state;
    set_text("proxy " KEY_1 " edge\napp " KEY_2);
    assert_true(keys_text_remove(&text, KEY_2, &message));
    assert_text("proxy " KEY_1 " edge\n");
}

static void what_is_not_clear_is_not_removed(void **state)
{
    (void)state;
    set_text("proxy " KEY_1 " edge\nproxy " KEY_2 " edge\n");
    assert_false(keys_text_remove(&text, "edge", &message));
    assert_says(&message, "several lines");
    buf_clear(&message);
    assert_false(keys_text_remove(&text, "other", &message));
    assert_says(&message, "no line has");
    set_text("nonsense\n");
    assert_false(keys_text_remove(&text, "edge", &message));
    assert_says(&message, "the file:1: ");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_line_is_added_at_the_end),
        TEST(the_same_line_again_changes_nothing),
        TEST(a_wrong_line_is_not_added),
        TEST(one_word_is_never_two_lines),
        TEST(a_line_is_removed_by_key_or_name),
        TEST(the_last_line_needs_no_end),
        TEST(what_is_not_clear_is_not_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
