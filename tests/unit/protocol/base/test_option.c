/* SPDX-License-Identifier: MIT
 * Options from defaults, the environment and the command line, and what is said about
 * wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/option.h"

struct options {
    bool lenient, fast, help;
    const char *python, *level;
    struct option_list bind, env;
    int64_t threads, ready_fd, max_body;
    double timeout_s;
};

#define AT(member) offsetof(struct options, member)

static const struct option_row ROWS[] = {
    {.name = "bind",
     .letter = 'b',
     .type = OPTION_LIST,
     .offset = AT(bind),
     .argument = "ADDR",
     .fallback = "127.0.0.1:8000",
     .section = "Sockets",
     .help = "Address to listen on."},
    {.name = "env",
     .letter = 'e',
     .type = OPTION_LIST,
     .offset = AT(env),
     .argument = "K=V",
     .help = "Variable."},
    {.name = "threads",
     .type = OPTION_COUNT,
     .offset = AT(threads),
     .argument = "N",
     .fallback = "4",
     .low = 1,
     .high = 64,
     .section = "Work",
     .help =
         "Threads that run requests; more of them serve more requests that wait for "
         "something, and cost memory."},
    {.name = "ready-fd",
     .type = OPTION_COUNT,
     .offset = AT(ready_fd),
     .fallback = "-1",
     .help = "Descriptor."},
    {.name = "max-body",
     .type = OPTION_SIZE,
     .offset = AT(max_body),
     .argument = "SIZE",
     .fallback = "1G",
     .help = "Largest body."},
    {.name = "timeout",
     .letter = 't',
     .type = OPTION_SECONDS,
     .offset = AT(timeout_s),
     .argument = "SECONDS",
     .fallback = "30",
     .low = 0,
     .high = 3600,
     .help = "Longest request."},
    {.name = "lenient", .type = OPTION_FLAG, .offset = AT(lenient), .help = "Lenient."},
    {.name = "fast",
     .letter = 'f',
     .type = OPTION_FLAG,
     .offset = AT(fast),
     .fallback = "yes",
     .help = "Fast."},
    {.name = "python", .type = OPTION_TEXT, .offset = AT(python), .help = "Python."},
    {.name = "log-level",
     .type = OPTION_TEXT,
     .offset = AT(level),
     .fallback = "info",
     .help = "Level."},
    {.name = "help",
     .letter = 'h',
     .type = OPTION_FLAG,
     .offset = AT(help),
     .help = "This text."},
};

static const struct option_table TABLE = {
    .program = "banyan test",
    .synopsis = "[OPTIONS] MODULE:APP",
    .summary = "Tests options.",
    .rows = ROWS,
    .row_count = sizeof ROWS / sizeof ROWS[0],
};

static struct options options;
static struct buf message;
static char *arguments[16];
static int rest;

static int clean_environment(void **state)
{
    (void)state;
    static const char *const NAMES[] = {
        "BANYAN_BIND",     "BANYAN_THREADS",   "BANYAN_TIMEOUT", "BANYAN_LENIENT",
        "BANYAN_MAX_BODY", "BANYAN_PYTHON",    "BANYAN_HELP",    "BANYAN_READY_FD",
        "BANYAN_FAST",     "BANYAN_LOG_LEVEL", "BANYAN_ENV"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        unsetenv(NAMES[i]);
    memset(&options, 0xaa, sizeof options); /* every member is written */
    return 0;
}

static int forget_arguments(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++) {
        free(arguments[i]);
        arguments[i] = NULL;
    }
    return 0;
}

/* Parses "banyan" and the arguments up to a NULL. */
static enum err parse(const char *first, ...)
{
    int count = 1;
    forget_arguments(NULL);
    arguments[0] = strdup("banyan");
    va_list more;
    va_start(more, first);
    for (const char *a = first; a != NULL; a = va_arg(more, const char *))
        arguments[count++] = strdup(a);
    va_end(more);
    arguments[count] = NULL;
    buf_clear(&message);
    enum err e = option_parse(&TABLE, count, arguments, &options, &rest, &message);
    buf_add(&message, SLICE("\0"));
    return e;
}

