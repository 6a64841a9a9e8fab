/* SPDX-License-Identifier: MIT
 * The intrusive list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/base/queue.h"

struct item {
    int value;
    struct node node;
};

static int first_value(struct list *l)
{
    return NODE_OF(list_first(l), struct item, node)->value;
}

static void a_new_list_is_empty(void **state)
{
    (void)state;
    struct list l;
    list_init(&l);
    assert_true(list_is_empty(&l));
    assert_null(list_first(&l));
    assert_null(list_pop_front(&l));
}

static void items_leave_in_the_order_they_came(void **state)
{
    (void)state;
    struct list l;
    struct item items[3] = {{.value = 1}, {.value = 2}, {.value = 3}};
    list_init(&l);
    list_push_back(&l, &items[1].node);
    list_push_back(&l, &items[2].node);
    list_push_front(&l, &items[0].node);
    for (int i = 1; i <= 3; i++) {
        struct node *n = list_pop_front(&l);
        assert_int_equal(NODE_OF(n, struct item, node)->value, i);
        assert_false(node_is_linked(n));
    }
    assert_true(list_is_empty(&l));
}

static void an_item_leaves_without_naming_its_list(void **state)
{
    (void)state;
    struct list l;
    struct item items[3] = {{.value = 1}, {.value = 2}, {.value = 3}};
    list_init(&l);
    for (int i = 0; i < 3; i++)
        list_push_back(&l, &items[i].node);
    node_leave(&items[1].node);
    assert_false(node_is_linked(&items[1].node));
    node_leave(&items[1].node); /* on none: nothing happens */
    assert_int_equal(first_value(&l), 1);
    assert_ptr_equal(list_next(&l, &items[0].node), &items[2].node);
    assert_null(list_next(&l, &items[2].node));
    node_leave(&items[0].node);
    node_leave(&items[2].node);
    assert_true(list_is_empty(&l));
}

static void an_item_may_leave_while_all_are_visited(void **state)
{
    (void)state;
    struct list l;
    struct item items[10];
    int visited = 0;
    list_init(&l);
    for (int i = 0; i < 10; i++) {
        items[i] = (struct item){.value = i};
        list_push_back(&l, &items[i].node);
    }
    LIST_FOREACH(&l, n) {
        visited++;
        if (NODE_OF(n, struct item, node)->value % 2 == 0)
            node_leave(n);
    }
    assert_int_equal(visited, 10);
    visited = 0;
    LIST_FOREACH(&l, n) {
        assert_int_equal(NODE_OF(n, struct item, node)->value % 2, 1);
        visited++;
    }
    assert_int_equal(visited, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_list_is_empty),
        cmocka_unit_test(items_leave_in_the_order_they_came),
        cmocka_unit_test(an_item_leaves_without_naming_its_list),
        cmocka_unit_test(an_item_may_leave_while_all_are_visited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
