/* SPDX-License-Identifier: MIT
 * appserver/herald.c in a process of its own; the test is its master and its proxies.
 */
#include "tests/unit/protocol/link_fixture.h"

#include "appserver/herald.h"
#include "appserver/herald_names.h"

struct herald_process {
    struct child child; /* its pipes are not used */
    int master;         /* our end */
};

static struct app_options options;

/* Before ZeroMQ has threads here: ThreadSanitizer takes those of the child for ours. */
static struct herald_process start_herald(double lease_s)
{
    struct herald_process h = {0};
    int fds[2];
    options.lease_s = lease_s;
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    h.child.pid = fork();
    assert_true(h.child.pid >= 0);
    if (h.child.pid == 0) {
        (void)alarm(PATIENCE_S);
        (void)close(fds[0]);
        log_set_level(LOG_ERROR);
        herald_run(&options, NULL, fds[1]);
    }
    (void)close(fds[1]);
    h.master = fds[0];
    return h;
}

/* Its master ends; so does it. */
static void stop_herald(struct herald_process *h)
{
    int status;
    (void)close(h->master);
    assert_int_equal(waitpid(h->child.pid, &status, 0), h->child.pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void tell(const struct herald_process *h, const char *line)
{
    assert_int_equal(send(h->master, line, strlen(line), 0), (ssize_t)strlen(line));
}

static void expect_told(const struct herald_process *h, const char *want)
{
    char line[64] = "";
    while (recv(h->master, line, sizeof line - 1, 0) < 0) {
        assert_int_equal(errno, EAGAIN);
        glance_at(h->master);
    }
    assert_string_equal(line, want);
}

static struct link *bind_proxy(const char *endpoint)
{
    struct link *l = NULL;
    assert_int_equal(link_bind_lines(context, endpoint, LINK_LOCAL_ONLY, &l), ERR_NONE);
    return l;
}

/* The next line is this one; it gets this answer. */
static void expect_line(struct link *proxy, const char *want, const char *answer)
{
    uint32_t peer = expect_text(proxy, want);
    send_text(proxy, peer, answer);
}

static char first[ENDPOINT_BYTES], second[ENDPOINT_BYTES];

static int set_up(void **state)
{
    if (setup_link(state) != 0)
        return -1;
    fresh_endpoint("tcp", first);
    fresh_endpoint("tcp", second);
    options = (struct app_options){
        .registers = {.count = 1, .items = {first, second}},
        .log = {"error", "text", "stderr"},
    };
    return 0;
}

static void a_ready_worker_is_registered_and_renewed(void **state)
{
    static const char line[] = "register web/a-0 ipc:///run/a lease=1";
    (void)state;
    struct herald_process h = start_herald(1);
    struct link *proxy = bind_proxy(first);
    tell(&h, "announce 0.1 web/a-0 ipc:///run/a");
    for (int i = 0; i < 3; i++)
        expect_line(proxy, line, "+\n is registered\n=0\n");
    stop_herald(&h);
    link_free(&proxy);
}

static void one_that_is_no_more_is_not_renewed(void **state)
{
    (void)state;
    struct herald_process h = start_herald(1);
    struct link *proxy = bind_proxy(first);
    tell(&h, "announce 0.1 web/a-0 ipc:///run/a");
    expect_line(proxy, "register web/a-0 ipc:///run/a lease=1", "+\n=0\n");
    tell(&h, "forget 0.1");
    tell(&h, "announce 1.1 web/a-1 ipc:///run/b");
    for (int i = 0; i < 3; i++) /* two of its own times, and nothing of the other */
        expect_line(proxy, "register web/a-1 ipc:///run/b lease=1", "+\n=0\n");
    stop_herald(&h);
    link_free(&proxy);
}

static void one_that_leaves_waits_for_every_proxy(void **state)
{
    static const char line[] = "register web/a-0 \"ipc:///run/a b\" lease=100";
    (void)state;
    options.registers.count = 2;
    struct herald_process h = start_herald(100);
    struct link *one = bind_proxy(first), *two = bind_proxy(second);
    tell(&h, "announce 0.1 web/a-0 \"ipc:///run/a b\"");
    expect_line(one, line, "+\n=0\n");
    expect_line(two, line, "+\n=0\n");
    tell(&h, "withdraw 0.1");
    expect_line(one, "deregister web/a-0", "+\n=0\n");
    uint32_t peer = expect_text(two, "deregister web/a-0");
    char none[8];
    assert_int_equal(recv(h.master, none, sizeof none, 0), -1);
    send_text(two, peer, "+\n drained\n");
    send_text(two, peer, "=0\n");
    expect_told(&h, "withdrawn 0.1");
    stop_herald(&h);
    link_free(&one);
    link_free(&two);
}

static void without_a_proxy_one_may_leave_at_once(void **state)
{
    (void)state;
    struct herald_process h = start_herald(100);
    tell(&h, "announce 0.1 web/a-0 ipc:///run/a");
    tell(&h, "withdraw 0.1");
    expect_told(&h, "withdrawn 0.1");
    stop_herald(&h);
}

static void a_proxy_that_forgot_is_told_again(void **state)
{
    static const char line[] = "register web/a-0 ipc:///run/a lease=100";
    struct link_context *own_context = context;
    (void)state;
    struct herald_process h = start_herald(100);
    tell(&h, "announce 0.1 web/a-0 ipc:///run/a");
    for (int i = 0; i < 3; i++) {
        context = link_context_new(2); /* whose end frees the port */
        struct link *proxy = bind_proxy(first);
        expect_line(proxy, line, "+\n=0\n");
        if (i == 2) {
            tell(&h, "withdraw 0.1");
            expect_line(proxy, "deregister web/a-0", "+\n=0\n");
            expect_told(&h, "withdrawn 0.1");
        }
        link_free(&proxy);
        link_context_free(&context);
    }
    context = own_context;
    stop_herald(&h);
}

static void a_refusal_is_no_end(void **state)
{
    (void)state;
    struct herald_process h = start_herald(1);
    struct link *proxy = bind_proxy(first);
    tell(&h, "announce 0.1 web/a-0 ipc:///run/a");
    for (int i = 0; i < 3; i++)
        expect_line(proxy, "register web/a-0 ipc:///run/a lease=1",
                    "+\n!an operator removed it\n=1\n");
    stop_herald(&h);
    link_free(&proxy);
}

static void it_is_announced_where_the_proxy_sees_it(void **state)
{
    (void)state;
    struct herald_process h = start_herald(100);
    struct link *proxy = bind_proxy(first);
    tell(&h, "announce 0.1 web/a-0 tcp://0.0.0.0:7001");
    expect_line(proxy, "register web/a-0 tcp://127.0.0.1:7001 lease=100", "+\n=0\n");
    tell(&h, "announce 0.1 web/a-0 tcp://192.0.2.1:7002"); /* it has another one now */
    expect_line(proxy, "register web/a-0 tcp://192.0.2.1:7002 lease=100", "+\n=0\n");
    stop_herald(&h);
    link_free(&proxy);
}

static void our_own_address_depends_on_whom_we_speak_to(void **state)
{
    char host[ADDRESS_BYTES];
    (void)state;
    assert_true(herald_own_host("tcp://127.0.0.1:7070", host));
    assert_string_equal(host, "127.0.0.1");
    assert_false(herald_own_host("tcp://no.such.name:7070", host));
}

static void names_are_put_together(void **state)
{
    static const struct option_list list = {
        .count = 4,
        .items = {"tcp://127.0.0.1:1", "tcp://a..b:1", "tcp://localhost:1",
                  "tcp://127.0.0.1:2"}};
    static struct addresses found;
    (void)state;
    log_set_level(LOG_ERROR);
    struct herald_names *names = herald_names_new(&list);
    while (!herald_names_take(names, &found))
        glance_at(herald_names_fd(names));
    assert_int_equal(found.count, 2);
    assert_string_equal(found.items[0], "tcp://127.0.0.1:1");
    assert_string_equal(found.items[1], "tcp://127.0.0.1:2");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, teardown_link)
    const struct CMUnitTest tests[] = {
        TEST(a_ready_worker_is_registered_and_renewed),
        TEST(one_that_is_no_more_is_not_renewed),
        TEST(one_that_leaves_waits_for_every_proxy),
        TEST(without_a_proxy_one_may_leave_at_once),
        TEST(a_proxy_that_forgot_is_told_again),
        TEST(a_refusal_is_no_end),
        TEST(it_is_announced_where_the_proxy_sees_it),
        TEST(our_own_address_depends_on_whom_we_speak_to),
        TEST(names_are_put_together), /* last: its thread goes on */
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
