/* SPDX-License-Identifier: MIT
 * proxy/http/rules.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "protocol/base/buf.h"
#include "proxy/http/rules.h"
#include "tests/support/assert_slice.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A request line and a Host that nobody objects to. */
#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"

struct verdict {
    bool is_good;
    struct request_head head;
    struct request_rules rules;
    struct parse_failure failure;
};

/* `lines`: a head without its empty line, from static memory. */
static struct verdict judge_with(const char *lines, const struct rules_options *options)
{
    static char input[8192];
    struct verdict v = {.is_good = false};
    struct http_limits limits;
    size_t scanned = 0, used;
    size_t len = strlen(lines);

    assert_in_range(len, 1, sizeof(input) - 3);
    memcpy(input, lines, len);
    memcpy(input + len, "\r\n", 3);
    http_limits_init(&limits);
    assert_int_equal(
        parse_head(slice_from(input), &limits, &scanned, &v.head, &used, &v.failure),
        STEP_DONE);
    v.is_good = rules_check(&v.head, input, options, &v.rules, &v.failure);
    return v;
}

static struct verdict judge(const char *lines)
{
    const struct rules_options options = {.max_body = 1000};
    return judge_with(lines, &options);
}

static enum err failure_of(const char *lines)
{
    struct verdict v = judge(lines);
    return v.is_good ? ERR_NONE : v.failure.err;
}

static void decides_how_the_body_is_framed(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        enum framing framing;
        uint64_t length;
    } cases[] = {
        {GET, FRAMING_NONE, 0},
        {POST, FRAMING_NONE, 0},
        {POST "Content-Length: 0\r\n", FRAMING_LENGTH, 0},
        {POST "Content-Length: 1000\r\n", FRAMING_LENGTH, 1000},
        {GET "Content-Length: 7\r\n", FRAMING_LENGTH, 7},
        {POST "Transfer-Encoding: chunked\r\n", FRAMING_CHUNKED, 0},
        {POST "Transfer-Encoding:\t ChunKed \r\n", FRAMING_CHUNKED, 0},
        {GET "Transfer_Encoding: chunked\r\n", FRAMING_NONE, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct verdict v = judge(cases[i].lines);
        assert_true(v.is_good);
        assert_int_equal(v.rules.framing, cases[i].framing);
        assert_int_equal(v.rules.content_length, cases[i].length);
    }
}

static void refuses_framing_that_anybody_might_read_otherwise(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        enum err err;
    } cases[] = {
        {POST "Content-Length: 1001\r\n", ERR_BODY_TOO_LARGE},
        {POST "Content-Length: 9223372036854775807\r\n", ERR_BODY_TOO_LARGE},
        {POST "Content-Length: 9223372036854775808\r\n", ERR_BAD_CONTENT_LENGTH},
        {POST "Content-Length: 9999999999999999999\r\n", ERR_BAD_CONTENT_LENGTH},
        {POST "Content-Length: 18446744073709551617\r\n", ERR_BAD_CONTENT_LENGTH},
        {POST "Content-Length: 01\r\n", ERR_BAD_CONTENT_LENGTH},
        {POST "Content-Length:\r\n", ERR_BAD_CONTENT_LENGTH},
        {POST "Content-Length: 1,1\r\n", ERR_BAD_CONTENT_LENGTH},
        {POST "Content-Length: 1\r\nContent-Length: 1\r\n", ERR_BAD_CONTENT_LENGTH},
        {POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
         ERR_FRAMING_CONFLICT},
        {POST "Transfer-Encoding: x\r\nContent-Length: 1\r\n", ERR_FRAMING_CONFLICT},
        {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
         ERR_BAD_TRANSFER_ENCODING},
        {POST "Transfer-Encoding: gzip, chunked\r\n", ERR_UNKNOWN_TRANSFER_ENCODING},
        {POST "Transfer-Encoding: gzip\r\n", ERR_UNKNOWN_TRANSFER_ENCODING},
        {POST "Transfer-Encoding: chunked, gzip\r\n", ERR_BAD_TRANSFER_ENCODING},
        {POST "Transfer-Encoding: chunked,chunked\r\n", ERR_BAD_TRANSFER_ENCODING},
        {POST "Transfer-Encoding: gzip;q=1\r\n", ERR_BAD_TRANSFER_ENCODING},
        {POST "Transfer-Encoding: gzip,,chunked\r\n", ERR_BAD_TRANSFER_ENCODING},
        {POST "Transfer-Encoding:\r\n", ERR_BAD_TRANSFER_ENCODING},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
         ERR_BAD_TRANSFER_ENCODING},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(failure_of(cases[i].lines), cases[i].err);
}

