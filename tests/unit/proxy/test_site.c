/* SPDX-License-Identifier: MIT
 * proxy/site.c, with pools that only take notes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <string.h>

#include "proxy/site.h"

struct pool {
    int turns, ticks, key_changes;
    uint32_t busy, up;
    bool has_more, is_freed;
};

bool pool_turn(struct pool *pool, uint64_t now_us)
{
    assert_int_equal(now_us, 42);
    assert_false(pool->is_freed);
    pool->turns++;
    return pool->has_more;
}

void pool_tick(struct pool *pool, uint64_t now_us)
{
    assert_int_equal(now_us, 42);
    pool->ticks++;
}

void pool_keys_changed(struct pool *pool)
{
    pool->key_changes++;
}

uint32_t pool_busy(const struct pool *pool)
{
    return pool->busy;
}

uint32_t pool_up(const struct pool *pool)
{
    return pool->up;
}

void pool_free(struct pool **pool_p)
{
    (*pool_p)->is_freed = true;
    *pool_p = NULL;
}

static struct site *add(struct sites *all, const char *name, struct pool *pool)
{
    struct site_settings settings = {.queue_timeout_us = 7};
    strncpy(settings.name, name, sizeof settings.name - 1);
    struct site *site = sites_add(all, &settings, &pool);
    assert_null(pool);
    return site;
}

static void without_routes_everything_goes_to_the_first(void **state)
{
    (void)state;
    uint32_t root;
    struct pool web = {.up = 1};
    struct sites *all = sites_new();
    struct site *site = add(all, "web", &web);
    struct routes *none = NULL;
    sites_route(all, &none, &site, 1);
    assert_ptr_equal(sites_choose(all, SLICE("a.org"), SLICE("/"), &root), site);
    assert_ptr_equal(sites_choose(all, SLICE(""), SLICE("*"), &root), site);
    assert_ptr_equal(sites_find(all, "web"), site);
    assert_null(sites_find(all, "we"));
    sites_free(&all);
    assert_true(web.is_freed);
}

static void routes_lead_to_their_pools_or_nowhere(void **state)
{
    (void)state;
    struct pool web = {.up = 1}, api = {.up = 1};
    struct sites *all = sites_new();
    struct site *targets[] = {add(all, "web", &web), add(all, "api", &api)};
    const struct route list[] = {{.host = "a.org", .prefix = "", .target = 0},
                                 {.host = "", .prefix = "/api", .target = 1}};
    uint32_t root;
    struct routes *routes = routes_new(list, 2);
    sites_route(all, &routes, targets, 2);
    assert_null(routes);
    assert_ptr_equal(sites_choose(all, SLICE("a.org"), SLICE("/api"), &root),
                     targets[0]);
    assert_ptr_equal(sites_choose(all, SLICE("b.org"), SLICE("/api"), &root),
                     targets[1]);
    assert_null(sites_choose(all, SLICE("b.org"), SLICE("/"), &root));
    assert_int_not_equal(targets[0]->request_line, targets[1]->request_line);
    assert_ptr_equal(sites_first(all), targets[0]);
    assert_ptr_equal(sites_next(all, targets[0]), targets[1]);
    assert_null(sites_next(all, targets[1]));
    sites_free(&all);
}

static void every_pool_has_its_turn_and_its_tick(void **state)
{
    (void)state;
    struct pool web = {.up = 1, .has_more = true}, api = {.up = 1};
    struct sites *all = sites_new();
    struct site *targets[] = {add(all, "web", &web), add(all, "api", &api)};
    struct routes *none = NULL;
    sites_route(all, &none, targets, 2);
    assert_true(sites_turn(all, 42));
    web.has_more = false;
    assert_false(sites_turn(all, 42));
    assert_int_equal(api.turns, 2);
    sites_tick(all, 42);
    assert_int_equal(web.ticks + api.ticks, 2);
    sites_keys_changed(all);
    assert_int_equal(web.key_changes, 1);
    assert_int_equal(api.key_changes, 1);
    assert_false(sites_has_to_watch(all));
    api.up = 0;
    assert_true(sites_has_to_watch(all));
    api.up = api.busy = 1;
    assert_true(sites_has_to_watch(all));
    sites_free(&all);
}

static void one_that_is_removed_lives_as_long_as_its_exchanges(void **state)
{
    (void)state;
    struct pool old = {.up = 1}, new = {.up = 1};
    struct sites *all = sites_new();
    struct site *site = add(all, "web", &old);
    struct routes *none = NULL;
    sites_route(all, &none, &site, 1);
    struct site *used = site_use(site), *second = add(all, "api", &new);
    sites_route(all, &none, &second, 1);
    sites_remove(all, site);
    assert_null(sites_find(all, "web"));
    sites_tick(all, 42);
    assert_false(old.is_freed);
    assert_false(sites_turn(all, 42));
    assert_true(sites_has_to_watch(all));
    site_leave(&used);
    assert_null(used);
    site_leave(&used);
    sites_tick(all, 42);
    assert_true(old.is_freed);
    assert_ptr_equal(sites_first(all), second);
    sites_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_routes_everything_goes_to_the_first),
        cmocka_unit_test(routes_lead_to_their_pools_or_nowhere),
        cmocka_unit_test(every_pool_has_its_turn_and_its_tick),
        cmocka_unit_test(one_that_is_removed_lives_as_long_as_its_exchanges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
