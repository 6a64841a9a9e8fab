/* SPDX-License-Identifier: MIT
 * Growth, caps, consumption. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/base/buf.h"

static void a_new_buf_is_empty_and_may_be_ended(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(buf_room(&b), 0);
    buf_fini(&b);
    buf_fini(&b);
}

static void what_is_appended_is_read_back(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    for (int i = 0; i < 1000; i++)
        buf_add(&b, SLICE("0123456789"));
    assert_int_equal(buf_len(&b), 10000);
    for (int i = 0; i < 1000; i++) {
        assert_memory_equal(buf_slice(&b).ptr, "0123456789", 10);
        buf_consume(&b, 10);
    }
    assert_int_equal(buf_len(&b), 0);
    buf_fini(&b);
}

static void an_emptied_buf_rewinds(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    buf_add(&b, SLICE("abc"));
    buf_consume(&b, 2);
    assert_int_equal(b.start, 2);
    buf_consume(&b, 1);
    assert_int_equal(b.start, 0);
    assert_int_equal(b.end, 0);
    buf_fini(&b);
}

static void a_capped_buf_refuses_what_passes_its_cap(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_true(buf_reserve(&b, 1000));
    assert_true(buf_room(&b) <= 1000);
    assert_false(buf_reserve(&b, 1001));
    assert_false(buf_reserve(&b, SIZE_MAX));
    assert_true(buf_append(&b, SLICE("0123456789")));
    assert_false(buf_reserve(&b, 991));
    assert_true(buf_reserve(&b, 990));
    assert_true(b.cap <= 1000);
    buf_fini(&b);
}

static void a_refused_append_changes_nothing(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4);
    assert_true(buf_append(&b, SLICE("abc")));
    assert_false(buf_append(&b, SLICE("de")));
    assert_true(slice_eq(buf_slice(&b), SLICE("abc")));
    assert_true(buf_append(&b, SLICE("d")));
    assert_true(slice_eq(buf_slice(&b), SLICE("abcd")));
    buf_fini(&b);
}

static void consumed_room_is_used_again_under_a_cap(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 16);
    for (int i = 0; i < 1000; i++) {
        assert_true(buf_append(&b, SLICE("0123456789")));
        buf_consume(&b, i % 2 == 0 ? 4 : 10);
        if (buf_len(&b) > 6)
            buf_consume(&b, buf_len(&b) - 6);
    }
    assert_true(b.cap <= 16);
    buf_fini(&b);
}

static void a_queue_of_bytes_does_not_grow_without_end(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    buf_add(&b, SLICE("start"));
    for (int i = 0; i < 100000; i++) {
        buf_add(&b, SLICE("0123456789"));
        buf_consume(&b, 10);
    }
    assert_int_equal(buf_len(&b), 5);
    assert_true(b.cap <= 1024);
    buf_fini(&b);
}

static void formatted_text_of_any_length_is_added(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    buf_addf(&b, "%s", "");
    buf_addf(&b, "%d-%s", 42, "x");
    assert_true(slice_eq(buf_slice(&b), SLICE("42-x")));
    buf_addf(&b, "%5000d", 7);
    assert_int_equal(buf_len(&b), 5004);
    assert_int_equal(buf_slice(&b).ptr[5003], '7');
    for (int i = 0; i < 600; i++) /* also when it ends exactly at the capacity */
        buf_addf(&b, "%c", 'y');
    assert_int_equal(buf_len(&b), 5604);
    buf_fini(&b);
}

static void committed_bytes_become_readable(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    assert_true(buf_reserve(&b, 3));
    memcpy(buf_tail(&b), "xyz", 3);
    buf_commit(&b, 3);
    assert_true(slice_eq(buf_slice(&b), SLICE("xyz")));
    buf_clear(&b);
    assert_int_equal(buf_len(&b), 0);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_buf_is_empty_and_may_be_ended),
        cmocka_unit_test(what_is_appended_is_read_back),
        cmocka_unit_test(an_emptied_buf_rewinds),
        cmocka_unit_test(a_capped_buf_refuses_what_passes_its_cap),
        cmocka_unit_test(a_refused_append_changes_nothing),
        cmocka_unit_test(consumed_room_is_used_again_under_a_cap),
        cmocka_unit_test(a_queue_of_bytes_does_not_grow_without_end),
        cmocka_unit_test(formatted_text_of_any_length_is_added),
        cmocka_unit_test(committed_bytes_become_readable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
