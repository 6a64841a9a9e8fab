/* SPDX-License-Identifier: MIT
 * appserver/master.c, roll.c: workers that are spent, and what may come between. */
#include "protocol/base/clock.h"
#include "tests/unit/appserver/master_fixture.h"

/* Only first processes import at once, fail never, and are spent when they are ready.
 */
static int serve_until_spent(const struct worker_options *o)
{
    struct shared *shared = current->shared;
    int before = atomic_fetch_add(&shared->starts[o->number], 1);
    if (before > 0) {
        atomic_store(&shared->next_pid, getpid());
        int nexts = atomic_fetch_add(&shared->nexts, 1) + 1;
        if (nexts > atomic_load(&shared->most))
            atomic_store(&shared->most, nexts);
        while (atomic_load(&shared->blocked) != 0)
            (void)usleep(1000);
        if (atomic_load(&shared->broken) != 0)
            return EXIT_IMPORT;
    }
    if (!await_turn(o))
        return 0;
    if (before > 0)
        atomic_fetch_sub(&shared->nexts, 1);
    say_ready(o);
    if (before == 0)
        worker_say_spent(o);
    (void)wait_for_term();
    atomic_fetch_add(&shared->told, 1);
    while (atomic_load(&shared->held) != 0)
        (void)usleep(1000);
    return 0;
}

/* One worker, which is spent, and whose next one imports. */
static struct ready start_recycling(struct fixture *f)
{
    f->options.processes = 1;
    atomic_store(&f->shared->blocked, 1);
    start(f);
    struct ready old = next_ready(f);
    await(&f->shared->starts[0], 2);
    return old;
}

static void stop(struct fixture *f)
{
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void a_spent_one_serves_until_the_next_is_prepared(void **state)
{
    struct fixture *f = *state;
    struct ready old = start_recycling(f);
    assert_int_equal(kill(old.pid, 0), 0);
    assert_true(file_exists(old.endpoint));
    assert_int_equal(atomic_load(&f->shared->told), 0);
    atomic_store(&f->shared->blocked, 0);
    struct ready new = next_ready(f);
    assert_int_not_equal(new.pid, old.pid);
    assert_string_equal(new.endpoint, old.endpoint);
    assert_int_equal(kill(old.pid, 0), -1);
    assert_int_equal(atomic_load(&f->shared->told), 1);
    stop(f);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 2);
}

static void one_at_a_time_is_replaced(void **state)
{
    struct fixture *f = *state;
    start(f);
    for (int i = 0; i < 2 * WORKERS; i++)
        (void)next_ready(f);
    assert_int_equal(atomic_load(&f->shared->most), 1);
    stop(f);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(atomic_load(&f->shared->starts[i]), 2);
}

static void while_no_next_one_starts_it_serves(void **state)
{
    struct fixture *f = *state;
    f->options.processes = 1;
    atomic_store(&f->shared->broken, 1);
    start(f);
    struct ready old = next_ready(f);
    uint64_t began_us = clock_now_us();
    await(&f->shared->starts[0], 4);
    assert_true(clock_now_us() - began_us > 50000); /* at once, and after 0.1 s */
    assert_int_equal(kill(old.pid, 0), 0);
    assert_int_equal(atomic_load(&f->shared->told), 0);
    atomic_store(&f->shared->broken, 0);
    assert_int_not_equal(next_ready(f).pid, old.pid);
    stop(f);
}

/* The next one of worker 0 is never there. */
static int fail_next_of_0(const struct worker_options *o)
{
    int before = atomic_fetch_add(&current->shared->starts[o->number], 1);
    if (before > 0 && o->number == 0)
        return EXIT_IMPORT;
    if (!await_turn(o))
        return 0;
    say_ready(o);
    if (before == 0)
        worker_say_spent(o);
    return wait_for_term();
}

static void one_whose_next_fails_lets_the_others_have_their_turn(void **state)
{
    struct fixture *f = *state;
    unsigned seen[WORKERS] = {0};
    f->hooks.work = fail_next_of_0;
    start(f);
    for (int i = 0; i < 2 * WORKERS - 1; i++)
        seen[next_ready(f).number]++;
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(seen[i], i == 0 ? 1 : 2);
    stop(f);
}

