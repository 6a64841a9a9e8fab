/* SPDX-License-Identifier: MIT
 * proxy/admin/members.c, members_config.c, members_give.c and members_file.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/admin/members.h"
#include "proxy/config/config.h"

static const struct backend_settings plain = {.weight = WEIGHT_DEFAULT};

static struct member_pool *make_pool(struct members *m, const char *name)
{
    struct member_pool *pool = members_pool_make(m, name);
    pool->is_configured = true;
    return pool;
}

static struct member *give(struct member_pool *pool,
                           const char *name,
                           const char *endpoint,
                           enum member_source source,
                           enum given want)
{
    struct member *m;
    assert_int_equal(members_give(pool, name, endpoint, &plain, source, &m), want);
    return m;
}

/* The name of what is found; "none", or the complaint. */
static const char *find(struct members *m, const char *text)
{
    static char said[256];
    struct buf message;
    bool is_none;
    buf_init(&message, 0);
    struct member *found = members_find(m, text, &is_none, &message);
    if (found != NULL)
        member_full_name(found, said);
    else
        (void)snprintf(said, sizeof said, "%.*s", is_none ? 4 : (int)buf_len(&message),
                       is_none ? "none" : buf_slice(&message).ptr);
    buf_fini(&message);
    return said;
}

static void a_bare_name_is_the_default_pools_or_the_only_one(void **state)
{
    (void)state;
    struct members m;
    members_init(&m);
    struct member_pool *web = make_pool(&m, "web"), *api = make_pool(&m, "api");
    (void)give(web, "a", "ipc:///a", SOURCE_CLI, GIVEN_NEW);
    (void)give(web, "b", "ipc:///b", SOURCE_CLI, GIVEN_NEW);
    (void)give(api, "b", "ipc:///b", SOURCE_CLI, GIVEN_NEW);
    assert_string_equal(find(&m, "a"), "web/a");
    assert_string_equal(find(&m, "api/b"), "api/b");
    assert_string_equal(find(&m, "b"), "b is the name of several: web/b, api/b");
    assert_string_equal(find(&m, "c"), "none");
    assert_string_equal(find(&m, "api/a"), "none");
    assert_string_equal(find(&m, "none/a"), "no pool is called none");
    struct member_pool *fallback = make_pool(&m, "default");
    assert_string_equal(find(&m, "a"), "web/a");
    (void)give(fallback, "b", "ipc:///b", SOURCE_CLI, GIVEN_NEW);
    assert_string_equal(find(&m, "b"), "default/b");
    fallback->is_configured = false;
    assert_string_equal(find(&m, "default/b"), "no pool is called default");
    members_fini(&m);
}

static void a_new_one_goes_to_the_default_pool_or_the_only_one(void **state)
{
    (void)state;
    struct members m;
    struct buf message;
    const char *name;
    members_init(&m);
    buf_init(&message, 0);
    struct member_pool *web = make_pool(&m, "web");
    assert_ptr_equal(members_place(&m, "x", &name, &message), web);
    struct member_pool *api = make_pool(&m, "api");
    assert_ptr_equal(members_place(&m, "api/x", &name, &message), api);
    assert_string_equal(name, "x");
    assert_null(members_place(&m, "x", &name, &message));
    assert_true(
        slice_eq(buf_slice(&message), SLICE("in which pool? Say POOL/x, web or api")));
    struct member_pool *fallback = make_pool(&m, "default");
    assert_ptr_equal(members_place(&m, "x", &name, &message), fallback);
    buf_fini(&message);
    members_fini(&m);
}

