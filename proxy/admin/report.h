/* SPDX-License-Identifier: MIT
 * An answer to an operator: tables with aligned columns for people, the same values as
 * one JSON object for programs. Times are in milliseconds in both. Pure. */
#ifndef ADMIN_REPORT_H
#define ADMIN_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

enum report_align { ALIGN_LEFT, ALIGN_RIGHT };

struct report_column {
    const char *key;  /* in JSON; never changes its name or its unit */
    const char *head; /* in the table, with the unit; NULL: in JSON only */
    enum report_align align;
};

struct report {
    bool is_json;
    struct buf body; /* finished lines; JSON: finished members of the object */
    struct buf said; /* lines of report_say */

    /* the table that is open */
    const struct report_column *columns;
    uint32_t column_count;
    struct buf texts; /* its cells, one after the other */
    uint32_t *lengths;
    uint32_t cell_count, cell_cap;
    bool is_facts;
};

enum report_form { REPORT_TEXT, REPORT_JSON };
void report_init(struct report *r, enum report_form form);
void report_fini(struct report *r);

/* Opens a table, in JSON an array of objects called `name`. Its cells follow row by
 * row, exactly one for each column. Opening another one or finishing closes it. */
void report_table(struct report *r,
                  const char *name,
                  const struct report_column *columns,
                  uint32_t count);
void report_text(struct report *r, const char *text); /* NULL: nothing there */
void report_count(struct report *r, uint64_t value);
void report_ms(struct report *r, uint64_t us);

/* Opens a list of keys with values, in JSON an object called `name`. Each key is a text
 * that is followed by one value. */
void report_facts(struct report *r, const char *name);
void report_fact_text(struct report *r, const char *key, const char *value);
void report_fact_count(struct report *r, const char *key, uint64_t value);
void report_fact_ms(struct report *r, const char *key, uint64_t us); /* "max_wait_ms" */

/* One line of words; in JSON all of them are "text". */
void report_say(struct report *r, const char *format, ...) PRINTF_LIKE(2, 3);

/* Appends all of it, each line with its end. JSON: one line,
 * {"code":0,"generation":7, ... ,"text":"..."}. */
void report_finish(struct report *r, int code, uint64_t generation, struct buf *out);

#endif
