/* SPDX-License-Identifier: MIT
 * What lines look like, and that no input can forge or break one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/base/buf.h"
#include "protocol/base/log.h"

/* stderr goes to a file while a test runs. */
static int real_stderr, file;

static int redirect(void **state)
{
    (void)state;
    char path[] = "/tmp/test_log_XXXXXX";
    file = mkstemp(path);
    assert_true(file >= 0);
    (void)unlink(path);
    real_stderr = dup(STDERR_FILENO);
    (void)dup2(file, STDERR_FILENO);
    log_set_name("test");
    log_set_level(LOG_INFO);
    return 0;
}

static const struct log_options PLAIN = {"info", "text", "stderr"};

static int restore(void **state)
{
    (void)state;
    log_set_up(&PLAIN);
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    (void)close(file);
    return 0;
}

static char written[1 << 20];

static const char *read_log(void)
{
    ssize_t length = pread(file, written, sizeof written - 1, 0);
    assert_true(length >= 0);
    written[length] = '\0';
    return written;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int result = regexec(&re, text, 0, NULL, 0);
    regfree(&re);
    if (result != 0)
        fail_msg("\"%s\" does not match \"%s\"", text, pattern);
}

#define STAMP "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z"

static void a_line_holds_time_name_pid_level_context_and_text(void **state)
{
    (void)state;
    struct log_ctx ctx = {.prefix = "c42 r7"};
    log_info(&ctx, "accepted %d", 5);
    log_warn(NULL, "careful");
    assert_matches(read_log(), "^" STAMP " test [0-9]+ INFO  c42 r7 accepted 5\n" STAMP
                               " test [0-9]+ WARN  careful\n$");
}

static void lines_below_the_level_are_not_written(void **state)
{
    (void)state;
    log_set_level(LOG_WARN);
    log_info(NULL, "not this");
    log_debug(NULL, "nor this");
    log_text(LOG_INFO, NULL, SLICE("nor this"));
    assert_string_equal(read_log(), "");
    assert_true(log_is_on(LOG_ERROR));
    assert_false(log_is_on(LOG_INFO));
    log_set_level(LOG_DEBUG);
    log_debug(NULL, "this");
    assert_matches(read_log(), "DEBUG this\n$");
}

static void control_bytes_cannot_start_a_line_or_steer_a_terminal(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } CASES[] = {
        {"a\nb\tc", "a\\nb\\tc"},
        {"\r\x1b[2J\x7f", "\\x0d\\x1b[2J\\x7f"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\xb3",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\xb3"},
        {"\xc2\x9b"
         "1m",
         "\\xc2\\x9b"
         "1m"},                                                  /* C1: CSI */
        {"\xff\xc3", "\\xff\\xc3"},                              /* not UTF-8 */
        {"\xc0\xaf \xe0\x80\xaf", "\\xc0\\xaf \\xe0\\x80\\xaf"}, /* overlong */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},                     /* surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},            /* past the end */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(ftruncate(file, 0), 0);
        (void)lseek(file, 0, SEEK_SET);
        log_info(NULL, "%s", CASES[i].in);
        const char *text = strstr(read_log(), "INFO  ") + 6;
        assert_int_equal(strlen(text), strlen(CASES[i].out) + 1);
        assert_memory_equal(text, CASES[i].out, strlen(CASES[i].out));
    }
}

static void a_long_line_is_clipped_and_says_so(void **state)
{
    (void)state;
    static char text[20000];
    memset(text, 'x', sizeof text - 1);
    log_info(NULL, "%s", text);
    size_t length = strlen(read_log());
    assert_true(length <= 8 * 1024);
    assert_string_equal(read_log() + length - 6, "xx...\n");
    memset(text, '\1', sizeof text - 1); /* escaping makes it longer still */
    log_info(NULL, "%s", text);
    assert_true(strlen(read_log()) <= 2 * 8 * 1024);
    assert_string_equal(read_log() + strlen(read_log()) - 8, "\\x01...\n");
}

static size_t count_lines(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static void each_line_of_a_text_gets_the_prefix(void **state)
{
    (void)state;
    struct log_ctx ctx = {.prefix = "r1"};
    log_text(LOG_ERROR, &ctx, SLICE("Traceback\r\n  line 1\n\nlast"));
    assert_matches(read_log(),
                   "^" STAMP " test [0-9]+ ERROR r1 Traceback\n" STAMP
                   " test [0-9]+ ERROR r1   line 1\n" STAMP
                   " test [0-9]+ ERROR r1 \n" STAMP " test [0-9]+ ERROR r1 last\n$");
    assert_int_equal(count_lines(read_log()), 4);
}

static void an_endless_text_ends(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 0);
    for (int i = 0; i < 100000; i++)
        buf_add(&text, SLICE("and so on\n"));
    log_text(LOG_ERROR, NULL, buf_slice(&text));
    buf_fini(&text);
    assert_true(strlen(read_log()) < 300 * 1024);
    assert_matches(read_log() + strlen(read_log()) - 10, "\\.\\.\\.\n$");
}

