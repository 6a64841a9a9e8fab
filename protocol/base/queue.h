/* SPDX-License-Identifier: MIT
 * Intrusive doubly linked list: a node leaves without naming its list.
 *
 *   list.head <-> a <-> b <-> c <-> (list.head)
 */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

struct node {
    struct node *prev, *next; /* both NULL: on no list */
};

struct list {
    struct node head;
};

static inline void list_init(struct list *l)
{
    l->head.prev = l->head.next = &l->head;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->head.next == &l->head;
}

static inline bool node_is_linked(const struct node *n)
{
    return n->next != NULL;
}

static inline void list_push_back(struct list *l, struct node *n)
{
    n->prev = l->head.prev;
    n->next = &l->head;
    l->head.prev->next = n;
    l->head.prev = n;
}

static inline void list_push_front(struct list *l, struct node *n)
{
    n->next = l->head.next;
    n->prev = &l->head;
    l->head.next->prev = n;
    l->head.next = n;
}

/* `before`: on a list, or a list's head. */
static inline void list_insert_after(struct node *before, struct node *n)
{
    n->prev = before;
    n->next = before->next;
    before->next->prev = n;
    before->next = n;
}

/* Leaves its list; does nothing for a node on none. */
static inline void node_leave(struct node *n)
{
    if (n->next == NULL)
        return;
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->prev = n->next = NULL;
}

static inline struct node *list_first(struct list *l)
{
    return list_is_empty(l) ? NULL : l->head.next;
}

static inline struct node *list_next(struct list *l, struct node *n)
{
    return n->next == &l->head ? NULL : n->next;
}

static inline struct node *list_pop_front(struct list *l)
{
    struct node *n = list_first(l);
    if (n != NULL)
        node_leave(n);
    return n;
}

#define NODE_OF(node_ptr, type, member)                                                \
    ((type *)((char *)(node_ptr)-offsetof(type, member)))

/* `n` may leave the list inside the body. */
#define LIST_FOREACH(l, n)                                                             \
    for (struct node *n = (l)->head.next, *n##_next = n->next; n != &(l)->head;        \
         n = n##_next, n##_next = n->next)

#endif
