/* SPDX-License-Identifier: MIT
 * proxy/http/address.c: the text of addresses. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "proxy/http/address.h"
#include "tests/support/assert_slice.h"

static void shows_addresses_and_ports(void **state)
{
    (void)state;
    static const struct {
        int family;
        const char *address, *want;
    } rows[] = {
        {AF_INET, "192.0.2.1", "192.0.2.1"},
        {AF_INET6, "2001:db8::1", "2001:db8::1"},
        {AF_INET6, "::1", "::1"},
        {AF_INET6, "::ffff:192.0.2.1", "192.0.2.1"},
        {AF_INET6, "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sockaddr_storage s = {.ss_family = (sa_family_t)rows[i].family};
        struct sockaddr_in *in = (void *)&s;
        struct sockaddr_in6 *in6 = (void *)&s;
        void *to =
            rows[i].family == AF_INET ? (void *)&in->sin_addr : (void *)&in6->sin6_addr;
        assert_int_equal(inet_pton(rows[i].family, rows[i].address, to), 1);
        in->sin_port = htons(65000); /* at the same place in both */
        char text[ADDRESS_TEXT];
        uint16_t port = 0;
        assert_slice(address_text(&s, text, &port), rows[i].want);
        assert_int_equal(port, 65000);
    }
}

static void a_unix_socket_has_no_address(void **state)
{
    (void)state;
    struct sockaddr_storage s = {.ss_family = AF_UNIX};
    char text[ADDRESS_TEXT];
    uint16_t port = 7;
    assert_slice(address_text(&s, text, &port), "");
    assert_int_equal(port, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_addresses_and_ports),
        cmocka_unit_test(a_unix_socket_has_no_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
