/* SPDX-License-Identifier: MIT
 * Command lines from one table: getopt_long, BANYAN_* environment, defaults, ranges,
 * --help and man-page text come from the same rows. */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/error.h"

enum option_type {
    OPTION_FLAG, /* bool; --name and --no-name */
    OPTION_TEXT, /* const char *, borrowed from argv or the environment; NULL: not given
                  */
    OPTION_LIST, /* struct option_list; repeatable; a comma separates in the environment
                  */
    OPTION_COUNT,   /* int64_t */
    OPTION_SECONDS, /* double; "30", "0.5", "500ms", "2m" */
    OPTION_SIZE,    /* int64_t bytes; "64K", "1M", "1G" */
};

struct option_list {
    size_t count;
    const char *items[64]; /* one more is an error that names the option */
};

struct option_row {
    const char
        *name;   /* "graceful-timeout"; the environment's BANYAN_GRACEFUL_TIMEOUT */
    char letter; /* 0: none */
    enum option_type type;
    size_t offset;        /* into the program's struct options */
    const char *argument; /* "SECONDS", for --help */
    const char *fallback; /* the default, as it would be typed; NULL: none */
    double low, high;     /* of numbers; both 0: not checked */
    const char *section;  /* heading in --help; NULL: as the row before */
    const char *help;     /* one sentence */
};

struct option_table {
    const char *program;  /* "banyan serve" */
    const char *synopsis; /* "[OPTIONS] MODULE:APP" */
    const char *summary;  /* one sentence */
    const struct option_row *rows;
    size_t row_count;
};

/* Fills `options` from defaults, then the environment, then argv (the later wins; lists
 * do not mix sources). ret_rest: index of the first operand in argv (permuted). On
 * ERR_BAD_OPTION `ret_message` (own buf) names the option, the value, where it came
 * from and what would be accepted. --help and --version are the caller's rows. */
MUST_CHECK enum err option_parse(const struct option_table *table,
                                 int argc,
                                 char **argv,
                                 void *options,
                                 int *ret_rest,
                                 struct buf *ret_message);

/* A value out of a file. `place` goes before what is said about it: "web.yaml:3:10". Of
 * a list each item is a value of its own. The text is borrowed as argv is. */
struct option_value {
    const char *name, *text, *place;
};
/* As option_parse, with values that outrank nothing but the defaults. Their names are
 * those of rows. */
MUST_CHECK enum err option_parse_over(const struct option_table *table,
                                      const struct option_value *values,
                                      size_t count,
                                      int argc,
                                      char **argv,
                                      void *options,
                                      int *ret_rest,
                                      struct buf *ret_message);
/* One value more, whatever was there before; not of a list. */
MUST_CHECK enum err option_set(const struct option_table *table,
                               const struct option_value *value,
                               void *options,
                               struct buf *ret_message);
/* NULL: no such row. */
const struct option_row *option_find(const struct option_table *table,
                                     const char *name);

/* The row's value in `options`, as it may be typed; a list's items with commas between.
 */
void option_print(const struct option_row *row, const void *options, struct buf *to);
/* Usage, every row with default and environment name. */
void option_help(const struct option_table *table, FILE *to);

/* yes, true, on, 1 and their opposites, in any case. False: none of them. */
MUST_CHECK bool option_parse_flag(const char *text, bool *ret_value);

#endif
