/* SPDX-License-Identifier: MIT
 * Two sorted arrays: hosts, and for each of them its prefixes.
 *
 *   hosts:     ""  ".example.org"  "api.example.org"     a leading dot: *.example.org
 *               |         |
 *   entries: [ "" "/a" ][ "/api" "/api/v2" ] ...          each knows its longest own
 *              ^----'      ^--------'                     beginning among the others
 *
 * All that begin a path sort before it, and the greatest that sorts before it has each
 * of them among its beginnings: one binary search, then up that chain. */
#include "proxy/route.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/mem.h"

enum { ROUTES_MAGIC = 0x4007e5, NO_ENTRY = UINT32_MAX };

struct entry {
    struct route route;
    uint32_t length; /* of the prefix */
    uint32_t parent; /* the longest entry of the host that begins this one */
};

struct host {
    const char *name; /* in its first entry */
    uint32_t first, count;
};

struct routes {
    uint32_t magic;
    uint32_t host_count;
    struct host *hosts;
    struct entry *entries;
    uint32_t longest; /* bytes of a prefix */
    bool has_any_host;
};

/* ---- text ---- */

static const char *name_of(const struct route *route)
{
    return route->host[0] == '*' ? route->host + 1 : route->host;
}

bool route_set_host(struct route *route, const char *text, struct buf *ret_message)
{
    if (text == NULL || strcmp(text, "*") == 0)
        text = "";
    size_t length = strlen(text), start = strncmp(text, "*.", 2) == 0 ? 2 : 0;
    if (length > 1 && text[length - 1] == '.')
        length--;
    bool ok = length <= ROUTE_MAX_HOST && (length == 0 || length > start);
    for (size_t i = start; ok && i < length; i++)
        ok = isalnum((unsigned char)text[i]) ||
             (strchr("-_:[]", text[i]) != NULL && text[i] != '\0') ||
             (text[i] == '.' && i > start && text[i - 1] != '.');
    /* A colon only inside the brackets of an IPv6 address: routes know no ports. */
    if (ok && memchr(text, ':', length) != NULL)
        ok = text[0] == '[' && text[length - 1] == ']';
    if (!ok) {
        buf_addf(ret_message,
                 "\"%.100s\" is no host; expected a name such as example.org or "
                 "*.example.org, an address, or * for any, without a port",
                 text);
        return false;
    }
    for (size_t i = 0; i < length; i++)
        route->host[i] = (char)tolower((unsigned char)text[i]);
    route->host[length] = '\0';
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Up to `max` bytes of the path, its encoding undone except of '/' and NUL. `ret_used`:
 * what they are made of. */
static size_t decode(struct slice path, char *to, size_t max, size_t *ret_used)
{
    size_t length = 0, i = 0;
    for (; i < path.len && length < max; i++) {
        char c = path.ptr[i];
        if (c == '?')
            break;
        if (c == '%' && path.len - i > 2) {
            int high = hex_digit(path.ptr[i + 1]), low = hex_digit(path.ptr[i + 2]);
            int byte = high < 0 || low < 0 ? -1 : high << 4 | low;
            if (byte > 0 && byte != '/') {
                c = (char)byte;
                i += 2;
            }
        }
        to[length++] = c;
    }
    *ret_used = i;
    return length;
}

bool route_set_prefix(struct route *route, const char *text, struct buf *ret_message)
{
    if (text == NULL)
        text = "/";
    size_t length = strlen(text), used;
    bool ok = text[0] == '/' && length <= ROUTE_MAX_PREFIX;
    for (size_t i = 0; ok && i < length; i++)
        ok = (unsigned char)text[i] > ' ' && text[i] != 0x7f &&
             strchr("?#*", text[i]) == NULL;
    if (!ok) {
        buf_addf(
            ret_message,
            "\"%.100s\" is no path; expected the beginning of one, such as /api: "
            "it starts with /, holds no space, ?, # or *, and has at most %d bytes",
            text, ROUTE_MAX_PREFIX);
        return false;
    }
    while (length > 0 && text[length - 1] == '/')
        length--;
    length = decode(slice_of(text, length), route->prefix, ROUTE_MAX_PREFIX, &used);
    route->prefix[length] = '\0';
    return true;
}

/* ---- the table ---- */

static int compare_entries(const void *a, const void *b)
{
    const struct entry *one = a, *other = b;
    int order = strcmp(name_of(&one->route), name_of(&other->route));
    return order != 0 ? order : strcmp(one->route.prefix, other->route.prefix);
}

static uint32_t
find_parent(const struct routes *all, const struct host *host, uint32_t of)
{
    const struct entry *e = &all->entries[of];
    for (uint32_t i = of; i-- > host->first;)
        if (memcmp(all->entries[i].route.prefix, e->route.prefix,
                   all->entries[i].length) == 0)
            return i;
    return NO_ENTRY;
}

static void add_to_hosts(struct routes *all, uint32_t number)
{
    struct entry *e = &all->entries[number];
    const char *name = name_of(&e->route);
    struct host *last = &all->hosts[all->host_count];
    if (all->host_count == 0 || strcmp(last[-1].name, name) != 0) {
        *last = (struct host){.name = name, .first = number};
        all->host_count++;
        all->has_any_host |= name[0] == '\0';
    } else {
        last--;
    }
    last->count++;
    e->length = (uint32_t)strlen(e->route.prefix);
    e->parent = find_parent(all, last, number);
    if (e->length > all->longest)
        all->longest = e->length;
}

struct routes *routes_new(const struct route *routes, size_t count)
{
    struct routes *all = mem_zalloc(sizeof(*all));
    all->magic = ROUTES_MAGIC;
    all->entries = mem_zalloc((count + 1) * sizeof(struct entry));
    all->hosts = mem_zalloc((count + 1) * sizeof(struct host));
    for (size_t i = 0; i < count; i++)
        all->entries[i].route = routes[i];
    qsort(all->entries, count, sizeof(struct entry), compare_entries);
    for (uint32_t i = 0; i < count; i++)
        add_to_hosts(all, i);
    return all;
}

void routes_free(struct routes **routes_p)
{
    struct routes *all = *routes_p;
    if (all == NULL)
        return;
    CHECK_OBJ(all, ROUTES_MAGIC);
    all->magic = 0;
    mem_free(&all->entries);
    mem_free(&all->hosts);
    mem_free(routes_p);
}

/* ---- finding ---- */

static int compare_bytes(struct slice a, struct slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter == 0 ? 0 : memcmp(a.ptr, b.ptr, shorter);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static const struct host *find_host(const struct routes *all, struct slice name)
{
    uint32_t low = 0, high = all->host_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = compare_bytes(slice_from(all->hosts[middle].name), name);
        if (order == 0)
            return &all->hosts[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool begins(const struct entry *e, struct slice path)
{
    return e->length <= path.len && memcmp(e->route.prefix, path.ptr, e->length) == 0 &&
           (e->length == path.len || path.ptr[e->length] == '/' || e->length == 0);
}

static const struct entry *
find_prefix(const struct routes *all, const struct host *host, struct slice path)
{
    if (host == NULL)
        return NULL;
    uint32_t low = host->first, high = host->first + host->count;
    while (low < high) { /* the first that sorts behind the path */
        uint32_t middle = (low + high) / 2;
        struct slice prefix =
            slice_of(all->entries[middle].route.prefix, all->entries[middle].length);
        if (compare_bytes(prefix, path) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    uint32_t at = low == host->first ? NO_ENTRY : low - 1;
    while (at != NO_ENTRY && !begins(&all->entries[at], path))
        at = all->entries[at].parent;
    return at == NO_ENTRY ? NULL : &all->entries[at];
}

/* The name alone, in lower case. */
static struct slice plain_host(struct slice host, char to[ROUTE_MAX_HOST + 1])
{
    const char *end = host.ptr + host.len, *colon = memrchr(host.ptr, ':', host.len);
    if (colon != NULL && memchr(colon, ']', (size_t)(end - colon)) == NULL)
        host.len = (size_t)(colon - host.ptr);
    if (host.len > 1 && host.ptr[host.len - 1] == '.')
        host.len--;
    if (host.len > ROUTE_MAX_HOST)
        return SLICE("");
    for (size_t i = 0; i < host.len; i++)
        to[i] = (char)tolower((unsigned char)host.ptr[i]);
    return slice_of(to, host.len);
}

static const struct entry *
find_entry(const struct routes *routes, struct slice host, struct slice path)
{
    char name_bytes[ROUTE_MAX_HOST + 1];
    bool has_names = routes->host_count > (routes->has_any_host ? 1u : 0u);
    if (has_names && host.len > 0) {
        struct slice name = plain_host(host, name_bytes);
        const struct entry *found =
            name.len == 0 ? NULL : find_prefix(routes, find_host(routes, name), path);
        for (size_t i = 1; found == NULL && i < name.len; i++)
            if (name.ptr[i] == '.')
                found = find_prefix(
                    routes, find_host(routes, slice_of(name.ptr + i, name.len - i)),
                    path);
        if (found != NULL)
            return found;
    }
    return routes->has_any_host
               ? find_prefix(routes, find_host(routes, SLICE("")), path)
               : NULL;
}

uint32_t routes_find(const struct routes *routes,
                     struct slice host,
                     struct slice path,
                     uint32_t *ret_root)
{
    CHECK_OBJ(routes, ROUTES_MAGIC);
    char bytes[ROUTE_MAX_PREFIX + 1];
    size_t used;
    /* One byte more than any prefix: whether it ends at a border. */
    struct slice plain =
        slice_of(bytes, decode(path, bytes, routes->longest + 1, &used));
    const struct entry *e = find_entry(routes, host, plain);
    *ret_root = 0;
    if (e == NULL)
        return ROUTE_NONE;
    if (e->route.strips) {
        (void)decode(path, bytes, e->length, &used);
        *ret_root = (uint32_t)used;
    }
    return e->route.target;
}
