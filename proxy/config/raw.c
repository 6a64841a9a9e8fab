/* SPDX-License-Identifier: MIT
 * libcyaml reads the file by a schema, whose upper level comes from the option table.
 * What it refuses it tells its log, in several lines; they are turned into one that
 * says where and what was expected. */
#include "proxy/config/raw.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "proxy/config/config.h"

enum { RAW_MAGIC = 0x4a30 };

/* ---- the schema ---- */

#define TEXT(key, type, member)                                                        \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type,        \
                           member, 0, CYAML_UNLIMITED)
#define NEEDED(key, type, member)                                                      \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER, type, member, 1, CYAML_UNLIMITED)
#define LIST(key, type, member, count, entry, most)                                    \
    CYAML_FIELD_SEQUENCE_COUNT(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type,    \
                               member, count, entry, 0, most)

const char *const raw_pool_options[] = {
    "balance",           "hash-by",         "max-queue",       "queue-timeout",
    "queue-target",      "queue-interval",  "eject-after",     "eject-rate",
    "eject-time",        "eject-most",      "panic-threshold", "request-timeout",
    "request-buffering", "request-buffer",  "sticky",          "sticky-wait",
    "sticky-ttl",        "sticky-same-site"};
_Static_assert(sizeof raw_pool_options / sizeof raw_pool_options[0] == RAW_POOL_OPTIONS,
               "one text each");

static const cyaml_schema_field_t backend_fields[] = {
    TEXT("name", struct raw_backend, name),
    NEEDED("endpoint", struct raw_backend, endpoint),
    TEXT("weight", struct raw_backend, weight),
    TEXT("limit", struct raw_backend, limit),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t backend_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_backend, backend_fields),
};

static const cyaml_schema_field_t pool_fields[] = {
    NEEDED("name", struct raw_pool, name),
    LIST("backends",
         struct raw_pool,
         backends,
         backend_count,
         &backend_entry,
         CONFIG_MAX_BACKENDS),
    CYAML_FIELD_END,
};
enum { POOL_FIELDS = sizeof pool_fields / sizeof pool_fields[0] };
/* Those of raw_pool_options stand behind it; offset and key differ. */
static const cyaml_schema_field_t pool_option_field =
    TEXT("", struct raw_pool, options[0]);

static const cyaml_schema_field_t route_fields[] = {
    TEXT("host", struct raw_route, host),
    TEXT("path", struct raw_route, path),
    TEXT("strip-prefix", struct raw_route, strip_prefix),
    NEEDED("pool", struct raw_route, pool),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t route_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_route, route_fields),
};

static const cyaml_schema_value_t item_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, CYAML_UNLIMITED),
};

/* Rows share these two; offset and key differ. */
static const cyaml_schema_field_t option_field =
    TEXT("", struct raw_values, options[0]);
static const cyaml_schema_field_t list_field =
    LIST("", struct raw_values, lists[0].items, lists[0].count, &item_entry, 64);

struct schema {
    cyaml_schema_field_t pool_fields[POOL_FIELDS + RAW_POOL_OPTIONS];
    cyaml_schema_value_t pool_entry;
    cyaml_schema_field_t fields[RAW_MAX_OPTIONS + 3];
    cyaml_schema_value_t top;
};

static bool is_hidden(const char *name, const char *const *hidden)
{
    for (; *hidden != NULL; hidden++)
        if (strcmp(*hidden, name) == 0)
            return true;
    return false;
}

static void build_schema(struct schema *s,
                         const struct option_table *table,
                         const char *const *hidden)
{
    static const cyaml_schema_field_t last = CYAML_FIELD_END;
    memcpy(s->pool_fields, pool_fields, sizeof pool_fields);
    cyaml_schema_field_t *f = s->pool_fields + POOL_FIELDS - 1;
    for (uint32_t i = 0; i < RAW_POOL_OPTIONS; i++, f++) {
        *f = pool_option_field;
        f->key = raw_pool_options[i];
        f->data_offset += i * (uint32_t)sizeof(char *);
    }
    *f = last;
    s->pool_entry = (cyaml_schema_value_t){
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_pool, s->pool_fields)};

    ASSERT(table->row_count <= RAW_MAX_OPTIONS);
    f = s->fields;
    for (uint32_t i = 0; i < table->row_count; i++) {
        const struct option_row *row = &table->rows[i];
        if (is_hidden(row->name, hidden))
            continue;
        bool is_list = row->type == OPTION_LIST;
        *f = is_list ? list_field : option_field;
        f->key = row->name;
        f->data_offset +=
            i * (uint32_t)(is_list ? sizeof(struct raw_list) : sizeof(char *));
        if (is_list)
            f->count_offset += i * (uint32_t)sizeof(struct raw_list);
        f++;
    }
    *f++ = (cyaml_schema_field_t)LIST("pools", struct raw_values, pools, pool_count,
                                      &s->pool_entry, CONFIG_MAX_POOLS);
    *f++ = (cyaml_schema_field_t)LIST("routes", struct raw_values, routes, route_count,
                                      &route_entry, CONFIG_MAX_ROUTES);
    *f = last;
    s->top = (cyaml_schema_value_t){
        CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_values, s->fields)};
}

