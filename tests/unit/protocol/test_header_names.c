/* SPDX-License-Identifier: MIT
 * Numbers and names of headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "protocol/header_names.h"

static const struct {
    uint8_t number;
    const char *lower, *canonical;
} NAMES[] = {
#define NAME(number, lower, canonical) {number, lower, canonical},
#include "protocol/header_names.def"
#undef NAME
};

enum { NAME_COUNT = sizeof NAMES / sizeof NAMES[0] };

static void every_number_below_the_count_is_taken_once(void **state)
{
    (void)state;
    assert_int_equal(NAME_COUNT, HEADER_COUNT - 1);
    for (unsigned i = 0; i < NAME_COUNT; i++)
        assert_int_equal(NAMES[i].number, i + 1);
}

static void a_name_in_any_case_gives_its_number(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NAME_COUNT; i++) {
        own(mem) char *upper = mem_strdup(NAMES[i].lower);
        for (char *c = upper; *c != '\0'; c++)
            *c = (char)toupper((unsigned char)*c);
        assert_int_equal(header_number(slice_from(NAMES[i].lower)), NAMES[i].number);
        assert_int_equal(header_number(slice_from(NAMES[i].canonical)),
                         NAMES[i].number);
        assert_int_equal(header_number(slice_from(upper)), NAMES[i].number);
    }
}

static void a_number_gives_its_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NAME_COUNT; i++) {
        uint8_t n = NAMES[i].number;
        assert_true(slice_eq(header_lower(n), slice_from(NAMES[i].lower)));
        assert_true(slice_eq(header_canonical(n), slice_from(NAMES[i].canonical)));
        assert_true(slice_eq_nocase(header_lower(n), header_canonical(n)));
    }
    assert_int_equal(header_lower(HEADER_NONE).len, 0);
    assert_int_equal(header_lower(HEADER_COUNT).len, 0);
    assert_int_equal(header_canonical(255).len, 0);
}

/* Copies stand in blocks of exactly their size, so that a sanitizer sees overreads. */
static uint8_t number_of_copy(const char *bytes, size_t length)
{
    own(mem) char *copy = mem_alloc(length);
    if (length > 0)
        memcpy(copy, bytes, length);
    return header_number(slice_of(copy, length));
}

static void a_name_with_any_one_byte_changed_has_no_number(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NAME_COUNT; i++) {
        size_t length = strlen(NAMES[i].lower);
        own(mem) char *changed = mem_strdup(NAMES[i].lower);
        for (size_t at = 0; at < length; at++) {
            for (int byte = 0; byte < 256; byte++) {
                changed[at] = (char)byte;
                uint8_t number = number_of_copy(changed, length);
                uint8_t wanted = HEADER_NONE;
                for (unsigned other = 0; other < NAME_COUNT; other++)
                    if (strlen(NAMES[other].lower) == length &&
                        slice_eq_nocase(slice_of(changed, length),
                                        slice_from(NAMES[other].lower)))
                        wanted = NAMES[other].number;
                assert_int_equal(number, wanted);
            }
            changed[at] = NAMES[i].lower[at];
        }
    }
}

static void names_of_other_lengths_have_no_number(void **state)
{
    (void)state;
    static const char LONG[100] = "access-control-allow-credentialsx";
    for (unsigned i = 0; i < NAME_COUNT; i++) {
        size_t length = strlen(NAMES[i].lower);
        assert_int_equal(number_of_copy(NAMES[i].lower, length + 1), HEADER_NONE);
        if (length > 1)
            assert_int_equal(number_of_copy(NAMES[i].lower, length - 1), HEADER_NONE);
    }
    assert_int_equal(number_of_copy("", 0), HEADER_NONE);
    for (size_t length = 33; length < sizeof LONG; length++)
        assert_int_equal(number_of_copy(LONG, length), HEADER_NONE);
}

static void constants_are_the_numbers_of_their_names(void **state)
{
    (void)state;
    static const struct {
        enum header_name number;
        const char *name;
    } CASES[] = {
        {HEADER_ACCEPT, "accept"},
        {HEADER_AUTHORIZATION, "authorization"},
        {HEADER_CACHE_CONTROL, "cache-control"},
        {HEADER_CONNECTION, "connection"},
        {HEADER_CONTENT_LENGTH, "content-length"},
        {HEADER_CONTENT_TYPE, "content-type"},
        {HEADER_COOKIE, "cookie"},
        {HEADER_DATE, "date"},
        {HEADER_EXPECT, "expect"},
        {HEADER_FORWARDED, "forwarded"},
        {HEADER_HOST, "host"},
        {HEADER_KEEP_ALIVE, "keep-alive"},
        {HEADER_PROXY_CONNECTION, "proxy-connection"},
        {HEADER_REFERER, "referer"},
        {HEADER_RETRY_AFTER, "retry-after"},
        {HEADER_SEC_WEBSOCKET_KEY, "sec-websocket-key"},
        {HEADER_SEC_WEBSOCKET_VERSION, "sec-websocket-version"},
        {HEADER_SERVER, "server"},
        {HEADER_SET_COOKIE, "set-cookie"},
        {HEADER_TE, "te"},
        {HEADER_TRAILER, "trailer"},
        {HEADER_TRANSFER_ENCODING, "transfer-encoding"},
        {HEADER_UPGRADE, "upgrade"},
        {HEADER_USER_AGENT, "user-agent"},
        {HEADER_X_FORWARDED_FOR, "x-forwarded-for"},
        {HEADER_X_FORWARDED_HOST, "x-forwarded-host"},
        {HEADER_X_FORWARDED_PORT, "x-forwarded-port"},
        {HEADER_X_FORWARDED_PROTO, "x-forwarded-proto"},
        {HEADER_X_REAL_IP, "x-real-ip"},
        {HEADER_X_REQUEST_ID, "x-request-id"},
        {HEADER_X_REQUEST_START, "x-request-start"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        assert_int_equal(header_number(slice_from(CASES[i].name)), CASES[i].number);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_below_the_count_is_taken_once),
        cmocka_unit_test(a_name_in_any_case_gives_its_number),
        cmocka_unit_test(a_number_gives_its_names),
        cmocka_unit_test(a_name_with_any_one_byte_changed_has_no_number),
        cmocka_unit_test(names_of_other_lengths_have_no_number),
        cmocka_unit_test(constants_are_the_numbers_of_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
