/* SPDX-License-Identifier: MIT
 * A column is a row of a table: the JSON member that it shows and how. */
#include "deploy/banyan/top_table.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "protocol/base/mem.h"

enum column_kind {
    COLUMN_PROXY, /* the path */
    COLUMN_TEXT,
    COLUMN_COUNT,
    COLUMN_MS,
    COLUMN_RATE, /* a second, of a counter */
};

struct column {
    const char *head, *key;
    enum column_kind kind;
    unsigned rank; /* the largest goes first when there is no room */
};

static const struct column POOLS[] = {
    {"PROXY", "", COLUMN_PROXY, 0},        {"POOL", "pool", COLUMN_TEXT, 0},
    {"STATE", "state", COLUMN_TEXT, 0},    {"UP", "backends_up", COLUMN_COUNT, 1},
    {"OF", "backends", COLUMN_COUNT, 1},   {"RUN", "in_flight", COLUMN_COUNT, 0},
    {"QUEUE", "queued", COLUMN_COUNT, 0},  {"MAXWAIT/ms", "max_wait_ms", COLUMN_MS, 0},
    {"REQ/s", "requests", COLUMN_RATE, 0}, {"REQUESTS", "requests", COLUMN_COUNT, 3},
    {"APP", "interface", COLUMN_TEXT, 4},  {"BY", "changed_by", COLUMN_TEXT, 5},
    {"CHANGE", "change", COLUMN_TEXT, 6},
};

static const struct column BACKENDS[] = {
    {"PROXY", "", COLUMN_PROXY, 0},
    {"BACKEND", "backend", COLUMN_TEXT, 0},
    {"STATE", "state", COLUMN_TEXT, 0},
    {"HEALTH", "health", COLUMN_TEXT, 0},
    {"RUN", "in_flight", COLUMN_COUNT, 0},
    {"WAIT", "queued", COLUMN_COUNT, 1},
    {"OLDEST/ms", "max_wait_ms", COLUMN_MS, 4},
    {"REQ/s", "requests", COLUMN_RATE, 0},
    {"ERR/s", "errors", COLUMN_RATE, 1},
    {"QUEUE99/ms", "queue_p99_ms", COLUMN_MS, 3},
    {"APP50/ms", "app_p50_ms", COLUMN_MS, 2},
    {"APP95/ms", "app_p95_ms", COLUMN_MS, 5},
    {"APP99/ms", "app_p99_ms", COLUMN_MS, 1},
    {"WEIGHT", "weight", COLUMN_COUNT, 6},
    {"LIMIT", "limit", COLUMN_COUNT, 6},
    {"SLOTS", "slots", COLUMN_COUNT, 7},
    {"CREDITS", "credits", COLUMN_COUNT, 7},
    {"REQUESTS", "requests", COLUMN_COUNT, 8},
    {"ERRORS", "errors", COLUMN_COUNT, 8},
    {"RETRIES", "retries", COLUMN_COUNT, 8},
    {"BY", "changed_by", COLUMN_TEXT, 9},
    {"CHANGE", "change", COLUMN_TEXT, 10},
    {"ENDPOINT", "endpoint", COLUMN_TEXT, 11},
};

static const struct {
    const struct column *columns;
    unsigned count;
} KINDS[] = {
    [TOP_POOLS] = {POOLS, sizeof POOLS / sizeof POOLS[0]},
    [TOP_BACKENDS] = {BACKENDS, sizeof BACKENDS / sizeof BACKENDS[0]},
};
_Static_assert(sizeof BACKENDS / sizeof BACKENDS[0] <= TOP_MAX_COLUMNS, "widths");

struct cell {
    char text[TOP_CELL];
    double value; /* NAN: none */
};

struct top_row {
    enum top_mark mark;
    struct cell cells[TOP_MAX_COLUMNS];
};

/* ---- a proxy ---- */

static void drop_look(struct top_look *look)
{
    json_decref(look->pools);
    json_decref(look->backends);
    *look = (struct top_look){0};
}

static json_t *read_rows(struct slice text, const char *name)
{
    json_t *all = json_loadb(text.ptr == NULL ? "" : text.ptr, text.len, 0, NULL);
    json_t *rows = json_incref(json_object_get(all, name));
    json_decref(all);
    if (json_is_array(rows))
        return rows;
    json_decref(rows);
    return NULL;
}

void top_proxy_see(struct top_proxy *p,
                   struct slice pools,
                   struct slice backends,
                   uint64_t at_us)
{
    struct top_look look = {read_rows(pools, "pools"), read_rows(backends, "backends"),
                            at_us};
    if (look.pools == NULL || look.backends == NULL) {
        drop_look(&look);
        top_proxy_lose(p, "it says what is no answer");
        return;
    }
    mem_free(&p->complaint);
    drop_look(&p->before);
    p->before = p->now;
    p->now = look;
}

