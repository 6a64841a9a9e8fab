/* SPDX-License-Identifier: MIT
 * proxy/http/hop.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>
#include <stdio.h>

#include "protocol/header_names.h"
#include "proxy/http/hop.h"
#include "tests/support/assert_slice.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define GET "GET / HTTP/1.1\r\nHost: a\r\n"

/* One request on its way through the hop. */
struct passage {
    struct request_head head;
    struct request_rules rules;
    struct hop_result client;
};

static const struct hop_peer peer = {.addr = {"192.0.2.1", 9}, .port = 4711};

static struct passage
pass(const char *lines, const struct hop_peer *from, const char *trust)
{
    static char input[8192];
    struct passage p;
    struct http_limits limits;
    struct parse_failure failure;
    struct trusted_networks trusted;
    const struct rules_options options = {.is_tls = from->is_tls, .max_body = 1000};
    size_t scanned = 0, used;
    size_t len = strlen(lines);

    assert_in_range(len, 1, sizeof(input) - 3);
    memcpy(input, lines, len);
    memcpy(input + len, "\r\n", 3);
    http_limits_init(&limits);
    assert_int_equal(
        parse_head(slice_from(input), &limits, &scanned, &p.head, &used, &failure),
        STEP_DONE);
    assert_true(rules_check(&p.head, input, &options, &p.rules, &failure));
    assert_true(trusted_parse(trust, &trusted));
    hop_client(&p.head, &p.rules, from, &trusted, &p.client);
    return p;
}

/* The headers as "name: value\n" lines. */
static void assert_headers_with(const struct passage *p,
                                const struct hop_peer *from,
                                const struct hop_own *own,
                                const char *want)
{
    struct buf packed, text;
    struct header h;

    buf_init(&packed, 0);
    buf_init(&text, 0);
    hop_headers(&p->head, &p->rules, from, &p->client, own, &packed);
    assert_int_equal((unsigned char)packed.data[0], 0xdc);
    struct header_list list = {
        .packed = slice_of(packed.data + 3, buf_len(&packed) - 3),
        .count = (uint32_t)(unsigned char)packed.data[2] / 2,
    };
    while (header_next(&list, &h)) {
        buf_addf(&text, "%.*s: %.*s\n", SLICE_FMT(h.name), SLICE_FMT(h.value));
        assert_int_equal(h.number, header_number(h.name));
    }
    assert_int_equal(list.packed.len, 0);
    buf_add(&text, SLICE("\0"));
    assert_string_equal(text.data, want);
    buf_fini(&packed);
    buf_fini(&text);
}

static void
assert_headers(const struct passage *p, const struct hop_peer *from, const char *want)
{
    assert_headers_with(p, from, &(struct hop_own){.id = SLICE("id-1")}, want);
}

static void reads_lists_of_networks(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_good;
        uint32_t count;
    } cases[] = {
        {"", true, 0},
        {"127.0.0.1", true, 1},
        {" 127.0.0.0/8 ,10.0.0.0/8, ::1,unix", true, 3},
        {"*", true, 1},
        {"unix", true, 0},
        {"2001:db8::/32", true, 1},
        {"0.0.0.0/0", true, 1},
        {"127.0.0.1/33", false, 0},
        {"::1/129", false, 0},
        {"127.0.0.1/", false, 0},
        {"127.0.0.1/x", false, 0},
        {"127.0.0.1/08", false, 0},
        {"127.0.0", false, 0},
        {"127.0.0.256", false, 0},
        {"127.0.0.01", false, 0},
        {"localhost", false, 0},
        {"[::1]", false, 0},
        {"/8", false, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct trusted_networks trusted;
        assert_int_equal(trusted_parse(cases[i].text, &trusted), cases[i].is_good);
        if (cases[i].is_good)
            assert_int_equal(trusted.count, cases[i].count);
    }
}

static void takes_32_networks_and_no_more(void **state)
{
    (void)state;
    struct trusted_networks trusted;
    struct buf text;

    buf_init(&text, 0);
    for (int i = 0; i < 32; i++)
        buf_addf(&text, "10.0.0.%d,", i);
    buf_add(&text, SLICE("\0"));
    assert_true(trusted_parse(text.data, &trusted));
    assert_int_equal(trusted.count, 32);
    text.end--;
    buf_add(&text, SLICE("::1\0"));
    assert_false(trusted_parse(text.data, &trusted));
    buf_fini(&text);
}

