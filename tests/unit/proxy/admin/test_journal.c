/* SPDX-License-Identifier: MIT
 * proxy/admin/journal.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "proxy/admin/journal.h"

static void keeps_the_latest(void **state)
{
    (void)state;
    static struct journal j;
    assert_int_equal(journal_first(&j), 1);
    for (unsigned i = 1; i <= JOURNAL_EVENTS + 10; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "event %u", i);
        const struct journal_event *e = journal_add(&j, i, 2 * i, "me", "app", text);
        assert_int_equal(e->number, i);
    }
    assert_int_equal(journal_first(&j), 11);
    assert_string_equal(journal_get(&j, 11)->text, "event 11");
    assert_int_equal(journal_get(&j, j.last)->generation, 2 * (JOURNAL_EVENTS + 10));
}

static void clips_texts(void **state)
{
    (void)state;
    static struct journal j;
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    const struct journal_event *e = journal_add(&j, 1, 1, text, text, text);
    assert_int_equal(strlen(e->by), sizeof e->by - 1);
    assert_int_equal(strlen(e->text), sizeof e->text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_latest),
        cmocka_unit_test(clips_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
