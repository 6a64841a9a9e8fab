/* SPDX-License-Identifier: MIT
 * appserver/master.c: start, deaths, stopping. */
#include "tests/unit/appserver/master_fixture.h"

/* Drains for ever. */
static int serve_and_hang(const struct worker_options *o)
{
    say_ready(o);
    while (wait_for_term() == 0)
        ;
    return 1;
}

/* The first two processes of each worker end by themselves. */
static int serve_the_third_time(const struct worker_options *o)
{
    if (atomic_fetch_add(&current->shared->starts[o->number], 1) < 2)
        return 7;
    say_ready(o);
    return wait_for_term();
}

static int get_stuck_once(const struct worker_options *o)
{
    int before = atomic_fetch_add(&current->shared->starts[o->number], 1);
    say_ready(o);
    return before == 0 ? EXIT_STUCK : wait_for_term();
}

/* Leaves an orphan behind and goes on. */
static int serve_with_orphan(const struct worker_options *o)
{
    pid_t child = fork();
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0)
            _exit(0);
        _exit(0);
    }
    (void)waitpid(child, NULL, 0);
    return serve(o);
}

static int tell_signals(const struct worker_options *o)
{
    struct sigaction interrupt, hang_up;
    sigset_t mask;
    (void)sigaction(SIGINT, NULL, &interrupt);
    (void)sigaction(SIGHUP, NULL, &hang_up);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask);
    bool good = interrupt.sa_handler != SIG_DFL && interrupt.sa_handler != SIG_IGN &&
                hang_up.sa_handler != SIG_DFL && hang_up.sa_handler != SIG_IGN &&
                sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT) == 0 &&
                sigismember(&mask, SIGCHLD) == 0;
    if (!good)
        return EXIT_IMPORT;
    (void)raise(SIGINT);
    (void)raise(SIGHUP);
    return serve(o);
}

/* ---- the other hooks ---- */

static void count_before_fork(void)
{
    atomic_fetch_add(&current->shared->before_forks, 1);
}

static void count_after_parent(void)
{
    atomic_fetch_add(&current->shared->after_parents, 1);
}

static void count_after_child(void)
{
    atomic_fetch_add(&current->shared->after_children, 1);
}

static void count_wait(void)
{
    atomic_fetch_add(&current->shared->waits, 1);
}

static bool preload_and_tell_cwd(const struct app_options *options)
{
    (void)options;
    return getcwd(current->shared->cwd, sizeof current->shared->cwd) != NULL;
}

static bool preload_failing(const struct app_options *options)
{
    (void)options;
    return false;
}

enum { NO_NAMESPACE = 77 };

