/* SPDX-License-Identifier: MIT */
#include "protocol/keys.h"

#include "tests/support/key_files.h"

static struct key_pair own_pair, edge, ada;

static int setup(void **state)
{
    if (setup_key_files(state) != 0)
        return -1;
    own_pair = make_pair();
    edge = make_pair();
    ada = make_pair();
    write_pair("key", &own_pair);
    own(mem) char *text =
        mem_printf("proxy %s edge-1\nadmin %s ada\n", edge.public_key, ada.public_key);
    write_text("list", text, 0644);
    return 0;
}

static void knows_itself_and_the_others(void **state)
{
    (void)state;
    own(keys) struct keys *keys = open_keys();
    struct key_pair mine;
    struct key_user user;
    keys_own(keys, &mine);
    assert_string_equal(mine.secret_key, own_pair.secret_key);
    assert_true(keys_find(keys, edge.public_key, &user));
    assert_int_equal(user.role, KEY_PROXY);
    assert_string_equal(user.name, "edge-1");
    assert_false(keys_find(keys, own_pair.public_key, &user));
    assert_true(keys_admit(keys, ada.public_key, KEY_ADMIN));
    assert_false(keys_admit(keys, ada.public_key, KEY_PROXY));
    assert_true(keys_nth(keys, KEY_PROXY, 0, &user));
    assert_string_equal(user.key, edge.public_key);
    assert_false(keys_nth(keys, KEY_PROXY, 1, &user));
    assert_false(keys_nth(keys, KEY_APP, 0, &user));
}

static void a_reload_says_what_changed(void **state)
{
    (void)state;
    own(keys) struct keys *keys = open_keys();
    struct buf report;
    buf_init(&report, 0);
    uint64_t before = keys_version(keys);
    assert_true(keys_reload(keys, &report));
    assert_int_equal(buf_len(&report), 0);
    assert_true(keys_version(keys) == before);

    struct key_pair fresh = make_pair();
    write_pair("key", &fresh);
    own(mem) char *text =
        mem_printf("admin %s ada\nproxy %s edge-2\n", ada.public_key, fresh.public_key);
    write_text("list", text, 0644);
    assert_true(keys_reload(keys, &report));
    assert_says(&report, "key: another one, ");
    assert_says(&report, "authorized-keys: removed edge-1 (proxy, ");
    assert_says(&report, "authorized-keys: added edge-2 (proxy, ");
    assert_true(keys_version(keys) != before);
    assert_false(keys_admit(keys, edge.public_key, KEY_PROXY));
    assert_true(keys_admit(keys, fresh.public_key, KEY_PROXY));
    buf_fini(&report);
}

static void a_bad_file_changes_nothing(void **state)
{
    (void)state;
    own(keys) struct keys *keys = open_keys();
    struct buf report;
    struct key_pair mine;
    buf_init(&report, 0);
    uint64_t before = keys_version(keys);
    struct key_pair fresh = make_pair();
    write_pair("key", &fresh); /* good, but not alone */
    write_text("list", "proxy x\n", 0644);
    assert_false(keys_reload(keys, &report));
    assert_says(&report, "list:1: expected a public key");
    assert_true(keys_version(keys) == before);
    assert_true(keys_admit(keys, edge.public_key, KEY_PROXY));
    keys_own(keys, &mine);
    assert_string_equal(mine.public_key, own_pair.public_key);
    buf_fini(&report);
}

static void a_list_that_others_may_write_is_refused(void **state)
{
    (void)state;
    own(mem) char *key = key_path("key");
    own(mem) char *list = key_path("list");
    struct buf message;
    buf_init(&message, 0);
    assert_int_equal(chmod(list, 0664), 0);
    assert_null(keys_open(key, list, &message));
    assert_says(&message, "chmod go-w");
    buf_fini(&message);
}

static void a_published_secret_is_noticed(void **state)
{
    (void)state;
    own(mem) char *key = key_path("key");
    own(mem) char *list = key_path("list");
    own(mem) char *text = mem_printf("proxy %s\n", own_pair.secret_key);
    struct buf message;
    buf_init(&message, 0);
    write_text("list", text, 0644);
    assert_null(keys_open(key, list, &message));
    assert_says(&message, "has the secret key of");
    buf_fini(&message);
}

static void paths_are_of_the_directory_at_the_start(void **state)
{
    (void)state;
    struct buf message;
    char *before = get_current_dir_name();
    buf_init(&message, 0);
    assert_int_equal(chdir(key_directory), 0);
    own(keys) struct keys *keys = keys_open("key", "list", &message);
    assert_non_null(keys);
    assert_int_equal(chdir(before), 0);
    assert_true(keys_reload(keys, &message));
    mem_free(&before);
    buf_fini(&message);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown_key_files)
    const struct CMUnitTest tests[] = {
        TEST(knows_itself_and_the_others),
        TEST(a_reload_says_what_changed),
        TEST(a_bad_file_changes_nothing),
        TEST(a_list_that_others_may_write_is_refused),
        TEST(a_published_secret_is_noticed),
        TEST(paths_are_of_the_directory_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