static void one_that_dies_meanwhile_has_its_next_already(void **state)
{
    struct fixture *f = *state;
    struct ready old = start_recycling(f);
    (void)kill(old.pid, SIGKILL);
    while (kill(old.pid, 0) == 0)
        (void)sched_yield();
    atomic_store(&f->shared->blocked, 0);
    assert_int_not_equal(next_ready(f).pid, old.pid);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 2);
    stop(f);
}

static void a_stop_takes_the_next_along(void **state)
{
    struct fixture *f = *state;
    (void)start_recycling(f);
    stop(f); /* which waits for all of them */
}

/* The old one drains, and the next one waits for its turn. */
static struct ready hold_the_turn(struct fixture *f)
{
    atomic_store(&f->shared->held, 1);
    atomic_store(&f->shared->lingering, 1);
    struct ready old = start_recycling(f);
    atomic_store(&f->shared->blocked, 0);
    await(&f->shared->told, 1);
    return old;
}

static bool master_runs(struct fixture *f)
{
    return waitpid(f->master, NULL, WNOHANG) == 0;
}

static void a_stop_lets_a_next_one_shut_down_that_waits(void **state)
{
    struct fixture *f = *state;
    struct ready old = hold_the_turn(f);
    (void)kill(f->master, SIGTERM);
    await(&f->shared->dropped, 1);
    atomic_store(&f->shared->held, 0);
    while (kill(old.pid, 0) == 0)
        (void)sched_yield();
    (void)usleep(20000);
    assert_true(master_runs(f));
    atomic_store(&f->shared->lingering, 0);
    assert_int_equal(exit_code(f), 0);
    assert_false(file_exists(old.endpoint));
}

static void the_other_order_is_as_good(void **state)
{
    struct fixture *f = *state;
    struct ready old = hold_the_turn(f);
    (void)kill(f->master, SIGTERM);
    await(&f->shared->dropped, 1);
    atomic_store(&f->shared->lingering, 0);
    while (kill(atomic_load(&f->shared->next_pid), 0) == 0)
        (void)sched_yield();
    assert_true(master_runs(f));
    assert_int_equal(kill(old.pid, 0), 0);
    atomic_store(&f->shared->held, 0);
    assert_int_equal(exit_code(f), 0);
}

static void one_that_does_not_shut_down_is_killed_in_the_end(void **state)
{
    struct fixture *f = *state;
    f->options.graceful_timeout_s = 1;
    (void)hold_the_turn(f);
    stop(f);
    assert_int_equal(atomic_load(&f->shared->dropped), 1);
}

static void a_second_signal_kills_it_at_once(void **state)
{
    struct fixture *f = *state;
    (void)hold_the_turn(f);
    (void)kill(f->master, SIGTERM);
    await(&f->shared->dropped, 1);
    stop(f);
}

static void on_sighup_the_next_one_imports_anew(void **state)
{
    struct fixture *f = *state;
    struct ready old = start_recycling(f);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 3);
    assert_int_equal(kill(old.pid, 0), 0);
    atomic_store(&f->shared->blocked, 0);
    assert_int_not_equal(next_ready(f).pid, old.pid);
    stop(f);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 3);
}

/* It takes the place, for nobody else serves there, and is replaced in its turn. */
static void on_sighup_a_next_one_that_is_prepared_is_old_itself(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->shared->held, 1);
    struct ready old = start_recycling(f);
    atomic_store(&f->shared->blocked, 0);
    await(&f->shared->told, 1);
    (void)kill(f->master, SIGHUP);
    (void)usleep(20000); /* it is heard before the old one ends, or there is no test */
    atomic_store(&f->shared->held, 0);
    struct ready second = next_ready(f), third = next_ready(f);
    assert_int_not_equal(second.pid, old.pid);
    assert_int_not_equal(third.pid, second.pid);
    stop(f);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 3);
}

