/* SPDX-License-Identifier: MIT
 * Rows are compared as they would be typed, pools and backends by their names. */
#include "proxy/config/diff.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proxy/config/raw.h"

struct differ {
    void (*tell)(void *arg, const struct config_change *change);
    void *arg;
};

bool config_is_live(const struct option_row *row)
{
    static const char *const names[] = {
        "bind",
        "control",
        "metrics",
        "trusted-proxies",
        "underscore-headers",
        "lenient",
        "max-body",
        "max-target",
        "max-fields",
        "max-connections",
        "max-queue",
        "request-buffering",
        "request-buffer",
        "header-timeout",
        "body-timeout",
        "body-min-rate",
        "body-grace",
        "queue-timeout",
        "request-timeout",
        "balance",
        "hash-by",
        "queue-target",
        "queue-interval",
        "check-path",
        "check-host",
        "check-interval",
        "check-timeout",
        "check-rise",
        "check-fall",
        "slow-start",
        "eject-after",
        "eject-rate",
        "eject-time",
        "eject-most",
        "panic-threshold",
        "sticky",
        "sticky-wait",
        "sticky-ttl",
        "sticky-same-site",
        "keepalive-timeout",
        "write-timeout",
        "graceful-timeout",
        "upgrade-timeout",
        "heartbeat-timeout",
        "retry-budget",
        "resolve-interval",
        "websocket-ping-interval",
        "websocket-ping-timeout",
        "websocket-close-timeout",
        "websocket-max-message",
        "websocket-compression",
        "log-level",
        "log-format",
        "log-output",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], row->name) == 0)
            return true;
    return false;
}

__attribute__((format(printf, 5, 6))) static void
tell(const struct differ *d,
     enum change_kind kind,
     const struct config_pool *pool,
     const struct config_backend *backend,
     const char *format,
     ...)
{
    struct config_change change = {kind, pool, backend, NULL};
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    change.text = text;
    d->tell(d->arg, &change);
}

/* Of one pool, or `pool` NULL. */
static void diff_option(const struct differ *d,
                        const struct option_row *row,
                        const struct proxy_options *from,
                        const struct proxy_options *to,
                        const struct config_pool *pool)
{
    struct buf old, new;
    buf_init(&old, 0);
    buf_init(&new, 0);
    option_print(row, from, &old);
    option_print(row, to, &new);
    bool is_live = config_is_live(row);
    if (!slice_eq(buf_slice(&old), buf_slice(&new)))
        tell(d,
             !is_live       ? CHANGE_FOR_RESTART
             : pool == NULL ? CHANGE_OPTION
                            : CHANGE_POOL,
             pool, NULL, "%s%s%s%s: \"%.*s\" -> \"%.*s\"%s",
             pool == NULL ? "" : "pool ", pool == NULL ? "" : pool->site.name,
             pool == NULL ? "" : ": ", row->name, SLICE_FMT(buf_slice(&old)),
             SLICE_FMT(buf_slice(&new)), is_live ? "" : " takes a restart");
    buf_fini(&old);
    buf_fini(&new);
}

static void diff_options(const struct differ *d,
                         const struct proxy_options *started,
                         const struct proxy_options *from,
                         const struct proxy_options *to)
{
    for (size_t i = 0; i < proxy_option_table.row_count; i++) {
        const struct option_row *row = &proxy_option_table.rows[i];
        diff_option(d, row, config_is_live(row) ? from : started, to, NULL);
    }
}

static void added(const struct differ *d,
                  const struct config_pool *pool,
                  const struct config_backend *b)
{
    tell(d, CHANGE_ADDED, pool, b, "%s/%s: added at %s", pool->site.name, b->name,
         b->endpoint);
}

static void diff_backends(const struct differ *d,
                          const struct config_pool *from,
                          const struct config_pool *to)
{
    const char *pool = to->site.name;
    for (size_t i = 0; i < from->backend_count; i++) {
        const struct config_backend *b = &from->backends[i];
        const struct config_backend *other = config_find_backend(to, b->name);
        if (other == NULL)
            tell(d, CHANGE_REMOVED, to, b, "%s/%s: removed; what runs there ends", pool,
                 b->name);
        else if (strcmp(other->endpoint, b->endpoint) != 0)
            tell(d, CHANGE_REMOVED, to, b, "%s/%s: leaves %s; what runs there ends",
                 pool, b->name, b->endpoint);
    }
    for (size_t i = 0; i < to->backend_count; i++) {
        const struct config_backend *b = &to->backends[i];
        const struct config_backend *other = config_find_backend(from, b->name);
        if (other == NULL || strcmp(other->endpoint, b->endpoint) != 0)
            added(d, to, b);
        else if (other->weight != b->weight || other->limit != b->limit)
            tell(d, CHANGE_SETTINGS, to, b, "%s/%s: weight %u -> %u, limit %u -> %u",
                 pool, b->name, other->weight, b->weight, other->limit, b->limit);
    }
}

static void diff_pool(const struct differ *d,
                      const struct config_pool *from,
                      const struct config_pool *to)
{
    for (size_t i = 0; i < RAW_POOL_OPTIONS; i++)
        diff_option(d, option_find(&proxy_option_table, raw_pool_options[i]),
                    &from->options, &to->options, to);
    diff_backends(d, from, to);
}

static bool
are_routes_equal(const struct config *from, const struct config *to, size_t i)
{
    const struct route *a = &from->routes[i], *b = &to->routes[i];
    return strcmp(a->host, b->host) == 0 && strcmp(a->prefix, b->prefix) == 0 &&
           a->strips == b->strips &&
           strcmp(from->pools[a->target].site.name, to->pools[b->target].site.name) ==
               0;
}

static void
diff_routes(const struct differ *d, const struct config *from, const struct config *to)
{
    bool are_equal = from->route_count == to->route_count;
    for (size_t i = 0; are_equal && i < to->route_count; i++)
        are_equal = are_routes_equal(from, to, i);
    if (!are_equal)
        tell(d, CHANGE_ROUTES, NULL, NULL, "routes: %zu -> %zu, from the new list",
             from->route_count, to->route_count);
}

void config_diff(const struct config *started,
                 const struct config *from,
                 const struct config *to,
                 void (*tell_fn)(void *arg, const struct config_change *change),
                 void *arg)
{
    const struct differ d = {tell_fn, arg};
    diff_options(&d, &started->options, &from->options, &to->options);
    for (size_t i = 0; i < from->pool_count; i++) {
        const struct config_pool *pool = &from->pools[i];
        if (config_find_pool(to, pool->site.name) == NULL)
            tell(&d, CHANGE_POOL_REMOVED, pool, NULL,
                 "pool %s: removed; what runs there ends", pool->site.name);
    }
    for (size_t i = 0; i < to->pool_count; i++) {
        const struct config_pool *pool = &to->pools[i];
        const struct config_pool *other = config_find_pool(from, pool->site.name);
        if (other != NULL) {
            diff_pool(&d, other, pool);
            continue;
        }
        tell(&d, CHANGE_POOL_ADDED, pool, NULL, "pool %s: added", pool->site.name);
        for (size_t n = 0; n < pool->backend_count; n++)
            added(&d, pool, &pool->backends[n]);
    }
    diff_routes(&d, from, to);
}
