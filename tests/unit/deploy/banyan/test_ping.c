/* SPDX-License-Identifier: MIT
 * deploy/banyan/ping.c: who greets as a ZeroMQ socket does is there, nobody else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "deploy/banyan/ping.h"

static const char GREETING[] = "\xff\0\0\0\0\0\0\0\1\x7f\3";

struct server {
    int fd;
    const char *says;
    size_t length;
    pthread_t thread;
};

/* Says it to one client, in two pieces, and closes. */
static void *serve(void *arg)
{
    const struct server *s = arg;
    int client = accept(s->fd, NULL, NULL);
    size_t half = s->length / 2;
    if (client < 0)
        return NULL;
    if (send(client, s->says, half, MSG_NOSIGNAL) == (ssize_t)half)
        (void)!send(client, s->says + half, s->length - half, MSG_NOSIGNAL);
    (void)close(client);
    return NULL;
}

static void start(struct server *s, const struct sockaddr *address, socklen_t size)
{
    s->fd = socket(address->sa_family, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, address, size), 0);
    assert_int_equal(listen(s->fd, 1), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s)
{
    (void)pthread_join(s->thread, NULL);
    (void)close(s->fd);
}

static int ping_tcp(const char *host, const char *says, size_t length)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    socklen_t size = sizeof to;
    struct server s = {.says = says, .length = length};
    char endpoint[64];
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    start(&s, (struct sockaddr *)&to, size);
    assert_int_equal(getsockname(s.fd, (struct sockaddr *)&to, &size), 0);
    (void)snprintf(endpoint, sizeof endpoint, "tcp://%s:%d", host, ntohs(to.sin_port));
    int code = ping_endpoint(endpoint);
    stop(&s);
    return code;
}

static void a_greeting_is_enough(void **state)
{
    (void)state;
    assert_int_equal(ping_tcp("127.0.0.1", GREETING, sizeof GREETING - 1), 0);
    assert_int_equal(ping_tcp("localhost", GREETING, sizeof GREETING - 1), 0);
}

static void what_is_no_greeting_is_not(void **state)
{
    (void)state;
    assert_int_equal(ping_tcp("127.0.0.1", "HTTP/1.1 400 Bad Request\r\n", 26), 3);
    assert_int_equal(ping_tcp("127.0.0.1", GREETING, 9), 3); /* and then the end */
    assert_int_equal(ping_tcp("127.0.0.1", "", 0), 3);
}

static void an_ipc_endpoint_is_a_unix_socket(void **state)
{
    (void)state;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct server s = {.says = GREETING, .length = sizeof GREETING - 1};
    char endpoint[sizeof to.sun_path + 8];
    (void)snprintf(to.sun_path, sizeof to.sun_path, "/tmp/banyan-test-ping-%d",
                   (int)getpid());
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%s", to.sun_path);
    (void)unlink(to.sun_path);
    start(&s, (struct sockaddr *)&to, sizeof to);
    assert_int_equal(ping_endpoint(endpoint), 0);
    stop(&s);
    (void)unlink(to.sun_path);
    assert_int_equal(ping_endpoint(endpoint), 3);
}

static void nobody_is_said_to_be_nobody(void **state)
{
    (void)state;
    assert_int_equal(ping_endpoint("tcp://127.0.0.1:1"), 3);
    assert_int_equal(ping_endpoint("tcp://no-port"), 3);
    assert_int_equal(ping_endpoint("tcp://127.0.0.1:no-port"), 3);
}

static void words_for_a_proxy_are_no_endpoints(void **state)
{
    (void)state;
    assert_true(ping_is_endpoint("tcp://127.0.0.1:7001"));
    assert_true(ping_is_endpoint("ipc:///run/app.sock"));
    assert_false(ping_is_endpoint("default/b1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_greeting_is_enough),
        cmocka_unit_test(what_is_no_greeting_is_not),
        cmocka_unit_test(an_ipc_endpoint_is_a_unix_socket),
        cmocka_unit_test(nobody_is_said_to_be_nobody),
        cmocka_unit_test(words_for_a_proxy_are_no_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
