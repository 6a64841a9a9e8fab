/* SPDX-License-Identifier: MIT
 * Which keys a backend's link has. The proxy's own; and the app server's, which is the
 * one that its settings name, or else any of the authorized ones of role app: they are
 * tried in turn, as an app server cannot say which is its own before it has proved it.
 *
 * A connection lives on with the keys that it was made with. When ours changes, a
 * successor is made over a second link, and takes over once it is up; when the app
 * server's is authorized no more, the connection ends. */
#include <string.h>

#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "proxy/upstream/backend_priv.h"
#include "proxy/upstream/pool_priv.h"

enum {
    BROKEN_IN_A_ROW = 5, /* without keys: that is no restart of the app server */
    FIRST_ROUND_US = 100 * 1000, /* between two rounds of all keys; doubled each time */
    LAST_ROUND_US = 1000 * 1000,
};

#define SAID(refusal) (1U << (refusal))
#define SAID_NO_KEY (1U << 31)

static bool pick_key(struct backend *b, struct keys *keys);
static void say_refusal(struct backend *b, enum link_refusal refusal);
static void renew(struct backend *b);
static void take_over(struct pool *pool, struct backend *b);

static struct keys *keys_of(const struct backend *b)
{
    return link_endpoint_is_local(b->endpoint) ? NULL : b->pool->options.keys;
}

enum err backend_connect(struct backend *b)
{
    struct keys *keys = keys_of(b);
    struct link_context *context = b->pool->context;
    b->server_key[0] = b->own_key[0] = '\0';
    if (keys == NULL)
        return link_connect(context, b->endpoint,
                            b->pool->options.insecure ? LINK_INSECURE : LINK_LOCAL_ONLY,
                            &b->link);
    if (!pick_key(b, keys)) {
        if ((b->refusals_said & SAID_NO_KEY) == 0 && !b->pool->options.is_quiet)
            log_error(&b->log,
                      "no connection to %s: --authorized-keys has no line `app KEY`%s",
                      b->endpoint, b->settings.key[0] == '\0' ? "" : " with its key");
        b->refusals_said |= SAID_NO_KEY;
        return ERR_LINK_DOWN;
    }
    struct key_pair own;
    keys_own(keys, &own);
    memcpy(b->own_key, own.public_key, sizeof b->own_key);
    enum err err = link_connect_secure(context, b->endpoint, CARGO_FRAMES, &own,
                                       b->server_key, &b->link);
    key_pair_wipe(&own);
    return err;
}

/* False: there is none to try. */
static bool pick_key(struct backend *b, struct keys *keys)
{
    struct key_user user;
    if (b->settings.key[0] != '\0') {
        memcpy(b->server_key, b->settings.key, sizeof b->server_key);
        return keys_admit(keys, b->server_key, KEY_APP);
    }
    if (!keys_nth(keys, KEY_APP, b->key_index, &user)) {
        b->key_index = 0;
        if (!keys_nth(keys, KEY_APP, 0, &user))
            return false;
    }
    memcpy(b->server_key, user.key, sizeof b->server_key);
    return true;
}

/* ---- refused ---- */

/* ZeroMQ itself tries again only when a connection ended without a word, and does not
 * tell which refusals were such. */
void backend_on_refused(struct backend *b, enum link_refusal refusal)
{
    struct keys *keys = keys_of(b);
    struct key_user next;
    if (b->state != BACKEND_CONNECTING)
        return;
    if (keys == NULL && refusal == REFUSAL_BROKEN) {
        if (++b->keys_tried == BROKEN_IN_A_ROW)
            say_refusal(b, refusal);
        if (b->reopen_us == 0)
            b->reopen_us = clock_now_us() + BACKEND_RECONNECT_US;
        return;
    }
    /* Only with another key something else can come of it. */
    if (refusal == REFUSAL_BROKEN && b->settings.key[0] == '\0') {
        b->keys_tried++;
        b->key_index++;
        if (keys_nth(keys, KEY_APP, b->keys_tried, &next)) {
            backend_reopen(b, 0);
            return;
        }
    }
    say_refusal(b, refusal);
    b->keys_tried = 0;
    b->round_us = b->round_us == 0 ? FIRST_ROUND_US : 2 * b->round_us;
    if (b->round_us > LAST_ROUND_US)
        b->round_us = LAST_ROUND_US;
    backend_reopen(b, b->round_us);
}

