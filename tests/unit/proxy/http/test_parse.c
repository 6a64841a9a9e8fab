/* SPDX-License-Identifier: MIT
 * proxy/http/parse.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdlib.h>

#include "protocol/base/mem.h"
#include "protocol/header_names.h"
#include "proxy/http/parse.h"
#include "tests/support/assert_slice.h"
#include "tests/support/http_case.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct result {
    enum step step;
    struct request_head head;
    size_t used;
    struct parse_failure failure;
};

static struct http_limits limits;

static int set_limits(void **state)
{
    (void)state;
    http_limits_init(&limits);
    return 0;
}

static struct result parse(struct slice input)
{
    struct result r = {.used = 0};
    size_t scanned = 0;
    r.step = parse_head(input, &limits, &scanned, &r.head, &r.used, &r.failure);
    return r;
}

static enum err failure_of(const char *text)
{
    struct result r = parse(slice_from(text));
    return r.step == STEP_BAD ? r.failure.err : ERR_NONE;
}

static void parses_a_request_into_slices_of_its_input(void **state)
{
    (void)state;
    static const char input[] = "POST /a/b?c=d HTTP/1.1\r\n"
                                "Host: example\r\n"
                                "content-TYPE:\ttext/plain \t\r\n"
                                "X-Empty:\r\n"
                                "X-Own: 1\r\n"
                                "\r\n"
                                "body";
    struct result r = parse(slice_of(input, sizeof(input) - 1));

    assert_int_equal(r.step, STEP_DONE);
    assert_int_equal(r.used, sizeof(input) - 1 - 4);
    assert_slice(r.head.method, "POST");
    assert_ptr_equal(r.head.method.ptr, input);
    assert_slice(r.head.target, "/a/b?c=d");
    assert_slice(r.head.path, "/a/b?c=d");
    assert_int_equal(r.head.form, TARGET_ORIGIN);
    assert_int_equal(r.head.minor, 1);
    assert_int_equal(r.head.field_count, 4);
    assert_int_equal(r.head.fields[0].number, HEADER_HOST);
    assert_slice(r.head.fields[0].value, "example");
    assert_int_equal(r.head.fields[1].number, HEADER_CONTENT_TYPE);
    assert_slice(r.head.fields[1].name, "content-TYPE");
    assert_slice(r.head.fields[1].value, "text/plain");
    assert_slice(r.head.fields[2].value, "");
    assert_int_equal(r.head.fields[3].number, HEADER_NONE);
    assert_slice(r.head.fields[3].name, "X-Own");
}

static void tells_the_forms_of_a_target(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum target_form form;
        const char *scheme, *authority, *path;
    } cases[] = {
        {"GET / HTTP/1.1", TARGET_ORIGIN, "", "", "/"},
        {"GET //a/b HTTP/1.1", TARGET_ORIGIN, "", "", "//a/b"},
        {"GET /http://a/ HTTP/1.1", TARGET_ORIGIN, "", "", "/http://a/"},
        {"OPTIONS * HTTP/1.1", TARGET_ASTERISK, "", "", "*"},
        {"GET http://a:1/b?c HTTP/1.1", TARGET_ABSOLUTE, "http", "a:1", "/b?c"},
        {"GET http://a HTTP/1.1", TARGET_ABSOLUTE, "http", "a", "/"},
        {"GET HTTPS://a/ HTTP/1.1", TARGET_ABSOLUTE, "HTTPS", "a", "/"},
        {"GET x+y-z.1://a/ HTTP/1.1", TARGET_ABSOLUTE, "x+y-z.1", "a", "/"},
        {"GET http:///x HTTP/1.1", TARGET_ABSOLUTE, "http", "", "/x"},
        {"GET 1http://a/ HTTP/1.1", TARGET_AUTHORITY, "", "1http://a/", ""},
        {"GET http:/a/ HTTP/1.1", TARGET_AUTHORITY, "", "http:/a/", ""},
        {"GET :// HTTP/1.1", TARGET_AUTHORITY, "", "://", ""},
        {"CONNECT a:443 HTTP/1.1", TARGET_AUTHORITY, "", "a:443", ""},
        {"GET ? HTTP/1.1", TARGET_AUTHORITY, "", "?", ""},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        own(mem) char *input = mem_printf("%s\r\n\r\n", cases[i].line);
        struct result r = parse(slice_from(input));
        assert_int_equal(r.step, STEP_DONE);
        assert_int_equal(r.head.form, cases[i].form);
        assert_slice(r.head.scheme, cases[i].scheme);
        assert_slice(r.head.authority, cases[i].authority);
        assert_slice(r.head.path, cases[i].path);
    }
}

static void says_where_a_head_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *input;
        enum err err;
        size_t offset;
    } cases[] = {
        {"G@T / HTTP/1.1\r\n\r\n", ERR_BAD_METHOD, 1},
        {"GET /\x01 HTTP/1.1\r\n\r\n", ERR_BAD_TARGET, 5},
        {"GET /%4g HTTP/1.1\r\n\r\n", ERR_BAD_TARGET, 7},
        {"GET / HTTP/1.x\r\n\r\n", ERR_BAD_VERSION, 13},
        {"GET / HTTP/2.1\r\n\r\n", ERR_UNSUPPORTED_VERSION, 6},
        {"GET / HTTP/1.1\r\nA\r\n\r\n", ERR_BAD_FIELD_NAME, 17},
        {"GET / HTTP/1.1\r\nA: b\x02\r\n\r\n", ERR_BAD_FIELD_VALUE, 20},
        {"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", ERR_FOLDED_FIELD, 22},
        {"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", ERR_BAD_LINE_END, 20},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct result r = parse(slice_from(cases[i].input));
        assert_int_equal(r.step, STEP_BAD);
        assert_int_equal(r.failure.err, cases[i].err);
        assert_int_equal(r.failure.offset, cases[i].offset);
    }
}

static void needs_no_more_than_the_first_wrong_byte(void **state)
{
    (void)state;
    static const struct {
        const char *input;
        enum err err;
    } cases[] = {
        {"\x16", ERR_BAD_METHOD},
        {"\n", ERR_BAD_LINE_END},
        {"\rX", ERR_BAD_LINE_END},
        {"GET /\r", ERR_BAD_REQUEST_LINE},
        {"GET / X", ERR_BAD_VERSION},
        {"GET / HTTP/1.1\n", ERR_BAD_LINE_END},
        {"GET / HTTP/1.1\r\n ", ERR_FOLDED_FIELD},
        {"GET / HTTP/1.1\r\nA ", ERR_BAD_FIELD_NAME},
        {"GET / HTTP/1.1\r\n:", ERR_BAD_FIELD_NAME},
        {"GET / HTTP/1.1\r\nA: \x7f", ERR_BAD_FIELD_VALUE},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(failure_of(cases[i].input), cases[i].err);
        struct slice shorter = slice_from(cases[i].input);
        shorter.len--;
        assert_int_equal(parse(shorter).step, STEP_MORE);
    }
}

/* A head whose parts are exactly at their limits, and one byte more of each. */
static void keeps_its_limits_to_the_byte(void **state)
{
    (void)state;
    limits = (struct http_limits){
        .max_method = 4,
        .max_target = 5,
        .max_field = 6,
        .max_fields = 2,
        .max_head = 40,
    };
    assert_int_equal(failure_of("POST /2345 HTTP/1.1\r\nA: bcd\r\nC:D\r\n\r\n"),
                     ERR_NONE);
    assert_int_equal(failure_of("POSTS / HTTP/1.1\r\n"), ERR_METHOD_TOO_LONG);
    assert_int_equal(failure_of("POSTS"), ERR_METHOD_TOO_LONG);
    assert_int_equal(failure_of("GET /23456 HTTP/1.1\r\n"), ERR_TARGET_TOO_LONG);
    assert_int_equal(failure_of("GET /23456"), ERR_TARGET_TOO_LONG);
    assert_int_equal(failure_of("GET /234%41"), ERR_TARGET_TOO_LONG);
    assert_int_equal(failure_of("GET / HTTP/1.1\r\nA: bcde\r\n"), ERR_FIELDS_TOO_LARGE);
    assert_int_equal(failure_of("GET / HTTP/1.1\r\nA: bcdef"), ERR_FIELDS_TOO_LARGE);
    assert_int_equal(failure_of("GET / HTTP/1.1\r\nABCDEFGH"), ERR_FIELDS_TOO_LARGE);
    assert_int_equal(failure_of("GET / HTTP/1.1\r\nA:\r\nB:\r\nC"),
                     ERR_FIELDS_TOO_LARGE);
    assert_int_equal(failure_of("GET / HTTP/1.1\r\nA:    \r\nB:    \r\n\r\n"),
                     ERR_NONE);

    limits.max_head = 30;
    struct result r = parse(SLICE("GET / HTTP/1.1\r\nA: b\r\nB: c\r\n\r\n"));
    assert_int_equal(r.step, STEP_DONE);
    assert_int_equal(r.used, 30);
    limits.max_head = 29;
    r = parse(SLICE("GET / HTTP/1.1\r\nA: b\r\nB: c\r\n\r\n"));
    assert_int_equal(r.step, STEP_BAD);
    assert_int_equal(r.failure.err, ERR_FIELDS_TOO_LARGE);
    assert_int_equal(failure_of("GET / HTTP/1.1\r\nA: b\r\nB: c\r\n"), ERR_NONE);
    assert_int_equal(failure_of("GET / HTTP/1.1\r\nA: b\r\nB: c\r\n\r"),
                     ERR_FIELDS_TOO_LARGE);
}

