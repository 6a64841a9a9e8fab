/* SPDX-License-Identifier: MIT
 * appserver/interp/answer.c: order and length of what is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/interp/answer.h"
#include "tests/support/fake_request.h"

struct fixture {
    struct request r;
    struct answer a;
};

static void setup(struct fixture *f, const char *method)
{
    fake_request_init(&f->r);
    f->r.frame.method = slice_from(method);
    answer_init(&f->a);
    answer_begin(&f->a, &f->r);
}

static void start(struct fixture *f, uint16_t status, int64_t length)
{
    answer_start(&f->a, status, SLICE("R"));
    if (length >= 0)
        answer_set_length(&f->a, (uint64_t)length);
    answer_started(&f->a);
}

static void teardown(struct fixture *f, const char *sent)
{
    assert_string_equal(fake_request_sent(&f->r), sent);
    answer_fini(&f->a);
    fake_request_fini(&f->r);
}

static void a_second_start_forgets_the_first(void **state)
{
    (void)state;
    struct fixture f;

    setup(&f, "GET");
    start(&f, 200, 7);
    answer_start(&f.a, 404, SLICE("No"));
    answer_field(&f.a, 0, SLICE("X-A"), SLICE("b"));
    assert_int_equal(f.a.state, ANSWER_NONE);
    answer_started(&f.a);
    assert_int_equal(answer_send_whole(&f.a, SLICE("x")), ERR_NONE);
    assert_int_equal(f.a.state, ANSWER_DONE);
    teardown(&f, "RESPOND 404 No [X-A: b] x");
}

static void chunks_up_to_the_length_complete_the_answer(void **state)
{
    (void)state;
    struct fixture f;

    setup(&f, "GET");
    start(&f, 200, 5);
    assert_int_equal(answer_write(&f.a, SLICE("abc")), ERR_NONE);
    assert_int_equal(f.a.state, ANSWER_HEAD);
    assert_int_equal(answer_write(&f.a, SLICE("defg")), ERR_NONE);
    assert_int_equal(f.a.state, ANSWER_DONE);
    assert_true(f.a.is_excess);
    teardown(&f, "HEAD 200 R [] length=5|WRITE abc|WRITE de|END");
}

static void less_than_the_length_is_truncated(void **state)
{
    (void)state;
    struct fixture f;

    setup(&f, "GET");
    start(&f, 200, 5);
    assert_int_equal(answer_end(&f.a), ERR_RESPONSE_TRUNCATED);
    teardown(&f, "HEAD 200 R [] length=5|END");
}

static void a_gathered_body_is_whole_cut_or_short(void **state)
{
    (void)state;
    static const struct {
        int64_t length;
        bool whole;
        const char *sent;
    } rows[] = {
        {-1, true, "RESPOND 200 R [] abc"},
        {3, true, "RESPOND 200 R [] abc"},
        {2, true, "RESPOND 200 R [] ab"},
        {0, true, "RESPOND 200 R [] "},
        {4, false, ""},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        setup(&f, "GET");
        start(&f, 200, rows[i].length);
        buf_add(&f.a.body, SLICE("abc"));
        assert_int_equal(answer_make_whole(&f.a), rows[i].whole);
        assert_int_equal(answer_flush(&f.a), ERR_NONE);
        assert_int_equal(answer_flush(&f.a), ERR_NONE); /* sends once */
        teardown(&f, rows[i].sent);
    }
}

static void answers_without_a_body_say_the_length_where_they_may(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        uint16_t status;
        int64_t length;
        const char *sent;
    } rows[] = {
        {"HEAD", 200, 5, "RESPOND 200 R [content-length: 5] "},
        {"HEAD", 200, -1, "RESPOND 200 R [] "},
        {"HEAD", 204, 5, "RESPOND 204 R [] "},
        {"GET", 204, 5, "RESPOND 204 R [] "},
        {"GET", 304, 5, "RESPOND 304 R [content-length: 5] "},
        {"GET", 304, -1, "RESPOND 304 R [] "},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        setup(&f, rows[i].method);
        start(&f, rows[i].status, rows[i].length);
        assert_true(answer_is_bodyless(&f.a));
        assert_int_equal(answer_write(&f.a, SLICE("dropped")), ERR_NONE);
        assert_int_equal(f.a.state, ANSWER_DONE);
        teardown(&f, rows[i].sent);
    }
}

static void a_client_that_left_ends_the_stream(void **state)
{
    (void)state;
    struct fixture f;

    setup(&f, "GET");
    f.r.gone = ERR_CLIENT_GONE;
    f.r.gone_after = 1;
    start(&f, 200, -1);
    assert_int_equal(answer_write(&f.a, SLICE("a")), ERR_CLIENT_GONE);
    answer_abort(&f.a, ERR_CLIENT_GONE, slice_of("", 0));
    answer_abort(&f.a, ERR_CLIENT_GONE, slice_of("", 0)); /* once */
    teardown(&f, "HEAD 200 R []|WRITE a|ABORT CLIENT_GONE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_start_forgets_the_first),
        cmocka_unit_test(chunks_up_to_the_length_complete_the_answer),
        cmocka_unit_test(less_than_the_length_is_truncated),
        cmocka_unit_test(a_gathered_body_is_whole_cut_or_short),
        cmocka_unit_test(answers_without_a_body_say_the_length_where_they_may),
        cmocka_unit_test(a_client_that_left_ends_the_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
