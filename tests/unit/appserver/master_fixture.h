/* SPDX-License-Identifier: MIT
 * For the tests of appserver/master.c: a master is forked, its workers run a function
 * of the test instead of Python, and the test hears of them through --ready-fd.
 * Everything is static: each test program includes it once. */
#ifndef TESTS_MASTER_FIXTURE_H
#define TESTS_MASTER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "appserver/endpoint.h"
#include "appserver/master.h"

enum { WORKERS = 3, WATCHDOG_S = 30 };

/* Seen by the test, the master and every worker. */
struct shared {
    atomic_int starts[WORKERS]; /* of worker n */
    atomic_int broken;          /* from now on imports fail */
    atomic_int blocked;         /* imports wait, */
    atomic_int held;            /* so does the end of those that got SIGTERM, */
    atomic_int told;            /* which are so many */
    atomic_int lingering;       /* so does the end of those that wait for their turn, */
    atomic_int dropped;         /* and so many of these got SIGTERM */
    atomic_int nexts, most;     /* that import or wait for their turn; most at once */
    atomic_int next_pid;        /* the latest of these */
    atomic_int before_forks, after_parents, after_children, waits;
    atomic_int pid_1;
    char cwd[256];
};

struct fixture {
    struct shared *shared;
    struct app_options options;
    struct master_hooks hooks;
    char directory[64], bind[128];
    int (*run)(struct fixture *f); /* what the forked process does */
    pid_t master;
    int ready[2]; /* lines of --ready-fd */
    int life[2];  /* held by the master and every worker: EOF when all are gone */
};

struct ready {
    unsigned number;
    int pid;
    char endpoint[128];
};

static struct fixture *current; /* for the hooks, which take no argument */

/* ---- workers ---- */

static void say_ready(const struct worker_options *o)
{
    const char *path = endpoint_path(o->endpoint);
    if (path != NULL) {
        int fd = open(path, O_CREAT | O_RDWR, 0600);
        (void)close(fd);
    }
    worker_say_ready(o);
}

/* False: SIGTERM came before, and there was an application to shut down. */
static bool await_turn(const struct worker_options *o)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    int stop_fd = signalfd(-1, &set, SFD_CLOEXEC);
    worker_say_prepared(o);
    if (worker_turn(o, stop_fd, -1) == TURN_NOW)
        return close(stop_fd) == 0;
    atomic_fetch_add(&current->shared->dropped, 1);
    while (atomic_load(&current->shared->lingering) != 0)
        (void)usleep(1000);
    return false;
}

static int wait_for_term(void)
{
    sigset_t set;
    int number;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    (void)sigwait(&set, &number);
    return 0;
}

static int serve(const struct worker_options *o)
{
    int broken = atomic_load(&current->shared->broken);
    atomic_fetch_add(&current->shared->starts[o->number], 1);
    if (broken != 0)
        return EXIT_IMPORT;
    if (!await_turn(o))
        return 0;
    say_ready(o);
    return wait_for_term();
}

/* ---- the test's side ---- */

static int run_master(struct fixture *f)
{
    return master_run(&f->options, &f->hooks);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->shared = mmap(NULL, sizeof *f->shared, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    (void)snprintf(f->directory, sizeof f->directory, "/tmp/test-master-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    (void)snprintf(f->bind, sizeof f->bind, "ipc://%s/{n}", f->directory);
    f->options = (struct app_options){
        .application = "demo:app",
        .bind = f->bind,
        .processes = WORKERS,
        .threads = 1,
        .graceful_timeout_s = WATCHDOG_S,
        .log = {"error", "text", "stderr"},
    };
    f->hooks.work = serve;
    f->run = run_master;
    current = f;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->master != 0) {
        (void)kill(f->master, SIGKILL);
        (void)waitpid(f->master, NULL, 0);
        (void)close(f->ready[0]);
        (void)close(f->life[0]);
    }
    char path[128];
    for (int n = 0; n < WORKERS; n++) {
        (void)snprintf(path, sizeof path, "%s/%d", f->directory, n);
        (void)unlink(path);
    }
    int left = rmdir(f->directory);
    (void)munmap(f->shared, sizeof *f->shared);
    free(f);
    return left;
}

static void start(struct fixture *f)
{
    assert_int_equal(pipe(f->ready), 0);
    assert_int_equal(pipe(f->life), 0);
    f->options.ready_fd = f->ready[1];
    f->master = fork();
    if (f->master == 0) {
        (void)alarm(WATCHDOG_S);
        (void)close(f->ready[0]);
        (void)close(f->life[0]);
        _exit(f->run(f));
    }
    (void)close(f->ready[1]);
    (void)close(f->life[1]);
}

static bool is_ready_within(struct fixture *f, int milliseconds)
{
    struct pollfd p = {.fd = f->ready[0], .events = POLLIN};
    return poll(&p, 1, milliseconds) == 1;
}

static struct ready next_ready(struct fixture *f)
{
    struct ready r = {0};
    char line[256];
    size_t length = 0;
    do {
        assert_true(is_ready_within(f, WATCHDOG_S * 1000));
        assert_int_equal(read(f->ready[0], line + length, 1), 1);
    } while (line[length++] != '\n');
    line[length] = '\0';
    /* "ready 0 4242 ipc:///tmp/x/0\n" */
    char *at = line + strlen("ready ");
    assert_memory_equal(line, "ready ", 6);
    r.number = (unsigned)strtoul(at, &at, 10);
    r.pid = (int)strtol(at, &at, 10);
    (void)snprintf(r.endpoint, sizeof r.endpoint, "%.*s", (int)strcspn(at + 1, "\n"),
                   at + 1);
    return r;
}

static void await(atomic_int *what, int value)
{
    while (atomic_load(what) < value)
        (void)sched_yield();
}

static int exit_code(struct fixture *f)
{
    int status;
    assert_int_equal(waitpid(f->master, &status, 0), f->master);
    f->master = 0;
    /* Every worker is gone too: nobody holds the pipe. */
    struct pollfd p = {.fd = f->life[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, WATCHDOG_S * 1000), 1);
    char byte;
    assert_int_equal(read(f->life[0], &byte, 1), 0);
    (void)close(f->ready[0]);
    (void)close(f->life[0]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool file_exists(const char *endpoint)
{
    return access(endpoint_path(endpoint), F_OK) == 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
