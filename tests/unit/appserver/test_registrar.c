/* SPDX-License-Identifier: MIT
 * appserver/registrar.c with its process, and a proxy that the test plays. */
#include "tests/unit/protocol/link_fixture.h"

#include "appserver/master.h"
#include "appserver/registrar.h"
#include "appserver/slot.h"
#include "protocol/base/clock.h"

static struct app_options options;
static char endpoint[ENDPOINT_BYTES];
static struct link *proxy;

static int set_up(void **state)
{
    if (setup_link(state) != 0)
        return -1;
    fresh_endpoint("tcp", endpoint);
    options = (struct app_options){
        .registers = {.count = 1, .items = {endpoint}},
        .bind = "tcp://127.0.0.1:7001",
        .pool = "web",
        .name = "a",
        .processes = 2,
        .lease_s = 100,
        .ready_fd = -1,
        .log = {"error", "text", "stderr"},
    };
    return 0;
}

static int tear_down(void **state)
{
    link_free(&proxy);
    return teardown_link(state);
}

/* After the first step, which forks: ThreadSanitizer would take the threads of the
 * child for ZeroMQ's here. */
static void open_proxy(void)
{
    assert_int_equal(link_bind_lines(context, endpoint, LINK_LOCAL_ONLY, &proxy),
                     ERR_NONE);
}

/* A slot whose process is a child of ours that does nothing. */
static struct slot *ready_slot(uint32_t number)
{
    int fds[2];
    struct slot *slot = slot_new(options.bind, number, 1);
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (;;)
            (void)pause();
    }
    slot_started(slot, pid, fds[0]);
    assert_int_equal(write(fds[1], "r", 1), 1);
    (void)close(fds[1]);
    assert_int_equal(slot_hear(slot), WORD_READY);
    return slot;
}

static void end_slot(struct slot **slot)
{
    (void)kill((*slot)->pid, SIGKILL);
    assert_int_equal(waitpid((*slot)->pid, NULL, 0), (*slot)->pid);
    slot_retire(*slot, 0);
    slot_ended(*slot, 0);
    slot_free(slot);
}

/* Turns of the loop until there is a line at the proxy: this one. */
static void
expect_line(struct registrar *r, struct slot **slots, uint32_t count, const char *want)
{
    struct link_message m;
    enum step step;
    while ((step = link_recv(proxy, &m)) == STEP_MORE) {
        registrar_step(r, slots, count);
        glance_at(link_fd(proxy));
    }
    assert_int_equal(step, STEP_DONE);
    assert_int_equal(m.frames.len, strlen(want));
    assert_memory_equal(m.frames.ptr, want, m.frames.len);
    uint32_t peer = m.peer;
    link_message_done(&m);
    send_text(proxy, peer, "+\n=0\n");
}

static void without_the_option_there_is_none(void **state)
{
    (void)state;
    options.registers.count = 0;
    struct registrar *r = registrar_new(&options);
    assert_null(r);
    registrar_step(r, NULL, 0);
    assert_true(registrar_next_us(r, NULL, 0) == UINT64_MAX);
    assert_int_equal(registrar_fd(r), -1);
    assert_false(registrar_reap(r));
    registrar_leave(r);
    struct slot *slot = ready_slot(0);
    registrar_on_ready(r, slot);
    registrar_on_end(r, slot);
    registrar_stop(r, slot, UINT64_MAX);
    assert_int_equal(slot->state, SLOT_STOPPING);
    end_slot(&slot);
    registrar_free(&r);
}