static void accepts_bare_line_feeds_only_when_lenient(void **state)
{
    (void)state;
    static const char *const inputs[] = {
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\nA: b\n\n",
        "GET / HTTP/1.1\r\nA: b\n\r\n",
        "\nGET / HTTP/1.1\r\n\n",
    };

    for (size_t i = 0; i < COUNT(inputs); i++) {
        limits.lenient = false;
        assert_int_equal(failure_of(inputs[i]), ERR_BAD_LINE_END);
        limits.lenient = true;
        assert_int_equal(parse(slice_from(inputs[i])).step, STEP_DONE);
    }
    assert_int_equal(failure_of("GET / HTTP/1.1\r\r\n"), ERR_BAD_LINE_END);
}

/* ---- the corpus ---- */

static void apply_options(const struct http_case *c)
{
    http_limits_init(&limits);
    limits.lenient = http_case_says(c, "option", "lenient");
}

static void assert_same(const struct result *a, const struct result *b)
{
    assert_int_equal(a->step, b->step);
    if (a->step == STEP_BAD) {
        assert_int_equal(a->failure.err, b->failure.err);
        assert_int_equal(a->failure.offset, b->failure.offset);
    }
    if (a->step != STEP_DONE)
        return;
    assert_int_equal(a->used, b->used);
    assert_int_equal(a->head.form, b->head.form);
    assert_int_equal(a->head.minor, b->head.minor);
    assert_true(slice_eq(a->head.method, b->head.method));
    assert_true(slice_eq(a->head.target, b->head.target));
    assert_true(slice_eq(a->head.path, b->head.path));
    assert_true(slice_eq(a->head.authority, b->head.authority));
    assert_int_equal(a->head.field_count, b->head.field_count);
    for (uint32_t i = 0; i < a->head.field_count; i++) {
        assert_int_equal(a->head.fields[i].number, b->head.fields[i].number);
        assert_true(slice_eq(a->head.fields[i].name, b->head.fields[i].name));
        assert_true(slice_eq(a->head.fields[i].value, b->head.fields[i].value));
    }
}

