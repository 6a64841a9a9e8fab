/* SPDX-License-Identifier: MIT
 * proxy/http/respond.c: what an application says. The edge's own pages are in
 * test_respond_pages.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdlib.h>

#include "protocol/header_names.h"
#include "proxy/http/respond.h"
#include "tests/support/assert_slice.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* An application's response: "Name: value" lines, packed as its app server would. */
struct answer {
    struct buf packed;
    struct frame_response frame;
};

static struct answer answer_of(uint16_t status, const char *lines)
{
    struct answer a = {.frame = {.status = status}};
    struct header_writer w;

    buf_init(&a.packed, 0);
    header_begin(&w, &a.packed);
    while (*lines != 0) {
        struct slice name = slice_of(lines, strcspn(lines, ":"));
        lines += name.len + 2;
        struct slice value = slice_of(lines, strcspn(lines, "|"));
        lines += value.len + (lines[value.len] == '|');
        header_put(&w, header_number(name), name, value);
    }
    header_end(&w);
    a.frame.headers.packed = slice_of(a.packed.data + 3, buf_len(&a.packed) - 3);
    a.frame.headers.count = w.count;
    return a;
}

static const struct response_to plain = {.minor = 1, .keep_alive = true};

/* Lines are separated by '|' here, so that a value may hold anything else. */
static void assert_head(uint16_t status,
                        const char *lines,
                        const struct response_to *to,
                        const char *want)
{
    struct answer a = answer_of(status, lines);
    struct response_plan plan;
    struct buf out;
    struct response_failure failure;

    buf_init(&out, 0);
    assert_true(respond_head(&a.frame, to, &out, &plan, &failure));
    assert_slice(buf_slice(&out), want);
    buf_fini(&out);
    buf_fini(&a.packed);
}

static void writes_a_head_with_canonical_names(void **state)
{
    (void)state;
    assert_head(
        200,
        "content-type: text/html|x-oWn: 1|ETAG: \"x\"|set-cookie: a|Set-Cookie: b|"
        "content-length: 12",
        &plain,
        "HTTP/1.1 200 OK\r\n"
        "Content-Type: text/html\r\n"
        "x-oWn: 1\r\n"
        "ETag: \"x\"\r\n"
        "Set-Cookie: a\r\n"
        "Set-Cookie: b\r\n"
        "Content-Length: 12\r\n"
        "\r\n");
}

static void adds_date_and_server_unless_there(void **state)
{
    (void)state;
    const struct response_to to = {
        .minor = 1,
        .keep_alive = true,
        .date = SLICE("Sat, 21 Nov 2026 07:32:01 GMT"),
        .server = SLICE("banyan"),
    };
    assert_head(204, "", &to,
                "HTTP/1.1 204 No Content\r\n"
                "Date: Sat, 21 Nov 2026 07:32:01 GMT\r\n"
                "Server: banyan\r\n"
                "\r\n");
    assert_head(204, "Server: mine|Date: then", &to,
                "HTTP/1.1 204 No Content\r\nServer: mine\r\nDate: then\r\n\r\n");
}

static void a_cookie_of_the_edge_keeps_the_answer_out_of_shared_caches(void **state)
{
    (void)state;
    const struct response_to to = {
        .minor = 1, .keep_alive = true, .cookie = SLICE("n=1")};
    assert_head(204, "Set-Cookie: a=b", &to,
                "HTTP/1.1 204 No Content\r\nSet-Cookie: a=b\r\nSet-Cookie: n=1\r\n"
                "Cache-Control: private\r\n\r\n");
    assert_head(204, "Cache-Control: public, max-age=60", &to,
                "HTTP/1.1 204 No Content\r\nCache-Control: public, max-age=60\r\n"
                "Set-Cookie: n=1\r\nCache-Control: private\r\n\r\n");
    assert_head(204, "cache-control: max-age=60, Private", &to,
                "HTTP/1.1 204 No Content\r\nCache-Control: max-age=60, Private\r\n"
                "Set-Cookie: n=1\r\n\r\n");
    assert_head(204, "Cache-Control: no-store", &to,
                "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n"
                "Set-Cookie: n=1\r\n\r\n");
    assert_head(204, "Cache-Control: private=\"x\"", &to,
                "HTTP/1.1 204 No Content\r\nCache-Control: private=\"x\"\r\n"
                "Set-Cookie: n=1\r\nCache-Control: private\r\n\r\n");
}