static void what_a_person_decided_outranks_the_source(void **state)
{
    (void)state;
    struct members m;
    members_init(&m);
    struct member_pool *pool = make_pool(&m, "web");
    struct backend_settings to = {.state = ADMIN_MAINT, .weight = 7};
    struct member *a = give(pool, "a", "ipc:///a", SOURCE_FILE, GIVEN_NEW);
    members_decide(a, DECIDED_STATE, &to);
    members_decide(a, DECIDED_WEIGHT, &to);
    struct backend_settings given = {.weight = 50, .limit = 8};
    assert_int_equal(members_give(pool, "a", "ipc:///a2", &given, SOURCE_FILE, &a),
                     GIVEN_CHANGED);
    members_settle(&m);
    assert_int_equal(a->settings.state, ADMIN_MAINT);
    assert_int_equal(a->settings.weight, 7);
    assert_int_equal(a->settings.limit, 8);
    assert_string_equal(a->endpoint, "ipc:///a2");
    members_undecide(a, DECIDED_WEIGHT);
    members_settle(&m);
    assert_int_equal(a->settings.weight, 50);
    /* Who ranks lower is not asked. */
    assert_ptr_equal(give(pool, "a", "ipc:///b", SOURCE_SELF, GIVEN_OTHER), a);
    assert_string_equal(a->endpoint, "ipc:///a2");
    members_fini(&m);
}

static void what_was_removed_stays_away_until_a_person_adds_it(void **state)
{
    (void)state;
    struct members m;
    members_init(&m);
    struct member_pool *pool = make_pool(&m, "web");
    struct member *a = give(pool, "a", "ipc:///a", SOURCE_FILE, GIVEN_NEW);
    struct member *b = give(pool, "b", "ipc:///b", SOURCE_CLI, GIVEN_NEW);
    members_remove(&a);
    members_remove(&b);
    assert_null(a);
    assert_int_equal(pool->count, 0);
    assert_null(members_get(pool, "b"));
    assert_int_equal(give(pool, "a", "ipc:///a", SOURCE_FILE, GIVEN_AWAY)->kind,
                     MEMBER_AWAY);
    assert_string_equal(find(&m, "a"), "none");
    /* It is the file's again. */
    a = give(pool, "a", "ipc:///a", SOURCE_CLI, GIVEN_NEW);
    assert_int_equal(a->source, SOURCE_FILE);
    assert_int_equal(pool->count, 1);
    members_remove(&a);
    /* Another entry is another backend. */
    (void)give(pool, "a", "ipc:///a2", SOURCE_FILE, GIVEN_NEW);
    members_fini(&m);
}

static void a_maint_outlives_a_lease(void **state)
{
    (void)state;
    struct members m;
    members_init(&m);
    struct member_pool *pool = make_pool(&m, "web");
    struct backend_settings to = {.state = ADMIN_MAINT};
    struct member *a = give(pool, "a", "tcp://10.0.0.1:1", SOURCE_SELF, GIVEN_NEW);
    struct member *b = give(pool, "b", "tcp://10.0.0.2:1", SOURCE_SELF, GIVEN_NEW);
    members_decide(a, DECIDED_STATE, &to);
    members_drop(&a);
    members_drop(&b);
    assert_null(members_get(pool, "b"));
    assert_int_equal(pool->count, 0);
    a = give(pool, "a", "tcp://10.0.0.9:1", SOURCE_SELF, GIVEN_NEW);
    members_settle(&m);
    assert_int_equal(a->settings.state, ADMIN_MAINT);
    assert_string_equal(a->endpoint, "tcp://10.0.0.9:1");
    members_fini(&m);
}

