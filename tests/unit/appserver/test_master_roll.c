/* SPDX-License-Identifier: MIT
 * appserver/master.c: new processes on SIGHUP. */
#include "tests/unit/appserver/master_fixture.h"

#include <sched.h>

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
    start(f);
    for (int i = 0; i < WORKERS; i++)
        (void)next_ready(f);
    atomic_store(&f->shared->broken, 1);
    (void)kill(f->master, SIGHUP);
    while (atomic_load(&f->shared->starts[0]) < 3)
        (void)sched_yield();
    assert_int_equal(atomic_load(&f->shared->starts[1]), 1);
    assert_int_equal(atomic_load(&f->shared->starts[2]), 1);
    atomic_store(&f->shared->broken, 0);
    assert_int_equal(next_ready(f).number, 0);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
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
    while (atomic_load(&f->shared->starts[0]) < 2)
        (void)sched_yield();
    atomic_store(&f->shared->broken, 0);
    (void)kill(f->master, SIGHUP); /* this one works */
    struct ready new = next_ready(f);
    assert_int_not_equal(new.pid, old.pid);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 3);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sighup_replaces_the_workers_in_their_order),
        TEST(a_roll_stops_at_a_worker_that_does_not_start),
        TEST(a_new_generation_has_endpoints_of_its_own),
        TEST(a_generation_that_does_not_start_leaves_the_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
