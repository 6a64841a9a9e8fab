/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "appserver/core/outbox.h"
#include "protocol/frame.h"

static void pack(struct outbox *o, struct outlet *p, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        frame_pack_end(outbox_begin(o, p), i, SLICE(""));
        (void)outbox_end(o, p);
    }
}

static unsigned count(struct list *batches)
{
    unsigned n = 0;
    LIST_FOREACH(batches, node)
        n++;
    return n;
}

static void recycle(struct outbox *o, struct list *batches)
{
    struct node *n;
    while ((n = list_pop_front(batches)) != NULL)
        outbox_recycle(o, NODE_OF(n, struct batch, node));
}

static void a_batch_closes_at_sixty_four_frames(void **state)
{
    struct outbox o;
    struct outlet p;
    struct list turn, batches;

    (void)state;
    outbox_init(&o);
    outlet_init(&p);
    list_init(&turn);
    list_init(&batches);
    pack(&o, &p, FRAME_MAX_BATCH - 1);
    frame_pack_end(outbox_begin(&o, &p), 1, SLICE(""));
    assert_true(outbox_end(&o, &p));
    frame_pack_end(outbox_begin(&o, &p), 1, SLICE(""));
    assert_false(outbox_end(&o, &p));
    outbox_take(&o, &turn);
    assert_false(outbox_is_pending(&o));
    assert_ptr_equal(outbox_next(&o, &turn, &batches), &p);
    assert_int_equal(count(&batches), 2);
    recycle(&o, &batches);
    assert_null(outbox_next(&o, &turn, &batches));
    outbox_fini(&o);
}

static void a_batch_closes_at_thirty_two_kilobytes(void **state)
{
    static char body[20 * 1024];
    struct outbox o;
    struct outlet p;

    (void)state;
    outbox_init(&o);
    outlet_init(&p);
    frame_pack_body(outbox_begin(&o, &p), 1, slice_of(body, sizeof(body)));
    assert_false(outbox_end(&o, &p));
    frame_pack_body(outbox_begin(&o, &p), 1, slice_of(body, sizeof(body)));
    assert_true(outbox_end(&o, &p));
    outbox_drop(&o, &p);
    outbox_fini(&o);
}

static void what_was_refused_stays_in_front_and_is_not_pending(void **state)
{
    struct outbox o;
    struct outlet p;
    struct list turn, batches;

    (void)state;
    outbox_init(&o);
    outlet_init(&p);
    list_init(&turn);
    list_init(&batches);
    pack(&o, &p, 1);
    outbox_take(&o, &turn);
    assert_ptr_equal(outbox_next(&o, &turn, &batches), &p);
    struct node *first = list_first(&batches);
    pack(&o, &p, 70);
    outbox_refused(&o, &p, &batches);
    assert_true(outbox_is_stuck(&o));
    assert_false(outbox_is_pending(&o));
    pack(&o, &p, 1);
    assert_false(outbox_is_pending(&o));
    outbox_take(&o, &turn);
    assert_false(outbox_is_stuck(&o));
    assert_ptr_equal(outbox_next(&o, &turn, &batches), &p);
    assert_ptr_equal(list_first(&batches), first);
    assert_int_equal(count(&batches), 3);
    recycle(&o, &batches);
    outbox_fini(&o);
}

static void a_stream_stalls_behind_a_megabyte(void **state)
{
    static char body[32 * 1024];
    struct outbox o;
    struct outlet p;
    struct list turn, batches;

    (void)state;
    outbox_init(&o);
    outlet_init(&p);
    list_init(&turn);
    list_init(&batches);
    pack(&o, &p, 1);
    outbox_take(&o, &turn);
    assert_non_null(outbox_next(&o, &turn, &batches));
    outbox_refused(&o, &p, &batches);
    assert_false(outlet_is_stalled(&p));
    for (int i = 0; i < 33; i++) {
        frame_pack_body(outbox_begin(&o, &p), 1, slice_of(body, sizeof(body)));
        (void)outbox_end(&o, &p);
    }
    assert_true(outlet_is_stalled(&p));
    outbox_take_one(&o, &p, &batches);
    assert_false(outlet_is_stalled(&p));
    recycle(&o, &batches);
    outbox_fini(&o);
}

static void rounds_tell_old_frames_from_new_ones(void **state)
{
    struct outbox o;
    struct outlet p;

    (void)state;
    outbox_init(&o);
    outlet_init(&p);
    pack(&o, &p, 1);
    uint64_t round = outbox_rounds(&o);
    pack(&o, &p, 1);
    assert_int_equal(outbox_rounds(&o), round);
    outbox_drop(&o, &p);
    pack(&o, &p, 1);
    assert_int_not_equal(outbox_rounds(&o), round);
    outbox_drop(&o, &p);
    outbox_fini(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_closes_at_sixty_four_frames),
        cmocka_unit_test(a_batch_closes_at_thirty_two_kilobytes),
        cmocka_unit_test(what_was_refused_stays_in_front_and_is_not_pending),
        cmocka_unit_test(a_stream_stalls_behind_a_megabyte),
        cmocka_unit_test(rounds_tell_old_frames_from_new_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
