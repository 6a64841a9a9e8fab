/* SPDX-License-Identifier: MIT
 * What the tests of links share: a directory and a context of their own, patience with
 * an end, and peers in processes that may be killed. */
#ifndef TESTS_LINK_FIXTURE_H
#define TESTS_LINK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "protocol/frame.h"
#include "protocol/link.h"

enum { ENDPOINT_BYTES = 128, PATIENCE_S = 30, FREE_S = 5, GLANCE_MS = 20 };

static char directory[64];
static struct link_context *context;

/* Children start threads; ThreadSanitizer wants to be asked for that. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

/* Every test gets SIGALRM instead of waiting for ever. */
static UNUSED int setup_link(void **state)
{
    (void)state;
    (void)alarm(PATIENCE_S);
    strcpy(directory, "/tmp/banyan-test-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    context = link_context_new(32);
    return 0;
}

static UNUSED void *free_context(void *arg)
{
    link_context_free(arg);
    return NULL;
}

/* A test that failed left links open, and the context would wait for them for ever. */
static UNUSED int teardown_link(void **state)
{
    (void)state;
    static struct link_context *old;
    old = context;
    pthread_t thread;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FREE_S;
    if (pthread_create(&thread, NULL, free_context, &old) != 0 ||
        pthread_timedjoin_np(thread, NULL, &until) != 0)
        return -1;
    (void)alarm(0);
    return rmdir(directory);
}

static UNUSED void path_of(const char *name, char path[static ENDPOINT_BYTES])
{
    (void)snprintf(path, ENDPOINT_BYTES, "%s/%s", directory, name);
}

static UNUSED uint16_t free_port(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof any;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&any, &size), 0);
    (void)close(fd);
    return ntohs(any.sin_port);
}

/* A fresh endpoint of "ipc", "tcp" or "inproc". */
static UNUSED void fresh_endpoint(const char *scheme,
                                  char endpoint[static ENDPOINT_BYTES])
{
    static unsigned number;
    number++;
    if (strcmp(scheme, "ipc") == 0)
        (void)snprintf(endpoint, ENDPOINT_BYTES, "ipc://%s/%u", directory, number);
    else if (strcmp(scheme, "tcp") == 0)
        (void)snprintf(endpoint, ENDPOINT_BYTES, "tcp://127.0.0.1:%d", free_port());
    else
        (void)snprintf(endpoint, ENDPOINT_BYTES, "inproc://test-%u", number);
}

static UNUSED struct link *bind_link(const char *endpoint)
{
    struct link *l = NULL;
    assert_int_equal(link_bind(context, endpoint, LINK_LOCAL_ONLY, &l), ERR_NONE);
    return l;
}

static UNUSED struct link *connect_link(const char *endpoint)
{
    struct link *l = NULL;
    assert_int_equal(link_connect(context, endpoint, LINK_LOCAL_ONLY, &l), ERR_NONE);
    return l;
}

/* Without a look at the link, which would find more than the descriptor tells. */
static UNUSED bool becomes_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, FREE_S * 1000) == 1;
}

static UNUSED void glance_at(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    (void)poll(&p, 1, GLANCE_MS);
}

static UNUSED enum step receive(struct link *l, struct link_message *m)
{
    enum step step;
    while ((step = link_recv(l, m)) == STEP_MORE)
        glance_at(link_fd(l));
    return step;
}

static UNUSED struct link_event await_event(struct link *l)
{
    struct link_event e;
    while (!link_next_event(l, &e))
        glance_at(link_monitor_fd(l));
    return e;
}

static UNUSED struct link_event await(struct link *l, enum link_event_kind kind)
{
    struct link_event e = await_event(l);
    assert_int_equal(e.kind, kind);
    return e;
}

/* inproc:// has no events: nothing to wait for. */
static UNUSED void await_up(struct link *l)
{
    if (link_monitor_fd(l) >= 0)
        (void)await(l, LINK_UP);
}

static UNUSED void send_text(struct link *l, uint32_t peer, const char *text)
{
    enum err e;
    while ((e = link_send(l, peer, slice_from(text), slice_from(NULL))) ==
           ERR_LINK_FULL)
        glance_at(link_fd(l));
    assert_int_equal(e, ERR_NONE);
}

static UNUSED uint32_t expect_text(struct link *l, const char *want)
{
    struct link_message m;
    assert_int_equal(receive(l, &m), STEP_DONE);
    assert_int_equal(m.frames.len, strlen(want));
    assert_memory_equal(m.frames.ptr, want, m.frames.len);
    assert_int_equal(m.bulk.len, 0);
    uint32_t peer = m.peer;
    link_message_done(&m);
    return peer;
}

/* A peer in a process of its own, with pipes to and from it. */
struct child {
    pid_t pid;
    int to, from;
};

/* `body` runs in the child with its own context; it ends by being killed or returning.
 */
static UNUSED struct child
start_child(void (*body)(const char *endpoint, int in, int out), const char *endpoint)
{
    int down[2], up[2];
    assert_int_equal(pipe(down), 0);
    assert_int_equal(pipe(up), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(PATIENCE_S);
        (void)close(down[1]);
        (void)close(up[0]);
        context = link_context_new(8); /* the parent's is of no use here */
        body(endpoint, down[0], up[1]);
        _exit(0);
    }
    (void)close(down[0]);
    (void)close(up[1]);
    return (struct child){.pid = pid, .to = down[1], .from = up[0]};
}

static UNUSED void say(int fd)
{
    assert_int_equal(write(fd, "!", 1), 1);
}

static UNUSED void hear(int fd)
{
    char c;
    assert_int_equal(read(fd, &c, 1), 1);
}

static UNUSED void kill_child(struct child *c)
{
    int status;
    (void)kill(c->pid, SIGKILL);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    (void)close(c->to);
    (void)close(c->from);
}

static UNUSED struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    assert_in_range(length, 1, sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, length);
    return address;
}

static UNUSED int connect_unix(const char *path)
{
    struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static UNUSED int listen_unix(const char *path)
{
    struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

#endif
