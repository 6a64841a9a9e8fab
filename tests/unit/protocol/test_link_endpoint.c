/* SPDX-License-Identifier: MIT
 * protocol/link_endpoint.c: what may be written, and whose an ipc:// path is. */
#include "tests/unit/protocol/link_fixture.h"

#include <fcntl.h>

#define NAME_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void knows_endpoints_by_their_form_and_their_reach(void **state)
{
    (void)state;
    enum { GOOD, REMOTE, BAD };
    static const struct {
        const char *endpoint;
        int want;
        bool is_local;
    } CASES[] = {
        {"ipc:///run/banyan/app-0.sock", GOOD, true},
        {"ipc://relative.sock", GOOD, true},
        {"ipc:///" NAME_64 "/" NAME_64, BAD, false},
        {"ipc:///2345678901234567890123456789012345678901234567890123456789012345678901"
         "234567890123456789012345678901234567",
         GOOD, true}, /* 107 bytes */
        {"ipc:///"
         "23456789012345678901234567890123456789012345678901234567890123456789012"
         "34567890123456789012345678901234567x",
         BAD, false},
        {"ipc://@abstract", BAD, false},
        {"ipc://*", BAD, false},
        {"ipc://", BAD, false},
        {"inproc://x", GOOD, true},
        {"inproc://", BAD, false},
        {"tcp://127.0.0.1:7000", GOOD, false},
        {"tcp://127.9.8.7:1", GOOD, false},
        {"tcp://localhost:65535", GOOD, false},
        {"tcp://LOCALHOST:65535", GOOD, false},
        {"tcp://[::1]:7000", GOOD, false},
        {"tcp://[::]:7000", REMOTE, false},
        {"tcp://[2001:db8::1]:7000", REMOTE, false},
        {"tcp://0.0.0.0:7000", REMOTE, false},
        {"tcp://192.0.2.1:7000", REMOTE, false},
        {"tcp://app.example.com:7000", REMOTE, false},
        {"tcp://127.1:7000", REMOTE, false},
        {"tcp://localhost.example.com:7000", REMOTE, false},
        {"tcp://::1:7000", BAD, false},
        {"tcp://[::1:7000", BAD, false},
        {"tcp://[127.0.0.1]:7000", BAD, false},
        {"tcp://[]:7000", BAD, false},
        {"tcp://*:7000", BAD, false},
        {"tcp://eth0;127.0.0.1:7000", BAD, false},
        {"tcp://127.0.0.1", BAD, false},
        {"tcp://127.0.0.1:", BAD, false},
        {"tcp://:7000", BAD, false},
        {"tcp://127.0.0.1:0", BAD, false},
        {"tcp://127.0.0.1:65536", BAD, false},
        {"tcp://127.0.0.1:7000x", BAD, false},
        {"tcp://127.0.0.1:-1", BAD, false},
        {"tcp://127.0.0.1:070000", BAD, false},
        {"tcp://a b:7000", BAD, false},
        {"udp://127.0.0.1:7000", BAD, false},
        {"127.0.0.1:7000", BAD, false},
        {"", BAD, false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *endpoint = CASES[i].endpoint;
        enum err local = CASES[i].want == GOOD ? ERR_NONE : ERR_BAD_ENDPOINT;
        enum err insecure = CASES[i].want == BAD ? ERR_BAD_ENDPOINT : ERR_NONE;
        if (link_check_endpoint(endpoint, LINK_LOCAL_ONLY) != local ||
            link_check_endpoint(endpoint, LINK_INSECURE) != insecure ||
            link_endpoint_is_local(endpoint) != CASES[i].is_local)
            fail_msg("\"%s\"", endpoint);
    }
}

static void a_host_may_be_a_name(void **state)
{
    (void)state;
    static const char *const none[] = {"tcp://127.0.0.1:7000", "tcp://[::1]:7000",
                                       "tcp://localhost:7000", "tcp://LocalHost:7000",
                                       "ipc:///run/app.sock",  "tcp://a b:7000"};
    struct link_name name;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_false(link_endpoint_name(none[i], &name));
    assert_true(link_endpoint_name("tcp://app.example.com:70", &name));
    assert_string_equal(name.host, "app.example.com");
    assert_string_equal(name.port, "70");
}

static void refuses_to_leave_the_machine_unless_told_to(void **state)
{
    (void)state;
    struct link *l = NULL;
    char endpoint[ENDPOINT_BYTES];
    (void)snprintf(endpoint, sizeof endpoint, "tcp://0.0.0.0:%d", free_port());
    assert_int_equal(link_bind(context, endpoint, LINK_LOCAL_ONLY, &l),
                     ERR_BAD_ENDPOINT);
    assert_int_equal(link_connect(context, endpoint, LINK_LOCAL_ONLY, &l),
                     ERR_BAD_ENDPOINT);
    assert_null(l);
    assert_int_equal(link_connect(context, "ipc://@x", LINK_INSECURE, &l),
                     ERR_BAD_ENDPOINT);
    assert_int_equal(link_connect(context, "tcp://192.0.2.1:9", LINK_INSECURE, &l),
                     ERR_NONE);
    link_free(&l);
}

static void speaks_over_ipv6_where_there_is_one(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    (void)snprintf(endpoint, sizeof endpoint, "tcp://[::1]:%d", free_port());
    own(link) struct link *app = NULL;
    enum err e = link_bind(context, endpoint, LINK_LOCAL_ONLY, &app);
    if (e != ERR_NONE) {
        assert_int_equal(e, ERR_SYSTEM);
        return; /* a machine without IPv6 */
    }
    own(link) struct link *proxy = connect_link(endpoint);
    await_up(proxy);
    send_text(proxy, 0, "six");
    (void)expect_text(app, "six");
}

static void expect_served(const char *endpoint, struct link *app)
{
    own(link) struct link *proxy = connect_link(endpoint);
    await_up(proxy);
    send_text(proxy, 0, "hello");
    uint32_t peer = expect_text(app, "hello");
    send_text(app, peer, "there");
    (void)expect_text(proxy, "there");
}

static void a_taken_endpoint_stays_with_its_owner(void **state)
{
    (void)state;
    static const char *const SCHEMES[] = {"ipc", "tcp", "inproc"};
    for (size_t i = 0; i < 3; i++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[i], endpoint);
        own(link) struct link *app = bind_link(endpoint);
        struct link *second = NULL;
        errno = 0;
        assert_int_equal(link_bind(context, endpoint, LINK_LOCAL_ONLY, &second),
                         ERR_SYSTEM);
        assert_int_equal(errno, EADDRINUSE);
        assert_null(second);
        expect_served(endpoint, app);
    }
}