static void believes_peers_of_its_networks_only(void **state)
{
    (void)state;
    static const struct {
        const char *trust, *addr;
        bool is_trusted;
    } cases[] = {
        {"", "127.0.0.1", false},
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"127.0.0.1", "::ffff:127.0.0.1", true},
        {"127.0.0.1", "::1", false},
        {"10.128.0.0/9", "10.128.0.1", true},
        {"10.128.0.0/9", "10.127.0.1", false},
        {"192.0.2.252/30", "192.0.2.255", true},
        {"192.0.2.252/30", "192.0.2.251", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"0.0.0.0/0", "192.0.2.1", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "192.0.2.1", true},
        {"*", "2001:db8::1", true},
        {"*", "", true},
        {"unix", "", true},
        {"127.0.0.1", "", false},
        {"*", "nonsense", false},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct trusted_networks trusted;
        const struct hop_peer from = {.addr = slice_from(cases[i].addr)};
        assert_true(trusted_parse(cases[i].trust, &trusted));
        assert_int_equal(hop_is_trusted(&trusted, &from), cases[i].is_trusted);
    }
}

static void finds_the_client_behind_trusted_proxies(void **state)
{
    (void)state;
    static const struct {
        const char *lines, *client;
    } cases[] = {
        {GET, "192.0.2.1"},
        {GET "X-Forwarded-For: 198.51.100.1\r\n", "198.51.100.1"},
        {GET "X-Forwarded-For: 203.0.113.1, 198.51.100.1\r\n", "198.51.100.1"},
        {GET "X-Forwarded-For: 198.51.100.1,192.0.2.7\r\n", "198.51.100.1"},
        {GET "X-Forwarded-For: 192.0.2.9, 192.0.2.7\r\n", "192.0.2.9"},
        {GET "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.7\r\n",
         "198.51.100.1"},
        {GET "X-Forwarded-For: 198.51.100.1:4711\r\n", "198.51.100.1"},
        {GET "X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1"},
        {GET "X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"},
        {GET "X-Forwarded-For: unknown\r\n", "192.0.2.1"},
        {GET "X-Forwarded-For: 198.51.100.1, unknown, 192.0.2.7\r\n", "192.0.2.7"},
        {GET "X-Forwarded-For: 198.51.100.1,\r\n", "192.0.2.1"},
        {GET "X-Forwarded-For: [2001:db8::1\r\n", "192.0.2.1"},
        {GET "X-Forwarded-For:\r\n", "192.0.2.1"},
        {GET "Connection: X-Forwarded-For\r\nX-Forwarded-For: 198.51.100.1\r\n",
         "192.0.2.1"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct passage p = pass(cases[i].lines, &peer, "192.0.2.0/24");
        assert_true(p.client.is_trusted);
        assert_slice(p.client.client_addr, cases[i].client);
        bool is_peer = strcmp(cases[i].client, "192.0.2.1") == 0;
        assert_int_equal(p.client.client_port, is_peer ? 4711 : 0);

        p = pass(cases[i].lines, &peer, "127.0.0.1");
        assert_false(p.client.is_trusted);
        assert_slice(p.client.client_addr, "192.0.2.1");
        assert_int_equal(p.client.client_port, 4711);
    }
}

static void believes_scheme_and_id_of_trusted_peers(void **state)
{
    (void)state;
    static const struct {
        const char *lines, *scheme, *id;
    } cases[] = {
        {GET, "http", ""},
        {GET "X-Forwarded-Proto: https\r\nX-Request-ID: a-1\r\n", "https", "a-1"},
        {GET "X-Forwarded-Proto: http, HTTPS\r\n", "https", ""},
        {GET "X-Forwarded-Proto: https, ftp\r\n", "http", ""},
        {GET "X-Request-ID: a b\r\n", "http", ""},
        {GET "X-Request-ID: \xc3\xa9\r\n", "http", ""},
        {GET "X-Request-ID:\r\n", "http", ""},
        {GET "X-Request-ID: "
             "0123456789012345678901234567890123456789012345678901234567890123\r\n",
         "http", "0123456789012345678901234567890123456789012345678901234567890123"},
        {GET "X-Request-ID: "
             "01234567890123456789012345678901234567890123456789012345678901234\r\n",
         "http", ""},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct passage p = pass(cases[i].lines, &peer, "*");
        assert_slice(p.client.scheme, cases[i].scheme);
        assert_slice(p.client.id, cases[i].id);
        p = pass(cases[i].lines, &peer, "");
        assert_slice(p.client.scheme, "http");
        assert_slice(p.client.id, "");
    }
    const struct hop_peer tls = {.addr = SLICE("192.0.2.1"), .is_tls = true};
    assert_slice(pass(GET, &tls, "").client.scheme, "https");
    assert_slice(pass(GET "X-Forwarded-Proto: http\r\n", &tls, "*").client.scheme,
                 "http");
}

static void passes_fields_on_in_lower_case_and_order(void **state)
{
    (void)state;
    struct passage p = pass("GET http://b:1/ HTTP/1.1\r\n"
                            "ACCEPT: */*\r\n"
                            "Host: a\r\n"
                            "X-My-Own: C\r\n"
                            "Connection: close\r\n"
                            "X-Empty:\r\n"
                            "Accept: again\r\n",
                            &peer, "");
    assert_headers(&p, &peer,
                   "host: b:1\n"
                   "accept: */*\n"
                   "x-my-own: C\n"
                   "x-empty: \n"
                   "accept: again\n"
                   "x-forwarded-for: 192.0.2.1\n"
                   "x-forwarded-host: b:1\n"
                   "x-forwarded-proto: http\n"
                   "x-real-ip: 192.0.2.1\n"
                   "x-request-id: id-1\n");
}

static void joins_cookies_where_the_first_stood(void **state)
{
    (void)state;
    struct passage p = pass("GET / HTTP/1.0\r\n"
                            "Accept: a\r\n"
                            "Cookie: b=1\r\n"
                            "Cookie:\r\n"
                            "Range: c\r\n"
                            "Cookie: d=2; e=3\r\n",
                            &peer, "");
    assert_headers(&p, &peer,
                   "accept: a\n"
                   "cookie: b=1; d=2; e=3\n"
                   "range: c\n"
                   "x-forwarded-for: 192.0.2.1\n"
                   "x-forwarded-proto: http\n"
                   "x-real-ip: 192.0.2.1\n"
                   "x-request-id: id-1\n");
}

#define FORGED                                                                         \
    "Forwarded: for=b\r\n"                                                             \
    "X-Forwarded-For: 203.0.113.1\r\n"                                                 \
    "X-Forwarded-Host: c\r\n"                                                          \
    "X-Forwarded-Port: 1\r\n"                                                          \
    "X-Forwarded-Proto: https\r\n"                                                     \
    "X-Forwarded-Prefix: /d\r\n"                                                       \
    "X-Forwarded: e\r\n"                                                               \
    "X-Real-IP: f\r\n"                                                                 \
    "X-Request-ID: g\r\n"                                                              \
    "X-Request-Start: h\r\n"

static void replaces_what_a_stranger_says_about_the_client(void **state)
{
    (void)state;
    struct passage p = pass(GET FORGED, &peer, "");
    assert_headers(&p, &peer,
                   "host: a\n"
                   "x-forwarded: e\n"
                   "x-forwarded-for: 192.0.2.1\n"
                   "x-forwarded-host: a\n"
                   "x-forwarded-proto: http\n"
                   "x-real-ip: 192.0.2.1\n"
                   "x-request-id: id-1\n");
}

static void adds_to_what_a_trusted_peer_says(void **state)
{
    (void)state;
    struct passage p =
        pass(GET FORGED "X-Forwarded-For: 192.0.2.2\r\n", &peer, "192.0.2.0/24");
    assert_headers(&p, &peer,
                   "host: a\n"
                   "forwarded: for=b\n"
                   "x-forwarded-host: c\n"
                   "x-forwarded-port: 1\n"
                   "x-forwarded-prefix: /d\n"
                   "x-forwarded: e\n"
                   "x-request-start: h\n"
                   "x-forwarded-for: 203.0.113.1, 192.0.2.2, 192.0.2.1\n"
                   "x-forwarded-proto: https\n"
                   "x-real-ip: 203.0.113.1\n"
                   "x-request-id: id-1\n");
}

static void says_when_the_request_came(void **state)
{
    (void)state;
    const struct hop_own own = {.id = SLICE("i"), .start_us = 1763700000123456};
    struct passage p =
        pass(GET "X-Request-Start: t=1\r\nX-Queue-Start: t=2\r\nX-Queue-Stars: 3\r\n",
             &peer, "");
    assert_headers_with(&p, &peer, &own,
                        "host: a\n"
                        "x-queue-stars: 3\n"
                        "x-forwarded-for: 192.0.2.1\n"
                        "x-forwarded-host: a\n"
                        "x-forwarded-proto: http\n"
                        "x-real-ip: 192.0.2.1\n"
                        "x-request-id: i\n"
                        "x-request-start: t=1763700000123456\n");
    p = pass(GET "X-Request-Start: t=1\r\nX-Queue-Start: t=2\r\n", &peer,
             "192.0.2.0/24");
    assert_headers_with(&p, &peer, &own,
                        "host: a\n"
                        "x-request-start: t=1\n"
                        "x-queue-start: t=2\n"
                        "x-forwarded-for: 192.0.2.1\n"
                        "x-forwarded-host: a\n"
                        "x-forwarded-proto: http\n"
                        "x-real-ip: 192.0.2.1\n"
                        "x-request-id: i\n");
}

static void keeps_a_cookie_of_the_edge_to_itself(void **state)
{
    (void)state;
    static const struct {
        const char *lines, *want; /* NULL: no Cookie is left */
    } cases[] = {
        {"Cookie: node=1\r\n", NULL},
        {"Cookie: node=1; node=2\r\n", NULL},
        {"Cookie: a=1; node=2; b=3\r\n", "a=1; b=3"},
        {"Cookie: a=1;node=2;b=3\r\n", "a=1; b=3"},
        {"Cookie: a=1\r\nCookie: node=2\r\nCookie: b=node=4\r\n", "a=1; b=node=4"},
        {"Cookie: node=2\r\nCookie: b=3\r\n", "b=3"},
        {"Cookie: nodes=1; xnode=2; Node=3; node\r\n",
         "nodes=1; xnode=2; Node=3; node"},
        {"Cookie: a=1;b=2\r\n", "a=1;b=2"},
        {"Cookie: \r\n", ""},
    };
    const struct hop_own own = {.cookie = SLICE("node")};
    const struct hop_peer local = {.port = 0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char lines[128], want[256];
        snprintf(lines, sizeof lines, "%s%s", GET, cases[i].lines);
        snprintf(want, sizeof want,
                 "host: a\n%s%s%sx-forwarded-host: a\nx-forwarded-proto: http\n",
                 cases[i].want == NULL ? "" : "cookie: ",
                 cases[i].want == NULL ? "" : cases[i].want,
                 cases[i].want == NULL ? "" : "\n");
        struct passage p = pass(lines, &local, "");
        assert_headers_with(&p, &local, &own, want);
    }
}

static void says_no_address_of_a_unix_socket(void **state)
{
    (void)state;
    const struct hop_peer local = {.port = 0};
    struct passage p =
        pass(GET "X-Forwarded-For: 203.0.113.1\r\n", &local, "127.0.0.1");
    assert_headers(&p, &local,
                   "host: a\n"
                   "x-forwarded-host: a\n"
                   "x-forwarded-proto: http\n"
                   "x-request-id: id-1\n");
    p = pass(GET "X-Forwarded-For: 203.0.113.1\r\n", &local, "unix");
    assert_headers(&p, &local,
                   "host: a\n"
                   "x-forwarded-for: 203.0.113.1\n"
                   "x-forwarded-host: a\n"
                   "x-forwarded-proto: http\n"
                   "x-real-ip: 203.0.113.1\n"
                   "x-request-id: id-1\n");
}

static void lowers_names_of_any_length(void **state)
{
    (void)state;
    struct buf lines, want;

    buf_init(&lines, 0);
    buf_init(&want, 0);
    buf_add(&lines, SLICE("GET / HTTP/1.0\r\n"));
    for (int i = 0; i < 300; i++) {
        buf_addf(&lines, "%c", 'A' + i % 26);
        buf_addf(&want, "%c", 'a' + i % 26);
    }
    buf_add(&lines, SLICE(": b\r\n\0"));
    buf_add(&want, SLICE(": b\nx-forwarded-for: 192.0.2.1\nx-forwarded-proto: http\n"
                         "x-real-ip: 192.0.2.1\nx-request-id: id-1\n\0"));
    struct passage p = pass(lines.data, &peer, "");
    assert_headers(&p, &peer, want.data);
    buf_fini(&lines);
    buf_fini(&want);
}

/* 127 fields behind Host, `line` filled up with `len` bytes of value each. */
static void pack_full_head(const char *name, size_t len)
{
    struct buf input, packed;
    struct http_limits limits;
    struct parse_failure failure;
    struct trusted_networks trusted;
    static struct request_head head;
    struct request_rules rules;
    struct hop_result client;
    const struct rules_options options = {.max_body = 0};
    size_t scanned = 0, used;

    buf_init(&input, 0);
    buf_init(&packed, 0);
    buf_add(&input, SLICE(GET));
    for (int i = 1; i < HTTP_MAX_FIELDS; i++) {
        bool fits = buf_reserve(&input, len + 100);
        assert_true(fits);
        buf_addf(&input, "%s:", name);
        memset(buf_tail(&input), 'x', len);
        buf_commit(&input, len);
        buf_add(&input, SLICE("\r\n"));
    }
    buf_add(&input, SLICE("\r\n"));
    http_limits_init(&limits);
    limits.max_fields = HTTP_MAX_FIELDS;
    limits.max_head = HTTP_MAX_HEAD;
    assert_in_range(buf_len(&input), HTTP_MAX_HEAD - 2000, HTTP_MAX_HEAD);
    assert_int_equal(
        parse_head(buf_slice(&input), &limits, &scanned, &head, &used, &failure),
        STEP_DONE);
    assert_true(rules_check(&head, input.data, &options, &rules, &failure));
    assert_true(trusted_parse("*", &trusted));
    hop_client(&head, &rules, &peer, &trusted, &client);
    struct hop_own own = {
        .id = SLICE("id-1"), .cookie = SLICE("node"), .start_us = UINT64_MAX};
    hop_headers(&head, &rules, &peer, &client, &own, &packed);
    assert_in_range(buf_len(&packed), HTTP_MAX_HEAD - 3000, FRAME_MAX_HEAD);
    buf_fini(&input);
    buf_fini(&packed);
}

static void packs_the_largest_head_into_one_frame(void **state)
{
    (void)state;
    pack_full_head("A", 1930);
    pack_full_head("Cookie", 1920);
    pack_full_head("X-Forwarded-For", 1910);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_lists_of_networks),
        cmocka_unit_test(takes_32_networks_and_no_more),
        cmocka_unit_test(believes_peers_of_its_networks_only),
        cmocka_unit_test(finds_the_client_behind_trusted_proxies),
        cmocka_unit_test(believes_scheme_and_id_of_trusted_peers),
        cmocka_unit_test(passes_fields_on_in_lower_case_and_order),
        cmocka_unit_test(joins_cookies_where_the_first_stood),
        cmocka_unit_test(replaces_what_a_stranger_says_about_the_client),
        cmocka_unit_test(adds_to_what_a_trusted_peer_says),
        cmocka_unit_test(says_when_the_request_came),
        cmocka_unit_test(keeps_a_cookie_of_the_edge_to_itself),
        cmocka_unit_test(says_no_address_of_a_unix_socket),
        cmocka_unit_test(lowers_names_of_any_length),
        cmocka_unit_test(packs_the_largest_head_into_one_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
