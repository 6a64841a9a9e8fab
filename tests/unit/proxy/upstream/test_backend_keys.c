/* SPDX-License-Identifier: MIT
 * proxy/upstream/backend_keys.c: which keys a link has, and what becomes of it when
 * they change. */
#include "proxy/upstream/backend_priv.h"
#include "proxy/upstream/pool_priv.h"
#include "tests/support/key_files.h"
#include "tests/unit/proxy/upstream/fake_app.h"

#include <arpa/inet.h>
#include <sys/socket.h>

static struct fixture f;
static struct key_pair app_pair, other, edge;
static struct keys *app_keys, *edge_keys;
static char endpoint[64];

static struct keys *keys_of_files(const char *key_name, const char *list_name)
{
    own(mem) char *key = key_path(key_name);
    own(mem) char *list = key_path(list_name);
    struct buf message;
    buf_init(&message, 0);
    struct keys *keys = keys_open(key, list, &message);
    assert_non_null(keys);
    buf_fini(&message);
    return keys;
}

static void write_list(const char *name, const char *role, const char *a, const char *b)
{
    own(mem) char *text = b == NULL ? mem_printf("%s %s\n", role, a)
                                    : mem_printf("%s %s\n%s %s\n", role, a, role, b);
    write_text(name, text, 0644);
}

static uint16_t free_port(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof any;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&any, &size), 0);
    (void)close(fd);
    return ntohs(any.sin_port);
}

/* An app server with a key; the proxy's list has another app server's before it. */
static int setup(void **state)
{
    static const struct zap_events events = {.refused = NULL};
    if (setup_key_files(state) != 0)
        return -1;
    app_pair = make_pair();
    other = make_pair();
    edge = make_pair();
    write_pair("app", &app_pair);
    write_pair("edge", &edge);
    write_list("proxies", "proxy", edge.public_key, NULL);
    write_list("apps", "app", other.public_key, app_pair.public_key);
    app_keys = keys_of_files("app", "proxies");
    edge_keys = keys_of_files("edge", "apps");
    fixture_init(&f, 10);
    f.pool->options.keys = edge_keys;
    (void)snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", free_port());
    f.apps[0].window = 4;
    f.apps[0].window_bytes = 64 * 1024;
    assert_int_equal(link_context_use_keys(f.context, app_keys, -1, &events), ERR_NONE);
    assert_int_equal(link_bind_secure(f.context, endpoint, ZAP_APP, &f.apps[0].link),
                     ERR_NONE);
    assert_int_equal(pool_add(f.pool, "b0", endpoint), ERR_NONE);
    return 0;
}

static int teardown(void **state)
{
    fixture_fini(&f);
    keys_free(&app_keys);
    keys_free(&edge_keys);
    return teardown_key_files(state);
}

static void reload(struct keys *keys)
{
    struct buf report;
    buf_init(&report, 0);
    assert_true(keys_reload(keys, &report));
    buf_fini(&report);
}

static struct backend *the_backend(void)
{
    struct node *n = list_first(&f.pool->backends);
    assert_non_null(n);
    assert_null(list_next(&f.pool->backends, n));
    return backend_of_node(n);
}

static void the_key_that_fits_is_found(void **state)
{
    (void)state;
    UNTIL(&f, pool_up(f.pool) == 1);
    assert_string_equal(the_backend()->server_key, app_pair.public_key);
    assert_string_equal(the_backend()->own_key, edge.public_key);
}

static void set_key(const char *key)
{
    struct backend_settings settings = BACKEND_SETTINGS;
    memcpy(settings.key, key, KEY_TEXT);
    assert_true(pool_set(f.pool, "b0", &settings));
}

static void a_key_that_was_given_is_the_only_one(void **state)
{
    (void)state;
    set_key(other.public_key);
    for (unsigned i = 0; i < 5; i++) {
        fixture_settle(&f);
        fixture_pass(&f, SECOND_US);
        assert_int_equal(pool_up(f.pool), 0);
        assert_string_equal(the_backend()->server_key, other.public_key);
    }
    set_key(app_pair.public_key);
    UNTIL(&f, pool_up(f.pool) == 1);
}

static void our_new_key_takes_over_once_it_is_up(void **state)
{
    (void)state;
    UNTIL(&f, pool_up(f.pool) == 1);
    struct asker a;
    ask(&f, &a, "GET");
    UNTIL(&f, f.apps[0].count == 1);
    uint64_t requests = the_backend()->stats.requests;
    assert_int_equal(requests, 1);

    struct key_pair fresh = make_pair();
    write_pair("edge", &fresh);
    write_list("proxies", "proxy", edge.public_key, fresh.public_key);
    reload(app_keys);
    reload(edge_keys);
    pool_keys_changed(f.pool);
    /* The old link serves on until the tick that finds the new one up. */
    assert_int_equal(pool_up(f.pool), 1);
    assert_string_equal(the_backend()->own_key, edge.public_key);
    struct backend *successor = the_backend()->successor;
    assert_non_null(successor);
    UNTIL(&f, backend_state(successor) == BACKEND_UP);
    pool_tick(f.pool, clock_now_us());
    assert_ptr_equal(the_backend(), successor);
    assert_string_equal(successor->own_key, fresh.public_key);
    assert_int_equal(successor->stats.requests, requests);
    assert_int_equal(pool_up(f.pool), 1);
    /* What runs over the old one keeps it there. */
    assert_false(list_is_empty(&f.pool->leaving));
    assert_string_equal(a.heard, "sent");
    assert_true(list_is_empty(&f.pool->successors));
    asker_fini(&a);
}

static void a_successor_goes_with_its_backend(void **state)
{
    (void)state;
    UNTIL(&f, pool_up(f.pool) == 1);
    struct key_pair fresh = make_pair();
    write_pair("edge", &fresh); /* which the app server does not know */
    reload(edge_keys);
    pool_keys_changed(f.pool);
    fixture_settle(&f);
    pool_tick(f.pool, clock_now_us());
    assert_string_equal(the_backend()->own_key, edge.public_key);
    assert_int_equal(pool_up(f.pool), 1);
    assert_true(pool_remove(f.pool, "b0"));
    assert_true(list_is_empty(&f.pool->successors));
}

static void a_key_that_is_authorized_no_more_ends_the_link(void **state)
{
    (void)state;
    UNTIL(&f, pool_up(f.pool) == 1);
    write_list("apps", "app", other.public_key, NULL);
    reload(edge_keys);
    pool_keys_changed(f.pool);
    assert_int_equal(pool_up(f.pool), 0);
    write_list("apps", "app", app_pair.public_key, NULL);
    reload(edge_keys);
    pool_keys_changed(f.pool);
    UNTIL(&f, pool_up(f.pool) == 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_key_that_fits_is_found),
        TEST(a_key_that_was_given_is_the_only_one),
        TEST(our_new_key_takes_over_once_it_is_up),
        TEST(a_successor_goes_with_its_backend),
        TEST(a_key_that_is_authorized_no_more_ends_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
