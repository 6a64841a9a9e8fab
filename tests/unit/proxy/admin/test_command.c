/* SPDX-License-Identifier: MIT
 * proxy/admin/command.c and the table of verbs */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <string.h>

#include "proxy/admin/admin_priv.h"

static bool parse(const char *line, struct command *c, struct buf *message)
{
    buf_init(message, 0);
    bool is_good = command_parse(slice_from(line), c, message);
    assert_int_equal(is_good, buf_len(message) == 0);
    return is_good;
}

static void a_line_is_a_verb_with_operands(void **state)
{
    (void)state;
    struct command c;
    struct buf message;
    assert_true(parse("--json --timeout=1.5 show backends app-1", &c, &message));
    assert_string_equal(c.verb->words, "show backends");
    assert_true(c.is_json);
    assert_int_equal(c.timeout_us, 1500000);
    assert_int_equal(c.operand_count, 1);
    assert_string_equal(c.operands[0], "app-1");
    command_fini(&c);
    assert_true(parse("ping --json --timeout 2s if-generation=12", &c, &message));
    assert_true(c.is_json && c.has_generation);
    assert_int_equal(c.if_generation, 12);
    assert_int_equal(c.timeout_us, 2000000);
    command_fini(&c);
    assert_true(parse("stats", &c, &message));
    assert_string_equal(c.verb->words, "stats");
    command_fini(&c);
    assert_true(parse("stats reset", &c, &message));
    assert_string_equal(c.verb->words, "stats reset");
    command_fini(&c);
}

static void refuses_and_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *line, *says;
    } rows[] = {
        {"", "verb is missing"},
        {"--json", "verb is missing"},
        {"frobnicate", "is no verb"},
        {"show", "show what? There are version,"},
        {"show nonsense", "show what?"},
        {"ping pong", "too much"},
        {"log level",
         "something is missing; usage: log level error|warning|info|debug"},
        {"ping x=1", "ping takes no x="},
        {"ping if-generation=x", "is no number"},
        {"--frob ping", "is no option"},
        {"ping --frob", "is no option"},
        {"--timeout ping", "expected seconds"},
        {"ping --timeout", "expected seconds"},
        {"--timeout=-1 ping", "expected seconds"},
        {"\"ping", "quote"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct command c;
        struct buf message;
        assert_false(parse(rows[i].line, &c, &message));
        buf_add(&message, slice_of("", 1));
        if (strstr(buf_slice(&message).ptr, rows[i].says) == NULL)
            fail_msg("%s: %s", rows[i].line, buf_slice(&message).ptr);
        buf_fini(&message);
        command_fini(&c);
    }
}

static void seconds_and_numbers(void **state)
{
    (void)state;
    uint64_t value;
    assert_true(command_seconds("500ms", &value) && value == 500000);
    assert_true(command_seconds("2m", &value) && value == 120000000);
    assert_true(command_seconds("0.25s", &value) && value == 250000);
    static const char *const bad[] = {"",    "s",   "-1", "1e3",   "0x10",
                                      "nan", "5 s", "1d", "100000"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(command_seconds(bad[i], &value));
    assert_true(command_number("18446744073709551615", UINT64_MAX, &value));
    assert_int_equal(value, UINT64_MAX);
    assert_false(command_number("18446744073709551616", UINT64_MAX, &value));
    assert_false(command_number("257", 256, &value));
    assert_false(command_number("-1", 256, &value));
    assert_false(command_number("", 256, &value));
}

static void every_verb_names_its_role_and_its_help(void **state)
{
    (void)state;
    for (size_t i = 0; i < verb_count; i++) {
        const struct verb *v = &verbs[i];
        assert_true(v->role < ROLE_COUNT);
        assert_true(v->least <= v->most && v->most < WORDS_MAX);
        assert_true(strlen(v->help) > 3 && v->run != NULL);
        if (v->effect == VERB_CHANGES)
            assert_true(v->role >= ROLE_OPERATOR);
        if (v->role == ROLE_VIEWER && strncmp(v->words, "show ", 5) != 0) {
            static const char *const harmless[] = {"ping",  "whoami", "help",
                                                   "stats", "wait",   "diff"};
            bool is_harmless = false;
            for (size_t n = 0; n < sizeof harmless / sizeof harmless[0]; n++)
                is_harmless |= strcmp(v->words, harmless[n]) == 0;
            if (!is_harmless)
                fail_msg("may a viewer say %s?", v->words);
        }
        for (size_t n = 0; n < i; n++)
            assert_string_not_equal(verbs[n].words, v->words);
    }
}

static void roles_have_names(void **state)
{
    (void)state;
    for (enum role role = ROLE_VIEWER; role < ROLE_COUNT; role++) {
        enum role found;
        assert_true(role_parse(slice_from(role_name(role)), &found));
        assert_int_equal(found, role);
    }
    enum role found;
    assert_false(role_parse(SLICE("root"), &found));
}

static void an_app_server_may_only_what_is_its_own(void **state)
{
    (void)state;
    for (enum role role = ROLE_VIEWER; role < ROLE_COUNT; role++)
        for (enum role wanted = ROLE_VIEWER; wanted < ROLE_COUNT; wanted++) {
            bool is_app = role == ROLE_APP || wanted == ROLE_APP;
            assert_int_equal(role_may(role, wanted),
                             is_app ? role == wanted : role >= wanted);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_verb_with_operands),
        cmocka_unit_test(refuses_and_says_why),
        cmocka_unit_test(seconds_and_numbers),
        cmocka_unit_test(every_verb_names_its_role_and_its_help),
        cmocka_unit_test(roles_have_names),
        cmocka_unit_test(an_app_server_may_only_what_is_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