static void a_next_one_that_dies_in_the_last_moment_has_a_successor(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->shared->held, 1);
    struct ready old = start_recycling(f);
    atomic_store(&f->shared->blocked, 0);
    await(&f->shared->told, 1);
    pid_t next = atomic_load(&f->shared->next_pid);
    (void)kill(next, SIGKILL);
    while (kill(next, 0) == 0)
        (void)sched_yield();
    assert_int_equal(kill(old.pid, 0), 0);
    atomic_store(&f->shared->held, 0);
    assert_int_not_equal(next_ready(f).pid, old.pid);
    stop(f);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 3);
}

/* What the one that was forked before SIGHUP dies of says nothing about the new code.
 */
static int fail_the_second_time(const struct worker_options *o)
{
    int before = atomic_fetch_add(&current->shared->starts[o->number], 1);
    if (before == 1)
        atomic_store(&current->shared->next_pid, getpid());
    if (!await_turn(o))
        return 0;
    if (o->number == 0 && before == 1)
        return EXIT_FAILURE; /* as one that cannot open the endpoint */
    say_ready(o);
    if (o->number == 0 && before == 0)
        worker_say_spent(o);
    (void)wait_for_term();
    atomic_fetch_add(&current->shared->told, 1);
    while (atomic_load(&current->shared->held) != 0)
        (void)usleep(1000);
    return 0;
}

/* Worker 0 is spent and ends, and its next one waits for that, when SIGHUP comes. */
static void roll_in_the_last_moment(struct fixture *f)
{
    f->options.processes = 2;
    f->hooks.work = fail_the_second_time;
    atomic_store(&f->shared->held, 1);
    start(f);
    for (int i = 0; i < 2; i++)
        (void)next_ready(f);
    await(&f->shared->told, 1);
    (void)kill(f->master, SIGHUP);
    (void)usleep(20000);
}

static void see_both_replaced(struct fixture *f)
{
    atomic_store(&f->shared->held, 0);
    assert_int_equal(next_ready(f).number, 0);
    assert_int_equal(next_ready(f).number, 1);
    stop(f);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 3);
    assert_int_equal(atomic_load(&f->shared->starts[1]), 2);
}

static void a_roll_outlives_an_old_one_that_does_not_start(void **state)
{
    roll_in_the_last_moment(*state);
    see_both_replaced(*state);
}

static void a_roll_outlives_an_old_one_that_dies_before(void **state)
{
    struct fixture *f = *state;
    roll_in_the_last_moment(f);
    pid_t next = atomic_load(&f->shared->next_pid);
    (void)kill(next, SIGKILL);
    while (kill(next, 0) == 0)
        (void)sched_yield();
    see_both_replaced(f);
}

static void a_roll_that_fails_leaves_it_to_another_attempt(void **state)
{
    struct fixture *f = *state;
    struct ready old = start_recycling(f);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->starts[0], 3);
    atomic_store(&f->shared->broken, 1);
    atomic_store(&f->shared->blocked, 0);
    await(&f->shared->starts[0], 5);
    assert_int_equal(kill(old.pid, 0), 0);
    atomic_store(&f->shared->broken, 0);
    assert_int_not_equal(next_ready(f).pid, old.pid);
    stop(f);
}

static int serve_and_be_spent_the_second_time(const struct worker_options *o)
{
    int before = atomic_fetch_add(&current->shared->starts[o->number], 1);
    if (!await_turn(o))
        return 0;
    say_ready(o);
    if (o->number == 0 && before == 1)
        worker_say_spent(o);
    return wait_for_term();
}

static void one_that_is_spent_in_a_roll_waits_for_its_turn(void **state)
{
    struct fixture *f = *state;
    f->hooks.work = serve_and_be_spent_the_second_time;
    start(f);
    for (int i = 0; i < WORKERS; i++)
        (void)next_ready(f);
    (void)kill(f->master, SIGHUP);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(next_ready(f).number, i);
    assert_int_equal(next_ready(f).number, 0);
    stop(f);
}

/* The first generation as above; the second one imports when nothing is held, and its
 * first process is spent, too. */
