/* SPDX-License-Identifier: MIT
 * Lists of lists; nobody hears of anything from here. */
#include "proxy/upstream/waiting.h"

void waiting_init(struct waiting *w)
{
    list_init(&w->all);
    list_init(&w->anyone);
    list_init(&w->due);
    w->claimed = 0;
}

void claim_init(struct claim *claim)
{
    *claim = (struct claim){.is_open = false};
    list_init(&claim->tickets);
}

static void note_due(struct waiting *w, struct claim *claim)
{
    bool is_due = claim->has_room && !list_is_empty(&claim->tickets);
    if (!is_due)
        node_leave(&claim->due);
    else if (!node_is_linked(&claim->due))
        list_push_back(&w->due, &claim->due);
}

static struct list *enter(struct waiting *w, struct ticket *t, struct claim *claim)
{
    ASSERT(!node_is_linked(&t->node) && !node_is_linked(&t->turn_node));
    ASSERT(claim == NULL || claim->is_open);
    t->claim = claim;
    if (claim == NULL)
        return &w->anyone;
    claim->count++;
    w->claimed++;
    return &claim->tickets;
}

void waiting_push(struct waiting *w, struct ticket *t, struct claim *claim)
{
    list_push_back(enter(w, t, claim), &t->turn_node);
    list_push_back(&w->all, &t->node);
    if (claim != NULL)
        note_due(w, claim);
}

void waiting_push_front(struct waiting *w, struct ticket *t, struct claim *claim)
{
    list_push_front(enter(w, t, claim), &t->turn_node);
    list_push_front(&w->all, &t->node);
    if (claim != NULL)
        note_due(w, claim);
}

static void let_go(struct waiting *w, struct ticket *t)
{
    struct claim *claim = t->claim;
    node_leave(&t->turn_node);
    t->claim = NULL;
    if (claim == NULL)
        return;
    claim->count--;
    w->claimed--;
    note_due(w, claim);
}

void waiting_leave(struct waiting *w, struct ticket *t)
{
    if (!node_is_linked(&t->turn_node))
        return;
    let_go(w, t);
    node_leave(&t->node);
}

static struct ticket *of_node(struct node *n)
{
    return n == NULL ? NULL : NODE_OF(n, struct ticket, node);
}

static struct ticket *of_turn_node(struct node *n)
{
    return n == NULL ? NULL : NODE_OF(n, struct ticket, turn_node);
}

/* Some were let go of: each finds its place among those for anyone. */
static void line_up(struct waiting *w)
{
    LIST_FOREACH(&w->all, n) {
        struct ticket *t = of_node(n);
        if (t->claim != NULL)
            continue;
        node_leave(&t->turn_node);
        list_push_back(&w->anyone, &t->turn_node);
    }
}

void claim_update(struct waiting *w, struct claim *claim, bool is_open, bool has_room)
{
    claim->is_open = is_open;
    claim->has_room = is_open && has_room;
    if (is_open || list_is_empty(&claim->tickets)) {
        note_due(w, claim);
        return;
    }
    for (struct ticket *t = waiting_for_claim(claim); t != NULL;
         t = waiting_for_claim(claim))
        let_go(w, t);
    line_up(w);
}

void waiting_loosen(struct waiting *w, uint64_t now_us)
{
    bool is_any = false;
    if (w->claimed == 0)
        return;
    LIST_FOREACH(&w->all, n) {
        struct ticket *t = of_node(n);
        if (t->claim == NULL || t->claimed_until_us > now_us)
            continue;
        let_go(w, t);
        is_any = true;
    }
    if (is_any)
        line_up(w);
}

struct ticket *waiting_first(struct waiting *w)
{
    return of_node(list_first(&w->all));
}

struct ticket *waiting_for_anyone(struct waiting *w)
{
    return of_turn_node(list_first(&w->anyone));
}

struct ticket *waiting_for_claim(struct claim *claim)
{
    return of_turn_node(list_first(&claim->tickets));
}

struct claim *waiting_due(struct waiting *w)
{
    struct node *n = list_first(&w->due);
    return n == NULL ? NULL : NODE_OF(n, struct claim, due);
}
