/* SPDX-License-Identifier: MIT
 * appserver/slot.c: every state meets every order. Its "processes" are forked children
 * that wait to be killed; real time passes only where a fork needs it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "appserver/master.h"
#include "appserver/slot.h"
#include "protocol/base/clock.h"

static char socket_file[] = "/tmp/test-slot-XXXXXX";
static char bind[64];

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(socket_file);
    (void)close(fd);
    (void)snprintf(bind, sizeof bind, "ipc://%s", socket_file);
    clock_set(1000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(socket_file);
    (void)snprintf(socket_file, sizeof socket_file, "/tmp/test-slot-XXXXXX");
    clock_release();
    return 0;
}

static pid_t fork_waiting(int fds[2])
{
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(fds[1]);
        for (;;)
            (void)pause();
    }
    return pid;
}

/* A process that waits, and the end where it writes what it says. */
static int start(struct slot *slot)
{
    int fds[2];
    pid_t pid = fork_waiting(fds);
    slot_started(slot, pid, fds[0]);
    return fds[1];
}

/* The same for the next one. */
static int prepare(struct slot *slot)
{
    int fds[2];
    pid_t pid = fork_waiting(fds);
    slot_prepare(slot, pid, fds[0], eventfd(0, EFD_CLOEXEC));
    return fds[1];
}

static void get_prepared(struct slot *slot, int fd)
{
    assert_int_equal(write(fd, "p", 1), 1);
    slot_hear_next(slot);
    assert_true(slot->next.is_prepared);
}

static void make_ready(struct slot *slot, int fd)
{
    assert_int_equal(write(fd, "r", 1), 1);
    (void)close(fd);
    assert_int_equal(slot_hear(slot), WORD_READY);
}

/* What the process died of. */
static int reap(struct slot *slot)
{
    int status;
    assert_int_equal(waitpid(slot->pid, &status, 0), slot->pid);
    return WTERMSIG(status);
}

static int reap_next(struct slot *slot)
{
    int status;
    assert_int_equal(waitpid(slot->next.pid, &status, 0), slot->next.pid);
    slot_next_ended(slot);
    assert_int_equal(slot->next.pid, 0);
    return WTERMSIG(status);
}

static void waits_starts_is_ready_stops_and_waits_again(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 2, 1);
    assert_int_equal(slot->state, SLOT_WAITING);
    assert_int_equal(slot->start_at_us, 0);
    int fd = start(slot);
    assert_int_equal(slot->state, SLOT_STARTING);
    make_ready(slot, fd);
    assert_int_equal(slot->state, SLOT_READY);
    slot_stop(slot, 5000);
    assert_int_equal(slot->state, SLOT_STOPPING);
    assert_int_equal(slot->kill_at_us, 5000);
    assert_int_equal(reap(slot), SIGTERM);
    slot_ended(slot, 700);
    assert_int_equal(slot->state, SLOT_WAITING);
    assert_int_equal(slot->start_at_us, 1700);
    assert_int_equal(slot->pid, 0);
    slot_free(&slot);
    assert_null(slot);
}

static void a_process_that_serves_nothing_yet_is_killed_at_once(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    int fd = start(slot);
    slot_stop(slot, 5000);
    assert_int_equal(slot->state, SLOT_STOPPING);
    assert_int_equal(reap(slot), SIGKILL);
    (void)close(fd);
    slot_ended(slot, 0);
    slot_free(&slot);
}

static void one_that_is_prepared_is_told_to_end(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    int fd = start(slot);
    assert_int_equal(write(fd, "p", 1), 1);
    (void)close(fd);
    assert_int_equal(slot_hear(slot), '\0');
    slot_stop(slot, 5000);
    assert_int_equal(slot->state, SLOT_STOPPING);
    assert_int_equal(slot->kill_at_us, 5000);
    assert_int_equal(reap(slot), SIGTERM);
    slot_ended(slot, 0);
    slot_free(&slot);
}

static void a_pipe_that_closes_without_a_word_is_not_readiness(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    (void)close(start(slot));
    assert_int_equal(slot_hear(slot), '\0');
    assert_int_equal(slot->state, SLOT_STARTING);
    assert_int_equal(slot->words_fd, -1);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    slot_free(&slot);
}