static void a_name_stands_for_its_addresses(void **state)
{
    (void)state;
    struct members m;
    members_init(&m);
    struct member_pool *pool = make_pool(&m, "web");
    struct member *app =
        give(pool, "app", "tcp://app.test:7001", SOURCE_FILE, GIVEN_NEW);
    assert_int_equal(app->kind, MEMBER_ENTRY);
    assert_int_equal(pool->count, 0);
    static const char *const first[] = {"10.0.0.3", "10.0.0.4", "fe80::1"},
                             *const second[] = {"10.0.0.4", "10.0.0.5"};
    struct backend_settings to = {.state = ADMIN_MAINT, .weight = 30};
    members_decide(app, DECIDED_WEIGHT, &to);
    members_settle(&m);
    members_resolve(app, first, 3);
    assert_int_equal(pool->count, 3);
    assert_string_equal(members_get(pool, "app-fe80__1")->endpoint,
                        "tcp://[fe80::1]:7001");
    struct member *four = members_get(pool, "app-10.0.0.4");
    members_decide(four, DECIDED_STATE, &to);
    struct member *three = members_get(pool, "app-10.0.0.3");
    members_settle(&m);
    assert_int_equal(three->settings.weight, 30);
    assert_int_equal(three->settings.state, ADMIN_READY);
    assert_int_equal(four->settings.state, ADMIN_MAINT);
    assert_true(member_is_of(four, app) && !member_is_of(app, four));
    members_remove(&three);
    members_resolve(app, first, 3);
    assert_int_equal(members_get(pool, "app-10.0.0.3")->kind, MEMBER_AWAY);
    members_resolve(app, second, 2);
    members_settle(&m);
    assert_int_equal(pool->count, 2);
    assert_null(members_get(pool, "app-10.0.0.3"));
    assert_int_equal(members_get(pool, "app-10.0.0.4")->settings.state, ADMIN_MAINT);
    assert_int_equal(members_get(pool, "app-10.0.0.5")->settings.weight, 30);
    /* Where it is said to be elsewhere, nothing is known of it yet. */
    assert_ptr_equal(
        give(pool, "app", "tcp://other.test:7001", SOURCE_FILE, GIVEN_CHANGED), app);
    assert_int_equal(pool->count, 0);
    members_resolve(app, second, 1);
    assert_ptr_equal(give(pool, "app", "ipc:///app", SOURCE_FILE, GIVEN_CHANGED), app);
    assert_int_equal(pool->count, 1);
    assert_int_equal(app->kind, MEMBER_HERE);
    members_fini(&m);
}

static void there_are_not_more_than_may_be(void **state)
{
    (void)state;
    struct members m;
    members_init(&m);
    m.most = 2;
    struct member_pool *pool = make_pool(&m, "web");
    struct member *b;
    (void)give(pool, "a", "ipc:///a", SOURCE_CLI, GIVEN_NEW);
    b = give(pool, "b", "ipc:///b", SOURCE_SELF, GIVEN_NEW);
    assert_null(give(pool, "c", "ipc:///c", SOURCE_CLI, GIVEN_FULL));
    (void)give(pool, "b", "ipc:///b", SOURCE_SELF, GIVEN_CHANGED);
    members_drop(&b);
    (void)give(pool, "c", "ipc:///c", SOURCE_CLI, GIVEN_NEW);
    struct member *entry = give(pool, "n", "tcp://n.test:1", SOURCE_CLI, GIVEN_NEW);
    static const char *const addresses[] = {"10.0.0.3"};
    members_resolve(entry, addresses, 1);
    assert_int_equal(pool->count, 2);
    (void)give(pool, "o", "tcp://o.test:1", SOURCE_SELF, GIVEN_NEW);
    assert_null(give(pool, "p", "tcp://p.test:1", SOURCE_SELF, GIVEN_FULL));
    /* Nor does one become of the other kind when there are enough of that. */
    assert_null(give(pool, "o", "tcp://10.0.0.4:1", SOURCE_SELF, GIVEN_FULL));
    assert_null(give(pool, "c", "tcp://c.test:1", SOURCE_CLI, GIVEN_FULL));
    assert_int_equal(pool->count, 2);
    (void)give(pool, "p", "tcp://p.test:1", SOURCE_FILE, GIVEN_NEW);
    members_fini(&m);
}

/* ---- the configuration ---- */

static struct config_backend backends[3] = {
    {"a", "ipc:///a", 100, 0}, {"b", "ipc:///b", 50, 0}, {"c", "ipc:///c", 100, 9}};

static char *configure(struct members *m, const char *pool, size_t count, bool is_named)
{
    struct config_pool pools[1] = {
        {.backends = backends, .backend_count = count, .is_named = is_named}};
    struct config config = {.pools = pools, .pool_count = 1};
    struct buf lines;
    memcpy(pools[0].site.name, pool, strlen(pool) + 1);
    buf_init(&lines, 0);
    members_configure(m, &config, &lines);
    members_settle(m);
    char *said = mem_printf("%.*s", SLICE_FMT(buf_slice(&lines)));
    buf_fini(&lines);
    return said;
}

