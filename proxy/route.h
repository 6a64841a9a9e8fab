/* SPDX-License-Identifier: MIT
 * Which pool serves a request: by its host and the beginning of its path. The most
 * specific host that has a route for the path decides (its own name, then *.names from
 * the longest on, then any host), there the longest prefix that ends at a border
 * between segments. Pure; finding allocates nothing and costs about the same with one
 * route as with hundreds. */
#ifndef PROXY_ROUTE_H
#define PROXY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/slice.h"

enum {
    ROUTE_MAX_HOST = 253,   /* bytes */
    ROUTE_MAX_PREFIX = 255, /* bytes */
    ROUTE_NONE = UINT32_MAX,
};

struct route {
    char host[ROUTE_MAX_HOST + 3];     /* "example.org", "*.example.org"; empty: any */
    char prefix[ROUTE_MAX_PREFIX + 1]; /* "/api"; empty: every path */
    uint32_t target;                   /* what routes_find answers */
    bool strips;                       /* the application is mounted at the prefix */
};

/* From text to a route: host in lower case, without a last dot; prefix without last
 * slashes, percent-encoding undone as routes_find does. False: ret_message says what
 * would be accepted. NULL: any. */
MUST_CHECK bool
route_set_host(struct route *route, const char *text, struct buf *ret_message);
MUST_CHECK bool
route_set_prefix(struct route *route, const char *text, struct buf *ret_message);

struct routes;
/* Copies. No two have the same host and prefix. */
MUST_CHECK struct routes *routes_new(const struct route *routes, size_t count);
void routes_free(struct routes **routes_p);

/* `host`: as in a Host field, any case, perhaps with a port. `path`: as sent, perhaps
 * with a query. "/%61pi" is "/api"; an encoded slash is no border; dot segments are
 * names like others. ROUTE_NONE: no route leads anywhere. ret_root: so many bytes of
 * `path` are where the application is mounted. */
uint32_t routes_find(const struct routes *routes,
                     struct slice host,
                     struct slice path,
                     uint32_t *ret_root);

#endif