static void defaults_fill_every_option(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL), ERR_NONE);
    assert_int_equal(options.threads, 4);
    assert_int_equal(options.ready_fd, -1);
    assert_int_equal(options.max_body, 1 << 30);
    assert_true(options.timeout_s == 30);
    assert_false(options.lenient);
    assert_true(options.fast);
    assert_null(options.python);
    assert_string_equal(options.level, "info");
    assert_int_equal(options.bind.count, 1);
    assert_string_equal(options.bind.items[0], "127.0.0.1:8000");
    assert_int_equal(options.env.count, 0);
    assert_int_equal(rest, 1);
}

static void the_environment_beats_defaults_and_the_command_line_beats_both(void **state)
{
    (void)state;
    setenv("BANYAN_THREADS", "8", 1);
    setenv("BANYAN_TIMEOUT", "2m", 1);
    setenv("BANYAN_LENIENT", "true", 1);
    setenv("BANYAN_BIND", "[::1]:80,unix:/a,", 1);
    assert_int_equal(parse("--timeout", "500ms", NULL), ERR_NONE);
    assert_int_equal(options.threads, 8);
    assert_true(options.timeout_s == 0.5);
    assert_true(options.lenient);
    assert_int_equal(options.bind.count, 2);
    assert_string_equal(options.bind.items[0], "[::1]:80");
    assert_string_equal(options.bind.items[1], "unix:/a");
}

static void lists_of_the_command_line_replace_those_of_the_environment(void **state)
{
    (void)state;
    setenv("BANYAN_BIND", ":1,:2,:3", 1);
    assert_int_equal(parse("-b", ":80,x", "--bind=:81", NULL), ERR_NONE);
    assert_int_equal(options.bind.count, 2);
    assert_string_equal(options.bind.items[0], ":80,x"); /* no commas here */
    assert_string_equal(options.bind.items[1], ":81");
}

static void values_of_a_file_outrank_defaults_alone(void **state)
{
    (void)state;
    const struct option_value values[] = {
        {"threads", "5", "f:1:2"},   {"timeout", "7", "f:2:2"},
        {"max-body", "1K", "f:3:2"}, {"bind", "a,b", "f:4:2"},
        {"bind", "c", "f:4:9"},      {"env", "x", "f:5:1"},
        {"python", "p", "f:6:1"},
    };
    char program[] = "banyan", timeout[] = "--timeout=8";
    char *argv[] = {program, timeout, NULL};
    assert_int_equal(setenv("BANYAN_MAX_BODY", "2K", 1), 0);
    assert_int_equal(setenv("BANYAN_ENV", "y,z", 1), 0);
    buf_clear(&message);
    assert_int_equal(
        option_parse_over(&TABLE, values, 7, 2, argv, &options, &rest, &message),
        ERR_NONE);
    assert_int_equal(options.threads, 5);
    assert_true(options.timeout_s == 8);
    assert_int_equal(options.max_body, 2048);
    assert_int_equal(options.bind.count, 2); /* a comma separates nothing here */
    assert_string_equal(options.bind.items[0], "a,b");
    assert_int_equal(options.env.count, 2);
    assert_string_equal(options.python, "p");

    struct buf printed;
    buf_init(&printed, 0);
    option_print(option_find(&TABLE, "bind"), &options, &printed);
    option_print(option_find(&TABLE, "timeout"), &options, &printed);
    option_print(option_find(&TABLE, "lenient"), &options, &printed);
    option_print(option_find(&TABLE, "max-body"), &options, &printed);
    assert_true(slice_eq(buf_slice(&printed), SLICE("a,b,c8no2048")));
    buf_fini(&printed);
}

static void a_wrong_value_of_a_file_is_refused_with_its_place(void **state)
{
    (void)state;
    const struct option_value value = {"threads", "65", "f.yaml:3:10"};
    buf_clear(&message);
    assert_int_equal(option_set(&TABLE, &value, &options, &message), ERR_BAD_OPTION);
    assert_true(slice_eq(buf_slice(&message),
                         SLICE("f.yaml:3:10: threads: \"65\" is not accepted; expected "
                               "a whole number from 1 to 64")));
    assert_null(option_find(&TABLE, "thread"));
}

static void an_empty_variable_counts_as_unset(void **state)
{
    (void)state;
    setenv("BANYAN_THREADS", "", 1);
    assert_int_equal(parse(NULL), ERR_NONE);
    assert_int_equal(options.threads, 4);
}