static void hold_link(const char *endpoint, int in, int out)
{
    struct link *l = bind_link(endpoint);
    say(out);
    hear(in);
    link_free(&l);
}

static void the_path_of_a_dead_process_is_taken_over(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("ipc", endpoint);
    struct child dead = start_child(hold_link, endpoint);
    hear(dead.from);
    struct link *refused = NULL;
    assert_int_equal(link_bind(context, endpoint, LINK_LOCAL_ONLY, &refused),
                     ERR_SYSTEM);
    assert_int_equal(errno, EADDRINUSE);
    kill_child(&dead);
    assert_int_equal(access(endpoint + 6, F_OK), 0);
    own(link) struct link *app = bind_link(endpoint);
    expect_served(endpoint, app);
}

static void a_listener_that_is_not_ours_keeps_its_path(void **state)
{
    (void)state;
    char path[ENDPOINT_BYTES], endpoint[ENDPOINT_BYTES];
    path_of("other", path);
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%.100s", path);
    int fd = listen_unix(path);
    struct link *l = NULL;
    assert_int_equal(link_bind(context, endpoint, LINK_LOCAL_ONLY, &l), ERR_SYSTEM);
    assert_int_equal(errno, EADDRINUSE);
    (void)close(fd);
    l = bind_link(endpoint); /* nobody listens any more */
    link_free(&l);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    (void)state;
    char path[ENDPOINT_BYTES], endpoint[ENDPOINT_BYTES];
    path_of("precious", path);
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%.100s", path);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "data", 4), 4);
    (void)close(fd);
    struct link *l = NULL;
    assert_int_equal(link_bind(context, endpoint, LINK_LOCAL_ONLY, &l), ERR_SYSTEM);
    assert_int_equal(errno, EADDRINUSE);
    struct stat there;
    assert_int_equal(stat(path, &there), 0);
    assert_int_equal(there.st_size, 4);
    (void)unlink(path);
}

static void a_directory_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    char path[ENDPOINT_BYTES], endpoint[ENDPOINT_BYTES];
    path_of("missing/x", path);
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%.100s", path);
    struct link *l = NULL;
    assert_int_equal(link_bind(context, endpoint, LINK_LOCAL_ONLY, &l), ERR_SYSTEM);
    assert_int_equal(errno, ENOENT);
}

static void the_socket_is_private_under_any_umask(void **state)
{
    (void)state;
    static const mode_t MASKS[] = {0, 022, 077, 0777};
    for (size_t i = 0; i < sizeof MASKS / sizeof MASKS[0]; i++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint("ipc", endpoint);
        mode_t before = umask(MASKS[i]);
        own(link) struct link *app = bind_link(endpoint);
        (void)umask(before);
        struct stat there;
        assert_int_equal(stat(endpoint + 6, &there), 0);
        assert_true(S_ISSOCK(there.st_mode));
        assert_int_equal(there.st_mode & 07777, 0600);
        expect_served(endpoint, app);
    }
}

static void closing_removes_the_path_unless_it_is_a_successors(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("ipc", endpoint);
    const char *path = endpoint + 6;
    struct link *app = bind_link(endpoint);
    link_free(&app);
    assert_int_equal(access(path, F_OK), -1);

    app = bind_link(endpoint);
    assert_int_equal(unlink(path), 0);
    own(link) struct link *successor = bind_link(endpoint);
    link_free(&app);
    assert_int_equal(access(path, F_OK), 0);
    expect_served(endpoint, successor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_endpoints_by_their_form_and_their_reach),
        cmocka_unit_test(a_host_may_be_a_name),
        cmocka_unit_test_setup_teardown(refuses_to_leave_the_machine_unless_told_to,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(speaks_over_ipv6_where_there_is_one, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(a_taken_endpoint_stays_with_its_owner,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(the_path_of_a_dead_process_is_taken_over,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(a_listener_that_is_not_ours_keeps_its_path,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(a_file_that_is_no_socket_is_left_alone,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(a_directory_that_is_not_there_is_an_error,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(the_socket_is_private_under_any_umask,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(
            closing_removes_the_path_unless_it_is_a_successors, setup_link,
            teardown_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
