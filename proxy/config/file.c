/* SPDX-License-Identifier: MIT
 * What the texts of a file mean. Each mistake is a line of the message, with its place;
 * reading goes on behind it, so that one look shows them all. */
#include <stdlib.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/raw.h"
#include "proxy/upstream/balance.h"

enum { MAX_LIMIT = 1000000 };

/* Not in a file. */
static const char *const hidden[] = {"config",  "check",   "help",
                                     "version", "backend", NULL};

struct reader {
    struct config *config;
    const struct raw *raw;
    struct buf *message;
    bool is_bad;
};

static void read_pools(struct reader *r);
static void read_routes(struct reader *r);

/* ---- mistakes ---- */

static void begin_line(struct reader *r)
{
    r->is_bad = true;
    if (buf_len(r->message) > 0)
        buf_add(r->message, SLICE("\n"));
}

/* complain(r, "pools[%zu].name", i, "..."): the place, then what is wrong. */
#define COMPLAIN(r, place, args, ...)                                                  \
    do {                                                                               \
        begin_line(r);                                                                 \
        raw_place((r)->raw, (r)->message, place UNPACK args);                          \
        buf_add((r)->message, SLICE(": "));                                            \
        buf_addf((r)->message, __VA_ARGS__);                                           \
    } while (0)
#define UNPACK(...) , ##__VA_ARGS__

/* ---- options ---- */

static const void *value_at(const struct proxy_options *o, const struct option_row *row)
{
    return (const char *)o + row->offset;
}

/* Where the file says what the options' check complained about; false: the file does
 * not, or something outranks it. */
static bool add_place(struct reader *r,
                      const struct proxy_options *o,
                      const struct option_row *row,
                      const char *complaint,
                      struct buf *to)
{
    size_t number = (size_t)(row - proxy_option_table.rows);
    const struct raw_list *list = &r->raw->values->lists[number];
    const char *text = r->raw->values->options[number];
    if (row->type == OPTION_LIST) {
        const struct option_list *used = value_at(o, row);
        if (list->count == 0 || used->count == 0 || used->items[0] != list->items[0])
            return false;
        uint32_t at = 0;
        while (at + 1 < list->count && strstr(complaint, list->items[at]) == NULL)
            at++;
        raw_place(r->raw, to, "%s[%u]", row->name, at);
        return true;
    }
    if (text == NULL ||
        (row->type == OPTION_TEXT && *(const char *const *)value_at(o, row) != text))
        return false;
    raw_place(r->raw, to, "%s", row->name);
    return true;
}

/* proxy_options_check, whose complaint begins with "--NAME". */
static bool check_options(struct reader *r, struct proxy_options *o)
{
    struct buf complaint, place;
    buf_init(&complaint, 0);
    buf_init(&place, 0);
    bool ok = proxy_options_check(o, &complaint);
    if (!ok) {
        begin_line(r);
        buf_add(&complaint, slice_of("", 1));
        const char *text = buf_slice(&complaint).ptr;
        char name[64] = "";
        size_t length = strspn(text, "-abcdefghijklmnopqrstuvwxyz");
        if (strncmp(text, "--", 2) == 0 && length < sizeof name)
            memcpy(name, text + 2, length - 2);
        const struct option_row *row = option_find(&proxy_option_table, name);
        if (row != NULL && r->raw->values != NULL &&
            add_place(r, o, row, text, &place)) {
            buf_add(r->message, buf_slice(&place));
            buf_addf(r->message, ": %s", text + 2);
        } else {
            buf_addf(r->message, "%s", text);
        }
    }
    buf_fini(&complaint);
    buf_fini(&place);
    return ok;
}

struct values {
    struct option_value *items;
    size_t count, cap;
};

static void add_value(struct values *v, const char *name, const char *text, char *place)
{
    if (v->count == v->cap) {
        v->cap = v->cap == 0 ? 64 : 2 * v->cap;
        v->items = mem_realloc(v->items, v->cap * sizeof(struct option_value));
    }
    v->items[v->count++] =
        (struct option_value){.name = name, .text = text, .place = place};
}