static int serve_generations(const struct worker_options *o)
{
    struct shared *shared = current->shared;
    if (o->generation == 1)
        return serve_until_spent(o);
    int nexts = atomic_fetch_add(&shared->nexts, 1) + 1;
    while (atomic_load(&shared->held) != 0)
        (void)usleep(1000);
    if (atomic_load(&shared->broken) != 0)
        return EXIT_IMPORT;
    if (!await_turn(o))
        return 0;
    say_ready(o);
    if (nexts == 2) {
        atomic_store(&shared->held, 1); /* the one before drains for long */
        worker_say_spent(o);
    }
    return wait_for_term();
}

static struct ready start_generations(struct fixture *f, char bind[static 160])
{
    (void)snprintf(bind, 160, "ipc://%s/{n}-{g}", f->directory);
    f->options.bind = bind;
    f->hooks.work = serve_generations;
    atomic_store(&f->shared->held, 1);
    struct ready old = start_recycling(f);
    (void)kill(f->master, SIGHUP);
    await(&f->shared->nexts, 2);
    return old;
}

static void a_generation_ends_the_recycling_of_the_one_before(void **state)
{
    struct fixture *f = *state;
    char bind[160];
    struct ready old = start_generations(f, bind);
    atomic_store(&f->shared->blocked, 0);
    assert_false(is_ready_within(f, 50));
    assert_int_equal(atomic_load(&f->shared->told), 0);
    atomic_store(&f->shared->held, 0);
    assert_true(strstr(next_ready(f).endpoint, "/0-2") != NULL);
    await(&f->shared->told, 1);
    await(&f->shared->dropped, 1);
    await(&f->shared->nexts, 3);
    atomic_store(&f->shared->held, 0);
    assert_true(strstr(next_ready(f).endpoint, "/0-2") != NULL);
    while (file_exists(old.endpoint))
        (void)sched_yield();
    stop(f);
}

static void without_a_generation_the_recycling_goes_on(void **state)
{
    struct fixture *f = *state;
    char bind[160];
    struct ready old = start_generations(f, bind);
    atomic_store(&f->shared->broken, 1);
    atomic_store(&f->shared->blocked, 0);
    atomic_store(&f->shared->held, 0);
    await(&f->shared->starts[0], 3);
    atomic_store(&f->shared->broken, 0);
    struct ready new = next_ready(f);
    assert_string_equal(new.endpoint, old.endpoint);
    assert_int_not_equal(new.pid, old.pid);
    stop(f);
}

static int set_up_recycling(void **state)
{
    int failed = set_up(state);
    ((struct fixture *)*state)->hooks.work = serve_until_spent;
    return failed;
}

#define RECYCLING(name)                                                                \
    cmocka_unit_test_setup_teardown(name, set_up_recycling, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RECYCLING(a_spent_one_serves_until_the_next_is_prepared),
        RECYCLING(one_at_a_time_is_replaced),
        RECYCLING(while_no_next_one_starts_it_serves),
        RECYCLING(one_whose_next_fails_lets_the_others_have_their_turn),
        RECYCLING(one_that_dies_meanwhile_has_its_next_already),
        RECYCLING(a_stop_takes_the_next_along),
        RECYCLING(a_stop_lets_a_next_one_shut_down_that_waits),
        RECYCLING(the_other_order_is_as_good),
        RECYCLING(one_that_does_not_shut_down_is_killed_in_the_end),
        RECYCLING(a_second_signal_kills_it_at_once),
        RECYCLING(on_sighup_the_next_one_imports_anew),
        RECYCLING(on_sighup_a_next_one_that_is_prepared_is_old_itself),
        RECYCLING(a_next_one_that_dies_in_the_last_moment_has_a_successor),
        RECYCLING(a_roll_outlives_an_old_one_that_does_not_start),
        RECYCLING(a_roll_outlives_an_old_one_that_dies_before),
        RECYCLING(a_roll_that_fails_leaves_it_to_another_attempt),
        RECYCLING(one_that_is_spent_in_a_roll_waits_for_its_turn),
        RECYCLING(a_generation_ends_the_recycling_of_the_one_before),
        RECYCLING(without_a_generation_the_recycling_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
