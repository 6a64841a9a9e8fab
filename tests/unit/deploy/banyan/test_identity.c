/* SPDX-License-Identifier: MIT
 * deploy/banyan/identity.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deploy/banyan/identity.h"

static char folder[64], key_path[96], list_path[96];
static struct key_pair own, first, second;
static struct buf message;

static void write_list(const char *text)
{
    FILE *f = fopen(list_path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fchmod(fileno(f), 0644), 0);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    (void)state;
    buf_init(&message, 0);
    (void)unsetenv("BANYAN_KEY");
    (void)unsetenv("BANYAN_PROXY_KEY");
    (void)snprintf(folder, sizeof folder, "/tmp/test-identity-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(key_path, sizeof key_path, "%s/key", folder);
    (void)snprintf(list_path, sizeof list_path, "%s/list", folder);
    assert_true(key_pair_make(&own) && key_pair_make(&first) && key_pair_make(&second));
    assert_true(key_file_write(key_path, &own, false, &message));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(key_path);
    (void)unlink(list_path);
    (void)rmdir(folder);
    buf_fini(&message);
    return 0;
}

static void without_words_there_is_none(void **state)
{
    struct identity i;
    (void)state;
    assert_true(identity_read(&i, NULL, NULL, &message));
    assert_false(i.is_there);
    assert_true(identity_read(&i, "", "", &message));
    assert_false(i.is_there);
}

static void one_word_needs_the_other(void **state)
{
    struct identity i;
    (void)state;
    assert_false(identity_read(&i, key_path, NULL, &message));
    assert_false(identity_read(&i, NULL, first.public_key, &message));
    buf_add(&message, slice_of("", 1));
    assert_non_null(strstr(buf_slice(&message).ptr, "--proxy-key is needed"));
    assert_non_null(strstr(buf_slice(&message).ptr, "--key is needed"));
}

static void a_key_is_a_word(void **state)
{
    struct identity i;
    (void)state;
    assert_true(identity_read(&i, key_path, first.public_key, &message));
    assert_true(i.is_there);
    assert_string_equal(i.own.public_key, own.public_key);
    assert_int_equal(i.count, 1);
    assert_string_equal(i.proxies[0], first.public_key);
    identity_wipe(&i);
    assert_int_equal(i.own.secret_key[0], '\0');
}

static void a_file_has_keys_among_its_words(void **state)
{
    char text[512];
    struct identity i;
    (void)state;
    (void)snprintf(text, sizeof text,
                   "# %s\nproxy %s edge-1\n\nproxy\t%s # %s\nviewer short\n",
                   own.public_key, first.public_key, second.public_key, own.public_key);
    write_list(text);
    assert_true(identity_read(&i, key_path, list_path, &message));
    assert_int_equal(i.count, 2);
    assert_string_equal(i.proxies[0], first.public_key);
    assert_string_equal(i.proxies[1], second.public_key);
    write_list(first.public_key); /* no end of line */
    assert_true(identity_read(&i, key_path, list_path, &message));
    assert_int_equal(i.count, 1);
    write_list("nothing\n");
    assert_false(identity_read(&i, key_path, list_path, &message));
    assert_false(i.is_there);
}

static void the_environment_has_what_is_not_given(void **state)
{
    struct identity i;
    (void)state;
    assert_int_equal(setenv("BANYAN_KEY", key_path, 1), 0);
    assert_int_equal(setenv("BANYAN_PROXY_KEY", first.public_key, 1), 0);
    assert_true(identity_read(&i, NULL, NULL, &message));
    assert_string_equal(i.proxies[0], first.public_key);
    assert_true(identity_read(&i, NULL, second.public_key, &message));
    assert_string_equal(i.proxies[0], second.public_key);
}

static void a_socket_needs_none(void **state)
{
    struct identity i = {0};
    struct proxies proxies;
    (void)state;
    assert_int_equal(setenv("BANYAN_KEY", "/no/such/file", 1), 0);
    proxies_init(&proxies);
    assert_true(proxies_add(&proxies, "/run/x.sock"));
    assert_true(identity_take(&i, &proxies, NULL, NULL, &message));
    assert_true(proxies_add(&proxies, "tcp://127.0.0.1:7070"));
    assert_false(identity_take(&i, &proxies, NULL, NULL, &message));
    proxies_fini(&proxies);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(without_words_there_is_none),
        TEST(one_word_needs_the_other),
        TEST(a_key_is_a_word),
        TEST(a_file_has_keys_among_its_words),
        TEST(the_environment_has_what_is_not_given),
        TEST(a_socket_needs_none),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