/* ---- what libcyaml says ---- */

struct complaint {
    char text[256];        /* the first line */
    struct mark mark;      /* of the innermost place */
    char keys[2][32];      /* the two innermost keys on the way there */
    unsigned lines, depth; /* heard; keys */
};

__attribute__((format(printf, 3, 0))) static void
on_log(cyaml_log_t level, void *arg, const char *format, va_list args)
{
    struct complaint *c = arg;
    char line[256];
    (void)level;
    (void)vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    const char *text = strncmp(line, "Load: ", 6) == 0 ? line + 6 : line;
    if (c->lines++ == 0)
        (void)snprintf(c->text, sizeof c->text, "%s", text);
    const char *place = strstr(text, "(line: ");
    struct mark mark;
    char *end;
    if (place == NULL)
        return;
    mark.line = strtoul(place + 7, &end, 10);
    end = strstr(end, "column: ");
    mark.column = end == NULL ? 1 : strtoul(end + 8, NULL, 10);
    if (c->mark.line == 0)
        c->mark = mark;
    const char *key = strstr(text, "in mapping field '");
    if (key == NULL || c->depth == 2)
        return;
    key += strlen("in mapping field '");
    (void)snprintf(c->keys[c->depth++], sizeof c->keys[0], "%.*s",
                   (int)strcspn(key, "'"), key);
}

/* "a, b or c" */
static void say_keys(struct buf *to, const cyaml_schema_field_t *fields)
{
    for (; fields->key != NULL; fields++)
        buf_addf(to, "%s%s", fields->key,
                 fields[1].key == NULL   ? ""
                 : fields[2].key == NULL ? " or "
                                         : ", ");
}

static const cyaml_schema_field_t *fields_of(const struct schema *s, const char *key)
{
    return strcmp(key, "pools") == 0      ? s->pool_fields
           : strcmp(key, "backends") == 0 ? backend_fields
           : strcmp(key, "routes") == 0   ? route_fields
                                          : NULL;
}

static const char *after(const char *text, const char *start)
{
    size_t length = strlen(start);
    return strncmp(text, start, length) == 0 ? text + length : NULL;
}

static void explain(const struct raw *raw,
                    const struct schema *s,
                    const struct complaint *c,
                    cyaml_err_t err,
                    struct buf *to)
{
    struct mark at = c->mark.line == 0 ? (struct mark){1, 1} : c->mark;
    const char *key, *inner = c->depth > 0 ? c->keys[0] : "the file";
    struct buf say;
    buf_init(&say, 0);
    if ((key = after(c->text, "Unexpected key: ")) != NULL) {
        at = marks_find_key(raw->marks, key, at);
        const cyaml_schema_field_t *fields = fields_of(s, c->depth > 0 ? inner : "");
        buf_addf(&say, "unknown key \"%s\"; expected ", key);
        if (fields != NULL)
            say_keys(&say, fields);
        else
            buf_addf(&say, "pools, routes, or an option of banyan-proxy --help");
    } else if ((key = after(c->text, "Missing required mapping field: ")) != NULL) {
        buf_addf(&say, "an entry of %s lacks the key \"%s\"", c->keys[c->depth > 1],
                 key);
    } else if ((key = after(c->text, "Mapping field already seen: ")) != NULL) {
        buf_addf(&say, "the key \"%s\" is given twice", key);
    } else if (after(c->text, "Expecting SEQUENCE") != NULL) {
        buf_addf(&say, "%s: expected a list: entries that begin with \"- \", or [A, B]",
                 inner);
    } else if (after(c->text, "Expecting MAPPING") != NULL) {
        buf_addf(&say, "%s: expected keys with values: KEY: VALUE", inner);
    } else if (after(c->text, "Expecting STRING") != NULL) {
        buf_addf(&say, "%s: expected a single value", inner);
    } else if (after(c->text, "STRING length") != NULL) {
        buf_addf(&say, "%s: expected a value", inner);
    } else if (err == CYAML_ERR_ALIAS) {
        buf_addf(&say, "aliases (*NAME) are not taken; write the value out");
    } else if (err == CYAML_ERR_SEQUENCE_ENTRIES_MAX) {
        buf_addf(&say, "%s: too many entries", inner);
    } else {
        buf_addf(&say, "%s%s%s", cyaml_strerror(err), *c->text == '\0' ? "" : ": ",
                 c->text);
    }
    buf_addf(to, "%s:%zu:%zu: %.*s", raw->path, at.line, at.column,
             SLICE_FMT(buf_slice(&say)));
    buf_fini(&say);
}