static void knows_a_host_when_it_sees_one(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool is_good;
    } cases[] = {
        {"a", true},
        {"A.example.", true},
        {"a_b-c~d", true},
        {"a:0", true},
        {"a:", true},
        {"a:65535", true},
        {"192.0.2.1", true},
        {"[::]", true},
        {"[2001:DB8::1]:80", true},
        {"[::ffff:192.0.2.1]", true},
        {"", false},
        {":", false},
        {":80", false},
        {"a:65536", false},
        {"a:000080", false},
        {"a:+80", false},
        {"a:80:80", false},
        {"a b", false},
        {"a,b", false},
        {"a/", false},
        {"a@b", false},
        {"a%41", false},
        {"a\\b", false},
        {"[", false},
        {"[]", false},
        {"[::1", false},
        {"[::1]80", false},
        {"[1::2::3]", false},
        {"[1.2.3.4]", false},
        {"::1", false},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf lines;
        buf_init(&lines, 0);
        buf_addf(&lines, "GET / HTTP/1.1\r\nHost: %s\r\n", cases[i].host);
        buf_add(&lines, SLICE("\0"));
        struct verdict v = judge(lines.data);
        assert_int_equal(v.is_good, cases[i].is_good);
        if (v.is_good)
            assert_slice(v.rules.host, cases[i].host);
        else
            assert_int_equal(v.failure.err, ERR_BAD_HOST);
        buf_fini(&lines);
    }
}

static void the_target_of_an_absolute_form_names_the_host(void **state)
{
    (void)state;
    struct verdict v = judge("GET http://a:81/ HTTP/1.1\r\nHost: b\r\n");
    assert_true(v.is_good);
    assert_slice(v.rules.host, "a:81");
    assert_int_equal(failure_of("GET http://a/ HTTP/1.1\r\n"), ERR_BAD_HOST);
    assert_int_equal(failure_of("GET http://a/ HTTP/1.1\r\nHost: b c\r\n"),
                     ERR_BAD_HOST);
    assert_int_equal(failure_of("GET http:/// HTTP/1.1\r\nHost: b\r\n"), ERR_BAD_HOST);
    assert_int_equal(failure_of("GET https://a/ HTTP/1.1\r\nHost: a\r\n"),
                     ERR_BAD_TARGET);

    const struct rules_options tls = {.is_tls = true};
    assert_true(judge_with("GET https://a/ HTTP/1.1\r\nHost: a\r\n", &tls).is_good);
    assert_false(judge_with("GET http://a/ HTTP/1.1\r\nHost: a\r\n", &tls).is_good);
}

static void matches_methods_and_targets(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        enum err err;
        bool is_head, is_idempotent, is_options_asterisk;
    } cases[] = {
        {"GET / HTTP/1.0\r\n", ERR_NONE, false, true, false},
        {"HEAD / HTTP/1.0\r\n", ERR_NONE, true, true, false},
        {"PUT / HTTP/1.0\r\n", ERR_NONE, false, true, false},
        {"DELETE / HTTP/1.0\r\n", ERR_NONE, false, true, false},
        {"OPTIONS / HTTP/1.0\r\n", ERR_NONE, false, true, false},
        {"OPTIONS * HTTP/1.0\r\n", ERR_NONE, false, true, true},
        {"POST / HTTP/1.0\r\n", ERR_NONE, false, false, false},
        {"PATCH / HTTP/1.0\r\n", ERR_NONE, false, false, false},
        {"get / HTTP/1.0\r\n", ERR_NONE, false, false, false},
        {"TRACE / HTTP/1.0\r\n", ERR_METHOD_NOT_ALLOWED, false, false, false},
        {"CONNECT a:1 HTTP/1.0\r\n", ERR_METHOD_NOT_ALLOWED, false, false, false},
        {"CONNECT / HTTP/1.0\r\n", ERR_METHOD_NOT_ALLOWED, false, false, false},
        {"GET * HTTP/1.0\r\n", ERR_BAD_TARGET, false, false, false},
        {"GET a:1 HTTP/1.0\r\n", ERR_BAD_TARGET, false, false, false},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct verdict v = judge(cases[i].lines);
        assert_int_equal(v.is_good ? ERR_NONE : v.failure.err, cases[i].err);
        if (!v.is_good)
            continue;
        assert_int_equal(v.rules.is_head, cases[i].is_head);
        assert_int_equal(v.rules.is_idempotent, cases[i].is_idempotent);
        assert_int_equal(v.rules.is_options_asterisk, cases[i].is_options_asterisk);
    }
}

