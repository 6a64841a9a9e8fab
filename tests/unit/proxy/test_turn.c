/* SPDX-License-Identifier: MIT
 * proxy/turn.c: in what order things leave at the end of a turn, and when the next one
 * must not sleep. Everything that it calls only takes notes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/turn.h"

static char notes[128];
static const char *says_more; /* who has more to do; NULL: nobody */

static bool note(const char *who)
{
    if (notes[0] != '\0')
        strncat(notes, " ", sizeof(notes) - strlen(notes) - 1);
    strncat(notes, who, sizeof(notes) - strlen(notes) - 1);
    return says_more != NULL && strcmp(notes, says_more) == 0;
}

uint64_t deadlines_now(struct deadlines *all)
{
    (void)all;
    return 42;
}

void deadlines_turn(struct deadlines *all)
{
    (void)all;
    (void)note("clock");
}

bool sites_turn(struct sites *sites, uint64_t now_us)
{
    (void)sites;
    assert_int_equal(now_us, 42);
    return note("sites");
}

bool clients_turn(struct clients *all)
{
    (void)all;
    return note("clients");
}

bool clients_has_output(const struct clients *all)
{
    (void)all;
    return note("output?");
}

void access_writer_flush(struct access_writer *w)
{
    (void)w;
    (void)note("log");
}

static bool end_turn(bool has_log, const char *more)
{
    struct turn turn = {.access =
                            has_log ? (struct access_writer *)(uintptr_t)notes : NULL};
    notes[0] = '\0';
    says_more = more;
    return turn_end(&turn);
}

static void requests_leave_then_answers_then_what_they_brought_then_lines(void **state)
{
    (void)state;
    (void)end_turn(true, NULL);
    assert_string_equal(notes, "sites clients sites output? log clock");
    (void)end_turn(false, NULL);
    assert_string_equal(notes, "sites clients sites output? clock");
}

static void the_next_turn_sleeps_only_when_nobody_has_more(void **state)
{
    (void)state;
    static const char *const each[] = {"sites", "sites clients", "sites clients sites",
                                       "sites clients sites output?"};
    assert_false(end_turn(true, NULL));
    for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        assert_true(end_turn(true, each[i]));
        assert_string_equal(notes, "sites clients sites output? log clock");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_leave_then_answers_then_what_they_brought_then_lines),
        cmocka_unit_test(the_next_turn_sleeps_only_when_nobody_has_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
