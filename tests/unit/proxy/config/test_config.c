/* SPDX-License-Identifier: MIT
 * proxy/config/config.c: what the command line alone makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <string.h>

#include "proxy/config/config.h"
#include "proxy/upstream/balance.h"

static void the_command_line_makes_one_pool_for_everything(void **state)
{
    (void)state;
    char *argv[] = {(char[]){"banyan-proxy"}, (char[]){"--backend=ipc:///a"},
                    (char[]){"--backend=web=ipc:///b"}, (char[]){"--queue-timeout=7"},
                    NULL};
    struct config *config;
    struct buf message;
    buf_init(&message, 0);
    assert_int_equal(config_load(4, argv, &config, &message), ERR_NONE);
    assert_int_equal(config->pool_count, 1);
    assert_int_equal(config->route_count, 0);
    const struct config_pool *pool = config_find_pool(config, "default");
    assert_ptr_equal(pool, config->pools);
    assert_false(pool->is_named);
    assert_int_equal(pool->site.queue_timeout_us, 7000000);
    assert_int_equal(pool->backend_count, 2);
    assert_string_equal(config_find_backend(pool, "b1")->endpoint, "ipc:///a");
    assert_string_equal(config_find_backend(pool, "web")->endpoint, "ipc:///b");
    assert_int_equal(pool->backends[0].weight, WEIGHT_DEFAULT);
    assert_null(config_find_backend(pool, "b2"));
    assert_null(config_find_pool(config, "web"));
    config_free(&config);
    buf_fini(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_command_line_makes_one_pool_for_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