static void a_variable_named_help_is_somebody_elses(void **state)
{
    (void)state;
    setenv("BANYAN_HELP", "http://example.org", 1);
    assert_int_equal(parse(NULL), ERR_NONE);
    assert_false(options.help);
    assert_int_equal(parse("-h", NULL), ERR_NONE);
    assert_true(options.help);
}

static void operands_may_stand_anywhere(void **state)
{
    (void)state;
    assert_int_equal(parse("shop.wsgi:app", "--threads", "2", "-f", NULL), ERR_NONE);
    assert_int_equal(options.threads, 2);
    assert_int_equal(rest, 4);
    assert_string_equal(arguments[rest], "shop.wsgi:app");
    assert_int_equal(parse("--threads", "2", "--", "--odd", NULL), ERR_NONE);
    assert_string_equal(arguments[rest], "--odd");
}

static void flags_may_be_switched_off(void **state)
{
    (void)state;
    setenv("BANYAN_LENIENT", "1", 1);
    assert_int_equal(parse("--no-fast", "--no-lenient", NULL), ERR_NONE);
    assert_false(options.fast);
    assert_false(options.lenient);
    setenv("BANYAN_FAST", "off", 1);
    assert_int_equal(parse(NULL), ERR_NONE);
    assert_false(options.fast);
    assert_true(options.lenient);
}

static void times_take_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double seconds;
    } CASES[] = {{"0", 0},        {"7", 7},    {"0.25", 0.25},
                 {"250ms", 0.25}, {".5", 0.5}, {"1.5m", 90},
                 {"1h", 3600},    {"30s", 30}, {"5.", 5}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(parse("-t", CASES[i].text, NULL), ERR_NONE);
        assert_true(options.timeout_s == CASES[i].seconds);
    }
}

static void sizes_take_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
    } CASES[] = {{"0", 0},
                 {"65536", 65536},
                 {"64K", 65536},
                 {"64k", 65536},
                 {"1.5M", 1536 * 1024},
                 {"2G", (int64_t)2 << 30},
                 {"3T", (int64_t)3 << 40},
                 {"1KB", 1024},
                 {"1MiB", 1024 * 1024}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(parse("--max-body", CASES[i].text, NULL), ERR_NONE);
        assert_int_equal(options.max_body, CASES[i].bytes);
    }
}