static void readiness_after_the_order_to_stop_changes_nothing(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    int fd = start(slot);
    slot_stop(slot, 5000);
    assert_int_equal(write(fd, "r", 1), 1);
    (void)close(fd);
    assert_int_equal(slot_hear(slot), '\0');
    assert_int_equal(slot->state, SLOT_STOPPING);
    (void)reap(slot);
    slot_ended(slot, 0);
    slot_free(&slot);
}

static void a_retired_slot_is_done_when_its_process_ends(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    make_ready(slot, start(slot));
    slot_retire(slot, 5000);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    assert_int_equal(slot->state, SLOT_DONE);
    slot_stop(slot, 5000);
    slot_kill(slot);
    assert_int_equal(slot->state, SLOT_DONE);
    slot_free(&slot);
}

static void stopping_one_that_waits_makes_it_due_or_done(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    slot->start_at_us = 999999;
    slot_stop(slot, 5000);
    assert_int_equal(slot->state, SLOT_WAITING);
    assert_int_equal(slot->start_at_us, 0);
    slot_retire(slot, 5000);
    slot_stop(slot, 5000);
    assert_int_equal(slot->state, SLOT_DONE);
    slot_free(&slot);
}

static void a_second_order_to_stop_only_shortens_the_time(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    make_ready(slot, start(slot));
    slot_stop(slot, 5000);
    slot_stop(slot, 9000);
    assert_int_equal(slot->kill_at_us, 5000);
    slot_stop(slot, 3000);
    assert_int_equal(slot->kill_at_us, 3000);
    (void)reap(slot);
    slot_ended(slot, 0);
    slot_free(&slot);
}

static void removes_the_file_that_its_process_made(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    make_ready(slot, start(slot));
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    slot_free(&slot);
    assert_int_equal(access(socket_file, F_OK), -1);
}

static void leaves_a_file_it_never_made(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    int fd = start(slot);
    slot_kill(slot);
    (void)reap(slot);
    (void)close(fd);
    slot_ended(slot, 0);
    slot_free(&slot);
    assert_int_equal(access(socket_file, F_OK), 0);
}

static void has_no_place_for_a_port_past_the_last(void **state)
{
    (void)state;
    assert_null(slot_new("tcp://127.0.0.1:65535", 1, 1));
}

static void says_once_that_it_is_spent_and_stays_ready(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    int fd = start(slot);
    assert_int_equal(write(fd, "prs", 3), 3);
    (void)close(fd);
    assert_int_equal(slot_hear(slot), '\0');
    assert_true(slot->is_prepared);
    assert_int_equal(slot_hear(slot), WORD_READY);
    assert_false(slot->is_spent);
    assert_int_equal(slot_hear(slot), WORD_SPENT);
    assert_true(slot->is_spent);
    assert_int_equal(slot->state, SLOT_READY);
    assert_int_equal(slot_hear(slot), '\0');
    assert_int_equal(slot->words_fd, -1);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    assert_false(slot->is_prepared);
    make_ready(slot, start(slot));
    assert_false(slot->is_spent);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    slot_free(&slot);
}

static void a_word_of_readiness_too_many_is_ignored(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    int fd = start(slot);
    assert_int_equal(write(fd, "rr?", 3), 3);
    (void)close(fd);
    assert_int_equal(slot_hear(slot), WORD_READY);
    assert_int_equal(slot_hear(slot), '\0');
    assert_int_equal(slot_hear(slot), '\0');
    assert_int_equal(slot->state, SLOT_READY);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    slot_free(&slot);
}

static void outdating_one_that_serves_drops_its_next(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    make_ready(slot, start(slot));
    (void)close(prepare(slot));
    slot_outdate(slot, 5000);
    assert_true(slot->is_outdated);
    assert_int_equal(slot->next.kill_at_us, 0);
    assert_int_equal(reap_next(slot), SIGKILL);
    slot_keep(slot);
    assert_false(slot->is_outdated);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    slot_free(&slot);
}

