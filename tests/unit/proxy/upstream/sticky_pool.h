/* SPDX-License-Identifier: MIT
 * Requests that go back to the app server they were at, and app servers to go to. */
#ifndef TESTS_STICKY_POOL_H
#define TESTS_STICKY_POOL_H

#include "proxy/upstream/key.h"
#include "tests/unit/proxy/upstream/fake_app.h"

enum { MANY = 8 };
static const struct pool_policy POLICY = {
    .sticky = {.name = "node", .wait_us = 5 * SECOND_US}};

static inline uint64_t key_of(uint32_t at)
{
    char name[8];
    int length = snprintf(name, sizeof name, "b%u", at);
    return balance_key(slice_of(name, (size_t)length));
}

/* A request for `target` of a client that was at b<at>. */
static inline void
ask_own(struct fixture *f, struct asker *a, uint32_t at, const char *target)
{
    asker_init(a, "GET", target);
    a->ticket.sticks_to = key_of(at);
    pool_submit(f->pool, &a->ticket);
}

static inline void ask_any(struct fixture *f, struct asker *a, const char *target)
{
    asker_init(a, "GET", target);
    pool_submit(f->pool, &a->ticket);
}

/* Two app servers that take `window` requests each. */
static inline void two(struct fixture *f, uint32_t window)
{
    fixture_init_with(f, 100, &POLICY);
    fixture_up(f, 0, window);
    fixture_up(f, 1, window);
}

static inline void set(struct fixture *f, uint32_t at, struct backend_settings settings)
{
    char name[8];
    snprintf(name, sizeof name, "b%u", at);
    assert_true(pool_set(f->pool, name, &settings));
}

/* Ends the n-th request that an app server saw. */
static inline void answer(struct fixture *f, uint32_t at, uint32_t n)
{
    app_respond(&f->apps[at], f->apps[at].seen[n].stream, "");
}

#define ASSERT_SEEN(f, at, n, target)                                                  \
    assert_string_equal((f)->apps[at].seen[n].text, "GET " target)

static inline void finish(struct fixture *f, struct asker *a, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        asker_fini(&a[i]);
    assert_int_equal(pool_busy(f->pool), 0);
    fixture_fini(f);
}

#endif