/* Feeds the input in pieces, each at another address, as a growing buffer would. */
static struct result parse_in_pieces(struct slice input, size_t first, size_t piece)
{
    struct result r = {.step = STEP_MORE};
    size_t scanned = 0, fed = first;
    /* Slices of the head must point into memory that stays: the last copy is `input`.
     */
    for (; r.step == STEP_MORE && fed < input.len; fed += piece) {
        own(mem) char *copy = mem_alloc(fed + 1);
        memcpy(copy, input.ptr, fed);
        r.step = parse_head(slice_of(copy, fed), &limits, &scanned, &r.head, &r.used,
                            &r.failure);
        if (r.step == STEP_DONE) {
            scanned = 0;
            r.step = parse_head(slice_of(input.ptr, fed), &limits, &scanned, &r.head,
                                &r.used, &r.failure);
        }
    }
    if (r.step == STEP_MORE)
        r.step = parse_head(input, &limits, &scanned, &r.head, &r.used, &r.failure);
    return r;
}

static void check_splits(const struct http_case *c)
{
    struct slice input = buf_slice(&c->data);

    apply_options(c);
    const struct result whole = parse(input);
    size_t interesting = whole.step == STEP_DONE ? whole.used : input.len;
    /* Every cut of a head of usual size, and all of it byte by byte. */
    if (interesting > 2000) {
        struct result r = parse_in_pieces(input, 1, 777);
        assert_same(&whole, &r);
        return;
    }
    for (size_t cut = 1; cut < interesting; cut++) {
        struct result r = parse_in_pieces(input, cut, input.len);
        assert_same(&whole, &r);
    }
    struct result r = parse_in_pieces(input, 1, 1);
    assert_same(&whole, &r);
}

static void gives_the_same_result_however_the_input_is_cut(void **state)
{
    (void)state;
    assert_true(http_cases_each(check_splits) > 200);
}

static void names_one_place_however_a_head_too_large_is_cut(void **state)
{
    (void)state;
    const struct slice input =
        SLICE("GET / HTTP/1.1\r\nA: b\r\nC: d\r\nE: f\r\nG: h\r\nI: j\r\n");

    limits.max_fields = 2;
    limits.max_head = (uint32_t)input.len;
    const struct result whole = parse(input);
    assert_int_equal(whole.step, STEP_BAD);
    assert_int_equal(whole.failure.err, ERR_FIELDS_TOO_LARGE);
    assert_int_equal(whole.failure.offset, 28);
    for (size_t cut = 1; cut < input.len; cut++) {
        struct result r = parse_in_pieces(input, cut, input.len);
        assert_same(&whole, &r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(parses_a_request_into_slices_of_its_input, set_limits),
        cmocka_unit_test_setup(tells_the_forms_of_a_target, set_limits),
        cmocka_unit_test_setup(says_where_a_head_is_wrong, set_limits),
        cmocka_unit_test_setup(needs_no_more_than_the_first_wrong_byte, set_limits),
        cmocka_unit_test_setup(keeps_its_limits_to_the_byte, set_limits),
        cmocka_unit_test_setup(accepts_bare_line_feeds_only_when_lenient, set_limits),
        cmocka_unit_test(gives_the_same_result_however_the_input_is_cut),
        cmocka_unit_test_setup(names_one_place_however_a_head_too_large_is_cut,
                               set_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
