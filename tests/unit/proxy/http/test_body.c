/* SPDX-License-Identifier: MIT
 * proxy/http/body.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "protocol/base/buf.h"
#include "proxy/http/parse.h"
#include "tests/support/assert_slice.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct http_limits limits;

static int set_limits(void **state)
{
    (void)state;
    http_limits_init(&limits);
    return 0;
}

static void takes_a_body_of_known_length_and_no_more(void **state)
{
    (void)state;
    struct body_reader reader;
    struct slice input = SLICE("hel"), data;
    enum err err;

    body_reader_length(&reader, 5);
    assert_int_equal(body_read(&reader, &limits, &input, 100, &data, &err), STEP_MORE);
    assert_slice(data, "hel");
    assert_int_equal(input.len, 0);
    input = SLICE("loGET /");
    assert_int_equal(body_read(&reader, &limits, &input, 1, &data, &err), STEP_MORE);
    assert_slice(data, "l");
    assert_int_equal(body_read(&reader, &limits, &input, 100, &data, &err), STEP_DONE);
    assert_slice(data, "o");
    assert_slice(input, "GET /");
    assert_int_equal(reader.total, 5);
    assert_int_equal(body_read(&reader, &limits, &input, 100, &data, &err), STEP_DONE);
    assert_slice(data, "");
    assert_slice(input, "GET /");
}

static void an_empty_body_is_over_at_once(void **state)
{
    (void)state;
    struct body_reader reader;
    struct slice input = SLICE("GET /"), data;
    enum err err;

    body_reader_length(&reader, 0);
    assert_int_equal(body_read(&reader, &limits, &input, 100, &data, &err), STEP_DONE);
    assert_slice(data, "");
    assert_slice(input, "GET /");
}

static void says_with_the_last_data_that_it_was_the_last(void **state)
{
    (void)state;
    struct body_reader reader;
    struct slice input = SLICE("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /"), data;
    enum err err;

    body_reader_chunked(&reader);
    assert_int_equal(body_read(&reader, &limits, &input, 100, &data, &err), STEP_MORE);
    assert_slice(data, "abc");
    assert_int_equal(body_read(&reader, &limits, &input, 100, &data, &err), STEP_DONE);
    assert_slice(data, "de");
    assert_slice(input, "GET /");
    assert_int_equal(reader.total, 5);
    assert_int_equal(reader.overhead, 3 + 2 + 3 + 2 + 5);
}

static void takes_no_data_without_room(void **state)
{
    (void)state;
    struct body_reader reader;
    struct slice input = SLICE("3\r\nabc\r\n"), data;
    enum err err;

    body_reader_chunked(&reader);
    assert_int_equal(body_read(&reader, &limits, &input, 0, &data, &err), STEP_MORE);
    assert_slice(data, "");
    assert_slice(input, "abc\r\n");
}

struct outcome {
    enum step step;
    enum err err;
    struct buf data;
    size_t used;
};

static struct outcome read_chunked(struct slice input, size_t piece)
{
    struct outcome o = {.step = STEP_MORE, .err = ERR_NONE};
    struct body_reader reader;

    buf_init(&o.data, 0);
    body_reader_chunked(&reader);
    while (o.step == STEP_MORE && input.len > 0) {
        struct slice part = slice_of(input.ptr, input.len < piece ? input.len : piece);
        const char *start = part.ptr;
        do {
            struct slice data;
            o.step = body_read(&reader, &limits, &part, 1000, &data, &o.err);
            if (o.step != STEP_BAD)
                buf_add(&o.data, data);
        } while (o.step == STEP_MORE && part.len > 0);
        size_t used = (size_t)(part.ptr - start);
        input = slice_of(input.ptr + used, input.len - used);
        o.used += used;
    }
    return o;
}

static void reads_chunks_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *input;
        enum step step;
        enum err err;
        const char *data;
    } cases[] = {
        {"0\r\n\r\n", STEP_DONE, ERR_NONE, ""},
        {"000\r\n\r\n", STEP_DONE, ERR_NONE, ""},
        {"a\r\n0123456789\r\n0\r\n\r\n", STEP_DONE, ERR_NONE, "0123456789"},
        {"1;x\r\na\r\n0;y=z\r\n\r\n", STEP_DONE, ERR_NONE, "a"},
        {"1; x = y;z\r\na\r\n0\r\n\r\n", STEP_DONE, ERR_NONE, "a"},
        {"1;x=\"a b;\\\"\"\r\na\r\n0\r\n\r\n", STEP_DONE, ERR_NONE, "a"},
        {"0\r\nA: b\r\nC:\r\n\r\n", STEP_DONE, ERR_NONE, ""},
        {"1\r\na\r\n", STEP_MORE, ERR_NONE, "a"},
        {"1\r\na\r\n0\r\n", STEP_MORE, ERR_NONE, "a"},
        {"1\r\na\r\n0\r\n\r", STEP_MORE, ERR_NONE, "a"},
        {"7fffffffffffffff\r\na", STEP_MORE, ERR_NONE, "a"},
        {"8000000000000000\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"00000000000000001\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {" 1\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1 \r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1 ;x\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1\r\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1\r\naa", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1\r\na\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1;\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1;;x\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1;x \r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1;x=\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1;x=y z\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1;x=\"y\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"1;x=\"y\"z\r\n", STEP_BAD, ERR_BAD_CHUNK, NULL},
        {"0\r\n A: b\r\n", STEP_BAD, ERR_BAD_TRAILER, NULL},
        {"0\r\nA : b\r\n", STEP_BAD, ERR_BAD_TRAILER, NULL},
        {"0\r\nA: b\n", STEP_BAD, ERR_BAD_TRAILER, NULL},
        {"0\r\nA: b\rc", STEP_BAD, ERR_BAD_TRAILER, NULL},
        {"0\r\nA: \x01", STEP_BAD, ERR_BAD_TRAILER, NULL},
        {"0\r\n: b\r\n", STEP_BAD, ERR_BAD_TRAILER, NULL},
        {"0\r\n\n", STEP_BAD, ERR_BAD_TRAILER, NULL},
        {"0\r\n\rX", STEP_BAD, ERR_BAD_TRAILER, NULL},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct slice input = slice_from(cases[i].input);
        for (size_t piece = 1; piece <= input.len; piece++) {
            struct outcome o = read_chunked(input, piece);
            assert_int_equal(o.step, cases[i].step);
            assert_int_equal(o.err, cases[i].err);
            if (cases[i].data != NULL)
                assert_slice(buf_slice(&o.data), cases[i].data);
            if (o.step == STEP_DONE)
                assert_int_equal(o.used, input.len);
            buf_fini(&o.data);
        }
    }
}

static void limits_the_line_of_extensions(void **state)
{
    (void)state;
    limits.max_chunk_ext = 4; /* "x=y" and CR */
    struct outcome good =
        read_chunked(SLICE("1;x=y\r\na\r\n1;x=y\r\nb\r\n0\r\n\r\n"), 100);
    assert_int_equal(good.step, STEP_DONE);
    buf_fini(&good.data);
    struct outcome bad = read_chunked(SLICE("1;x=yz\r\na\r\n"), 100);
    assert_int_equal(bad.step, STEP_BAD);
    assert_int_equal(bad.err, ERR_CHUNK_OVERHEAD);
    buf_fini(&bad.data);
}

