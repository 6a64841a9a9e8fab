/* SPDX-License-Identifier: MIT
 * appserver/master.c: new processes on SIGHUP. */
#include "tests/unit/appserver/master_fixture.h"

static void sighup_replaces_the_workers_in_their_order(void **state)
{
    struct fixture *f = *state;
    int old[WORKERS];
    start(f);
    for (int i = 0; i < WORKERS; i++) {
        struct ready r = next_ready(f);
        old[r.number] = r.pid;
    }
    (void)kill(f->master, SIGHUP);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct ready r = next_ready(f);
        assert_int_equal(r.number, i);
        assert_int_not_equal(r.pid, old[i]);
    }
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void a_roll_stops_at_a_worker_that_does_not_start(void **state)
{
    struct fixture *f = *state;
    int old[WORKERS];
    start(f);
    for (int i = 0; i < WORKERS; i++) {
        struct ready r = next_ready(f);
        old[r.number] = r.pid;
    }
    atomic_store(&f->shared->broken, 1);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 2);
    atomic_store(&f->shared->broken, 0);
    assert_false(is_ready_within(f, 100));
    (void)kill(f->master, SIGHUP); /* this one works */
    for (int i = 0; i < WORKERS; i++)
        assert_int_not_equal(next_ready(f).pid, old[i]);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 3);
    assert_int_equal(atomic_load(&f->shared->starts[1]), 2);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

/* Imports only while the test lets it. */
static int serve_slowly(const struct worker_options *o)
{
    atomic_fetch_add(&current->shared->starts[o->number], 1);
    while (atomic_load(&current->shared->blocked) != 0)
        (void)usleep(1000);
    if (!await_turn(o))
        return 0;
    say_ready(o);
    return wait_for_term();
}

static void the_old_one_serves_until_the_next_is_prepared(void **state)
{
    struct fixture *f = *state;
    f->options.processes = 1;
    f->hooks.work = serve_slowly;
    start(f);
    struct ready old = next_ready(f);
    atomic_store(&f->shared->blocked, 1);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 2);
    assert_int_equal(kill(old.pid, 0), 0);
    assert_true(file_exists(old.endpoint));
    atomic_store(&f->shared->blocked, 0);
    assert_int_not_equal(next_ready(f).pid, old.pid);
    assert_int_equal(kill(old.pid, 0), -1);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void one_that_hangs_in_its_import_is_started_anew(void **state)
{
    struct fixture *f = *state;
    f->options.processes = 1;
    f->hooks.work = serve_slowly;
    atomic_store(&f->shared->blocked, 1);
    start(f);
    await(&f->shared->starts[0], 1);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 2);
    atomic_store(&f->shared->blocked, 0);
    (void)next_ready(f);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 2);
}

static void one_that_dies_meanwhile_has_its_next_already(void **state)
{
    struct fixture *f = *state;
    f->options.processes = 1;
    f->hooks.work = serve_slowly;
    start(f);
    struct ready old = next_ready(f);
    atomic_store(&f->shared->blocked, 1);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 2);
    (void)kill(old.pid, SIGKILL);
    while (kill(old.pid, 0) == 0)
        (void)sched_yield();
    atomic_store(&f->shared->blocked, 0);
    assert_int_not_equal(next_ready(f).pid, old.pid);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 2);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void a_stop_takes_the_next_along(void **state)
{
    struct fixture *f = *state;
    f->options.processes = 1;
    f->hooks.work = serve_slowly;
    start(f);
    (void)next_ready(f);
    atomic_store(&f->shared->blocked, 1);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 2);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0); /* which waits for all of them */
}

static void a_new_generation_has_endpoints_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct ready old;
    char bind[160];
    (void)snprintf(bind, sizeof bind, "ipc://%s/{n}-{g}", f->directory);
    f->options.bind = bind;
    f->options.processes = 1;
    start(f);
    old = next_ready(f);
    assert_true(strstr(old.endpoint, "/0-1") != NULL);
    (void)kill(f->master, SIGHUP);
    struct ready new = next_ready(f);
    assert_true(strstr(new.endpoint, "/0-2") != NULL);
    while (file_exists(old.endpoint))
        (void)sched_yield();
    assert_int_equal(kill(new.pid, 0), 0);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
    assert_false(file_exists(new.endpoint));
}

static void a_generation_that_does_not_start_leaves_the_old_one(void **state)
{
    struct fixture *f = *state;
    char bind[160];
    (void)snprintf(bind, sizeof bind, "ipc://%s/{n}-{g}", f->directory);
    f->options.bind = bind;
    f->options.processes = 1;
    start(f);
    struct ready old = next_ready(f);
    atomic_store(&f->shared->broken, 1);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 2);
    atomic_store(&f->shared->broken, 0);
    (void)kill(f->master, SIGHUP); /* this one works */
    struct ready new = next_ready(f);
    assert_int_not_equal(new.pid, old.pid);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 3);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void a_generation_that_hangs_in_its_import_is_started_anew(void **state)
{
    struct fixture *f = *state;
    char bind[160];
    (void)snprintf(bind, sizeof bind, "ipc://%s/{n}-{g}", f->directory);
    f->options.bind = bind;
    f->options.processes = 1;
    f->hooks.work = serve_slowly;
    start(f);
    struct ready old = next_ready(f);
    atomic_store(&f->shared->blocked, 1);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 2);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 3);
    assert_int_equal(kill(old.pid, 0), 0);
    atomic_store(&f->shared->blocked, 0);
    assert_int_not_equal(next_ready(f).pid, old.pid);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 3);
}

static void a_generation_without_a_port_for_all_is_none(void **state)
{
    struct fixture *f = *state;
    f->options.bind = "tcp://127.0.0.1:6553{g}"; /* the fourth one's last is 65536 */
    start(f);
    for (int g = 1; g <= 3; g++) {
        for (int i = 0; i < WORKERS; i++)
            (void)next_ready(f);
        (void)kill(f->master, SIGHUP);
    }
    assert_false(is_ready_within(f, 100));
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 3);
}

static void who_reads_no_reports_stops_nobody(void **state)
{
    struct fixture *f = *state;
    char path[64];
    f->options.processes = 1;
    start(f);
    (void)next_ready(f);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", f->ready[0]);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    while (write(fd, "x", 1) == 1)
        continue;
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 2);
    (void)usleep(50000); /* it is ready then, or there is no test */
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sighup_replaces_the_workers_in_their_order),
        TEST(a_roll_stops_at_a_worker_that_does_not_start),
        TEST(the_old_one_serves_until_the_next_is_prepared),
        TEST(one_that_hangs_in_its_import_is_started_anew),
        TEST(one_that_dies_meanwhile_has_its_next_already),
        TEST(a_stop_takes_the_next_along),
        TEST(a_new_generation_has_endpoints_of_its_own),
        TEST(a_generation_that_does_not_start_leaves_the_old_one),
        TEST(a_generation_that_hangs_in_its_import_is_started_anew),
        TEST(a_generation_without_a_port_for_all_is_none),
        TEST(who_reads_no_reports_stops_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