/* "FILE:LINE:COLUMN", the caller's. */
static char *place_of(const struct raw *raw, const char *name, uint32_t item)
{
    struct buf to;
    buf_init(&to, 0);
    raw_place(raw, &to, "%s[%u]", name, item);
    char *place = mem_printf("%.*s", SLICE_FMT(buf_slice(&to)));
    buf_fini(&to);
    return place;
}

static void collect_values(const struct raw *raw, struct values *v)
{
    for (size_t i = 0; i < proxy_option_table.row_count; i++) {
        const char *name = proxy_option_table.rows[i].name;
        const char *text = raw->values->options[i];
        const struct raw_list *list = &raw->values->lists[i];
        if (text != NULL && *text != '\0')
            add_value(v, name, text, place_of(raw, name, 0));
        for (uint32_t n = 0; n < list->count; n++)
            add_value(v, name, list->items[n], place_of(raw, name, n));
    }
}

static void read_options(struct reader *r, int argc, char **argv)
{
    struct values v = {0};
    int rest;
    if (r->raw->values != NULL)
        collect_values(r->raw, &v);
    struct buf complaint;
    buf_init(&complaint, 0);
    enum err err = option_parse_over(&proxy_option_table, v.items, v.count, argc, argv,
                                     &r->config->options, &rest, &complaint);
    if (err != ERR_NONE) {
        begin_line(r);
        buf_add(r->message, buf_slice(&complaint));
    } else {
        (void)check_options(r, &r->config->options);
    }
    buf_fini(&complaint);
    for (size_t i = 0; i < v.count; i++) {
        char *place = (char *)(uintptr_t)v.items[i].place;
        mem_free(&place);
    }
    mem_free(&v.items);
}

/* ---- pools ---- */

static bool read_number(const char *text, uint32_t high, uint32_t *ret_value)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 9 || text[digits] != '\0')
        return false;
    unsigned long value = strtoul(text, NULL, 10);
    if (value > high)
        return false;
    *ret_value = (uint32_t)value;
    return true;
}

static void
read_backend(struct reader *r, struct config_pool *pool, size_t p, uint32_t n)
{
    const struct raw_backend *from = &r->raw->values->pools[p].backends[n];
    struct config_backend b = {.weight = WEIGHT_DEFAULT};
    struct buf message;
    buf_init(&message, 0);
    if (from->name == NULL)
        (void)snprintf(b.name, sizeof b.name, "b%u", n + 1);
    else if (proxy_name_check(from->name))
        memcpy(b.name, from->name, strlen(from->name));
    else
        COMPLAIN(
            r, "pools[%zu].backends[%u].name", (p, n),
            "name: \"%s\" is not accepted; expected up to 63 letters, digits, '.', "
            "'_', '-'",
            from->name);
    if (b.name[0] != '\0' && config_find_backend(pool, b.name) != NULL)
        COMPLAIN(r, "pools[%zu].backends[%u].name", (p, n),
                 "name: \"%s\" is given twice in this pool", b.name);
    if (!proxy_endpoint_check(from->endpoint, &r->config->options, "endpoint",
                              &message))
        COMPLAIN(r, "pools[%zu].backends[%u].endpoint", (p, n), "%.*s",
                 SLICE_FMT(buf_slice(&message)));
    else
        memcpy(b.endpoint, from->endpoint, strlen(from->endpoint));
    if (from->weight != NULL && !read_number(from->weight, WEIGHT_MAX, &b.weight))
        COMPLAIN(r, "pools[%zu].backends[%u].weight", (p, n),
                 "weight: \"%s\" is not accepted; expected a whole number from 0 to %d",
                 from->weight, WEIGHT_MAX);
    if (from->limit != NULL && !read_number(from->limit, MAX_LIMIT, &b.limit))
        COMPLAIN(
            r, "pools[%zu].backends[%u].limit", (p, n),
            "limit: \"%s\" is not accepted; expected a whole number from 0 (as many "
            "as the app server grants) to %d",
            from->limit, MAX_LIMIT);
    pool->backends[pool->backend_count++] = b;
    buf_fini(&message);
}