static void keeps_a_connection_by_version_and_option(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        bool keep_alive;
    } cases[] = {
        {GET, true},
        {GET "Connection: close\r\n", false},
        {GET "Connection: foo, CLOSE\r\n", false},
        {GET "Connection: keep-alive\r\nConnection: close\r\n", false},
        {GET "Proxy-Connection: close\r\n", true},
        {"GET / HTTP/1.0\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n", false},
        {"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n", false},
        {"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n", true},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct verdict v = judge(cases[i].lines);
        assert_true(v.is_good);
        assert_int_equal(v.rules.keep_alive, cases[i].keep_alive);
    }
}

static void drops_what_stops_here(void **state)
{
    (void)state;
    /* '1' stands for a field that is dropped, in the order of the lines after Host. */
    static const struct {
        const char *lines, *dropped;
    } cases[] = {
        {GET "Accept: a\r\nConnection: b, Accept\r\nB: c\r\n", "0111"},
        {GET "TE: a\r\nTrailer: b\r\nKeep-Alive: c\r\nUpgrade: d\r\n", "01111"},
        {GET "Proxy: a\r\nProxy-Connection: b\r\nProxy-Authorization: c\r\n", "0110"},
        {GET "X-Accel-Redirect: a\r\nx-sendfile: b\r\nX-Accelerate: c\r\n", "0110"},
        {GET "X_A: a\r\n_: b\r\nX-A: c\r\n", "0110"},
        {GET "Cookie: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n", "0000"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct verdict v = judge(cases[i].lines);
        assert_true(v.is_good);
        assert_int_equal(v.head.field_count, strlen(cases[i].dropped));
        for (uint32_t f = 0; f < v.head.field_count; f++)
            assert_int_equal(rules_is_dropped(&v.rules, f), cases[i].dropped[f] == '1');
    }
}

static void knows_who_takes_trailers(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        bool takes_trailers;
    } cases[] = {
        {GET, false},
        {GET "TE: trailers\r\nConnection: TE\r\n", true},
        {GET "TE: gzip;q=0.5, Trailers\r\n", true},
        {GET "TE: gzip\r\nTE: trailers\r\n", true},
        {GET "TE: gzip, trailers;q=1\r\n", false},
        {GET "TE: xtrailers\r\n", false},
        {GET "Trailer: trailers\r\n", false},
        {"GET / HTTP/1.0\r\nTE: trailers\r\n", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct verdict v = judge(cases[i].lines);
        assert_true(v.is_good);
        assert_int_equal(v.rules.takes_trailers, cases[i].takes_trailers);
    }
}

static void drops_fields_beyond_the_first_word_of_the_set(void **state)
{
    (void)state;
    struct buf lines;

    buf_init(&lines, 0);
    buf_add(&lines, SLICE(GET "Connection: x-last\r\n"));
    for (int i = 0; i < 70; i++)
        buf_addf(&lines, "X-%d: a\r\n", i);
    buf_add(&lines, SLICE("X-Last: b\r\n\0"));
    struct verdict v = judge(lines.data);
    assert_true(v.is_good);
    for (uint32_t f = 0; f < v.head.field_count; f++)
        assert_int_equal(rules_is_dropped(&v.rules, f), f == 1 || f == 72);
    buf_fini(&lines);
}

static void refuses_connection_options_that_would_strip_a_request(void **state)
{
    (void)state;
    static const char *const lines[] = {
        GET "Connection: Host\r\n",
        GET "Connection: a, content-length\r\n",
        GET "Connection: Transfer-Encoding\r\n",
        GET "Connection: AUTHORIZATION\r\n",
        GET "Connection: cookie\r\n",
        GET "Connection: a b\r\n",
        GET "Connection: a;b\r\n",
    };

    for (size_t i = 0; i < COUNT(lines); i++)
        assert_int_equal(failure_of(lines[i]), ERR_BAD_CONNECTION_OPTION);
}

static void takes_underscores_as_told(void **state)
{
    (void)state;
    struct rules_options options = {.underscore = UNDERSCORE_KEEP};
    struct verdict v = judge_with(GET "a_b: c\r\n", &options);
    assert_true(v.is_good);
    assert_false(rules_is_dropped(&v.rules, 1));
    v = judge_with(GET
                   "X_Forwarded_For: c\r\nx-forwarded_any: d\r\nContent_Length: e\r\n"
                   "User_Agent: f\r\nX_Accel-Redirect: g\r\nx_sendfile: h\r\n_: i\r\n",
                   &options);
    assert_true(v.is_good);
    for (uint32_t i = 1; i <= 7; i++)
        assert_int_equal(rules_is_dropped(&v.rules, i), i < 7);
    options.underscore = UNDERSCORE_REJECT;
    v = judge_with(GET "a_b: c\r\n", &options);
    assert_false(v.is_good);
    assert_int_equal(v.failure.err, ERR_BAD_FIELD_NAME);
    assert_int_equal(v.failure.offset, strlen(GET));
}

static void expects_only_what_it_can_give(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        enum err err;
        bool expect_continue;
    } cases[] = {
        {POST "Expect: 100-Continue\r\nContent-Length: 1\r\n", ERR_NONE, true},
        {POST "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", ERR_NONE, true},
        {POST "Expect: 100-continue\r\nContent-Length: 0\r\n", ERR_NONE, false},
        {POST "Expect: 100-continue\r\n", ERR_NONE, false},
        {POST "Expect: \r\nContent-Length: 1\r\n", ERR_EXPECTATION_FAILED, false},
        {POST "Expect: a\r\nContent-Length: 1\r\n", ERR_EXPECTATION_FAILED, false},
        {"POST / HTTP/1.0\r\nExpect: a\r\nContent-Length: 1\r\n", ERR_NONE, false},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct verdict v = judge(cases[i].lines);
        assert_int_equal(v.is_good ? ERR_NONE : v.failure.err, cases[i].err);
        if (v.is_good)
            assert_int_equal(v.rules.expect_continue, cases[i].expect_continue);
    }
}

