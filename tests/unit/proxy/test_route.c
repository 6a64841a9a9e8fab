/* SPDX-License-Identifier: MIT
 * proxy/route.c: which route a host and a path take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "proxy/route.h"

static struct route route(const char *host, const char *prefix, uint32_t target)
{
    struct route r = {.target = target};
    struct buf message;
    buf_init(&message, 0);
    assert_true(route_set_host(&r, host, &message));
    assert_true(route_set_prefix(&r, prefix, &message));
    buf_fini(&message);
    return r;
}

struct find {
    const char *host, *path;
    uint32_t want;
};

static void
check(const struct route *all, size_t count, const struct find *finds, size_t n)
{
    struct routes *routes = routes_new(all, count);
    for (size_t i = 0; i < n; i++) {
        uint32_t root, got = routes_find(routes, slice_from(finds[i].host),
                                         slice_from(finds[i].path), &root);
        assert_int_equal(root, 0);
        if (got != finds[i].want)
            fail_msg("%s%s leads to %u instead of %u", finds[i].host, finds[i].path,
                     got, finds[i].want);
    }
    routes_free(&routes);
    assert_null(routes);
}
#define CHECK(all, finds)                                                              \
    check(all, sizeof(all) / sizeof((all)[0]), finds,                                  \
          sizeof(finds) / sizeof((finds)[0]))

static void the_longest_prefix_at_a_border_decides(void **state)
{
    (void)state;
    const struct route all[] = {
        route(NULL, "/", 0),         route(NULL, "/api", 1),
        route(NULL, "/api/v2", 2),   route(NULL, "/api-old", 3),
        route(NULL, "/api/v2/x", 4), route(NULL, "/z/", 5),
    };
    static const struct find finds[] = {
        {"a", "/", 0},          {"a", "/api", 1},       {"a", "/api/", 1},
        {"a", "/api?x=/v2", 1}, {"a", "/apiary", 0},    {"a", "/api/v1", 1},
        {"a", "/api/v2", 2},    {"a", "/api/v22", 1},   {"a", "/api/v2/y", 2},
        {"a", "/api-old/", 3},  {"a", "/api-older", 0}, {"a", "/api/v2/x?", 4},
        {"a", "/ap", 0},        {"a", "/API", 0},       {"a", "/api.x", 0},
        {"a", "/api~", 0},      {"a", "//api", 0},      {"a", "/z", 5},
        {"a", "/z/1", 5},       {"a", "/zz", 0},        {"", "/api/v2/x/y", 4},
        {"a", "*", 0},
    };
    CHECK(all, finds);
}

static void an_encoded_path_is_what_it_stands_for(void **state)
{
    (void)state;
    const struct route all[] = {
        route(NULL, "/", 0),
        route(NULL, "/api", 1),
        route(NULL, "/b%C3%BCro", 2),
    };
    static const struct find finds[] = {
        {"a", "/%61pi", 1},       {"a", "/ap%69/x", 1},    {"a", "/%61%70%69%2Fx", 0},
        {"a", "/api%2fx", 0},     {"a", "/api%", 0},       {"a", "/api%2", 0},
        {"a", "/b\xc3\xbcro", 2}, {"a", "/b%c3%bcro/", 2}, {"a", "/ap%zz", 0},
        {"a", "/api%00", 0},      {"a", "/api/%", 1},      {"a", "%2Fapi", 0},
    };
    CHECK(all, finds);
}

static void the_most_specific_host_with_the_path_decides(void **state)
{
    (void)state;
    const struct route all[] = {
        route("example.org", NULL, 1),
        route("*.example.org", NULL, 2),
        route("*.eu.example.org", NULL, 3),
        route("www.eu.example.org", "/a", 4),
        route("*", "/any", 5),
        route("[::1]", NULL, 6),
        route("UPPER.example.ORG.", NULL, 7),
        route("192.0.2.1", NULL, 8),
    };
    static const struct find finds[] = {
        {"example.org", "/", 1},
        {"Example.ORG:8080", "/", 1},
        {"example.org.", "/", 1},
        {"example.org.:80", "/any", 1},
        {"www.example.org", "/", 2},
        {"a.b.example.org", "/", 2},
        {"a.eu.example.org", "/", 3},
        {"eu.example.org", "/", 2},
        {"www.eu.example.org", "/a", 4},
        {"www.eu.example.org", "/b", 3},
        {"other.test", "/any/x", 5},
        {"other.test", "/", ROUTE_NONE},
        {"badexample.org", "/", ROUTE_NONE},
        {"", "/any", 5},
        {"[::1]", "/", 6},
        {"[::1]:443", "/", 6},
        {"[::2]:443", "/", ROUTE_NONE},
        {"upper.example.org", "/", 7},
        {"192.0.2.1:1", "/", 8},
        {".", "/", ROUTE_NONE},
        {"..", "/any", 5},
    };
    CHECK(all, finds);
}

static void a_long_name_or_path_is_just_another_one(void **state)
{
    (void)state;
    char host[400], path[5000], prefix[ROUTE_MAX_PREFIX + 1];
    memset(host, 'h', sizeof host);
    memset(path, 'p', sizeof path);
    memset(prefix, 'p', sizeof prefix);
    path[0] = prefix[0] = '/';
    path[sizeof path - 1] = host[sizeof host - 1] = prefix[ROUTE_MAX_PREFIX] = '\0';
    const struct route all[] = {route("a", NULL, 0), route(NULL, prefix, 1),
                                route(NULL, "/q", 2)};
    const struct find finds[] = {{host, path, ROUTE_NONE}, {host, prefix, 1}};
    CHECK(all, finds);
}

/* Against the obvious way to do it. */
static void many_routes_are_found_like_few(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    static struct route all[COUNT];
    uint32_t count = 0, seed = 1;
    while (count < COUNT) {
        char prefix[64] = "";
        size_t at = 0;
        seed = seed * 1103515245 + 12345;
        for (uint32_t bits = seed >> 8; bits != 0 && at < 20; bits >>= 3)
            at += (size_t)snprintf(prefix + at, sizeof prefix - at, "%s",
                                   (const char *[]){"/a", "/b", "a", "-", "/a.", "b",
                                                    "/-", "/"}[bits & 7]);
        if (prefix[0] != '/')
            continue;
        struct route r = route(NULL, prefix, count);
        bool is_new = true;
        for (uint32_t i = 0; i < count; i++)
            is_new &= strcmp(all[i].prefix, r.prefix) != 0;
        if (is_new)
            all[count++] = r;
    }
    struct routes *routes = routes_new(all, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        char path[80];
        (void)snprintf(path, sizeof path, "%.60s%s", all[i].prefix,
                       (const char *[]){"", "/x", "x", "/a"}[i % 4]);
        uint32_t want = ROUTE_NONE;
        size_t longest = 0;
        for (uint32_t n = 0; n < COUNT; n++) {
            size_t length = strlen(all[n].prefix);
            if (strncmp(path, all[n].prefix, length) == 0 &&
                (path[length] == '\0' || path[length] == '/' || length == 0) &&
                (want == ROUTE_NONE || length > longest)) {
                want = n;
                longest = length;
            }
        }
        uint32_t root;
        assert_int_equal(routes_find(routes, SLICE("h"), slice_from(path), &root),
                         want);
    }
    routes_free(&routes);
}

