/* SPDX-License-Identifier: MIT
 * proxy/successor.c and proxy/predecessor.c talk to each other: this program is both,
 * the second when it is started by the first. How it shall behave then, an argument
 * says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/base/log.h"
#include "proxy/inherited.h"
#include "proxy/successor.h"

#define STATE "banyan-state 2 generation=7\nend\n"

static char *self;

/* ---- the one that comes ---- */

struct newcomer {
    struct event_base *base;
    struct predecessor *predecessor;
    bool is_serving;
};

static void on_go(void *owner, const struct parent *parent)
{
    struct newcomer *n = owner;
    fprintf(stderr, "parent %d\n", (int)parent->pid);
    n->is_serving = true;
    predecessor_say_serving(n->predecessor);
    (void)event_base_loopbreak(n->base);
}

static void on_orphaned(void *owner, int number)
{
    (void)owner;
    (void)number;
    _exit(9);
}

static int come(const char *how)
{
    static const struct predecessor_events events = {on_go, on_orphaned};
    struct newcomer n = {.base = event_base_new()};
    struct inherited *inherited = inherited_new();
    n.predecessor = predecessor_new(inherited);
    struct slice state = predecessor_state(n.predecessor);
    int passed = inherited_take(inherited, "web");
    bool is_good = slice_eq(state, SLICE(STATE)) && passed > 2 &&
                   send(passed, "x", 1, 0) == 1 && inherited_count(inherited) == 0;
    if (strcmp(how, "fail") == 0 || !is_good) {
        fprintf(stderr, "the first line\nno more room in the garden\n");
        _exit(3); /* no leak is looked for */
    }
    if (strcmp(how, "hang") == 0)
        (void)pause();
    predecessor_say_ready(n.predecessor, n.base, &events, &n);
    if (strcmp(how, "die") == 0)
        abort();
    while (!n.is_serving)
        (void)event_base_loop(n.base, EVLOOP_ONCE);
    predecessor_free(&n.predecessor);
    inherited_free(&inherited);
    event_base_free(n.base);
    return 0;
}

/* ---- the one that goes ---- */

struct old {
    struct event_base *base;
    struct successor *successor;
    int pair[2];
    bool is_ready, is_serving, has_failed;
    char reason[600];
};

static void on_ready(void *owner)
{
    static const struct parent parent = {.pid = 4711};
    struct old *o = owner;
    o->is_ready = true;
    successor_go(o->successor, &parent);
}

static void on_serving(void *owner)
{
    struct old *o = owner;
    o->is_serving = true;
}

static void on_failed(void *owner, const char *reason)
{
    struct old *o = owner;
    o->has_failed = true;
    (void)snprintf(o->reason, sizeof o->reason, "%s", reason);
}

static void on_child(evutil_socket_t fd, short what, void *arg)
{
    struct old *o = arg;
    (void)fd;
    (void)what;
    successor_reap(o->successor);
}

/* Until it serves or has failed. */
static void upgrade(struct old *o, char *program, const char *how, uint64_t patience_us)
{
    static const struct successor_events events = {on_ready, on_serving, on_failed};
    char manner[16];
    (void)snprintf(manner, sizeof manner, "%s", how);
    char *argv[] = {program, manner, NULL};
    sigset_t none;
    (void)sigemptyset(&none);
    *o = (struct old){.base = event_base_new()};
    struct successor_options options = {
        .base = o->base,
        .argv = argv,
        .signals = &none,
        .state = SLICE(STATE),
        .patience_us = patience_us,
        .events = &events,
        .owner = o,
    };
    struct buf message;
    buf_init(&message, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, o->pair), 0);
    struct event *child =
        event_new(o->base, SIGCHLD, EV_SIGNAL | EV_PERSIST, on_child, o);
    assert_int_equal(event_add(child, NULL), 0);
    o->successor = successor_new(&options);
    successor_pass(o->successor, o->pair[1], "web");
    if (!successor_start(o->successor, &message)) {
        o->has_failed = true;
        (void)snprintf(o->reason, sizeof o->reason, "%.*s",
                       SLICE_FMT(buf_slice(&message)));
    }
    while (!o->is_serving && !o->has_failed)
        (void)event_base_loop(o->base, EVLOOP_ONCE);
    buf_fini(&message);
    event_free(child);
}

static void end(struct old *o)
{
    successor_free(&o->successor);
    event_base_free(o->base);
    (void)close(o->pair[0]);
    (void)close(o->pair[1]);
}

static void it_gets_everything_and_serves(void **state)
{
    (void)state;
    struct old o;
    char byte;
    upgrade(&o, self, "serve", 20 * 1000 * 1000);
    assert_true(o.is_ready && o.is_serving);
    assert_int_equal(recv(o.pair[0], &byte, 1, 0), 1);
    while (successor_pid(o.successor) > 0) /* it has nothing more to do */
        successor_reap(o.successor);
    assert_false(o.has_failed);
    end(&o);
}

static void when_it_ends_the_reason_is_what_it_said_last(void **state)
{
    (void)state;
    struct old o;
    upgrade(&o, self, "fail", 20 * 1000 * 1000);
    assert_true(o.has_failed && !o.is_ready);
    assert_non_null(strstr(o.reason, "exited with code 3"));
    assert_non_null(strstr(o.reason, "no more room in the garden"));
    end(&o);
    upgrade(&o, self, "die", 20 * 1000 * 1000);
    assert_true(o.has_failed && !o.is_serving);
    assert_non_null(strstr(o.reason, "was killed by SIGABRT"));
    end(&o);
}

static void patience_has_an_end(void **state)
{
    (void)state;
    struct old o;
    upgrade(&o, self, "hang", 1000);
    assert_true(o.has_failed);
    assert_non_null(strstr(o.reason, "was not ready in time"));
    end(&o);
}

static void what_is_no_program_is_named(void **state)
{
    (void)state;
    struct old o;
    char nothing[] = "/nonexistent/banyan-proxy";
    upgrade(&o, nothing, "serve", 1000 * 1000);
    assert_true(o.has_failed);
    assert_non_null(strstr(o.reason, "cannot run /nonexistent/banyan-proxy: "));
    end(&o);
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return come(argv[1]);
    self = argv[0];
    (void)alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_gets_everything_and_serves),
        cmocka_unit_test(when_it_ends_the_reason_is_what_it_said_last),
        cmocka_unit_test(patience_has_an_end),
        cmocka_unit_test(what_is_no_program_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