void top_proxy_lose(struct top_proxy *p, const char *why)
{
    drop_look(&p->before);
    drop_look(&p->now);
    mem_free(&p->complaint);
    p->complaint = mem_strdup(why);
}

void top_proxy_fini(struct top_proxy *p)
{
    drop_look(&p->before);
    drop_look(&p->now);
    mem_free(&p->complaint);
}

/* ---- cells ---- */

/* One byte is one place on the screen, and nothing that a terminal would obey. */
static void put_text(struct cell *cell, const char *text)
{
    size_t length = 0;
    cell->value = NAN;
    if (text == NULL || *text == '\0')
        text = "-";
    for (; text[length] != '\0' && length < TOP_CELL - 1; length++)
        cell->text[length] =
            text[length] >= ' ' && text[length] <= '~' ? text[length] : '?';
    cell->text[length] = '\0';
}

static void put_number(struct cell *cell, double value, int digits)
{
    (void)snprintf(cell->text, TOP_CELL, "%.*f", digits, value);
    cell->value = value;
}

static void put_cell(struct cell *cell,
                     const struct column *column,
                     const json_t *now,
                     const json_t *before,
                     double seconds)
{
    const json_t *value = json_object_get(now, column->key);
    if (column->kind == COLUMN_TEXT || !json_is_number(value)) {
        put_text(cell, json_string_value(value));
        return;
    }
    double number = json_number_value(value);
    if (column->kind == COLUMN_COUNT) {
        put_number(cell, number, 0);
    } else if (column->kind == COLUMN_MS) {
        put_number(cell, number, number < 100 ? 1 : 0);
    } else {
        /* A counter that went back was set to 0, or is another process's. */
        const json_t *was = json_object_get(before, column->key);
        double change = number - json_number_value(was);
        if (!json_is_number(was) || change < 0 || seconds <= 0)
            put_text(cell, NULL);
        else
            put_number(cell, change / seconds, change / seconds < 100 ? 1 : 0);
    }
}

static enum top_mark mark_of(enum top_kind kind, const json_t *row)
{
    const char *state = json_string_value(json_object_get(row, "state"));
    const char *health = json_string_value(json_object_get(row, "health"));
    if (state == NULL)
        return TOP_FINE;
    if (kind == TOP_POOLS) {
        if (strcmp(state, "serving") != 0)
            return TOP_ASIDE;
        return json_number_value(json_object_get(row, "backends_up")) > 0 ? TOP_FINE
                                                                          : TOP_BAD;
    }
    if (strcmp(state, "ready") != 0)
        return TOP_ASIDE;
    return health == NULL || strcmp(health, "up") == 0 ||
                   strcmp(health, "forced-up") == 0
               ? TOP_FINE
               : TOP_BAD;
}

/* The same row of the look before; it mostly stands where it stood. */
static const json_t *
find_before(const json_t *rows, size_t index, const json_t *row, const char *key)
{
    const char *name = json_string_value(json_object_get(row, key));
    const json_t *guess = json_array_get(rows, index);
    for (size_t i = 0; name != NULL && i <= json_array_size(rows); i++) {
        const json_t *other = i == 0 ? guess : json_array_get(rows, i - 1);
        const char *its = json_string_value(json_object_get(other, key));
        if (its != NULL && strcmp(its, name) == 0)
            return other;
    }
    return NULL;
}

/* ---- rows ---- */

void top_table_init(struct top_table *t, enum top_kind kind)
{
    *t = (struct top_table){.kind = kind};
}

void top_table_fini(struct top_table *t)
{
    mem_free(&t->rows);
    t->count = t->cap = 0;
}

static struct top_row *add_row(struct top_table *t)
{
    if (t->count == t->cap) {
        t->cap = t->cap == 0 ? 16 : 2 * t->cap;
        t->rows = mem_realloc(t->rows, t->cap * sizeof *t->rows);
    }
    return &t->rows[t->count++];
}

static void add_rates(struct top_table *t, const struct top_row *row)
{
    const struct column *columns = KINDS[t->kind].columns;
    for (unsigned c = 0; c < KINDS[t->kind].count; c++) {
        if (columns[c].kind != COLUMN_RATE || isnan(row->cells[c].value))
            continue;
        if (strcmp(columns[c].key, "errors") == 0)
            t->errors += row->cells[c].value;
        else
            t->requests += row->cells[c].value;
    }
}

static void add_rows(struct top_table *t, const struct top_proxy *p, bool is_alone)
{
    const struct column *columns = KINDS[t->kind].columns;
    bool is_pools = t->kind == TOP_POOLS;
    const json_t *rows = is_pools ? p->now.pools : p->now.backends;
    const json_t *were = is_pools ? p->before.pools : p->before.backends;
    double seconds = (double)(p->now.at_us - p->before.at_us) / 1e6;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *now = json_array_get(rows, i);
        const json_t *before = find_before(were, i, now, is_pools ? "pool" : "backend");
        struct top_row *row = add_row(t);
        row->mark = mark_of(t->kind, now);
        for (unsigned c = 0; c < KINDS[t->kind].count; c++)
            if (columns[c].kind == COLUMN_PROXY)
                put_text(&row->cells[c], is_alone ? "" : p->path);
            else
                put_cell(&row->cells[c], &columns[c], now, before, seconds);
        add_rates(t, row);
    }
}