static void expect_names(struct member_pool *pool, const char *names)
{
    char said[256] = "";
    LIST_FOREACH(&pool->all, n)
        (void)snprintf(said + strlen(said), sizeof said - strlen(said), "%s%s",
                       said[0] == '\0' ? "" : " ",
                       NODE_OF(n, struct member, node)->name);
    assert_string_equal(said, names);
}

static void the_file_brings_and_takes_its_own_only(void **state)
{
    (void)state;
    struct members m;
    members_init(&m);
    char *said = configure(&m, "web", 2, true);
    assert_string_equal(said, "");
    mem_free(&said);
    struct member_pool *web = members_pool(&m, "web");
    expect_names(web, "a b");
    (void)give(web, "x", "ipc:///x", SOURCE_CLI, GIVEN_NEW);
    (void)give(web, "c", "ipc:///elsewhere", SOURCE_CLI, GIVEN_NEW);
    struct member *a = members_get(web, "a");
    members_remove(&a);
    struct backend_settings to = {.weight = 7};
    members_decide(members_get(web, "b"), DECIDED_WEIGHT, &to);
    backends[1].weight = 60;
    said = configure(&m, "web", 3, true);
    backends[1].weight = 50;
    assert_string_equal(
        said,
        "web/a: stays away, for it was removed by a person; `banyan add` brings it "
        "back\n"
        "web/b: weight 7 stays, as a person decided\n"
        "web/c: stays at ipc:///elsewhere, where a person added it, not ipc:///c");
    mem_free(&said);
    expect_names(web, "b x c");
    said = configure(&m, "web", 1, true);
    mem_free(&said);
    expect_names(web, "x c");
    said = configure(&m, "web", 0, true);
    mem_free(&said);
    assert_null(members_get(web, "a")); /* what left the file is not remembered */
    /* The pool leaves the file, and comes back. */
    said = configure(&m, "api", 1, false);
    mem_free(&said);
    assert_string_equal(find(&m, "web/x"), "no pool is called web");
    assert_int_equal(members_get(members_pool(&m, "api"), "a")->source, SOURCE_OPTION);
    said = configure(&m, "web", 1, true);
    mem_free(&said);
    expect_names(web, "x c a");
    members_fini(&m);
}

/* ---- comparing ---- */

static char told[512];

static void note(void *arg, const struct difference *d)
{
    (void)arg;
    const struct member *m = d->is != NULL ? d->is : d->was;
    const char *what = m == NULL        ? "pool"
                       : d->was == NULL ? "+"
                       : d->is == NULL  ? "-"
                                        : "~";
    (void)snprintf(told + strlen(told), sizeof told - strlen(told), " %s%s", what,
                   m == NULL ? "" : m->name);
}

static void expect_diff(struct members *was, struct members *is, const char *want)
{
    told[0] = '\0';
    members_diff(was, is, note, NULL);
    assert_string_equal(told, want);
}

static void what_differs_is_told_and_copied(void **state)
{
    (void)state;
    struct members m, was;
    members_init(&m);
    struct member_pool *pool = make_pool(&m, "web");
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 5; i++)
        (void)give(pool, names[i], "ipc:///x", i == 1 ? SOURCE_FILE : SOURCE_CLI,
                   GIVEN_NEW);
    members_clone(&was, &m);
    expect_diff(&was, &m, "");
    struct member *b = members_get(pool, "b"), *d = members_get(pool, "d");
    members_remove(&b);
    members_remove(&d);
    members_get(pool, "e")->settings.weight = 5;
    (void)give(pool, "f", "ipc:///f", SOURCE_CLI, GIVEN_NEW);
    pool->settings.state = POOL_PAUSED;
    expect_diff(&was, &m, " pool ~b -d ~e +f");
    static const char *const all[] = {NULL, "b", "d", "e", "f"};
    for (size_t i = 0; i < 5; i++)
        members_copy(&was, &m, "web", all[i]);
    expect_diff(&was, &m, "");
    expect_names(members_pool(&was, "web"), "a c e f");
    assert_int_equal(members_pool(&was, "web")->count, 4);
    pool->is_configured = false;
    expect_diff(&was, &m, " pool ~a ~c ~e ~f ~b");
    members_fini(&was);
    members_fini(&m);
}