static void logging_leaves_errno_alone(void **state)
{
    (void)state;
    errno = ENOENT;
    log_info(NULL, "%m");
    assert_int_equal(errno, ENOENT);
    assert_matches(read_log(), "No such file");
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info(NULL, "%s", (const char *)arg);
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    static char texts[4][1000];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        memset(texts[i], 'a' + i, sizeof texts[i] - 1);
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, texts[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    (void)read_log();
    size_t lines = 0;
    for (char *text = written; *text != '\0'; lines++) {
        char *end = strchr(text, '\n');
        char *start = strstr(text, "INFO  ") + 6;
        assert_int_equal(end - start, 999);
        for (char *c = start; c < end; c++)
            assert_int_equal(*c, *start);
        text = end + 1;
    }
    assert_int_equal(lines, 800);
}

static void levels_have_the_names_people_know(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum log_level level;
    } CASES[] = {{"error", LOG_ERROR}, {"critical", LOG_ERROR}, {"warning", LOG_WARN},
                 {"warn", LOG_WARN},   {"Info", LOG_INFO},      {"DEBUG", LOG_DEBUG}};
    enum log_level level;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_true(log_parse_level(CASES[i].name, &level));
        assert_int_equal(level, CASES[i].level);
    }
    assert_false(log_parse_level("", &level));
    assert_false(log_parse_level("loud", &level));
}

static const struct log_options JSON = {"info", "json", "stderr"};
#define JSON_START                                                                     \
    "\\{\"time\":\"" STAMP "\",\"type\":\"log\",\"program\":\"test\",\"pid\":[0-9]+,"

static void json_is_an_object_a_line(void **state)
{
    (void)state;
    struct log_ctx ctx = {.prefix = "c42 r7"};
    log_set_up(&JSON);
    assert_true(log_is_json());
    log_info(&ctx, "a \"%s\"", "word\n");
    log_text(LOG_ERROR, NULL, SLICE("Traceback\n  line 1\n"));
    log_text(LOG_ERROR, NULL, SLICE(""));
    assert_matches(read_log(),
                   "^" JSON_START "\"level\":\"info\",\"context\":\"c42 r7\","
                   "\"message\":\"a \\\\\"word\\\\n\\\\\"\"}\n" JSON_START
                   "\"level\":\"error\",\"message\":\"Traceback\\\\n  line 1\"}\n$");
}

static void json_says_what_was_clipped(void **state)
{
    (void)state;
    static char text[300 * 1024];
    memset(text, '"', sizeof text);
    log_set_up(&JSON);
    log_warn(NULL, "%.*s", 20000, text);
    assert_matches(read_log(), "\\\\\"\",\"clipped\":true}\n$");
    assert_true(strlen(read_log()) < 17 * 1024);
    log_text(LOG_ERROR, NULL, slice_of(text, sizeof text));
    assert_matches(read_log() + strlen(read_log()) - 30,
                   "\\\\\"\",\"clipped\":true}\n$");
    assert_int_equal(count_lines(read_log()), 2);
}

static void standard_output_is_taken_when_asked_for(void **state)
{
    (void)state;
    const struct log_options out = {"info", "text", "stdout"};
    (void)fflush(stdout);
    int real = dup(STDOUT_FILENO), pipe_fds[2];
    char text[256] = "";
    assert_int_equal(pipe(pipe_fds), 0);
    (void)dup2(pipe_fds[1], STDOUT_FILENO);
    log_set_up(&out);
    log_info(NULL, "there");
    (void)dup2(real, STDOUT_FILENO);
    assert_true(read(pipe_fds[0], text, sizeof text - 1) > 0);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    (void)close(real);
    assert_matches(text, "INFO  there\n$");
    assert_string_equal(read_log(), "");
}

static void a_wrong_option_is_named(void **state)
{
    (void)state;
    static const struct {
        struct log_options options;
        const char *want; /* NULL: accepted */
    } CASES[] = {
        {{"info", "text", "stderr"}, NULL},
        {{"DEBUG", "JSON", "stdout"}, NULL},
        {{"loud", "text", "stderr"}, "--log-level: \"loud\" is not accepted"},
        {{"info", "xml", "stderr"}, "--log-format: \"xml\" is not accepted"},
        {{"info", "text", "/dev/null"}, "--log-output: \"/dev/null\" is not accepted"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct buf message;
        buf_init(&message, 0);
        assert_int_equal(log_check(&CASES[i].options, &message), CASES[i].want == NULL);
        buf_add(&message, slice_of("", 1));
        if (CASES[i].want != NULL)
            assert_memory_equal(buf_slice(&message).ptr, CASES[i].want,
                                strlen(CASES[i].want));
        buf_fini(&message);
    }
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, redirect, restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(a_line_holds_time_name_pid_level_context_and_text),
        LOG_TEST(lines_below_the_level_are_not_written),
        LOG_TEST(control_bytes_cannot_start_a_line_or_steer_a_terminal),
        LOG_TEST(a_long_line_is_clipped_and_says_so),
        LOG_TEST(each_line_of_a_text_gets_the_prefix),
        LOG_TEST(an_endless_text_ends),
        LOG_TEST(json_is_an_object_a_line),
        LOG_TEST(json_says_what_was_clipped),
        LOG_TEST(standard_output_is_taken_when_asked_for),
        cmocka_unit_test(a_wrong_option_is_named),
        LOG_TEST(logging_leaves_errno_alone),
        LOG_TEST(lines_of_several_threads_do_not_mix),
        cmocka_unit_test(levels_have_the_names_people_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