static void a_route_that_strips_says_how_much(void **state)
{
    (void)state;
    struct route all[] = {route(NULL, "/", 0), route(NULL, "/app", 1),
                          route(NULL, "/app/kept", 2), route(NULL, "/\xc3\xa9", 3)};
    static const struct {
        const char *path;
        uint32_t target, root;
    } finds[] = {
        {"/", 0, 0},           {"/app", 1, 4},     {"/app/", 1, 4},
        {"/app?a=/app", 1, 4}, {"/%61pp/x", 1, 6}, {"/%61%70%70", 1, 10},
        {"/app%2Fx", 0, 0},    {"/apps", 0, 0},    {"/app/kept/x", 2, 0},
        {"/%C3%A9/x", 3, 7},   {"/\xc3%a9", 3, 5},
    };
    all[1].strips = all[3].strips = true;
    struct routes *routes = routes_new(all, sizeof all / sizeof all[0]);
    for (size_t i = 0; i < sizeof finds / sizeof finds[0]; i++) {
        uint32_t root = 99;
        assert_int_equal(
            routes_find(routes, SLICE("h"), slice_from(finds[i].path), &root),
            finds[i].target);
        if (root != finds[i].root)
            fail_msg("%s: %u", finds[i].path, root);
    }
    routes_free(&routes);
}

static void what_is_no_host_or_path_is_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {"*.",      "a b",   "a/b",   "http://a", "a:80",
                                        "*a.org",  "a..b",  ".a",    "a.*.b",    "[::1",
                                        "[::1]:1", "*.*.a", "*.a..b"};
    static const char *const paths[] = {"", "api", "/a b", "/a?b", "/a#b", "/a/*"};
    struct buf message;
    struct route r;
    buf_init(&message, 0);
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        if (route_set_host(&r, hosts[i], &message))
            fail_msg("%s was taken", hosts[i]);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        if (route_set_prefix(&r, paths[i], &message))
            fail_msg("%s was taken", paths[i]);
    char long_one[400];
    memset(long_one, 'a', sizeof long_one);
    long_one[sizeof long_one - 1] = '\0';
    assert_false(route_set_host(&r, long_one, &message));
    long_one[0] = '/';
    assert_false(route_set_prefix(&r, long_one, &message));
    buf_fini(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_prefix_at_a_border_decides),
        cmocka_unit_test(an_encoded_path_is_what_it_stands_for),
        cmocka_unit_test(the_most_specific_host_with_the_path_decides),
        cmocka_unit_test(a_long_name_or_path_is_just_another_one),
        cmocka_unit_test(many_routes_are_found_like_few),
        cmocka_unit_test(a_route_that_strips_says_how_much),
        cmocka_unit_test(what_is_no_host_or_path_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
