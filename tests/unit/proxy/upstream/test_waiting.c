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

/* ---- anything in any order ---- */

enum { CROWD = 40, CLAIMS = 3, STEPS = 20000 };

struct crowd {
    struct waiting w;
    struct claim claims[CLAIMS];
    struct ticket tickets[CROWD];
    uint64_t random;
};

static uint32_t draw(struct crowd *c, uint32_t below)
{
    c->random = c->random * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(c->random >> 33) % below;
}

static uint32_t length_of(const struct list *list)
{
    uint32_t count = 0;
    for (const struct node *n = list->head.next; n != &list->head; n = n->next)
        count++;
    return count;
}

/* Each ticket of `all` is on the one other list that it belongs to, in the same order;
 * no list has more. */
static void assert_crowd(struct crowd *c)
{
    const struct node *next[CLAIMS + 1];
    const struct list *lists[CLAIMS + 1] = {&c->w.anyone};
    uint32_t claimed = 0, count[CLAIMS] = {0};
    for (uint32_t i = 0; i < CLAIMS; i++)
        lists[i + 1] = &c->claims[i].tickets;
    for (uint32_t i = 0; i <= CLAIMS; i++)
        next[i] = lists[i]->head.next;
    LIST_FOREACH(&c->w.all, n) {
        const struct ticket *t = NODE_OF(n, struct ticket, node);
        size_t at = t->claim == NULL ? 0 : (size_t)(t->claim - c->claims) + 1;
        assert_ptr_equal(next[at], &t->turn_node);
        next[at] = next[at]->next;
        claimed += at != 0;
        if (at != 0)
            count[at - 1]++;
    }
    uint32_t due = 0;
    for (uint32_t i = 0; i <= CLAIMS; i++)
        assert_ptr_equal(next[i], &lists[i]->head);
    for (uint32_t i = 0; i < CLAIMS; i++) {
        const struct claim *claim = &c->claims[i];
        bool is_due = claim->has_room && count[i] > 0;
        assert_int_equal(claim->count, count[i]);
        assert_true(claim->is_open || count[i] == 0);
        assert_int_equal(node_is_linked(&claim->due), is_due);
        due += is_due;
    }
    assert_int_equal(c->w.claimed, claimed);
    assert_int_equal(length_of(&c->w.due), due);
}

static void step(struct crowd *c, uint64_t now_us)
{
    struct ticket *t = &c->tickets[draw(c, CROWD)];
    struct claim *claim = &c->claims[draw(c, CLAIMS)];
    switch (draw(c, 8)) {
    case 0:
        claim_update(&c->w, claim, draw(c, 4) != 0, draw(c, 2) != 0);
        break;
    case 1:
        waiting_loosen(&c->w, now_us);
        break;
    case 2:
    case 3:
        waiting_leave(&c->w, t);
        break;
    default:
        if (node_is_linked(&t->node))
            break;
        if (!claim->is_open || draw(c, 2) == 0)
            claim = NULL;
        t->claimed_until_us = now_us + draw(c, 100);
        if (draw(c, 4) == 0)
            waiting_push_front(&c->w, t, claim);
        else
            waiting_push(&c->w, t, claim);
    }
}

static void the_lists_agree_after_anything(void **state)
{
    (void)state;
    static struct crowd c;
    c.random = 7;
    waiting_init(&c.w);
    for (uint32_t i = 0; i < CLAIMS; i++)
        claim_init(&c.claims[i]);
    for (uint64_t now_us = 0; now_us < STEPS; now_us++) {
        step(&c, now_us);
        assert_crowd(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_waits_once_for_anyone_or_for_one),
        cmocka_unit_test(who_comes_back_goes_to_the_front),
        cmocka_unit_test(a_claim_is_due_while_it_has_room_and_tickets),
        cmocka_unit_test(what_a_closed_claim_had_waits_at_the_place_of_its_age),
        cmocka_unit_test(who_waited_long_enough_for_one_waits_for_anyone),
        cmocka_unit_test(the_lists_agree_after_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
