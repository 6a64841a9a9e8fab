/* SPDX-License-Identifier: MIT
 * proxy/affinity.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>
#include <stdio.h>

#include "proxy/affinity.h"
#include "tests/support/assert_slice.h"

static struct request_head head_of(const char *text)
{
    struct http_limits limits;
    struct request_head head;
    struct parse_failure failure;
    size_t scanned = 0, used;
    http_limits_init(&limits);
    assert_int_equal(
        parse_head(slice_from(text), &limits, &scanned, &head, &used, &failure),
        STEP_DONE);
    return head;
}

static void a_cookie_is_found_by_its_whole_name(void **state)
{
    static const struct {
        const char *cookie, *want; /* of "id"; NULL: none */
    } cases[] = {
        {"id=7", "7"},
        {"a=1; id=7; b=2", "7"},
        {"a=1;id=7", "7"},
        {"id=", ""},
        {"id=a=b; x", "a=b"},
        {"id=1; id=2", "1"},
        {"xid=7; id2=8; ID=9", NULL},
        {"id", NULL},
        {"; ;id", NULL},
        {"x=id=7", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        struct slice value;
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\nCookie: %s\r\n\r\n",
                 cases[i].cookie);
        struct request_head head = head_of(text);
        assert_int_equal(affinity_cookie(&head, SLICE("id"), &value),
                         cases[i].want != NULL);
        if (cases[i].want != NULL)
            assert_slice(value, cases[i].want);
    }
}

static void keys_come_from_what_was_asked_for(void **state)
{
    (void)state;
    struct request_head head = head_of("GET / HTTP/1.1\r\nHost: x\r\nX-Tenant: blue\r\n"
                                       "Cookie: a=1\r\nCookie: sid=blue\r\n\r\n");
    struct slice here = SLICE("192.0.2.7"), there = SLICE("192.0.2.8");
    struct hash_by address = {.source = HASH_ADDRESS};
    struct hash_by header = {.source = HASH_HEADER, .name = "x-tenant"};
    struct hash_by cookie = {.source = HASH_COOKIE, .name = "sid"};
    struct hash_by nothing = {.source = HASH_HEADER, .name = "x-none"};
    uint64_t blue = affinity_key(&header, &head, here);
    assert_int_not_equal(blue, 0);
    assert_int_equal(blue, affinity_key(&header, &head, there));
    assert_int_equal(blue, affinity_key(&cookie, &head, here));
    assert_int_equal(affinity_key(&address, &head, here),
                     affinity_key(&address, &head, here));
    assert_int_not_equal(affinity_key(&address, &head, here),
                         affinity_key(&address, &head, there));
    assert_int_equal(affinity_key(&nothing, &head, here), 0);
}

static void a_backends_key_goes_into_a_cookie_and_comes_back(void **state)
{
    (void)state;
    const struct sticky sticky = {.name = "node"};
    static const uint64_t keys[] = {1, 0xfedcba9876543210, UINT64_MAX};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct buf value;
        char text[256];
        buf_init(&value, 0);
        affinity_write_cookie(&sticky, keys[i], false, &value);
        struct slice cookie = buf_slice(&value);
        const char *end = memchr(cookie.ptr, ';', cookie.len);
        assert_non_null(end);
        snprintf(text, sizeof text,
                 "GET / HTTP/1.1\r\nHost: x\r\nCookie: a=b; %.*s\r\n\r\n",
                 (int)(end - cookie.ptr), cookie.ptr);
        struct request_head head = head_of(text);
        assert_true(affinity_read_cookie(&sticky, &head) == keys[i]);
        buf_fini(&value);
    }
}

static void what_is_not_of_our_making_is_no_key(void **state)
{
    (void)state;
    const struct sticky sticky = {.name = "node"};
    static const char *const values[] = {"",
                                         "1",
                                         "00000000000000011",
                                         "000000000000000G",
                                         "00000000000000AB",
                                         "000000000000-001",
                                         "0x00000000000001",
                                         "0000000000000000"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[128];
        snprintf(text, sizeof text,
                 "GET / HTTP/1.1\r\nHost: x\r\nCookie: node=%s\r\n\r\n", values[i]);
        struct request_head head = head_of(text);
        assert_true(affinity_read_cookie(&sticky, &head) == 0);
    }
    struct request_head head = head_of("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(affinity_read_cookie(&sticky, &head) == 0);
}

static void the_cookie_says_where_it_may_go(void **state)
{
    (void)state;
    static const struct {
        struct sticky sticky;
        bool is_secure;
        const char *want;
    } cases[] = {
        {{.name = "n"}, false, "n=00000000000000ab; Path=/; HttpOnly; SameSite=Lax"},
        {{.name = "n", .same_site = SAME_SITE_STRICT, .max_age_s = 3600},
         true,
         "n=00000000000000ab; Path=/; HttpOnly; SameSite=Strict; Max-Age=3600; Secure"},
        {{.name = "n", .same_site = SAME_SITE_NONE},
         false,
         "n=00000000000000ab; Path=/; HttpOnly; SameSite=None; Secure"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf value;
        buf_init(&value, 0);
        affinity_write_cookie(&cases[i].sticky, 0xab, cases[i].is_secure, &value);
        assert_slice(buf_slice(&value), cases[i].want);
        buf_fini(&value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cookie_is_found_by_its_whole_name),
        cmocka_unit_test(keys_come_from_what_was_asked_for),
        cmocka_unit_test(a_backends_key_goes_into_a_cookie_and_comes_back),
        cmocka_unit_test(what_is_not_of_our_making_is_no_key),
        cmocka_unit_test(the_cookie_says_where_it_may_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
