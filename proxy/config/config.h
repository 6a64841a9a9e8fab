/* SPDX-License-Identifier: MIT
 * What the proxy is to do: its options, its pools with their backends, its routes.
 * Immutable once loaded; a reload loads another one. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "proxy/options.h"
#include "proxy/route.h"
#include "proxy/site.h"

enum {
    CONFIG_MAX_POOLS = 64,
    CONFIG_MAX_BACKENDS = 1024, /* of a pool */
    CONFIG_MAX_ROUTES = 1024,
};

#define CONFIG_DEFAULT_POOL "default" /* of the command line */

struct raw;

struct config_backend {
    char name[64];
    char endpoint[256];
    uint32_t weight; /* 0 to WEIGHT_MAX; 100 unless said otherwise */
    uint32_t limit;  /* most requests at once, of all proxies; 0: none */
};

struct config_pool {
    struct proxy_options options; /* as this pool has them */
    struct site_settings site;    /* its name, too */
    const char *balancer;         /* its name; NULL: the default policy */
    struct pool_policy policy;
    bool is_named; /* in a file: its app servers must say that they belong to it */
    struct config_backend *backends;
    size_t backend_count;
};

struct config {
    struct proxy_options
        options;               /* borrows from argv, the environment and the config */
    struct config_pool *pools; /* at least one */
    size_t pool_count;
    struct route *routes; /* to pools[target]; none: all to the first */
    size_t route_count;
    struct raw *raw; /* the file; NULL: none */
    int argc;        /* what it was made of */
    char **argv;
    struct node node; /* for who keeps it */
    uint64_t number;
};

/* From argv, the environment and the file that they name; argv and the environment
 * outlive it. With --help or --version only options is filled. ERR_BAD_OPTION:
 * ret_message (an own buf) has a line for each mistake that was found. */
MUST_CHECK enum err
config_load(int argc, char **argv, struct config **ret_config, struct buf *ret_message);
void config_free(struct config **config_p);

/* Whether it would be good with the file at `path` in place of its own (NULL: that one,
 * which it has, as it stands there now); nothing changes. ERR_BAD_OPTION: ret_report
 * has a line for each mistake, else config_praise. */
MUST_CHECK enum err config_check_file(const struct config *config,
                                      const char *path,
                                      struct buf *ret_report);
/* Appends "FILE is good: pools 2, app servers 5, routes 3". */
void config_praise(const struct config *config, struct buf *to);

const struct config_pool *config_find_pool(const struct config *config,
                                           const char *name);
const struct config_backend *config_find_backend(const struct config_pool *pool,
                                                 const char *name);

#endif
