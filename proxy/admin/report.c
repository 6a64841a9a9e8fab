/* SPDX-License-Identifier: MIT
 * Cells are kept until their table is closed, since only then the widths are known. In
 * JSON they are kept as they will stand there. */
#include "proxy/admin/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "protocol/base/text.h"

void report_init(struct report *r, enum report_form form)
{
    *r = (struct report){.is_json = form == REPORT_JSON};
    buf_init(&r->body, 0);
    buf_init(&r->said, 0);
    buf_init(&r->texts, 0);
}

void report_fini(struct report *r)
{
    buf_fini(&r->body);
    buf_fini(&r->said);
    buf_fini(&r->texts);
    mem_free(&r->lengths);
}

/* ---- cells ---- */

static void end_cell(struct report *r, size_t before)
{
    if (r->cell_count == r->cell_cap) {
        r->cell_cap = r->cell_cap == 0 ? 64 : 2 * r->cell_cap;
        r->lengths = mem_realloc(r->lengths, r->cell_cap * sizeof *r->lengths);
    }
    r->lengths[r->cell_count++] = (uint32_t)(buf_len(&r->texts) - before);
}

void report_text(struct report *r, const char *text)
{
    size_t before = buf_len(&r->texts);
    if (!r->is_json)
        buf_add(&r->texts, slice_from(text == NULL || *text == '\0' ? "-" : text));
    else if (text == NULL)
        buf_add(&r->texts, SLICE("null"));
    else
        text_add_json(&r->texts, slice_from(text));
    end_cell(r, before);
}

void report_count(struct report *r, uint64_t value)
{
    size_t before = buf_len(&r->texts);
    buf_addf(&r->texts, "%" PRIu64, value);
    end_cell(r, before);
}

void report_ms(struct report *r, uint64_t us)
{
    size_t before = buf_len(&r->texts);
    if (r->is_json || us < 100 * 1000)
        buf_addf(&r->texts, "%" PRIu64 ".%0*" PRIu64, us / 1000, r->is_json ? 3 : 2,
                 r->is_json ? us % 1000 : us % 1000 / 10);
    else
        buf_addf(&r->texts, "%" PRIu64, us / 1000);
    end_cell(r, before);
}

void report_fact_text(struct report *r, const char *key, const char *value)
{
    report_text(r, key);
    report_text(r, value);
}

void report_fact_count(struct report *r, const char *key, uint64_t value)
{
    report_text(r, key);
    report_count(r, value);
}

void report_fact_ms(struct report *r, const char *key, uint64_t us)
{
    report_text(r, key);
    report_ms(r, us);
}

/* ---- tables ---- */

static void close_json(struct report *r)
{
    const char *at = buf_slice(&r->texts).ptr;
    uint32_t columns = r->column_count;
    buf_add(&r->body, r->is_facts ? SLICE("{") : SLICE("["));
    for (uint32_t i = 0; i < r->cell_count; i++) {
        uint32_t column = i % columns;
        if (r->is_facts) {
            buf_add(&r->body, column == 1 ? SLICE(":")
                              : i == 0    ? SLICE("")
                                          : SLICE(","));
        } else {
            buf_addf(&r->body, "%s\"%s\":",
                     column != 0 ? ","
                     : i == 0    ? "{"
                                 : ",{",
                     r->columns[column].key);
        }
        buf_add(&r->body, slice_of(at, r->lengths[i]));
        at += r->lengths[i];
        if (!r->is_facts && column + 1 == columns)
            buf_add(&r->body, SLICE("}"));
    }
    buf_add(&r->body, r->is_facts ? SLICE("}") : SLICE("]"));
}

static void put_padded(struct buf *out,
                       struct slice text,
                       uint32_t width,
                       enum report_align align,
                       bool is_last)
{
    if (width == 0)
        return; /* in JSON only */
    int room = (int)(width - text.len);
    if (align == ALIGN_RIGHT)
        buf_addf(out, "%*s%.*s", room, "", SLICE_FMT(text));
    else
        buf_addf(out, "%.*s%*s", SLICE_FMT(text), is_last ? 0 : room, "");
    buf_add(out, is_last ? SLICE("\n") : SLICE("  "));
}

static void close_text(struct report *r)
{
    enum { MOST_COLUMNS = 32 };
    uint32_t widths[MOST_COLUMNS] = {0}, columns = r->column_count;
    ASSERT(columns <= MOST_COLUMNS);
    for (uint32_t c = 0; c < columns && !r->is_facts; c++)
        widths[c] =
            r->columns[c].head == NULL ? 0 : (uint32_t)strlen(r->columns[c].head);
    for (uint32_t i = 0; i < r->cell_count; i++)
        if (r->lengths[i] > widths[i % columns] &&
            (r->is_facts || r->columns[i % columns].head != NULL))
            widths[i % columns] = r->lengths[i];
    for (uint32_t c = 0; c < columns && !r->is_facts; c++)
        put_padded(&r->body, slice_from(r->columns[c].head), widths[c],
                   r->columns[c].align, c + 1 == columns);
    const char *at = buf_slice(&r->texts).ptr;
    for (uint32_t i = 0; i < r->cell_count; i++) {
        uint32_t c = i % columns;
        put_padded(&r->body, slice_of(at, r->lengths[i]), widths[c],
                   r->is_facts ? ALIGN_LEFT : r->columns[c].align, c + 1 == columns);
        at += r->lengths[i];
    }
}

static void close_table(struct report *r)
{
    if (r->columns == NULL)
        return;
    ASSERT(r->cell_count % r->column_count == 0);
    if (r->is_json)
        close_json(r);
    else
        close_text(r);
    buf_clear(&r->texts);
    r->cell_count = 0;
    r->columns = NULL;
}

void report_table(struct report *r,
                  const char *name,
                  const struct report_column *columns,
                  uint32_t count)
{
    close_table(r);
    if (r->is_json)
        buf_addf(&r->body, ",\"%s\":", name);
    else if (buf_len(&r->body) > 0)
        buf_add(&r->body, SLICE("\n"));
    r->columns = columns;
    r->column_count = count;
    r->is_facts = false;
}

void report_facts(struct report *r, const char *name)
{
    static const struct report_column columns[] = {{"", "", ALIGN_LEFT},
                                                   {"", "", ALIGN_LEFT}};
    report_table(r, name, columns, 2);
    r->is_facts = true;
}

void report_say(struct report *r, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0);
    if (buf_len(&r->said) > 0)
        buf_add(&r->said, SLICE("\n"));
    buf_add(&r->said, slice_of(text, (size_t)length));
    mem_free(&text);
}

void report_finish(struct report *r, int code, uint64_t generation, struct buf *out)
{
    close_table(r);
    if (!r->is_json) {
        buf_add(out, buf_slice(&r->body));
        if (buf_len(&r->said) > 0)
            buf_addf(out, "%.*s\n", SLICE_FMT(buf_slice(&r->said)));
        return;
    }
    buf_addf(out, "{\"code\":%d,\"generation\":%" PRIu64, code, generation);
    buf_add(out, buf_slice(&r->body));
    if (buf_len(&r->said) > 0) {
        buf_add(out, SLICE(",\"text\":"));
        text_add_json(out, buf_slice(&r->said));
    }
    buf_add(out, SLICE("}\n"));
}