/* The options as this pool has them. */
static void read_pool_options(struct reader *r, struct config_pool *pool, size_t p)
{
    static const struct {
        const char *name;
        enum site_own own;
    } owns[] = {{"max-queue", SITE_OWN_MAX_QUEUE},
                {"queue-timeout", SITE_OWN_QUEUE_TIMEOUT},
                {"request-timeout", SITE_OWN_REQUEST_TIMEOUT}};
    const struct raw_pool *from = &r->raw->values->pools[p];
    struct proxy_options own = r->config->options;
    bool is_good = !r->is_bad;
    for (size_t i = 0; i < RAW_POOL_OPTIONS; i++) {
        if (from->options[i] == NULL || from->options[i][0] == '\0')
            continue;
        struct buf place, complaint;
        buf_init(&place, 0);
        buf_init(&complaint, 0);
        raw_place(r->raw, &place, "pools[%zu].%s", p, raw_pool_options[i]);
        buf_add(&place, slice_of("", 1));
        struct option_value value = {raw_pool_options[i], from->options[i],
                                     buf_slice(&place).ptr};
        bool ok = option_set(&proxy_option_table, &value, &own, &complaint) == ERR_NONE;
        if (!ok) {
            begin_line(r);
            buf_add(r->message, buf_slice(&complaint));
        } else if (is_good && !proxy_options_check(&own, &complaint)) {
            /* The options alone are good: it is this one. */
            begin_line(r);
            struct slice text = buf_slice(&complaint);
            buf_addf(r->message, "%s: %.*s", value.place, (int)text.len - 2,
                     text.ptr + 2);
        }
        for (size_t o = 0; o < sizeof owns / sizeof owns[0]; o++)
            if (strcmp(owns[o].name, raw_pool_options[i]) == 0)
                pool->site.own |= owns[o].own;
        buf_fini(&place);
        buf_fini(&complaint);
    }
    config_fill_pool(&own, pool);
}

static void read_pool(struct reader *r, size_t p)
{
    const struct raw_pool *from = &r->raw->values->pools[p];
    struct config_pool *pool = &r->config->pools[p];
    pool->is_named = true;
    read_pool_options(r, pool, p);
    if (!proxy_name_check(from->name))
        COMPLAIN(
            r, "pools[%zu].name", (p),
            "name: \"%s\" is not accepted; expected up to 63 letters, digits, '.', "
            "'_', '-'",
            from->name);
    else if (config_find_pool(r->config, from->name) != NULL)
        COMPLAIN(r, "pools[%zu].name", (p), "name: \"%s\" is given twice", from->name);
    else
        memcpy(pool->site.name, from->name, strlen(from->name));
    pool->backends = mem_zalloc((from->backend_count + 1) * sizeof(*pool->backends));
    for (uint32_t n = 0; n < from->backend_count; n++)
        read_backend(r, pool, p, n);
}

/* They would overwrite each other's. */
static void check_sticky(struct reader *r, size_t p)
{
    const char *name = r->config->pools[p].policy.sticky.name;
    for (size_t i = 0; *name != '\0' && i < p; i++) {
        const struct config_pool *other = &r->config->pools[i];
        if (strcmp(other->policy.sticky.name, name) != 0)
            continue;
        COMPLAIN(r, "pools[%zu].sticky", (p),
                 "sticky: pool %s has the cookie \"%s\" already; each pool needs a "
                 "name of its own",
                 other->site.name, name);
        return;
    }
}