static void wrong_values_are_refused_with_name_value_source_and_remedy(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *says;
    } CASES[] = {
        {"--threads", "0",
         "--threads: \"0\" (on the command line) is not accepted; expected a whole "
         "number "
         "from 1 to 64"},
        {"--threads", "65", "from 1 to 64"},
        {"--threads", "4x", "a whole number"},
        {"--threads", "", "a whole number"},
        {"--threads", "0x10", "a whole number"},
        {"--threads", "99999999999999999999", "a whole number"},
        {"--timeout", "-1", "a time such as 30, 0.5, 500ms, 2m or 1h from 0 to 3600"},
        {"--timeout", "2h", "from 0 to 3600"},
        {"--timeout", "inf", "a time"},
        {"--timeout", "nan", "a time"},
        {"--timeout", "1e3", "a time"},
        {"--timeout", "5 s", "a time"},
        {"--timeout", "10x", "a time"},
        {"--timeout", ".", "a time"},
        {"--max-body", "-5", "a size in bytes such as 65536, 64K, 1M or 1G"},
        {"--max-body", "1.0001", "a size"},
        {"--max-body", "9999999T", "a size"},
        {"--max-body", "1Q", "a size"},
        {"--max-body", "1KX", "a size"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(parse(CASES[i].option, CASES[i].value, NULL), ERR_BAD_OPTION);
        if (strstr(message.data, CASES[i].says) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", message.data, CASES[i].says);
        assert_non_null(strstr(message.data, CASES[i].option));
    }
}

static void a_wrong_variable_is_named(void **state)
{
    (void)state;
    setenv("BANYAN_MAX_BODY", "lots", 1);
    assert_int_equal(parse(NULL), ERR_BAD_OPTION);
    assert_string_equal(
        message.data,
        "--max-body: \"lots\" (from BANYAN_MAX_BODY in the environment) "
        "is not accepted; expected a size in bytes such as 65536, 64K, 1M "
        "or 1G");
    clean_environment(NULL);
    setenv("BANYAN_LENIENT", "maybe", 1);
    assert_int_equal(parse(NULL), ERR_BAD_OPTION);
    assert_non_null(strstr(message.data, "expected yes or no"));
}

static void what_getopt_refuses_is_explained(void **state)
{
    (void)state;
    static const struct {
        const char *argument, *says;
    } CASES[] = {
        {"--thread-count", "unknown or ambiguous option --thread-count"},
        {"--t", "unknown or ambiguous option --t"},
        {"-x", "unknown option -x"},
        {"-fx", "unknown option -x"},
        {"--threads", "--threads needs a value"},
        {"-b", "-b needs a value"},
        {"--fast=5", "--fast=5: this option takes no value"},
        {"--no-fast=5", "--no-fast=5: this option takes no value"},
        {"--no-help", "unknown or ambiguous option --no-help"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(parse(CASES[i].argument, NULL), ERR_BAD_OPTION);
        if (strstr(message.data, CASES[i].says) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", message.data, CASES[i].says);
        assert_non_null(strstr(message.data, "see banyan test --help"));
    }
}

static void a_list_of_more_than_64_values_is_refused(void **state)
{
    (void)state;
    char text[65 * 2 + 1];
    for (size_t i = 0; i < 65; i++)
        memcpy(text + 2 * i, "a,", 3);
    setenv("BANYAN_ENV", text, 1);
    assert_int_equal(parse(NULL), ERR_BAD_OPTION);
    assert_non_null(strstr(message.data, "--env"));
    assert_non_null(strstr(message.data, "at most 64 values"));
    text[64 * 2] = '\0';
    setenv("BANYAN_ENV", text, 1);
    assert_int_equal(parse(NULL), ERR_NONE);
    assert_int_equal(options.env.count, 64);
}

static void help_shows_every_row_with_default_and_variable(void **state)
{
    (void)state;
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    assert_non_null(to);
    option_help(&TABLE, to);
    fclose(to);
    static const char *const LINES[] = {
        "Usage: banyan test [OPTIONS] MODULE:APP\n\nTests options.\n\nSockets:\n",
        "\n  -b, --bind ADDR             Address to listen on. [default: "
        "127.0.0.1:8000;\n",
        "\n      --threads N             Threads that run requests; more of them serve "
        "more\n"
        "                              requests that wait for something, and cost "
        "memory.\n",
        "[default: 4; BANYAN_THREADS]\n",
        "\n\nWork:\n",
        "      --python VALUE          Python. [BANYAN_PYTHON]\n",
        "  -h, --help                  This text.\n",
    };
    for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++)
        if (strstr(text, LINES[i]) == NULL)
            fail_msg("\"%s\" is not in\n%s", LINES[i], text);
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        assert_true(end - line <= 88);
    free(text);
}

#define OPTION_TEST(name)                                                              \
    cmocka_unit_test_setup_teardown(name, clean_environment, forget_arguments)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPTION_TEST(defaults_fill_every_option),
        OPTION_TEST(the_environment_beats_defaults_and_the_command_line_beats_both),
        OPTION_TEST(lists_of_the_command_line_replace_those_of_the_environment),
        OPTION_TEST(values_of_a_file_outrank_defaults_alone),
        OPTION_TEST(a_wrong_value_of_a_file_is_refused_with_its_place),
        OPTION_TEST(an_empty_variable_counts_as_unset),
        OPTION_TEST(a_variable_named_help_is_somebody_elses),
        OPTION_TEST(operands_may_stand_anywhere),
        OPTION_TEST(flags_may_be_switched_off),
        OPTION_TEST(times_take_units),
        OPTION_TEST(sizes_take_units),
        OPTION_TEST(wrong_values_are_refused_with_name_value_source_and_remedy),
        OPTION_TEST(a_wrong_variable_is_named),
        OPTION_TEST(what_getopt_refuses_is_explained),
        OPTION_TEST(a_list_of_more_than_64_values_is_refused),
        OPTION_TEST(help_shows_every_row_with_default_and_variable),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_fini(&message);
    return failed;
}
