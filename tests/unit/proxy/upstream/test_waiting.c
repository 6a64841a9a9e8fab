/* SPDX-License-Identifier: MIT
 * proxy/upstream/waiting.c: who waits for whom, in which order. */
#include "proxy/upstream/waiting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>
#include <string.h>

enum { TICKETS = 6 };

struct fixture {
    struct waiting w;
    struct claim one, other;
    struct ticket tickets[TICKETS]; /* called a, b, c ... */
};

static void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    waiting_init(&f->w);
    claim_init(&f->one);
    claim_init(&f->other);
    claim_update(&f->w, &f->one, true, false);
    claim_update(&f->w, &f->other, true, false);
}

/* "a1 b c2": a waits for one, b for anyone, c for the other. */
static void push(struct fixture *f, const char *who)
{
    struct ticket *t = &f->tickets[who[0] - 'a'];
    waiting_push(&f->w, t, who[1] == '1' ? &f->one : who[1] == '2' ? &f->other : NULL);
}

static void push_all(struct fixture *f, const char *all)
{
    for (; *all != '\0'; all += strcspn(all, " "), all += *all == ' ')
        push(f, all);
}

static void
append(const struct fixture *f, char *to, const struct list *list, size_t offset)
{
    for (const struct node *n = list->head.next; n != &list->head; n = n->next) {
        const struct ticket *t = (const void *)((const char *)n - offset);
        char name[2] = {(char)('a' + (t - f->tickets)), '\0'};
        strcat(to, name);
    }
    strcat(to, "|");
}

/* all|anyone|one|other| */
#define ASSERT_WAITING(f, want)                                                        \
    do {                                                                               \
        char text_[64] = "";                                                           \
        append((f), text_, &(f)->w.all, offsetof(struct ticket, node));                \
        append((f), text_, &(f)->w.anyone, offsetof(struct ticket, turn_node));        \
        append((f), text_, &(f)->one.tickets, offsetof(struct ticket, turn_node));     \
        append((f), text_, &(f)->other.tickets, offsetof(struct ticket, turn_node));   \
        assert_string_equal(text_, want);                                              \
    } while (0)

static void each_waits_once_for_anyone_or_for_one(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    assert_null(waiting_first(&f.w));
    assert_null(waiting_for_anyone(&f.w));
    push_all(&f, "a1 b c2 d e1");
    ASSERT_WAITING(&f, "abcde|bd|ae|c|");
    assert_int_equal(f.w.claimed, 3);
    assert_int_equal(f.one.count, 2);
    assert_ptr_equal(waiting_first(&f.w), &f.tickets[0]);
    assert_ptr_equal(waiting_for_anyone(&f.w), &f.tickets[1]);
    assert_ptr_equal(waiting_for_claim(&f.other), &f.tickets[2]);

    waiting_leave(&f.w, &f.tickets[0]);
    waiting_leave(&f.w, &f.tickets[3]);
    waiting_leave(&f.w, &f.tickets[3]);
    ASSERT_WAITING(&f, "bce|b|e|c|");
    assert_int_equal(f.w.claimed, 2);
}

static void who_comes_back_goes_to_the_front(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    push_all(&f, "a b1");
    waiting_push_front(&f.w, &f.tickets[2], NULL);
    waiting_push_front(&f.w, &f.tickets[3], &f.one);
    ASSERT_WAITING(&f, "dcab|ca|db||");
}

static void a_claim_is_due_while_it_has_room_and_tickets(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    push_all(&f, "a1 b2");
    assert_null(waiting_due(&f.w));
    claim_update(&f.w, &f.other, true, true);
    assert_ptr_equal(waiting_due(&f.w), &f.other);
    claim_update(&f.w, &f.other, true, true);
    waiting_leave(&f.w, &f.tickets[1]);
    assert_null(waiting_due(&f.w));
    push(&f, "b2");
    assert_ptr_equal(waiting_due(&f.w), &f.other);
    claim_update(&f.w, &f.other, true, false);
    assert_null(waiting_due(&f.w));

    /* Room without being open is none. */
    claim_update(&f.w, &f.one, false, true);
    assert_null(waiting_due(&f.w));
    assert_false(f.one.has_room);
    ASSERT_WAITING(&f, "ab|a||b|");
}

static void what_a_closed_claim_had_waits_at_the_place_of_its_age(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    push_all(&f, "a b1 c d1 e2 f");
    claim_update(&f.w, &f.one, false, false);
    ASSERT_WAITING(&f, "abcdef|abcdf||e|");
    assert_int_equal(f.w.claimed, 1);
    assert_null(f.tickets[1].claim);
}

static void who_waited_long_enough_for_one_waits_for_anyone(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    for (uint32_t i = 0; i < TICKETS; i++)
        f.tickets[i].claimed_until_us = 10 * (i + 1);
    push_all(&f, "a1 b c2 d e1 f1");
    waiting_loosen(&f.w, 9);
    ASSERT_WAITING(&f, "abcdef|bd|aef|c|");
    waiting_loosen(&f.w, 30);
    ASSERT_WAITING(&f, "abcdef|abcd|ef||");
    waiting_loosen(&f.w, 1000);
    ASSERT_WAITING(&f, "abcdef|abcdef|||");
    assert_int_equal(f.w.claimed, 0);
    assert_int_equal(f.one.count + f.other.count, 0);
    waiting_loosen(&f.w, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_waits_once_for_anyone_or_for_one),
        cmocka_unit_test(who_comes_back_goes_to_the_front),
        cmocka_unit_test(a_claim_is_due_while_it_has_room_and_tickets),
        cmocka_unit_test(what_a_closed_claim_had_waits_at_the_place_of_its_age),
        cmocka_unit_test(who_waited_long_enough_for_one_waits_for_anyone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
