/* SPDX-License-Identifier: MIT
 * appserver/endpoint.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/endpoint.h"
#include "protocol/base/mem.h"

static void makes_each_process_its_endpoint(void **state)
{
    (void)state;
    static const struct {
        const char *bind;
        uint32_t number, generation;
        const char *want;
    } CASES[] = {
        {"ipc:///run/a.sock", 0, 1, "ipc:///run/a.sock"},
        {"ipc:///run/a-{n}.sock", 3, 1, "ipc:///run/a-3.sock"},
        {"ipc:///run/{g}/a-{n}-{g}.sock", 12, 345, "ipc:///run/345/a-12-345.sock"},
        {"ipc:///run/{x}{n}", 1, 1, "ipc:///run/{x}1"},
        {"tcp://127.0.0.1:7001", 0, 1, "tcp://127.0.0.1:7001"},
        {"tcp://127.0.0.1:7001", 2, 1, "tcp://127.0.0.1:7003"},
        {"tcp://[::1]:7001", 2, 1, "tcp://[::1]:7003"},
        {"tcp://127.0.0.1:700{n}", 2, 1, "tcp://127.0.0.1:7002"},
        {"tcp://127.0.0.1:65534", 1, 1, "tcp://127.0.0.1:65535"},
        {"tcp://127.0.0.1:65534", 2, 1, NULL},
        {"tcp://127.0.0.1:http", 2, 1, "tcp://127.0.0.1:http"},
        {"tcp://127.0.0.1:", 2, 1, "tcp://127.0.0.1:"},
        {"inproc://a", 2, 1, "inproc://a"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        own(mem) char *got =
            endpoint_expand(CASES[i].bind, CASES[i].number, CASES[i].generation);
        if (CASES[i].want == NULL)
            assert_null(got);
        else
            assert_string_equal(got, CASES[i].want);
    }
}

static void knows_whether_generations_differ(void **state)
{
    (void)state;
    assert_true(endpoint_has_generation("ipc:///run/{g}.sock"));
    assert_false(endpoint_has_generation("ipc:///run/{n}.sock"));
}

static void knows_the_file_of_ipc_only(void **state)
{
    (void)state;
    assert_string_equal(endpoint_path("ipc:///run/a.sock"), "/run/a.sock");
    assert_null(endpoint_path("tcp://127.0.0.1:7001"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_each_process_its_endpoint),
        cmocka_unit_test(knows_whether_generations_differ),
        cmocka_unit_test(knows_the_file_of_ipc_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