/* ---- the state file ---- */

static void save(struct members *m, struct buf *out)
{
    buf_init(out, 0);
    members_save(m, out);
}

static void fill(struct members *m)
{
    struct member_pool *web = make_pool(m, "web"), *api = make_pool(m, "api");
    m->generation = 41;
    members_set(m, "queue-timeout", "0.5");
    api->settings =
        (struct pool_settings){.state = POOL_STOPPED, .message = "back \"soon\"\n"};
    api->change = (struct change){.at_ms = 5, .by = "uid 0 pid 1", .what = "stop"};
    struct member *a = give(web, "a", "ipc:///tmp/with space", SOURCE_FILE, GIVEN_NEW);
    struct backend_settings to = {
        .state = ADMIN_MAINT, .health = HEALTH_DOWN, .limit = 17};
    a->given.weight = 50;
    for (unsigned bit = DECIDED_STATE; bit <= DECIDED_LIMIT; bit *= 2)
        members_decide(a, (enum decision)bit, &to);
    a->change =
        (struct change){.at_ms = 1763700000123, .by = "uid 7 pid 9", .what = "maint"};
    struct member *b = give(web, "b", "tcp://127.0.0.1:1", SOURCE_SELF, GIVEN_NEW);
    memcpy(b->owner, "key 5", 6);
    b->lease_s = 30;
    give(web, "c", "ipc:///c", SOURCE_CLI, GIVEN_NEW)->is_joining = true;
    struct member *gone = give(web, "d", "ipc:///d", SOURCE_OPTION, GIVEN_NEW);
    members_remove(&gone);
    struct member *entry = give(api, "n", "tcp://n.test:1", SOURCE_CLI, GIVEN_NEW);
    static const char *const addresses[] = {"10.0.0.3", "10.0.0.4"};
    members_resolve(entry, addresses, 2);
    gone = members_get(api, "n-10.0.0.4");
    members_remove(&gone);
    members_settle(m);
}

static void what_is_saved_is_loaded(void **state)
{
    (void)state;
    struct members m, again;
    struct buf text, second, message;
    members_init(&m);
    members_init(&again);
    buf_init(&message, 0);
    fill(&m);
    save(&m, &text);
    assert_true(members_load(&again, buf_slice(&text), 1000, &message));
    assert_int_equal(again.generation, 41);
    assert_int_equal(members_count(&again), 3);
    assert_string_equal(members_setting(&again, "queue-timeout"), "0.5");
    struct member_pool *web = members_pool(&again, "web");
    assert_int_equal(members_get(web, "d")->kind, MEMBER_AWAY);
    assert_int_equal(members_get(web, "a")->settings.limit, 17);
    assert_int_equal(members_get(web, "a")->settings.state, ADMIN_MAINT);
    assert_int_equal(members_get(web, "b")->lease_until_us, 30001000);
    assert_null(members_get(web, "c"));
    struct member_pool *api = members_pool(&again, "api");
    assert_string_equal(api->settings.message, "back \"soon\"\n");
    assert_int_equal(members_get(api, "n")->kind, MEMBER_ENTRY);
    assert_string_equal(members_get(api, "n-10.0.0.3")->entry, "n");
    save(&again, &second);
    assert_true(slice_eq(buf_slice(&text), buf_slice(&second)));
    buf_fini(&second);
    members_fini(&m);

    /* Any part of it is refused, and changes nothing. */
    size_t whole = buf_len(&text);
    for (size_t length = 0; length + 1 < whole; length++) {
        struct slice part = slice_of(buf_slice(&text).ptr, length);
        buf_clear(&message);
        assert_false(members_load(&again, part, 0, &message));
        assert_true(buf_len(&message) > 0);
        assert_int_equal(members_count(&again), 3);
    }
    members_fini(&again);
    buf_fini(&text);
    buf_fini(&message);
}