/* ---- the file ---- */

static bool read_file(const char *path, struct buf *to, struct buf *message)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0;
    char piece[16 * 1024];
    ssize_t n = 0;
    while (ok && (n = read(fd, piece, sizeof piece)) > 0) {
        buf_add(to, slice_of(piece, (size_t)n));
        if (buf_len(to) > RAW_MAX_FILE) {
            errno = EFBIG;
            n = -1;
            break;
        }
    }
    ok = ok && n == 0;
    if (!ok)
        buf_addf(message, "cannot read %s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

static bool parse(struct raw *raw,
                  struct slice text,
                  const struct option_table *table,
                  const char *const *hidden,
                  struct buf *message)
{
    const char *reason;
    struct mark at;
    raw->marks = marks_new(text, &at, &reason);
    if (raw->marks == NULL) {
        buf_addf(message, "%s:%zu:%zu: %s", raw->path, at.line, at.column, reason);
        return false;
    }
    struct schema *s = mem_zalloc(sizeof *s);
    build_schema(s, table, hidden);
    struct complaint complaint = {.lines = 0};
    const cyaml_config_t config = {
        .log_fn = on_log,
        .log_ctx = &complaint,
        .log_level = CYAML_LOG_ERROR,
        .mem_fn = cyaml_mem,
        .flags = CYAML_CFG_NO_ALIAS,
    };
    cyaml_data_t *values = NULL;
    const char *input = text.len == 0 ? "" : text.ptr;
    cyaml_err_t err = cyaml_load_data((const uint8_t *)input, text.len, &config,
                                      &s->top, &values, NULL);
    raw->values = values;
    raw->schema = s;
    if (err != CYAML_OK)
        explain(raw, s, &complaint, err, message);
    return err == CYAML_OK;
}

struct raw *raw_load(const char *path,
                     const struct option_table *table,
                     const char *const *hidden,
                     struct buf *ret_message)
{
    struct raw *raw = mem_zalloc(sizeof *raw);
    struct buf text;
    raw->magic = RAW_MAGIC;
    raw->path = mem_strdup(path);
    buf_init(&text, 0);
    if (!read_file(path, &text, ret_message) ||
        !parse(raw, buf_slice(&text), table, hidden, ret_message))
        raw_free(&raw);
    buf_fini(&text);
    return raw;
}

void raw_free(struct raw **raw_p)
{
    struct raw *raw = *raw_p;
    if (raw == NULL)
        return;
    CHECK_OBJ(raw, RAW_MAGIC);
    const cyaml_config_t config = {.mem_fn = cyaml_mem};
    if (raw->values != NULL)
        (void)cyaml_free(&config, &raw->schema->top, raw->values, 0);
    mem_free(&raw->schema);
    marks_free(&raw->marks);
    mem_free(&raw->path);
    raw->magic = 0;
    mem_free(raw_p);
}

void raw_place(const struct raw *raw, struct buf *to, const char *format, ...)
{
    CHECK_OBJ(raw, RAW_MAGIC);
    char path[128];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(path, sizeof path, format, args);
    va_end(args);
    struct mark at = marks_find(raw->marks, path);
    buf_addf(to, "%s:%zu:%zu", raw->path, at.line, at.column);
}
