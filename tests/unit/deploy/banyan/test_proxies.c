/* SPDX-License-Identifier: MIT
 * deploy/banyan/proxies.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "deploy/banyan/proxies.h"

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void addresses_are_paths(void **state)
{
    (void)state;
    struct proxies p;
    proxies_init(&p);
    assert_true(proxies_add(&p, "unix:/a/b,/c,,"));
    assert_true(proxies_add(&p, "/d"));
    assert_int_equal(p.count, 3);
    assert_string_equal(p.addresses[0], "/a/b");
    assert_string_equal(p.addresses[1], "/c");
    assert_string_equal(p.addresses[2], "/d");
    for (int i = 3; i < PROXIES_MAX; i++)
        assert_true(proxies_add(&p, "/x"));
    assert_false(proxies_add(&p, "/x"));
    proxies_fini(&p);
}

static void what_is_given_counts(void **state)
{
    (void)state;
    struct proxies p;
    struct buf message;
    buf_init(&message, 0);
    proxies_init(&p);
    assert_int_equal(setenv("BANYAN_PROXY", "/from/environment", 1), 0);
    assert_true(proxies_find(&p, &message));
    assert_string_equal(p.addresses[0], "/from/environment");
    proxies_fini(&p);
    assert_true(proxies_add(&p, "/given"));
    assert_true(proxies_find(&p, &message));
    assert_int_equal(p.count, 1);
    assert_string_equal(p.addresses[0], "/given");
    proxies_fini(&p);
    assert_int_equal(unsetenv("BANYAN_PROXY"), 0);
    buf_fini(&message);
}

static void a_name_is_all_its_addresses_once(void **state)
{
    (void)state;
    struct proxies p;
    struct buf message;
    buf_init(&message, 0);
    proxies_init(&p);
    assert_true(proxies_add(&p, "tcp://localhost:7070,/a,tcp://127.0.0.1:7070"));
    assert_true(proxies_find(&p, &message));
    assert_int_equal(p.count, 2);
    assert_string_equal(p.addresses[0], "tcp://127.0.0.1:7070");
    assert_string_equal(p.addresses[1], "/a");
    assert_true(proxies_is_remote(p.addresses[0]));
    assert_false(proxies_is_remote(p.addresses[1]));
    proxies_fini(&p);
    assert_true(proxies_add(&p, "tcp://localhost"));
    assert_false(proxies_find(&p, &message));
    assert_true(buf_len(&message) > 0);
    proxies_fini(&p);
    buf_fini(&message);
}

static void a_private_run_directory_is_found_another_is_not(void **state)
{
    (void)state;
    char base[] = "/tmp/test-proxies-XXXXXX", directory[64], path[96];
    struct proxies p;
    struct buf message;
    buf_init(&message, 0);
    proxies_init(&p);
    assert_non_null(mkdtemp(base));
    assert_int_equal(setenv("XDG_RUNTIME_DIR", base, 1), 0);
    (void)snprintf(directory, sizeof directory, "%s/banyan-1-abcdef", base);
    (void)snprintf(path, sizeof path, "%s/control.sock", directory);
    assert_int_equal(mkdir(directory, 0755), 0);
    assert_int_equal(chmod(directory, 0755), 0);
    int fd = listen_at(path);
    bool is_found = proxies_find(&p, &message);
    for (size_t i = 0; i < p.count; i++)
        assert_string_not_equal(p.addresses[i], path);
    assert_true(is_found || buf_len(&message) > 0);
    proxies_fini(&p);

    assert_int_equal(chmod(directory, 0700), 0);
    (void)!proxies_find(&p, &message);
    is_found = false;
    for (size_t i = 0; i < p.count; i++)
        is_found |= strcmp(p.addresses[i], path) == 0;
    assert_true(is_found || access("/run/banyan/control.sock", F_OK) == 0);
    proxies_fini(&p);

    int connected = proxies_connect(path);
    assert_true(connected >= 0);
    (void)close(connected);
    (void)close(fd);
    assert_int_equal(proxies_connect(path), -1);
    assert_int_equal(errno, ECONNREFUSED);
    (void)unlink(path);
    (void)rmdir(directory);
    (void)rmdir(base);
    buf_fini(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_paths),
        cmocka_unit_test(what_is_given_counts),
        cmocka_unit_test(a_name_is_all_its_addresses_once),
        cmocka_unit_test(a_private_run_directory_is_found_another_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