/* Each once until it is up: what is known better later is said, too. */
static void say_refusal(struct backend *b, enum link_refusal refusal)
{
    bool is_secure = b->server_key[0] != '\0';
    enum log_level level =
        b->pool->options.is_quiet || (b->refusals_said & SAID(refusal)) != 0 ? LOG_DEBUG
                                                                             : LOG_WARN;
    if (refusal == REFUSAL_DENIED)
        log_write(level, &b->log,
                  "%s does not let this proxy in: add the line `proxy %s` to its "
                  "--authorized-keys",
                  b->endpoint, b->own_key);
    else if (refusal == REFUSAL_MECHANISM && is_secure)
        log_write(level, &b->log,
                  "%s has no keys and this proxy has: give that app server --key and "
                  "--authorized-keys, or none to this proxy",
                  b->endpoint);
    else if (refusal == REFUSAL_MECHANISM)
        log_write(level, &b->log,
                  "%s demands keys: give this proxy --key and --authorized-keys",
                  b->endpoint);
    else if (is_secure)
        log_write(level, &b->log, "%s ended the handshake: %s, or it has no keys",
                  b->endpoint,
                  b->settings.key[0] == '\0'
                      ? "its key is in no line `app KEY` of --authorized-keys"
                      : "its key is not the one that was given for it");
    else
        log_write(level, &b->log,
                  "%s ends each handshake: perhaps it demands keys (--key, "
                  "--authorized-keys)",
                  b->endpoint);
    b->refusals_said |= SAID(refusal);
}

void backend_keys_good(struct backend *b)
{
    b->keys_tried = 0;
    b->round_us = 0;
    b->refusals_said = 0;
}

/* ---- other keys ---- */

void backend_keys_changed(struct backend *b)
{
    struct keys *keys = keys_of(b);
    struct key_pair own;
    if (keys == NULL)
        return;
    if (b->state < BACKEND_GREETING) {
        b->key_index = 0;
        backend_keys_good(b);
        backend_reopen(b, 0);
        return;
    }
    if (!keys_admit(keys, b->server_key, KEY_APP)) {
        backend_lose(b, ERR_BACKEND_LOST, "its key is not authorized any more");
        return;
    }
    keys_own(keys, &own);
    if (strcmp(own.public_key, b->own_key) != 0)
        renew(b);
    key_pair_wipe(&own);
}

/* It is with the pool, out of its list, so that nobody finds it. */
static void renew(struct backend *b)
{
    if (b->successor != NULL)
        pool_forget(b->pool, b->successor);
    backend_free(&b->successor);
    struct backend *s = backend_new(b->pool, b->name, b->endpoint);
    s->key_index = b->key_index; /* which most likely still fits */
    backend_reopen(s, 0);
    table_put(&b->pool->by_key, b->load.key, b);
    node_leave(&s->node);
    list_push_back(&b->pool->successors, &s->node);
    backend_set(s, &b->settings);
    b->successor = s;
}

static void take_over_all(struct pool *pool)
{
    LIST_FOREACH(&pool->backends, n) {
        struct backend *b = backend_of_node(n);
        if (b->successor != NULL && b->successor->state == BACKEND_UP)
            take_over(pool, b);
    }
}

void pool_keys_changed(struct pool *pool)
{
    CHECK_OBJ(pool, POOL_MAGIC);
    take_over_all(pool);
    LIST_FOREACH(&pool->backends, n)
        backend_keys_changed(backend_of_node(n));
    LIST_FOREACH(&pool->leaving, n) {
        struct backend *b = backend_of_node(n);
        if (keys_of(b) != NULL && b->state >= BACKEND_GREETING &&
            !keys_admit(keys_of(b), b->server_key, KEY_APP))
            backend_lose(b, ERR_BACKEND_LOST, "its key is not authorized any more");
    }
}

static void take_over(struct pool *pool, struct backend *b)
{
    struct backend *s = take(b->successor);
    struct backend_settings drain = BACKEND_SETTINGS;
    s->stats = b->stats;
    s->queue_time = b->queue_time;
    s->app_time = b->app_time;
    table_put(&pool->by_key, s->load.key, s);
    node_leave(&s->node);
    list_insert_after(&b->node, &s->node);
    drain.state = ADMIN_DRAIN;
    backend_set(b, &drain);
    node_leave(&b->node);
    list_push_back(&pool->leaving, &b->node);
    log_write(pool->options.is_quiet ? LOG_DEBUG : LOG_INFO, &s->log,
              "%s knows this proxy by its new key", s->endpoint);
}

void pool_tick_successors(struct pool *pool, uint64_t now_us)
{
    LIST_FOREACH(&pool->successors, n)
        backend_tick(backend_of_node(n), now_us);
    take_over_all(pool);
}