/* The master as PID 1 of a namespace; its pid outside is shared->pid_1. */
static int run_as_pid_1(struct fixture *f)
{
    int status;
    if (unshare(CLONE_NEWPID) != 0)
        return NO_NAMESPACE;
    pid_t pid = fork();
    if (pid == 0)
        _exit(run_master(f));
    atomic_store(&f->shared->pid_1, pid);
    (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* ---- tests ---- */

static void starts_every_worker_and_reports_it_when_ready(void **state)
{
    struct fixture *f = *state;
    bool seen[WORKERS] = {false};
    start(f);
    for (int i = 0; i < WORKERS; i++) {
        struct ready r = next_ready(f);
        char expected[160];
        (void)snprintf(expected, sizeof expected, "ipc://%s/%u", f->directory,
                       r.number);
        assert_string_equal(r.endpoint, expected);
        assert_int_equal(kill(r.pid, 0), 0);
        seen[r.number] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2]);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void removes_the_endpoint_files_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct ready r[WORKERS];
    start(f);
    for (int i = 0; i < WORKERS; i++) {
        r[i] = next_ready(f);
        assert_true(file_exists(r[i].endpoint));
    }
    (void)kill(f->master, SIGINT);
    assert_int_equal(exit_code(f), 0);
    for (int i = 0; i < WORKERS; i++)
        assert_false(file_exists(r[i].endpoint));
}

static void leaves_a_file_that_another_program_put_in_its_place(void **state)
{
    struct fixture *f = *state;
    f->options.processes = 1;
    start(f);
    struct ready r = next_ready(f);
    char other[160];
    (void)snprintf(other, sizeof other, "%s/other", f->directory);
    (void)close(open(other, O_CREAT | O_RDWR, 0600));
    assert_int_equal(rename(other, endpoint_path(r.endpoint)), 0);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
    assert_true(file_exists(r.endpoint));
}

static void restarts_a_killed_worker_on_its_endpoint(void **state)
{
    struct fixture *f = *state;
    struct ready r;
    start(f);
    for (int i = 0; i < WORKERS; i++)
        r = next_ready(f);
    (void)kill(r.pid, SIGKILL);
    struct ready again = next_ready(f);
    assert_int_equal(again.number, r.number);
    assert_int_not_equal(again.pid, r.pid);
    assert_string_equal(again.endpoint, r.endpoint);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void goes_on_restarting_one_that_ends_before_it_is_ready(void **state)
{
    struct fixture *f = *state;
    f->hooks.work = serve_the_third_time;
    start(f);
    for (int i = 0; i < WORKERS; i++)
        (void)next_ready(f);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(atomic_load(&f->shared->starts[i]), 3);
}

static void restarts_a_worker_that_was_stuck(void **state)
{
    struct fixture *f = *state;
    f->options.processes = 1;
    f->hooks.work = get_stuck_once;
    start(f);
    struct ready first = next_ready(f), second = next_ready(f);
    assert_int_not_equal(first.pid, second.pid);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void ends_with_3_when_the_first_import_fails(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->shared->broken, 1);
    start(f);
    assert_int_equal(exit_code(f), EXIT_IMPORT);
    for (int i = 0; i < WORKERS; i++)
        assert_in_range(atomic_load(&f->shared->starts[i]), 0, 1);
}

static void a_later_failing_import_stops_nothing(void **state)
{
    struct fixture *f = *state;
    struct ready r;
    start(f);
    for (int i = 0; i < WORKERS; i++)
        r = next_ready(f);
    atomic_store(&f->shared->broken, 1);
    (void)kill(r.pid, SIGKILL);
    await(&f->shared->starts[r.number], 3);
    atomic_store(&f->shared->broken, 0);
    assert_int_equal(next_ready(f).number, r.number);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void a_failing_preload_ends_with_3_before_any_fork(void **state)
{
    struct fixture *f = *state;
    f->options.preload = true;
    f->hooks.preload = preload_failing;
    start(f);
    assert_int_equal(exit_code(f), EXIT_IMPORT);
    assert_int_equal(atomic_load(&f->shared->starts[0]), 0);
}

static void goes_to_chdir_before_preload(void **state)
{
    struct fixture *f = *state;
    f->options.preload = true;
    f->options.chdir = f->directory;
    f->hooks.preload = preload_and_tell_cwd;
    start(f);
    (void)next_ready(f);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
    assert_string_equal(f->shared->cwd, f->directory);
}

static void a_chdir_that_is_not_there_ends_with_1(void **state)
{
    struct fixture *f = *state;
    f->options.chdir = "/nonexistent";
    start(f);
    assert_int_equal(exit_code(f), 1);
}

static void a_port_past_the_last_ends_with_1(void **state)
{
    struct fixture *f = *state;
    f->options.bind = "tcp://127.0.0.1:65534";
    start(f);
    assert_int_equal(exit_code(f), 1);
}

static void calls_the_hooks_around_fork_and_wait(void **state)
{
    struct fixture *f = *state;
    f->hooks.before_fork = count_before_fork;
    f->hooks.after_fork_parent = count_after_parent;
    f->hooks.after_fork_child = count_after_child;
    f->hooks.wait_begin = f->hooks.wait_end = count_wait;
    start(f);
    for (int i = 0; i < WORKERS; i++)
        (void)next_ready(f);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
    assert_int_equal(atomic_load(&f->shared->before_forks), WORKERS);
    assert_int_equal(atomic_load(&f->shared->after_parents), WORKERS);
    assert_int_equal(atomic_load(&f->shared->after_children), WORKERS);
    assert_int_equal(atomic_load(&f->shared->waits) % 2, 0);
}

static void workers_ignore_the_terminal_and_have_sigterm_blocked(void **state)
{
    struct fixture *f = *state;
    f->options.processes = 1;
    f->hooks.work = tell_signals;
    start(f);
    (void)next_ready(f);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void a_second_signal_ends_workers_that_do_not_drain(void **state)
{
    struct fixture *f = *state;
    f->hooks.work = serve_and_hang;
    start(f);
    for (int i = 0; i < WORKERS; i++)
        (void)next_ready(f);
    (void)kill(f->master, SIGTERM);
    (void)kill(f->master, SIGINT);
    assert_int_equal(exit_code(f), 0);
}

static void workers_that_do_not_drain_are_killed_in_the_end(void **state)
{
    struct fixture *f = *state;
    f->options.graceful_timeout_s = 0.05;
    f->hooks.work = serve_and_hang;
    start(f);
    for (int i = 0; i < WORKERS; i++)
        (void)next_ready(f);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static void workers_die_with_a_killed_master(void **state)
{
    struct fixture *f = *state;
    start(f);
    for (int i = 0; i < WORKERS; i++)
        (void)next_ready(f);
    (void)kill(f->master, SIGKILL);
    assert_int_equal(exit_code(f), 128 + SIGKILL);
}

static void goes_on_when_nobody_reads_the_ready_lines(void **state)
{
    struct fixture *f = *state;
    f->options.processes = 1;
    start(f);
    struct ready r = next_ready(f);
    (void)close(f->ready[0]);
    f->ready[0] = open("/dev/null", O_RDONLY);
    (void)kill(r.pid, SIGKILL);
    await(&f->shared->starts[0], 2);
    (void)kill(f->master, SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

static size_t count_children(pid_t parent)
{
    char path[64], children[256];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    if (fgets(children, sizeof children, file) != NULL) {
        for (const char *c = children; *c != '\0'; c++)
            count += *c == ' ';
    }
    (void)fclose(file);
    return count;
}

/* Only the worker stays a child of the master; the orphan does not stay as a zombie. */
static void as_pid_1_it_reaps_orphans(void **state)
{
    struct fixture *f = *state;
    f->options.processes = 1;
    f->hooks.work = serve_with_orphan;
    f->run = run_as_pid_1;
    start(f);
    struct pollfd p = {.fd = f->ready[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, WATCHDOG_S * 1000), 1);
    if ((p.revents & POLLIN) == 0) {
        assert_int_equal(exit_code(f), NO_NAMESPACE);
        skip(); /* not root */
    }
    (void)next_ready(f);
    while (count_children(atomic_load(&f->shared->pid_1)) != 1)
        (void)sched_yield();
    (void)kill(atomic_load(&f->shared->pid_1), SIGTERM);
    assert_int_equal(exit_code(f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_every_worker_and_reports_it_when_ready),
        TEST(removes_the_endpoint_files_at_the_end),
        TEST(leaves_a_file_that_another_program_put_in_its_place),
        TEST(restarts_a_killed_worker_on_its_endpoint),
        TEST(goes_on_restarting_one_that_ends_before_it_is_ready),
        TEST(restarts_a_worker_that_was_stuck),
        TEST(ends_with_3_when_the_first_import_fails),
        TEST(a_later_failing_import_stops_nothing),
        TEST(a_failing_preload_ends_with_3_before_any_fork),
        TEST(goes_to_chdir_before_preload),
        TEST(a_chdir_that_is_not_there_ends_with_1),
        TEST(a_port_past_the_last_ends_with_1),
        TEST(calls_the_hooks_around_fork_and_wait),
        TEST(workers_ignore_the_terminal_and_have_sigterm_blocked),
        TEST(a_second_signal_ends_workers_that_do_not_drain),
        TEST(workers_that_do_not_drain_are_killed_in_the_end),
        TEST(workers_die_with_a_killed_master),
        TEST(goes_on_when_nobody_reads_the_ready_lines),
        TEST(as_pid_1_it_reaps_orphans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