static void frames_the_body_itself(void **state)
{
    (void)state;
    static const struct {
        uint16_t status;
        const char *lines;
        struct response_to to;
        int64_t frame_length; /* -1: the frame says none */
        enum response_framing framing;
        uint64_t length;
        bool keep_alive;
        const char *want; /* behind the status line */
    } cases[] = {
        /* by length: of the frame, of the field, and the field where it is shorter */
        {200,
         "",
         {.minor = 1, .keep_alive = true},
         5,
         RESPONSE_LENGTH,
         5,
         true,
         "Content-Length: 5\r\n"},
        {200,
         "",
         {.minor = 1, .keep_alive = true},
         0,
         RESPONSE_LENGTH,
         0,
         true,
         "Content-Length: 0\r\n"},
        {200,
         "Content-Length: 7",
         {.minor = 1, .keep_alive = true},
         -1,
         RESPONSE_LENGTH,
         7,
         true,
         "Content-Length: 7\r\n"},
        {200,
         "Content-Length: 4",
         {.minor = 1, .keep_alive = true},
         5,
         RESPONSE_LENGTH,
         4,
         true,
         "Content-Length: 4\r\n"},
        {200,
         "",
         {.minor = 1},
         5,
         RESPONSE_LENGTH,
         5,
         false,
         "Content-Length: 5\r\nConnection: close\r\n"},
        {200,
         "",
         {.minor = 0, .keep_alive = true},
         5,
         RESPONSE_LENGTH,
         5,
         true,
         "Content-Length: 5\r\nConnection: keep-alive\r\n"},
        /* of unknown length */
        {200,
         "",
         {.minor = 1, .keep_alive = true},
         -1,
         RESPONSE_CHUNKED,
         0,
         true,
         "Transfer-Encoding: chunked\r\n"},
        {200,
         "",
         {.minor = 0, .keep_alive = true},
         -1,
         RESPONSE_CLOSE,
         0,
         false,
         "Connection: close\r\n"},
        /* without a body */
        {204,
         "Content-Length: 0",
         {.minor = 1, .keep_alive = true},
         0,
         RESPONSE_NO_BODY,
         0,
         true,
         ""},
        {304,
         "Content-Length: 9",
         {.minor = 1, .keep_alive = true},
         0,
         RESPONSE_NO_BODY,
         0,
         true,
         ""},
        {200,
         "Content-Length: 9",
         {.minor = 1, .is_head = true, .keep_alive = true},
         0,
         RESPONSE_NO_BODY,
         0,
         true,
         "Content-Length: 9\r\n"},
        {200,
         "",
         {.minor = 1, .is_head = true, .keep_alive = true},
         0,
         RESPONSE_NO_BODY,
         0,
         true,
         ""},
        {200,
         "",
         {.minor = 0, .is_head = true, .keep_alive = true},
         -1,
         RESPONSE_NO_BODY,
         0,
         true,
         "Connection: keep-alive\r\n"},
        {204,
         "Content-Length: 9",
         {.minor = 1, .is_head = true, .keep_alive = true},
         -1,
         RESPONSE_NO_BODY,
         0,
         true,
         ""},
        /* the application's own framing */
        {200,
         "Transfer-Encoding: chunked",
         {.minor = 1, .keep_alive = true},
         5,
         RESPONSE_LENGTH,
         5,
         true,
         "Content-Length: 5\r\n"},
        {200,
         "Connection: foo, Close",
         {.minor = 1, .keep_alive = true},
         5,
         RESPONSE_LENGTH,
         5,
         false,
         "Content-Length: 5\r\nConnection: close\r\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer a = answer_of(cases[i].status, cases[i].lines);
        struct response_plan plan;
        struct buf out;
        struct response_failure failure;

        buf_init(&out, 0);
        a.frame.has_length = cases[i].frame_length >= 0;
        a.frame.length = a.frame.has_length ? (uint64_t)cases[i].frame_length : 0;
        assert_true(respond_head(&a.frame, &cases[i].to, &out, &plan, &failure));
        assert_int_equal(plan.framing, cases[i].framing);
        if (plan.framing == RESPONSE_LENGTH)
            assert_int_equal(plan.length, cases[i].length);
        assert_int_equal(plan.keep_alive, cases[i].keep_alive);
        buf_add(&out, SLICE("\0"));
        const char *rest = strchr(out.data, '\n') + 1;
        assert_int_equal(strlen(rest), strlen(cases[i].want) + 2);
        assert_memory_equal(rest, cases[i].want, strlen(cases[i].want));
        buf_fini(&out);
        buf_fini(&a.packed);
    }
}

static void drops_hop_by_hop_fields_and_says_so(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        bool has_hop_by_hop;
    } cases[] = {
        {"Connection: keep-alive", true},
        {"Keep-Alive: timeout=5", true},
        {"Proxy-Connection: close", true},
        {"TE: trailers", true},
        {"Transfer-Encoding: gzip, chunked", true},
        {"Upgrade: h2c", true},
        {"Content-Length: 0", false},
        {"X-A: b", false},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer a = answer_of(200, cases[i].lines);
        struct response_plan plan;
        struct buf out;
        struct response_failure failure;
        buf_init(&out, 0);
        assert_true(respond_head(&a.frame, &plain, &out, &plan, &failure));
        assert_int_equal(plan.has_hop_by_hop, cases[i].has_hop_by_hop);
        assert_true(plan.keep_alive);
        if (plan.has_hop_by_hop)
            assert_slice(buf_slice(&out),
                         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        buf_fini(&out);
        buf_fini(&a.packed);
    }
}

static void announces_trailers_to_clients_that_take_them(void **state)
{
    (void)state;
    static const struct {
        struct response_to to;
        const char *lines, *want;
    } cases[] = {
        {{.minor = 1, .keep_alive = true, .takes_trailers = true},
         "Trailer: X-A|X-B: c|Trailer: X-D",
         "HTTP/1.1 200 OK\r\nX-B: c\r\nTrailer: X-A\r\nTrailer: X-D\r\n"
         "Transfer-Encoding: chunked\r\n\r\n"},
        {{.minor = 1, .keep_alive = true},
         "Trailer: X-A",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {{.minor = 1, .keep_alive = true, .takes_trailers = true},
         "Trailer: X-A|Content-Length: 5",
         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
        {{.minor = 1, .keep_alive = true, .is_head = true, .takes_trailers = true},
         "Trailer: X-A",
         "HTTP/1.1 200 OK\r\n\r\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_head(200, cases[i].lines, &cases[i].to, cases[i].want);
}

static void lets_no_client_see_what_an_application_must_not_say(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *lines, *reason;
    } cases[] = {
        {200, "X-A: b\r\nSet-Cookie: c", ""},
        {200, "X-A: b\rc", ""},
        {200, "X-A: b\nc", ""},
        {200, "X-A: b\x01", ""},
        {200, "X-A: b\x7f", ""},
        {200, "X A: b", ""},
        {200, "X\r\nA: b", ""},
        {200, "X-\xc3\xa9: b", ""},
        {200, "X(: b", ""},
        {200, "Content-Type: b\r\nX: c", ""},
        {200, "Connection: close\r\nX: c", ""},
        {200, "Content-Length: x", ""},
        {200, "Content-Length: -1", ""},
        {200, "Content-Length: 5, 5", ""},
        {200, "Content-Length: 5|content-length: 5", ""},
        {200, "Content-Length: 99999999999999999999", ""},
        {200, "", "OK\r\nX: a"},
        {200, "", "O\x01K"},
        {0, "", ""},
        {99, "", ""},
        {100, "", ""},
        {101, "", ""},
        {199, "", ""},
        {1000, "", ""},
        {65535, "", ""},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer a = answer_of((uint16_t)cases[i].status, cases[i].lines);
        struct response_plan plan;
        struct buf out;
        struct response_failure failure = {.err = ERR_NONE};
        a.frame.reason = slice_from(cases[i].reason);
        buf_init(&out, 0);
        buf_add(&out, SLICE("before"));
        assert_false(respond_head(&a.frame, &plain, &out, &plan, &failure));
        assert_int_equal(failure.err, ERR_BAD_RESPONSE);
        assert_slice(buf_slice(&out), "before");
        buf_fini(&out);
        buf_fini(&a.packed);
    }
}

static void says_what_no_client_may_see(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *lines, *what, *name;
    } cases[] = {
        {200, "X-A: b\nc", "bad value of", "X-A"},
        {200, "content-length: x", "bad value of", "Content-Length"},
        {200, "Content-Length: 5|Content-Length: 5", "bad value of", "Content-Length"},
        {200, "X A: b", "bad name", "X A"},
        {99, "X-A: b", "status", ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer a = answer_of((uint16_t)cases[i].status, cases[i].lines);
        struct response_plan plan;
        struct response_failure failure;
        struct buf out;
        buf_init(&out, 0);
        assert_false(respond_head(&a.frame, &plain, &out, &plan, &failure));
        assert_string_equal(failure.what, cases[i].what);
        assert_slice(failure.name, cases[i].name);
        buf_fini(&out);
        buf_fini(&a.packed);
    }
}

static void lets_no_client_see_a_nul(void **state)
{
    (void)state;
    struct answer a = {.frame = {.status = 200}};
    struct header_writer w;
    struct response_plan plan;
    struct buf out;
    struct response_failure failure;

    buf_init(&a.packed, 0);
    buf_init(&out, 0);
    header_begin(&w, &a.packed);
    header_put(&w, HEADER_NONE, SLICE("X-A"), SLICE("a\0b"));
    header_end(&w);
    a.frame.headers.packed = slice_of(a.packed.data + 3, buf_len(&a.packed) - 3);
    a.frame.headers.count = 1;
    assert_false(respond_head(&a.frame, &plain, &out, &plan, &failure));
    assert_int_equal(failure.err, ERR_BAD_RESPONSE);
    buf_fini(&a.packed);
    buf_fini(&out);
}

static void refuses_a_body_shorter_than_promised(void **state)
{
    (void)state;
    struct answer a = answer_of(200, "Content-Length: 6");
    struct response_plan plan;
    struct buf out;
    struct response_failure failure;

    buf_init(&out, 0);
    a.frame.has_length = true;
    a.frame.length = 5;
    assert_false(respond_head(&a.frame, &plain, &out, &plan, &failure));
    assert_int_equal(failure.err, ERR_RESPONSE_TRUNCATED);
    assert_int_equal(buf_len(&out), 0);
    buf_fini(&out);
    buf_fini(&a.packed);
}

static void keeps_reasons_and_odd_statuses(void **state)
{
    (void)state;
    struct answer a = answer_of(799, "");
    struct response_plan plan;
    struct buf out;
    struct response_failure failure;

    buf_init(&out, 0);
    a.frame.reason = SLICE("Caf\xc3\xa9 closed");
    assert_true(respond_head(&a.frame, &plain, &out, &plan, &failure));
    a.frame.reason = SLICE("");
    assert_true(respond_head(&a.frame, &plain, &out, &plan, &failure));
    assert_slice(buf_slice(&out),
                 "HTTP/1.1 799 Caf\xc3\xa9 closed\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "HTTP/1.1 799 Unknown\r\nTransfer-Encoding: chunked\r\n\r\n");
    buf_fini(&out);
    buf_fini(&a.packed);
}

static void writes_interim_responses(void **state)
{
    (void)state;
    static const struct {
        uint16_t status;
        const char *lines, *want; /* NULL: refused */
    } cases[] = {
        {100, "", "HTTP/1.1 100 Continue\r\n\r\n"},
        {103, "link: </a>; rel=preload|Content-Length: 5|Connection: close",
         "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"},
        {101, "", NULL},
        {200, "", NULL},
        {99, "", NULL},
        {103, "Link: a\r\nb: c", NULL},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer a = answer_of(cases[i].status, cases[i].lines);
        struct buf out;
        struct response_failure failure;
        buf_init(&out, 0);
        assert_int_equal(respond_inform(&a.frame, &out, &failure),
                         cases[i].want != NULL);
        assert_slice(buf_slice(&out), cases[i].want == NULL ? "" : cases[i].want);
        buf_fini(&out);
        buf_fini(&a.packed);
    }
}

static void frames_chunks(void **state)
{
    (void)state;
    struct buf out;

    buf_init(&out, 0);
    respond_chunk_begin(&out, 1);
    respond_chunk_begin(&out, 0x1f);
    respond_chunk_begin(&out, 0x10000);
    respond_chunk_begin(&out, SIZE_MAX);
    respond_chunk_end(&out);
    respond_last_chunk(&out);
    assert_slice(buf_slice(&out),
                 "1\r\n1f\r\n10000\r\nffffffffffffffff\r\n\r\n0\r\n\r\n");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_a_head_with_canonical_names),
        cmocka_unit_test(adds_date_and_server_unless_there),
        cmocka_unit_test(a_cookie_of_the_edge_keeps_the_answer_out_of_shared_caches),
        cmocka_unit_test(frames_the_body_itself),
        cmocka_unit_test(drops_hop_by_hop_fields_and_says_so),
        cmocka_unit_test(announces_trailers_to_clients_that_take_them),
        cmocka_unit_test(lets_no_client_see_what_an_application_must_not_say),
        cmocka_unit_test(says_what_no_client_may_see),
        cmocka_unit_test(lets_no_client_see_a_nul),
        cmocka_unit_test(refuses_a_body_shorter_than_promised),
        cmocka_unit_test(keeps_reasons_and_odd_statuses),
        cmocka_unit_test(writes_interim_responses),
        cmocka_unit_test(frames_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
