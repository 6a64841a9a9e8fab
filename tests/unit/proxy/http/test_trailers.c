/* SPDX-License-Identifier: MIT
 * proxy/http/trailers.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "protocol/header_names.h"
#include "proxy/http/trailers.h"
#include "tests/support/assert_slice.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct trailer {
    const char *name, *value;
};

/* What follows the body, or NULL with the failure. */
static bool write_them(const struct trailer *them,
                       size_t count,
                       struct buf *out,
                       struct response_failure *failure)
{
    struct buf packed;
    struct header_writer w;
    buf_init(&packed, 0);
    buf_init(out, 0);
    buf_add(out, SLICE("body\r\n"));
    header_begin(&w, &packed);
    for (size_t i = 0; i < count; i++)
        header_put(&w, header_number(slice_from(them[i].name)),
                   slice_from(them[i].name), slice_from(them[i].value));
    header_end(&w);
    struct header_list list = {slice_of(packed.data + 3, buf_len(&packed) - 3),
                               w.count};
    bool is_good = trailers_write(list, out, failure);
    buf_fini(&packed);
    return is_good;
}

static void they_stand_behind_the_last_chunk(void **state)
{
    (void)state;
    static const struct trailer them[] = {
        {"X-Checksum", "5eb63bbb"}, {"etag", "\"x\""}, {"Server-Timing", ""}};
    struct response_failure failure;
    struct buf out;
    assert_true(write_them(them, COUNT(them), &out, &failure));
    assert_slice(buf_slice(&out), "body\r\n0\r\nX-Checksum: 5eb63bbb\r\nETag: \"x\"\r\n"
                                  "Server-Timing: \r\n\r\n");
    buf_fini(&out);
}

static void fields_that_must_come_before_a_body_are_dropped(void **state)
{
    (void)state;
    static const char *const names[] = {
        "Content-Length",    "transfer-encoding", "Host",          "Set-Cookie",
        "Authorization",     "Content-Type",      "Cache-Control", "TE",
        "Trailer",           "Connection",        "Upgrade",       "Expect",
        "Content-Encoding",  "If-None-Match",     "Age",           "Location",
        "Max-Forwards",      "WWW-Authenticate",  "Vary",          "Date",
        "Proxy-Authenticate"};
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct trailer them[] = {{names[i], "1"}};
        struct response_failure failure;
        struct buf out;
        assert_true(write_them(them, 1, &out, &failure));
        assert_slice(buf_slice(&out), "body\r\n0\r\n\r\n");
        buf_fini(&out);
    }
}

static void what_would_break_the_framing_is_refused_whole(void **state)
{
    (void)state;
    static const struct {
        struct trailer them[2];
        const char *what;
    } cases[] = {
        {{{"X-Good", "1"}, {"X-Bad", "a\r\nb"}}, "bad value of trailer"},
        {{{"X-Good", "1"}, {"ETag", "a\nb"}}, "bad value of trailer"},
        {{{"X-Good", "1"}, {"X Bad", "a"}}, "bad trailer"},
        {{{"X-Good", "1"}, {"X-Bad:", "a"}}, "bad trailer"},
        {{{"X-Good", "1"}, {"X-Bad\r\n", "a"}}, "bad trailer"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct response_failure failure;
        struct buf out;
        assert_false(write_them(cases[i].them, 2, &out, &failure));
        assert_int_equal(failure.err, ERR_BAD_RESPONSE);
        assert_string_equal(failure.what, cases[i].what);
        assert_slice(buf_slice(&out), "body\r\n");
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_stand_behind_the_last_chunk),
        cmocka_unit_test(fields_that_must_come_before_a_body_are_dropped),
        cmocka_unit_test(what_would_break_the_framing_is_refused_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
