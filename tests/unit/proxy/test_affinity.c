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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cookie_is_found_by_its_whole_name),
        cmocka_unit_test(keys_come_from_what_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