/* Rows that are alike stand as their names do. */
static int compare_rows(const void *a, const void *b, void *arg)
{
    const struct top_row *one = a, *other = b;
    const struct top_order *order = arg;
    const struct cell *x = &one->cells[order->column],
                      *y = &other->cells[order->column];
    int result;
    if (isnan(x->value) || isnan(y->value))
        result = isnan(x->value) && isnan(y->value) ? strcmp(x->text, y->text)
                                                    : isnan(y->value) - isnan(x->value);
    else
        result = (x->value > y->value) - (x->value < y->value);
    if (result != 0)
        return order->is_reverse ? -result : result;
    for (unsigned c = 1; result == 0 && c <= 1; c++)
        result = strcmp(one->cells[c].text, other->cells[c].text);
    return result != 0 ? result : strcmp(one->cells[0].text, other->cells[0].text);
}

void top_table_fill(struct top_table *t,
                    const struct top_proxy *proxies,
                    size_t count,
                    struct top_order order)
{
    ASSERT(order.column < KINDS[t->kind].count);
    t->count = 0;
    t->requests = t->errors = 0;
    for (size_t i = 0; i < count; i++)
        add_rows(t, &proxies[i], count == 1);
    if (t->count > 1)
        qsort_r(t->rows, t->count, sizeof *t->rows, compare_rows, &order);
}

/* ---- columns ---- */

unsigned top_column_count(enum top_kind kind)
{
    return KINDS[kind].count;
}

const char *top_column_head(enum top_kind kind, unsigned column)
{
    return KINDS[kind].columns[column].head;
}

bool top_column_is_number(enum top_kind kind, unsigned column)
{
    return KINDS[kind].columns[column].kind >= COLUMN_COUNT;
}

unsigned top_column_find(enum top_kind kind, const char *head)
{
    for (unsigned c = 0; c < KINDS[kind].count; c++)
        if (strcasecmp(KINDS[kind].columns[c].head, head) == 0)
            return c;
    return TOP_MAX_COLUMNS;
}

static bool is_shown(const struct top_table *t, unsigned c)
{
    /* Without a name there is nothing to tell the proxies apart. */
    return KINDS[t->kind].columns[c].kind != COLUMN_PROXY ||
           (t->count > 0 && strcmp(t->rows[0].cells[c].text, "-") != 0);
}

void top_table_fit(struct top_table *t, unsigned width)
{
    const struct column *columns = KINDS[t->kind].columns;
    unsigned count = KINDS[t->kind].count, sum = 0;
    for (unsigned c = 0; c < count; c++) {
        t->widths[c] = is_shown(t, c) ? (unsigned)strlen(columns[c].head) : 0;
        for (uint32_t i = 0; t->widths[c] > 0 && i < t->count; i++) {
            unsigned length = (unsigned)strlen(t->rows[i].cells[c].text);
            t->widths[c] = length > t->widths[c] ? length : t->widths[c];
        }
        sum += t->widths[c] > 0 ? t->widths[c] + 1 : 0;
    }
    while (width > 0 && sum > width + 1) {
        unsigned worst = 0;
        for (unsigned c = 1; c < count; c++)
            if (t->widths[c] > 0 && columns[c].rank > 0 &&
                (worst == 0 || columns[c].rank >= columns[worst].rank))
                worst = c;
        if (worst == 0)
            return; /* the line is cut off */
        sum -= t->widths[worst] + 1;
        t->widths[worst] = 0;
    }
}

static void
put_line(const struct top_table *t, const struct top_row *row, struct buf *to)
{
    const struct column *columns = KINDS[t->kind].columns;
    bool is_first = true;
    for (unsigned c = 0; c < KINDS[t->kind].count; c++) {
        if (t->widths[c] == 0)
            continue;
        const char *text = row == NULL ? columns[c].head : row->cells[c].text;
        bool is_number = top_column_is_number(t->kind, c);
        buf_addf(to, "%s%*s", is_first ? "" : " ",
                 is_number ? (int)t->widths[c] : -(int)t->widths[c], text);
        is_first = false;
    }
}

void top_table_head(const struct top_table *t, struct buf *to)
{
    put_line(t, NULL, to);
}

void top_table_line(const struct top_table *t, uint32_t row, struct buf *to)
{
    ASSERT(row < t->count);
    put_line(t, &t->rows[row], to);
}

enum top_mark top_table_mark(const struct top_table *t, uint32_t row)
{
    ASSERT(row < t->count);
    return t->rows[row].mark;
}