static void a_dropped_one_that_is_prepared_is_told_to_end(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    make_ready(slot, start(slot));
    int fd = prepare(slot);
    get_prepared(slot, fd);
    (void)close(fd);
    slot_outdate(slot, 5000);
    assert_false(slot->next.is_prepared);
    assert_int_equal(slot->next.words_fd, -1);
    assert_int_equal(slot->next.kill_at_us, 5000);
    slot_outdate(slot, 9000);
    assert_int_equal(slot->next.kill_at_us, 5000);
    slot_retire(slot, 3000);
    assert_int_equal(slot->next.kill_at_us, 3000);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    assert_int_equal(slot->state, SLOT_DONE);
    assert_int_equal(reap_next(slot), SIGTERM);
    slot_kill_next(slot);
    slot_free(&slot);
}

static void a_dropped_one_does_not_take_the_place(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    make_ready(slot, start(slot));
    int fd = prepare(slot);
    get_prepared(slot, fd);
    (void)close(fd);
    slot_outdate(slot, 5000);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 700);
    assert_int_equal(slot->state, SLOT_WAITING);
    assert_int_equal(slot->start_at_us, 1700);
    make_ready(slot, start(slot));
    assert_int_equal(reap_next(slot), SIGTERM);
    assert_int_equal(slot->state, SLOT_READY);
    (void)close(prepare(slot));
    slot_kill_next(slot);
    assert_int_equal(reap_next(slot), SIGKILL);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    slot_free(&slot);
}

static void a_next_one_that_is_ending_does_not_wait_for_its_turn(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    make_ready(slot, start(slot));
    int fd = prepare(slot);
    get_prepared(slot, fd);
    (void)close(fd);
    slot_hear_next(slot);
    assert_false(slot->next.is_prepared);
    slot_retire(slot, 5000);
    assert_int_equal(reap_next(slot), SIGKILL);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    slot_free(&slot);
}

static void outdating_one_that_stops_lets_its_next_take_the_place(void **state)
{
    (void)state;
    struct slot *slot = slot_new(bind, 0, 1);
    make_ready(slot, start(slot));
    int fd = prepare(slot);
    get_prepared(slot, fd);
    slot_stop(slot, 5000);
    slot_outdate(slot, 5000);
    slot_reread(slot);
    pid_t next = slot->next.pid;
    assert_int_not_equal(next, 0);
    eventfd_t count;
    assert_int_equal(eventfd_read(slot->reread_fd, &count), 0); /* by the old one */
    (void)reap(slot);
    slot_ended(slot, 700);
    assert_int_equal(slot->pid, next);
    assert_int_equal(slot->state, SLOT_STARTING);
    assert_true(slot->is_prepared);
    assert_true(slot->is_outdated);
    assert_int_equal(eventfd_read(slot->reread_fd, &count), 0);
    make_ready(slot, fd);
    assert_true(slot->is_outdated);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    (void)close(start(slot));
    assert_false(slot->is_outdated);
    slot_kill(slot);
    (void)reap(slot);
    slot_ended(slot, 0);
    slot_free(&slot);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(waits_starts_is_ready_stops_and_waits_again),
        TEST(a_process_that_serves_nothing_yet_is_killed_at_once),
        TEST(one_that_is_prepared_is_told_to_end),
        TEST(a_pipe_that_closes_without_a_word_is_not_readiness),
        TEST(readiness_after_the_order_to_stop_changes_nothing),
        TEST(a_retired_slot_is_done_when_its_process_ends),
        TEST(stopping_one_that_waits_makes_it_due_or_done),
        TEST(a_second_order_to_stop_only_shortens_the_time),
        TEST(removes_the_file_that_its_process_made),
        TEST(leaves_a_file_it_never_made),
        TEST(has_no_place_for_a_port_past_the_last),
        TEST(says_once_that_it_is_spent_and_stays_ready),
        TEST(a_word_of_readiness_too_many_is_ignored),
        TEST(outdating_one_that_serves_drops_its_next),
        TEST(a_dropped_one_that_is_prepared_is_told_to_end),
        TEST(a_dropped_one_does_not_take_the_place),
        TEST(a_next_one_that_is_ending_does_not_wait_for_its_turn),
        TEST(outdating_one_that_stops_lets_its_next_take_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
