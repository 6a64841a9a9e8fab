/* SPDX-License-Identifier: MIT
 * What `banyan top` shows: the rows of `show pools` and `show backends` of several
 * proxies as texts in columns, with rates from the differences of two looks. Pure: no
 * terminal, no clock. Alone knows the JSON library. */
#ifndef BANYAN_TOP_TABLE_H
#define BANYAN_TOP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

enum { TOP_CELL = 64, TOP_MAX_COLUMNS = 24 };

struct json_t;

/* ---- a proxy, as it was seen last and the time before ---- */

struct top_look {
    struct json_t *pools, *backends; /* arrays of objects; NULL: none */
    uint64_t at_us;
};
struct top_proxy {    /* all zero but the path: not seen yet */
    const char *path; /* borrowed */
    struct top_look now, before;
    char *complaint; /* owned: why it is not seen; NULL: it is */
};
/* What it answered to `show pools` and `show backends`, as JSON. It may complain. */
void top_proxy_see(struct top_proxy *p,
                   struct slice pools,
                   struct slice backends,
                   uint64_t at_us);
void top_proxy_lose(struct top_proxy *p, const char *why);
void top_proxy_fini(struct top_proxy *p);

/* ---- a table ---- */

enum top_kind { TOP_POOLS, TOP_BACKENDS };
/* As a light on a board: all is well, it was put aside, it should work and does not. */
enum top_mark { TOP_FINE, TOP_ASIDE, TOP_BAD };

struct top_row;
struct top_table {
    enum top_kind kind;
    struct top_row *rows;
    uint32_t count, cap;
    unsigned widths[TOP_MAX_COLUMNS]; /* 0: does not fit */
    double requests, errors;          /* a second, of all rows */
};
struct top_order {
    unsigned column; /* of the kind; top_column_head */
    bool is_reverse;
};

void top_table_init(struct top_table *t, enum top_kind kind);
void top_table_fini(struct top_table *t);
/* The rows anew. With one proxy alone its name is left out. */
void top_table_fill(struct top_table *t,
                    const struct top_proxy *proxies,
                    size_t count,
                    struct top_order order);
/* Leaves out the least important columns until a line has at most `width` bytes; 0: as
 * wide as it gets. */
void top_table_fit(struct top_table *t, unsigned width);
void top_table_head(const struct top_table *t, struct buf *to);
void top_table_line(const struct top_table *t, uint32_t row, struct buf *to);
enum top_mark top_table_mark(const struct top_table *t, uint32_t row);

unsigned top_column_count(enum top_kind kind);
const char *top_column_head(enum top_kind kind, unsigned column);
/* Its largest values are what one looks for. */
bool top_column_is_number(enum top_kind kind, unsigned column);
/* NULL, or in any case: TOP_MAX_COLUMNS. */
unsigned top_column_find(enum top_kind kind, const char *head);

#endif
