/* SPDX-License-Identifier: MIT
 * proxy/admin/resolver.c, with names that are addresses and hosts that cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <event2/event.h>
#include <string.h>

#include "proxy/admin/resolver.h"

struct told {
    struct event_base *base;
    unsigned awaited, answers;
    int error;
    uint32_t count;
    uint64_t ids; /* their sum */
    char first[RESOLVER_ADDRESS];
};

static void on_answer(void *arg, const struct resolver_answer *answer)
{
    struct told *told = arg;
    told->answers++;
    told->ids += answer->id;
    told->error = answer->error;
    told->count = answer->count;
    if (answer->count > 0)
        memcpy(told->first, answer->addresses[0], strlen(answer->addresses[0]) + 1);
    if (told->answers == told->awaited)
        (void)event_base_loopbreak(told->base);
}

static void answers_come_in_the_loop(void **state)
{
    (void)state;
    struct told told = {.base = event_base_new(), .awaited = 1};
    struct resolver *r = resolver_new(told.base, on_answer, &told);
    resolver_ask(r, 7, "192.0.2.1");
    (void)event_base_dispatch(told.base);
    assert_int_equal(told.ids, 7);
    assert_int_equal(told.error, 0);
    assert_int_equal(told.count, 1);
    assert_string_equal(told.first, "192.0.2.1");
    told.awaited = 2;
    resolver_ask(r, 8, "no..host"); /* no name server is asked for that */
    (void)event_base_dispatch(told.base);
    assert_int_not_equal(told.error, 0);
    assert_int_equal(told.count, 0);
    resolver_free(&r);
    assert_null(r);
    event_base_free(told.base);
}

static void more_lookups_than_threads_are_all_answered(void **state)
{
    (void)state;
    enum { COUNT = 20 * RESOLVER_THREADS };
    struct told told = {.base = event_base_new(), .awaited = COUNT};
    struct resolver *r = resolver_new(told.base, on_answer, &told);
    for (uint64_t i = 1; i <= COUNT; i++)
        resolver_ask(r, i, "127.0.0.1");
    (void)event_base_dispatch(told.base);
    assert_int_equal(told.ids, COUNT * (COUNT + 1) / 2);
    resolver_free(&r);
    event_base_free(told.base);
}

static void it_may_go_while_lookups_are_under_way(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 50; n++) {
        struct told told = {.base = event_base_new()};
        struct resolver *r = resolver_new(told.base, on_answer, &told);
        for (uint64_t i = 0; i < n; i++)
            resolver_ask(r, i, "127.0.0.1");
        resolver_free(&r);
        (void)event_base_loop(told.base, EVLOOP_NONBLOCK);
        assert_int_equal(told.answers, 0);
        event_base_free(told.base);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_in_the_loop),
        cmocka_unit_test(more_lookups_than_threads_are_all_answered),
        cmocka_unit_test(it_may_go_while_lookups_are_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