#define UPGRADE "Connection: Upgrade\r\nUpgrade: websocket\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"

static void knows_a_websocket_handshake(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        enum err err;
        bool websocket;
    } cases[] = {
        {GET UPGRADE KEY VERSION, ERR_NONE, true},
        {GET UPGRADE "Upgrade: h2c\r\n" KEY VERSION, ERR_NONE, true},
        {GET UPGRADE KEY VERSION "Content-Length: 0\r\n", ERR_NONE, true},
        {GET "Upgrade: websocket\r\n" KEY VERSION, ERR_NONE, false},
        {GET "Connection: upgrade\r\nUpgrade: h2c\r\n", ERR_NONE, false},
        {GET "Connection: upgrade\r\n", ERR_NONE, false},
        {"GET / HTTP/1.0\r\n" UPGRADE KEY VERSION, ERR_NONE, false},
        {"POST / HTTP/1.0\r\n" UPGRADE, ERR_NONE, false},
        {POST UPGRADE KEY VERSION, ERR_BAD_UPGRADE, false},
        {GET UPGRADE KEY VERSION "Content-Length: 1\r\n", ERR_BAD_UPGRADE, false},
        {GET UPGRADE KEY, ERR_BAD_UPGRADE, false},
        {GET UPGRADE VERSION, ERR_BAD_UPGRADE, false},
        {GET UPGRADE KEY KEY VERSION, ERR_BAD_UPGRADE, false},
        {GET UPGRADE KEY VERSION VERSION, ERR_BAD_UPGRADE, false},
        {GET UPGRADE KEY "Sec-WebSocket-Version: 12\r\n", ERR_UPGRADE_REQUIRED, false},
        {GET UPGRADE VERSION "Sec-WebSocket-Key: dGhl\r\n", ERR_BAD_UPGRADE, false},
        {GET UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=A\r\n",
         ERR_BAD_UPGRADE, false},
        {GET UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZB==\r\n",
         ERR_BAD_UPGRADE, false},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct verdict v = judge(cases[i].lines);
        assert_int_equal(v.is_good ? ERR_NONE : v.failure.err, cases[i].err);
        if (v.is_good)
            assert_int_equal(v.rules.websocket, cases[i].websocket);
    }
}

static void points_at_what_it_refuses(void **state)
{
    (void)state;
    struct verdict v = judge(GET "Content-Type: a\r\nContent-Type: b\r\n");
    assert_int_equal(v.failure.err, ERR_DUPLICATE_FIELD);
    assert_int_equal(v.failure.offset, strlen(GET "Content-Type: a\r\n"));
    v = judge("GET / HTTP/1.1\r\n");
    assert_int_equal(v.failure.err, ERR_BAD_HOST);
    assert_int_equal(v.failure.offset, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decides_how_the_body_is_framed),
        cmocka_unit_test(refuses_framing_that_anybody_might_read_otherwise),
        cmocka_unit_test(knows_a_host_when_it_sees_one),
        cmocka_unit_test(the_target_of_an_absolute_form_names_the_host),
        cmocka_unit_test(matches_methods_and_targets),
        cmocka_unit_test(keeps_a_connection_by_version_and_option),
        cmocka_unit_test(drops_what_stops_here),
        cmocka_unit_test(knows_who_takes_trailers),
        cmocka_unit_test(drops_fields_beyond_the_first_word_of_the_set),
        cmocka_unit_test(refuses_connection_options_that_would_strip_a_request),
        cmocka_unit_test(takes_underscores_as_told),
        cmocka_unit_test(expects_only_what_it_can_give),
        cmocka_unit_test(knows_a_websocket_handshake),
        cmocka_unit_test(points_at_what_it_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