static void workers_have_names_and_leave_when_the_proxy_agrees(void **state)
{
    (void)state;
    struct registrar *r = registrar_new(&options);
    struct slot *slots[] = {ready_slot(0), ready_slot(1)};
    registrar_step(r, slots, 2);
    open_proxy();
    expect_line(r, slots, 2, "register web/a-0 tcp://127.0.0.1:7001 lease=100");
    expect_line(r, slots, 2, "register web/a-1 tcp://127.0.0.1:7002 lease=100");
    registrar_stop(r, slots[1], clock_now_us() + 3600 * 1000000ull);
    assert_int_equal(slots[1]->state, SLOT_READY);
    assert_true(registrar_next_us(r, slots, 2) < UINT64_MAX);
    expect_line(r, slots, 2, "deregister web/a-1");
    while (slots[1]->state == SLOT_READY) {
        glance_at(registrar_fd(r));
        registrar_step(r, slots, 2);
    }
    assert_int_equal(slots[1]->state, SLOT_STOPPING);
    assert_int_equal(slots[0]->state, SLOT_READY);
    registrar_free(&r);
    end_slot(&slots[0]);
    end_slot(&slots[1]);
}

static void a_worker_does_not_wait_beyond_its_time(void **state)
{
    (void)state;
    struct registrar *r = registrar_new(&options);
    struct slot *slots[] = {ready_slot(0)};
    registrar_step(r, slots, 1);
    registrar_stop(r, slots[0], 1); /* its time was over long ago */
    registrar_step(r, slots, 1);
    assert_int_equal(slots[0]->state, SLOT_STOPPING);
    registrar_free(&r);
    end_slot(&slots[0]);
}

static void a_process_that_dies_is_replaced_and_told_everything(void **state)
{
    static const char line[] = "register web/a-0 tcp://127.0.0.1:7001 lease=100";
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* it forks while ZeroMQ has threads here */
#endif
    struct registrar *r = registrar_new(&options);
    struct slot *slots[] = {ready_slot(0)};
    registrar_step(r, slots, 1);
    open_proxy();
    expect_line(r, slots, 1, line);
    log_set_level(LOG_ERROR);
    pid_t pid = 0;
    while (pid == 0) { /* its pid is its own affair: the child that is no slot's */
        FILE *children = fopen("/proc/thread-self/children", "r");
        int each = 0;
        assert_non_null(children);
        while (fscanf(children, "%d", &each) == 1)
            if (each != slots[0]->pid)
                pid = each;
        (void)fclose(children);
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (!registrar_reap(r))
        glance_at(registrar_fd(r));
    expect_line(r, slots, 1, line);
    registrar_free(&r);
    end_slot(&slots[0]);
}

static void names_tell_hosts_and_generations_apart(void **state)
{
    static const struct {
        const char *bind, *name, *want;
        int64_t processes;
    } cases[] = {
        {"tcp://127.0.0.1:7001", "a", "register web/a tcp://127.0.0.1:7001 lease=100",
         1},
        {"tcp://127.0.0.1:7001", "x{n}y",
         "register web/x0y tcp://127.0.0.1:7001 lease=100", 2},
        {"ipc:///run/{n}.{g}", "a", "register web/a.1 ipc:///run/0.1 lease=100", 1},
        {"ipc:///run/{n}.{g}", "a", "register web/a-0.1 ipc:///run/0.1 lease=100", 2},
        {"ipc:///run/{n}.{g}", "g{g}", "register web/g1 ipc:///run/0.1 lease=100", 1},
    };
    struct link_context *own_context = context;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        context = link_context_new(2); /* whose end ends its threads */
        options.bind = cases[i].bind;
        options.name = cases[i].name;
        options.processes = cases[i].processes;
        struct registrar *r = registrar_new(&options);
        struct slot *slots[] = {ready_slot(0)};
        registrar_step(r, slots, 1);
        open_proxy();
        expect_line(r, slots, 1, cases[i].want);
        registrar_free(&r);
        end_slot(&slots[0]);
        link_free(&proxy);
        link_context_free(&context);
    }
    context = own_context;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(without_the_option_there_is_none),
        TEST(workers_have_names_and_leave_when_the_proxy_agrees),
        TEST(a_worker_does_not_wait_beyond_its_time),
        TEST(a_process_that_dies_is_replaced_and_told_everything),
        TEST(names_tell_hosts_and_generations_apart),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
