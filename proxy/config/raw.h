/* SPDX-License-Identifier: MIT
 * A configuration file as it stands there: texts, in the form that the schema allows.
 * What they mean is decided in config.c. */
#ifndef CONFIG_RAW_H
#define CONFIG_RAW_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/option.h"
#include "proxy/config/marks.h"

enum { RAW_MAX_OPTIONS = 128, RAW_MAX_FILE = 4 * 1024 * 1024 };

/* What a pool may say for itself: names of rows of the option table. */
extern const char *const raw_pool_options[];
enum { RAW_POOL_OPTIONS = 18 };

struct raw_list {
    char **items;
    uint32_t count;
};

/* NULL: not there. */
struct raw_backend {
    char *name, *endpoint, *weight, *limit;
};

struct raw_pool {
    char *name;
    char *options[RAW_POOL_OPTIONS]; /* as raw_pool_options */
    struct raw_backend *backends;
    uint32_t backend_count;
};

struct raw_route {
    char *host, *path, *pool, *strip_prefix;
};

struct raw_values {
    char *options[RAW_MAX_OPTIONS];         /* in the order of the rows */
    struct raw_list lists[RAW_MAX_OPTIONS]; /* likewise */
    struct raw_pool *pools;
    uint32_t pool_count;
    struct raw_route *routes;
    uint32_t route_count;
};

struct schema; /* libcyaml's */

struct raw {
    uint32_t magic;
    char *path;
    struct raw_values *values; /* NULL: the file is empty */
    struct marks *marks;
    struct schema *schema;
};

/* NULL: ret_message has "PATH:LINE:COLUMN: what is wrong; what was expected". The rows
 * of `table` whose names are none of `hidden` (NULL ends them) are keys of the file. */
MUST_CHECK struct raw *raw_load(const char *path,
                                const struct option_table *table,
                                const char *const *hidden,
                                struct buf *ret_message);
void raw_free(struct raw **raw_p);

/* "PATH:LINE:COLUMN" of what the printf-like path names (marks.h). */
void raw_place(const struct raw *raw, struct buf *to, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
