/* SPDX-License-Identifier: MIT
 * Credit in bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/window.h"

static void a_sender_spends_and_regains_credit(void **state)
{
    (void)state;
    struct window_sender w;
    window_sender_init(&w, 100);
    window_sent(&w, 60);
    assert_int_equal(w.left, 40);
    assert_true(window_granted(&w, 10));
    assert_int_equal(w.left, 50);
    window_sent(&w, 50);
    assert_int_equal(w.left, 0);
}

static void a_grant_that_overflows_is_refused(void **state)
{
    (void)state;
    struct window_sender w;
    window_sender_init(&w, 1);
    assert_false(window_granted(&w, UINT64_MAX));
    assert_int_equal(w.left, 1);
    assert_true(window_granted(&w, UINT64_MAX - 1));
    assert_int_equal(w.left, UINT64_MAX);
    assert_true(window_granted(&w, 0));
    assert_false(window_granted(&w, 1));
}

static void more_than_was_granted_is_refused(void **state)
{
    (void)state;
    struct window_receiver w;
    window_receiver_init(&w, 100);
    assert_true(window_received(&w, 100));
    assert_true(window_received(&w, 0));
    assert_false(window_received(&w, 1));
}

static void credit_comes_back_in_steps_of_half_the_window(void **state)
{
    (void)state;
    struct window_receiver w;
    window_receiver_init(&w, 100);
    assert_true(window_received(&w, 100));
    assert_int_equal(window_consumed(&w, 0), 0);
    assert_int_equal(window_consumed(&w, 49), 0);
    assert_false(window_received(&w, 1));
    assert_int_equal(window_consumed(&w, 1), 50);
    assert_true(window_received(&w, 50));
    assert_false(window_received(&w, 1));
    assert_int_equal(window_consumed(&w, 100), 100);
}

static void a_window_of_one_byte_never_stands_still(void **state)
{
    (void)state;
    struct window_receiver w;
    window_receiver_init(&w, 1);
    for (int i = 0; i < 10; i++) {
        assert_true(window_received(&w, 1));
        assert_false(window_received(&w, 1));
        assert_int_equal(window_consumed(&w, 1), 1);
    }
}

static void a_window_of_nothing_takes_nothing(void **state)
{
    (void)state;
    struct window_receiver w;
    window_receiver_init(&w, 0);
    assert_false(window_received(&w, 1));
    assert_int_equal(window_consumed(&w, 0), 0);
}

/* A sender that only follows grants never stands still and never sends too much. */
static void both_ends_agree_for_any_size_and_any_pieces(void **state)
{
    (void)state;
    for (uint64_t size = 1; size < 200; size++) {
        struct window_sender s;
        struct window_receiver r;
        uint64_t held = 0, passed = 0;
        window_sender_init(&s, size);
        window_receiver_init(&r, size);
        for (uint64_t turn = 1; turn < 500; turn++) {
            uint64_t piece = turn * 7919 % size + 1;
            piece = piece < s.left ? piece : s.left;
            window_sent(&s, piece);
            assert_true(window_received(&r, piece));
            held += piece;
            assert_true(held <= size);
            uint64_t pass = held < turn % 5 ? held : turn % 5;
            held -= pass;
            passed += pass;
            assert_true(window_granted(&s, window_consumed(&r, pass)));
            assert_int_equal(s.left, r.left);
            assert_true(s.left > 0 || held > 0);
        }
        assert_true(passed > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sender_spends_and_regains_credit),
        cmocka_unit_test(a_grant_that_overflows_is_refused),
        cmocka_unit_test(more_than_was_granted_is_refused),
        cmocka_unit_test(credit_comes_back_in_steps_of_half_the_window),
        cmocka_unit_test(a_window_of_one_byte_never_stands_still),
        cmocka_unit_test(a_window_of_nothing_takes_nothing),
        cmocka_unit_test(both_ends_agree_for_any_size_and_any_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