static void version_1_is_loaded(void **state)
{
    (void)state;
    static const char text[] =
        "banyan-state 1 generation=7\n"
        "pool default paused max-pause-us=5\n"
        "backend a ipc:///a state=drain health=auto weight=50 full=100 limit=8 "
        "source=option given=yes\n"
        "backend b ipc:///b state=ready health=up weight=30 full=30 limit=9 "
        "source=cli\n"
        "removed c\n"
        "end\n";
    struct members m;
    struct buf message;
    members_init(&m);
    buf_init(&message, 0);
    assert_true(members_load(&m, slice_from(text), 0, &message));
    struct member_pool *pool = members_pool(&m, "default");
    assert_int_equal(pool->settings.state, POOL_PAUSED);
    const struct member *a = members_get(pool, "a"), *b = members_get(pool, "b");
    assert_int_equal(a->decisions, DECIDED_STATE | DECIDED_WEIGHT | DECIDED_LIMIT);
    assert_int_equal(a->settings.weight, 50);
    assert_int_equal(a->given.weight, 100);
    assert_int_equal(b->decisions, DECIDED_HEALTH);
    assert_int_equal(b->settings.limit, 9);
    assert_int_equal(members_get(pool, "c")->decisions, DECIDED_REMOVAL);
    buf_fini(&message);
    members_fini(&m);
}

static void refuses_other_files(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "banyan-state 3 generation=1\nend\n",
        "banyan-state 0 generation=1\nend\n",
        "banyan-state 1\nend\n",
        "pool default serving\nend\n",
        "banyan-state 1 generation=1\nbackend a\nend\n",
        "banyan-state 1 generation=1\nbackend a ipc:///a\nbackend a ipc:///a\nend\n",
        "banyan-state 1 generation=1\nbackend a ipc:///a weight=257\nend\n",
        "banyan-state 1 generation=1\nbackend a ipc:///a frob=1\nend\n",
        "banyan-state 1 generation=1\nbackend a ipc:///a state=gone\nend\n",
        "banyan-state 1 generation=1\nfrob\nend\n",
        "banyan-state 1 generation=1\nend\nend\n",
        "banyan-state 2 generation=1\nbackend a ipc:///a\nend\n",
        "banyan-state 2 generation=1\nbackend w/a ipc:///a full=3\nend\n",
        "banyan-state 2 generation=1\nbackend w/a tcp://n.test:1\nend\n",
        "banyan-state 2 generation=1\nentry w/a ipc:///a\nend\n",
        "banyan-state 2 generation=1\nbackend w/a tcp://10.0.0.1:1 entry=n\nend\n",
        "banyan-state 2 generation=1\nbackend w/a/b ipc:///a\nend\n",
        "banyan-state 2 generation=1\nset x\nend\n",
        "banyan-state 2 generation=1\npool \"a b\" serving\nend\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct members m;
        struct buf message;
        members_init(&m);
        buf_init(&message, 0);
        if (members_load(&m, slice_from(bad[i]), 0, &message))
            fail_msg("%s was loaded", bad[i]);
        buf_fini(&message);
        members_fini(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bare_name_is_the_default_pools_or_the_only_one),
        cmocka_unit_test(a_new_one_goes_to_the_default_pool_or_the_only_one),
        cmocka_unit_test(what_a_person_decided_outranks_the_source),
        cmocka_unit_test(what_was_removed_stays_away_until_a_person_adds_it),
        cmocka_unit_test(a_maint_outlives_a_lease),
        cmocka_unit_test(a_name_stands_for_its_addresses),
        cmocka_unit_test(there_are_not_more_than_may_be),
        cmocka_unit_test(the_file_brings_and_takes_its_own_only),
        cmocka_unit_test(what_differs_is_told_and_copied),
        cmocka_unit_test(what_is_saved_is_loaded),
        cmocka_unit_test(version_1_is_loaded),
        cmocka_unit_test(refuses_other_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