static void limits_the_trailer_section(void **state)
{
    (void)state;
    limits.max_trailer = 8; /* "A: b" CRLF CRLF */
    struct outcome good = read_chunked(SLICE("0\r\nA: b\r\n\r\n"), 100);
    assert_int_equal(good.step, STEP_DONE);
    buf_fini(&good.data);
    struct outcome bad = read_chunked(SLICE("0\r\nA: bc\r\n\r\n"), 100);
    assert_int_equal(bad.step, STEP_BAD);
    assert_int_equal(bad.err, ERR_FIELDS_TOO_LARGE);
    buf_fini(&bad.data);
}

/* Chunks of `bytes` each, as many as it takes; returns how many were accepted. */
static unsigned count_chunks(const char *chunk, unsigned most)
{
    struct body_reader reader;
    enum err err;

    body_reader_chunked(&reader);
    for (unsigned count = 0; count < most; count++) {
        struct slice input = slice_from(chunk), data;
        while (input.len > 0)
            if (body_read(&reader, &limits, &input, 100, &data, &err) == STEP_BAD)
                return count;
    }
    return most;
}

static void refuses_much_framing_for_little_data(void **state)
{
    (void)state;
    assert_in_range(count_chunks("1\r\nx\r\n", 100000), 5000, 6000);
    assert_int_equal(count_chunks("3\r\nxyz\r\n", 100000), 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(takes_a_body_of_known_length_and_no_more, set_limits),
        cmocka_unit_test_setup(an_empty_body_is_over_at_once, set_limits),
        cmocka_unit_test_setup(says_with_the_last_data_that_it_was_the_last,
                               set_limits),
        cmocka_unit_test_setup(takes_no_data_without_room, set_limits),
        cmocka_unit_test_setup(reads_chunks_strictly, set_limits),
        cmocka_unit_test_setup(limits_the_line_of_extensions, set_limits),
        cmocka_unit_test_setup(limits_the_trailer_section, set_limits),
        cmocka_unit_test_setup(refuses_much_framing_for_little_data, set_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
