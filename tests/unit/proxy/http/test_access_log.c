/* SPDX-License-Identifier: MIT
 * proxy/http/access_log.c: the line, what clients cannot do to it, reopening. */
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/base/log.h"
#include "proxy/http/access_log.h"

#define STAMP "\\[../.../....:..:..:.. [+-]....\\]"

static char directory[] = "/tmp/banyan-test-access-XXXXXX";
static char path[64], moved[64];

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    (void)snprintf(path, sizeof(path), "%s/log", directory);
    (void)snprintf(moved, sizeof(moved), "%s/log.1", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    (void)unlink(path);
    (void)unlink(moved);
    return rmdir(directory);
}

static const char *content(const char *name)
{
    static char text[4096];
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" does not match \"%s\"", text, pattern);
    regfree(&regex);
}

static const struct access_entry whole = {
    .client_addr = {"192.0.2.1", 9},
    .method = {"GET", 3},
    .target = {"/a?b", 4},
    .minor = 1,
    .status = 200,
    .sent_bytes = 18446744073709551615U,
    .received_bytes = 5,
    .referer = {"http://r/", 9},
    .user_agent = {"curl/8", 6},
    .request_us = 12003004,
    .queue_us = 7,
    .pool = {"web", 3},
    .backend = {"b1", 2},
    .id = {"0123456789abcdef", 16},
};

static void a_line_tells_everything(void **state)
{
    (void)state;
    struct access_log *log = access_log_open(path);
    struct access_writer *writer = access_writer_new(log);
    access_writer_add(writer, &whole);
    assert_string_equal(content(path), ""); /* until the turn's end */
    access_writer_flush(writer);
    assert_matches(content(path),
                   "^192\\.0\\.2\\.1 - - " STAMP
                   " \"GET /a\\?b HTTP/1\\.1\" 200 18446744073709551615 "
                   "\"http://r/\" \"curl/8\" rt=12\\.003004 qt=0\\.000007 rx=5 "
                   "pool=web backend=b1 id=0123456789abcdef\n$");
    access_writer_free(&writer);
    access_log_free(&log);
    (void)unlink(path);
}

static void what_is_unknown_is_a_dash(void **state)
{
    (void)state;
    struct access_log *log = access_log_open(path);
    struct access_writer *writer = access_writer_new(log);
    struct access_entry e = {.status = 400};
    access_writer_add(writer, &e);
    access_writer_free(&writer); /* flushes */
    assert_matches(content(path), "^- - - " STAMP " \"-\" 400 0 \"-\" \"-\" "
                                  "rt=0\\.000000 qt=0\\.000000 rx=0 pool=- backend=- "
                                  "id=-\n$");
    access_log_free(&log);
    (void)unlink(path);
}

static void a_client_cannot_forge_a_line_or_a_field(void **state)
{
    (void)state;
    struct access_log *log = access_log_open(path);
    struct access_writer *writer = access_writer_new(log);
    struct access_entry e = whole;
    e.user_agent = SLICE("a\" 200\n\\\x1b[2J\xff\0z");
    e.minor = 0;
    access_writer_add(writer, &e);
    access_writer_free(&writer);
    assert_matches(content(path), "HTTP/1\\.0\" .*"
                                  "\"a\\\\x22 200\\\\x0a\\\\x5c\\\\x1b\\[2J"
                                  "\\\\xff\\\\x00z\" rt=[^\n]*\n$");
    access_log_free(&log);
    (void)unlink(path);
}

static void json_is_an_object_a_line(void **state)
{
    (void)state;
    const struct log_options json = {"info", "json", "stderr"};
    const struct log_options text = {"info", "text", "stderr"};
    struct access_log *log = access_log_open(path);
    struct access_writer *writer = access_writer_new(log);
    struct access_entry e = {.status = 400};
    log_set_up(&json);
    access_writer_add(writer, &whole);
    access_writer_add(writer, &e);
    e.target = SLICE("/\"\n\xff");
    access_writer_add(writer, &e);
    log_set_up(&text);
    access_writer_free(&writer);
    assert_matches(content(path),
                   "^\\{\"time\":\"....-..-..T..:..:..\\....Z\",\"type\":\"access\","
                   "\"client\":\"192\\.0\\.2\\.1\",\"method\":\"GET\","
                   "\"target\":\"/a\\?b\",\"version\":\"1\\.1\",\"status\":200,"
                   "\"sent\":18446744073709551615,\"received\":5,"
                   "\"referer\":\"http://r/\",\"user_agent\":\"curl/8\","
                   "\"request_s\":12\\.003004,\"queue_s\":0\\.000007,"
                   "\"pool\":\"web\",\"backend\":\"b1\","
                   "\"id\":\"0123456789abcdef\"}\n"
                   "[^\n]*\"type\":\"access\",\"status\":400,\"sent\":0,\"received\":0,"
                   "\"request_s\":0\\.000000,\"queue_s\":0\\.000000}\n"
                   "[^\n]*\"target\":\"/\\\\\"\\\\n\\\\u00ff\",\"status\"[^\n]*\n$");
    access_log_free(&log);
    (void)unlink(path);
}

static void reopening_goes_on_in_a_new_file(void **state)
{
    (void)state;
    struct access_log *log = access_log_open(path);
    struct access_writer *writer = access_writer_new(log);
    access_writer_add(writer, &whole);
    access_writer_flush(writer);
    assert_int_equal(rename(path, moved), 0);
    assert_true(access_log_reopen(log));
    access_writer_add(writer, &whole);
    access_writer_add(writer, &whole);
    access_writer_flush(writer);
    assert_matches(content(moved), "^[^\n]*\n$");
    assert_matches(content(path), "^[^\n]*\n[^\n]*\n$");
    access_writer_free(&writer);
    access_log_free(&log);
}

static void a_path_that_cannot_be_written_is_an_error(void **state)
{
    (void)state;
    assert_null(access_log_open("/nonexistent/log"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_tells_everything),
        cmocka_unit_test(what_is_unknown_is_a_dash),
        cmocka_unit_test(a_client_cannot_forge_a_line_or_a_field),
        cmocka_unit_test(json_is_an_object_a_line),
        cmocka_unit_test(reopening_goes_on_in_a_new_file),
        cmocka_unit_test(a_path_that_cannot_be_written_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
