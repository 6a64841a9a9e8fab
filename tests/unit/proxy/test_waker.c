/* SPDX-License-Identifier: MIT
 * proxy/waker.c with a PAIR: no input is missed, however its edge was used up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <event2/event.h>
#include <unistd.h>

#include "proxy/waker.h"

struct fixture {
    struct event_base *base;
    struct link_context *context;
    struct link *near, *far;
    struct waker *waker;
    uint32_t budget; /* messages per call */
    uint32_t calls, received;
    bool frees_itself;
};

static enum waker_result on_input(void *arg)
{
    struct fixture *f = arg;
    f->calls++;
    for (uint32_t n = 0; n < f->budget; n++) {
        struct link_message m;
        if (link_recv(f->near, &m) != STEP_DONE)
            return WAKER_DRAINED;
        f->received++;
        link_message_done(&m);
        if (f->frees_itself) {
            waker_free(&f->waker);
            link_free(&f->near);
            return WAKER_INPUT_LEFT;
        }
    }
    return WAKER_INPUT_LEFT;
}

static void setup(struct fixture *f)
{
    *f = (struct fixture){.budget = 1000};
    f->base = event_base_new();
    f->context = link_context_new(8);
    link_pair_new(f->context, &f->near, &f->far);
}

static void teardown(struct fixture *f)
{
    waker_free(&f->waker);
    link_free(&f->near);
    link_free(&f->far);
    event_base_free(f->base);
    link_context_free(&f->context);
}

static void send_some(struct fixture *f, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(link_send(f->far, 0, SLICE("x"), SLICE("")), ERR_NONE);
}

static void turn(struct fixture *f)
{
    (void)event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void finds_what_came_before_it_existed(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    send_some(&f, 3);
    /* Looking uses up the descriptor's edge. */
    assert_true(link_has_input(f.near));
    f.waker = waker_new(f.base, f.near, on_input, &f);
    turn(&f);
    assert_int_equal(f.received, 3);
    teardown(&f);
}

static void a_budget_spreads_the_input_over_turns(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.budget = 10;
    f.waker = waker_new(f.base, f.near, on_input, &f);
    turn(&f);
    send_some(&f, 35);
    for (uint32_t want = 10; want <= 30; want += 10) {
        turn(&f);
        assert_int_equal(f.received, want);
    }
    turn(&f);
    assert_int_equal(f.received, 35);
    uint32_t calls = f.calls;
    turn(&f);
    turn(&f);
    assert_int_equal(f.calls, calls);
    teardown(&f);
}

static void a_recheck_after_sends_finds_what_they_hid(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.waker = waker_new(f.base, f.near, on_input, &f);
    turn(&f);
    assert_false(waker_recheck(f.waker));
    for (uint32_t round = 1; round <= 200; round++) {
        send_some(&f, 1);
        assert_int_equal(link_send(f.near, 0, SLICE("y"), SLICE("")), ERR_NONE);
        (void)link_has_input(f.near); /* the edge is gone */
        assert_true(waker_recheck(f.waker));
        /* It must not sleep: there is no timer in this base. */
        (void)event_base_loop(f.base, EVLOOP_ONCE);
        assert_int_equal(f.received, round);
        struct link_message m;
        assert_int_equal(link_recv(f.far, &m), STEP_DONE);
        link_message_done(&m);
    }
    teardown(&f);
}

static void it_may_be_freed_inside_its_own_call(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.frees_itself = true;
    f.waker = waker_new(f.base, f.near, on_input, &f);
    send_some(&f, 2);
    turn(&f);
    turn(&f);
    assert_int_equal(f.received, 1);
    assert_null(f.waker);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_came_before_it_existed),
        cmocka_unit_test(a_budget_spreads_the_input_over_turns),
        cmocka_unit_test(a_recheck_after_sends_finds_what_they_hid),
        cmocka_unit_test(it_may_be_freed_inside_its_own_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
