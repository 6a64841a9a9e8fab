/* SPDX-License-Identifier: MIT
 * Allocation, own, take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "protocol/base/mem.h"

struct thing {
    int *freed;
};

static void thing_free(struct thing **thing_p)
{
    if (*thing_p == NULL)
        return;
    ++*(*thing_p)->freed;
    mem_free(thing_p);
}

static struct thing *thing_new(int *freed)
{
    own(thing) struct thing *t = mem_zalloc(sizeof *t);
    t->freed = freed;
    return take(t);
}

static void an_owned_variable_is_freed_at_the_end_of_its_scope(void **state)
{
    (void)state;
    int freed = 0;
    {
        own(thing) struct thing *t = thing_new(&freed);
        assert_non_null(t);
        assert_int_equal(freed, 0);
    }
    assert_int_equal(freed, 1);
}

static void a_taken_variable_is_not_freed(void **state)
{
    (void)state;
    int freed = 0;
    struct thing *kept;
    {
        own(thing) struct thing *t = thing_new(&freed);
        kept = take(t);
        assert_null(t);
    }
    assert_int_equal(freed, 0);
    thing_free(&kept);
    assert_null(kept);
    assert_int_equal(freed, 1);
}

static void texts_are_copied_and_formatted(void **state)
{
    (void)state;
    own(mem) char *copy = mem_strdup("abc");
    own(mem) char *text = mem_printf("%s-%d", copy, 5);
    assert_string_equal(copy, "abc");
    assert_string_equal(text, "abc-5");
}

static void nothing_may_be_asked_for_and_freed(void **state)
{
    (void)state;
    own(mem) char *none = mem_alloc(0);
    assert_non_null(none);
    none = mem_realloc(none, 100);
    memset(none, 'x', 100);
    none = mem_realloc(none, 0);
    assert_non_null(none);
    mem_free(&none);
    assert_null(none);
    mem_free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_owned_variable_is_freed_at_the_end_of_its_scope),
        cmocka_unit_test(a_taken_variable_is_not_freed),
        cmocka_unit_test(texts_are_copied_and_formatted),
        cmocka_unit_test(nothing_may_be_asked_for_and_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