static void read_pools(struct reader *r)
{
    struct config *config = r->config;
    size_t count = r->raw->values == NULL ? 0 : r->raw->values->pool_count;
    if (count == 0) {
        if (config->options.backend.count == 0)
            COMPLAIN(r, "%s", ("pools"),
                     "pools: expected at least one, with its backends (or --backend)");
        else if (!r->is_bad)
            config_use_command_line(config);
        return;
    }
    if (config->options.backend.count > 0)
        COMPLAIN(r, "%s", ("pools"),
                 "pools: --backend is given, too; name that app server in a pool here");
    config->pools = mem_zalloc(count * sizeof(*config->pools));
    config->pool_count = count;
    for (size_t p = 0; p < count; p++) {
        read_pool(r, p);
        check_sticky(r, p);
    }
}

/* ---- routes ---- */

static void read_route(struct reader *r, size_t n)
{
    const struct raw_route *from = &r->raw->values->routes[n];
    struct route route = {0};
    struct buf message;
    bool is_good = true;
    buf_init(&message, 0);
    if (!route_set_host(&route, from->host, &message)) {
        COMPLAIN(r, "routes[%zu].host", (n), "host: %.*s",
                 SLICE_FMT(buf_slice(&message)));
        is_good = false;
    }
    buf_clear(&message);
    if (!route_set_prefix(&route, from->path, &message)) {
        COMPLAIN(r, "routes[%zu].path", (n), "path: %.*s",
                 SLICE_FMT(buf_slice(&message)));
        is_good = false;
    }
    buf_fini(&message);
    const char *strips = from->strip_prefix;
    if (strips != NULL && !option_parse_flag(strips, &route.strips))
        COMPLAIN(r, "routes[%zu].strip-prefix", (n),
                 "strip-prefix: \"%s\" is not accepted; expected yes or no", strips);
    else if (route.strips && is_good && route.prefix[0] == '\0')
        COMPLAIN(r, "routes[%zu].strip-prefix", (n),
                 "strip-prefix: there is nothing to strip; expected a path such as "
                 "/app in this route");
    const struct config_pool *pool = config_find_pool(r->config, from->pool);
    if (pool == NULL)
        COMPLAIN(r, "routes[%zu].pool", (n),
                 "pool: no pool is called \"%s\"; expected the name of one under pools",
                 from->pool);
    else
        route.target = (uint32_t)(pool - r->config->pools);
    for (size_t i = 0; is_good && i < n; i++) {
        const struct route *other = &r->config->routes[i];
        if (strcmp(other->host, route.host) != 0 ||
            strcmp(other->prefix, route.prefix) != 0)
            continue;
        COMPLAIN(r, "routes[%zu]", (n),
                 "host %s with path %s has a route already: number %zu of the list",
                 route.host[0] == '\0' ? "*" : route.host,
                 route.prefix[0] == '\0' ? "/" : route.prefix, i + 1);
        break;
    }
    if (!is_good)
        route.host[0] = '?'; /* like no other */
    r->config->routes[n] = route;
}

static void read_routes(struct reader *r)
{
    struct config *config = r->config;
    size_t count = r->raw->values == NULL ? 0 : r->raw->values->route_count;
    if (count == 0) {
        if (config->pool_count > 1)
            COMPLAIN(r, "%s", ("routes"),
                     "routes: expected some, for there are %zu pools: which requests "
                     "go where? e.g. routes: [{path: /api, pool: %s}]",
                     config->pool_count, config->pools[0].site.name);
        return;
    }
    config->routes = mem_zalloc(count * sizeof(*config->routes));
    config->route_count = count;
    for (size_t n = 0; n < count; n++)
        read_route(r, n);
}

enum err
config_use_file(struct config *config, int argc, char **argv, struct buf *message)
{
    config->raw =
        raw_load(config->options.config, &proxy_option_table, hidden, message);
    if (config->raw == NULL)
        return ERR_BAD_OPTION;
    struct reader r = {.config = config, .raw = config->raw, .message = message};
    read_options(&r, argc, argv);
    read_pools(&r);
    read_routes(&r);
    return r.is_bad ? ERR_BAD_OPTION : ERR_NONE;
}
