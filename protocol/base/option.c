/* SPDX-License-Identifier: MIT
 * Defaults, then the environment, then argv, each written through one function, so that
 * a value means the same wherever it comes from and a wrong one is refused in the same
 * words. */
#include "protocol/base/option.h"

#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "protocol/base/mem.h"

enum {
    MAX_ROWS = 128,
    FIRST_VALUE = 256, /* getopt_long's answer for row 0; letters are below */
    HELP_COLUMN = 30,
    HELP_WIDTH = 88,
};

/* Where a value comes from; the words are for messages. */
enum source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_ARGV };

struct parse {
    const struct option_table *table;
    char *options;
    struct buf *message;
    const char *place;               /* of the value from a file that is being set */
    enum source list_from[MAX_ROWS]; /* the first item from there replaced the rest */
};

/* What getopt_long is told. A flag has two long names. */
struct getopt_tables {
    struct option longs[2 * MAX_ROWS + 1];
    char letters[2 * MAX_ROWS + 2];
    char *negations[MAX_ROWS]; /* "no-" names; owned */
};

/* Copies of lists from the environment: options borrow from them while the process
 * lives. Kept reachable, never freed; one for each list, however often it is read. */
struct kept_text {
    struct kept_text *next;
    char text[]; /* as it was; behind it once more, for its items */
};
static struct kept_text *kept_texts;

static void set_defaults(struct parse *p);
static enum err read_value(struct parse *p, const struct option_value *value);
static enum err read_environment(struct parse *p);
static enum err read_argv(struct parse *p, int argc, char **argv, int *ret_rest);
static enum err
set_value(struct parse *p, size_t row, const char *text, enum source source);

static const char *environment_name(const struct option_row *row, char name[64])
{
    size_t at = (size_t)snprintf(name, 64, "BANYAN_");
    for (const char *c = row->name; *c != '\0'; c++) {
        ASSERT(at < 63);
        name[at++] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    }
    name[at] = '\0';
    return name;
}

/* --help and --version act at once; a variable of that name means something else. */
static bool has_environment(const struct option_row *row)
{
    return strcmp(row->name, "help") != 0 && strcmp(row->name, "version") != 0;
}

enum err option_parse(const struct option_table *table,
                      int argc,
                      char **argv,
                      void *options,
                      int *ret_rest,
                      struct buf *ret_message)
{
    return option_parse_over(table, NULL, 0, argc, argv, options, ret_rest,
                             ret_message);
}

enum err option_parse_over(const struct option_table *table,
                           const struct option_value *values,
                           size_t count,
                           int argc,
                           char **argv,
                           void *options,
                           int *ret_rest,
                           struct buf *ret_message)
{
    ASSERT(table->row_count <= MAX_ROWS);
    struct parse p = {.table = table, .options = options, .message = ret_message};

    set_defaults(&p);
    enum err e = ERR_NONE;
    for (size_t i = 0; e == ERR_NONE && i < count; i++)
        e = read_value(&p, &values[i]);
    if (e == ERR_NONE)
        e = read_environment(&p);
    if (e == ERR_NONE)
        e = read_argv(&p, argc, argv, ret_rest);
    return e;
}

enum err option_set(const struct option_table *table,
                    const struct option_value *value,
                    void *options,
                    struct buf *ret_message)
{
    struct parse p = {.table = table, .options = options, .message = ret_message};
    return read_value(&p, value);
}

const struct option_row *option_find(const struct option_table *table, const char *name)
{
    for (size_t i = 0; i < table->row_count; i++)
        if (strcmp(table->rows[i].name, name) == 0)
            return &table->rows[i];
    return NULL;
}

/* ---- sources ---- */

static void clear_value(struct parse *p, const struct option_row *row)
{
    void *at = p->options + row->offset;
    switch (row->type) {
    case OPTION_FLAG:
        *(bool *)at = false;
        break;
    case OPTION_TEXT:
        *(const char **)at = NULL;
        break;
    case OPTION_LIST:
        ((struct option_list *)at)->count = 0;
        break;
    case OPTION_COUNT:
    case OPTION_SIZE:
        *(int64_t *)at = 0;
        break;
    case OPTION_SECONDS:
        *(double *)at = 0;
        break;
    }
}

static void set_defaults(struct parse *p)
{
    for (size_t i = 0; i < p->table->row_count; i++) {
        const struct option_row *row = &p->table->rows[i];
        clear_value(p, row);
        if (row->fallback != NULL) {
            enum err e = set_value(p, i, row->fallback, FROM_DEFAULT);
            ASSERT(e == ERR_NONE);
        }
    }
}

static enum err read_value(struct parse *p, const struct option_value *value)
{
    const struct option_row *row = option_find(p->table, value->name);
    ASSERT(row != NULL);
    p->place = value->place;
    return set_value(p, (size_t)(row - p->table->rows), value->text, FROM_FILE);
}

static enum err read_environment(struct parse *p)
{
    for (size_t i = 0; i < p->table->row_count; i++) {
        const struct option_row *row = &p->table->rows[i];
        char name[64];
        if (!has_environment(row))
            continue;
        const char *text = getenv(environment_name(row, name));
        if (text == NULL || text[0] == '\0')
            continue;
        enum err e = set_value(p, i, text, FROM_ENVIRONMENT);
        if (e != ERR_NONE)
            return e;
    }
    return ERR_NONE;
}

static void fill_getopt_tables(const struct option_table *table,
                               struct getopt_tables *ret_tables)
{
    size_t longs = 0, letters = 0;

    /* ':' first: a missing argument is told from an unknown option. */
    ret_tables->letters[letters++] = ':';
    for (size_t i = 0; i < table->row_count; i++) {
        const struct option_row *row = &table->rows[i];
        bool takes = row->type != OPTION_FLAG;
        ret_tables->longs[longs++] =
            (struct option){row->name, takes ? required_argument : no_argument, NULL,
                            FIRST_VALUE + (int)i};
        if (row->letter != 0) {
            ret_tables->letters[letters++] = row->letter;
            if (takes)
                ret_tables->letters[letters++] = ':';
        }
        ret_tables->negations[i] = NULL;
        if (!takes && has_environment(row)) {
            ret_tables->negations[i] = mem_printf("no-%s", row->name);
            ret_tables->longs[longs++] =
                (struct option){ret_tables->negations[i], no_argument, NULL,
                                FIRST_VALUE + MAX_ROWS + (int)i};
        }
    }
    ret_tables->longs[longs] = (struct option){NULL, 0, NULL, 0};
    ret_tables->letters[letters] = '\0';
}

static size_t row_of_letter(const struct option_table *table, int letter)
{
    for (size_t i = 0; i < table->row_count; i++)
        if (table->rows[i].letter != 0 && table->rows[i].letter == letter)
            return i;
    return table->row_count;
}

/* What getopt_long refused, in words. */
static void explain_refusal(struct parse *p, int answer, int letter, const char *word)
{
    const struct option_table *t = p->table;

    if (answer == ':' && letter < FIRST_VALUE)
        buf_addf(p->message, "-%c needs a value", letter);
    else if (answer == ':')
        buf_addf(p->message, "--%s needs a value", t->rows[letter - FIRST_VALUE].name);
    else if (letter >= FIRST_VALUE)
        buf_addf(p->message, "%s: this option takes no value", word);
    else if (letter != 0)
        buf_addf(p->message, "unknown option -%c", letter);
    else
        buf_addf(p->message, "unknown or ambiguous option %s", word);
    buf_addf(p->message, " (on the command line); see %s --help", t->program);
}

static enum err read_argv(struct parse *p, int argc, char **argv, int *ret_rest)
{
    struct getopt_tables *tables = mem_zalloc(sizeof *tables);
    enum err e = ERR_NONE;

    fill_getopt_tables(p->table, tables);
    opterr = 0;
    optind = 0; /* glibc: start anew, also when called a second time */
    while (e == ERR_NONE) {
        int answer = getopt_long(argc, argv, tables->letters, tables->longs, NULL);
        if (answer == -1)
            break;
        if (answer == '?' || answer == ':') {
            explain_refusal(p, answer, optopt, argv[optind > 0 ? optind - 1 : 0]);
            e = ERR_BAD_OPTION;
        } else if (answer >= FIRST_VALUE + MAX_ROWS) {
            e = set_value(p, (size_t)(answer - FIRST_VALUE - MAX_ROWS), "no",
                          FROM_ARGV);
        } else {
            size_t row = answer >= FIRST_VALUE ? (size_t)(answer - FIRST_VALUE)
                                               : row_of_letter(p->table, answer);
            ASSERT(row < p->table->row_count);
            bool flag = p->table->rows[row].type == OPTION_FLAG;
            e = set_value(p, row, flag ? "yes" : optarg, FROM_ARGV);
        }
    }
    if (e == ERR_NONE)
        *ret_rest = optind;

    for (size_t i = 0; i < p->table->row_count; i++)
        mem_free(&tables->negations[i]);
    mem_free(&tables);
    return e;
}

/* ---- values ---- */

bool option_parse_flag(const char *text, bool *ret_value)
{
    static const char *const YES[] = {"yes", "true", "on", "1"};
    static const char *const NO[] = {"no", "false", "off", "0"};

    for (size_t i = 0; i < sizeof YES / sizeof YES[0]; i++) {
        if (strcasecmp(text, YES[i]) == 0) {
            *ret_value = true;
            return true;
        }
        if (strcasecmp(text, NO[i]) == 0) {
            *ret_value = false;
            return true;
        }
    }
    return false;
}

/* Digits, at most one point, no sign, no exponent: what strtod takes is wider. */
static bool parse_decimal(const char *text, double *ret_value, const char **ret_unit)
{
    size_t digits = strspn(text, "0123456789");
    size_t length = digits;
    if (text[length] == '.') {
        size_t more = strspn(text + length + 1, "0123456789");
        digits += more;
        length += 1 + more;
    }
    if (digits == 0 || length > 30)
        return false;

    double value = 0, scale = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '.') {
            scale = 1;
            continue;
        }
        value = value * 10 + (text[i] - '0');
        scale *= 10;
    }
    *ret_value = scale > 0 ? value / scale : value;
    *ret_unit = text + length;
    return true;
}

static bool parse_seconds(const char *text, double *ret_value)
{
    static const struct {
        const char *unit;
        double seconds;
    } UNITS[] = {{"", 1},   {"s", 1},    {"ms", 0.001},
                 {"m", 60}, {"h", 3600}, {"d", 86400}};
    double number;
    const char *unit;

    if (!parse_decimal(text, &number, &unit))
        return false;
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
        if (strcmp(unit, UNITS[i].unit) == 0) {
            *ret_value = number * UNITS[i].seconds;
            return *ret_value < 1e9; /* 30 years; fits microseconds in 64 bits */
        }
    }
    return false;
}

static bool parse_size(const char *text, int64_t *ret_value)
{
    static const char UNITS[] = "KMGT";
    double number;
    const char *unit;

    if (!parse_decimal(text, &number, &unit))
        return false;
    const char *found =
        *unit == '\0' ? NULL : strchr(UNITS, toupper((unsigned char)*unit));
    if (found != NULL) {
        number *= (double)((int64_t)1 << (10 * (found - UNITS + 1)));
        unit++;
        if (strcasecmp(unit, "B") == 0 || strcasecmp(unit, "iB") == 0)
            unit = "";
    }
    if (*unit != '\0' || number >= 9e18 || number != (double)(int64_t)number)
        return false;
    *ret_value = (int64_t)number;
    return true;
}

static bool parse_count(const char *text, int64_t *ret_value)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    size_t length = strspn(digits, "0123456789");
    if (length == 0 || length > 18 || digits[length] != '\0')
        return false;
    *ret_value = strtoll(text, NULL, 10);
    return true;
}

static bool is_in_range(const struct option_row *row, double value)
{
    return (row->low == 0 && row->high == 0) ||
           (value >= row->low && value <= row->high);
}

static enum err refuse(struct parse *p,
                       const struct option_row *row,
                       const char *text,
                       enum source source)
{
    static const char *const WANTED[] = {
        [OPTION_FLAG] = "yes or no",
        [OPTION_TEXT] = "a text",
        [OPTION_LIST] = "at most 64 values",
        [OPTION_COUNT] = "a whole number",
        [OPTION_SECONDS] = "a time such as 30, 0.5, 500ms, 2m or 1h",
        [OPTION_SIZE] = "a size in bytes such as 65536, 64K, 1M or 1G",
    };
    char name[64];

    ASSERT(source != FROM_DEFAULT);
    if (source == FROM_FILE)
        buf_addf(p->message, "%s: %s: \"%s\"", p->place, row->name, text);
    else
        buf_addf(p->message, "--%s: \"%s\" ", row->name, text);
    if (source == FROM_ENVIRONMENT)
        buf_addf(p->message, "(from %s in the environment)",
                 environment_name(row, name));
    else if (source == FROM_ARGV)
        buf_addf(p->message, "(on the command line)");
    buf_addf(p->message, " is not accepted; expected %s", WANTED[row->type]);
    if (row->low != 0 || row->high != 0)
        buf_addf(p->message, " from %.15g to %.15g", row->low, row->high);
    return ERR_BAD_OPTION;
}

static bool list_add(struct option_list *list, const char *item)
{
    if (list->count == sizeof list->items / sizeof list->items[0])
        return false;
    list->items[list->count++] = item;
    return true;
}

/* Its copy for strsep; what that made of it before says the same again. */
static char *keep_text(const char *text)
{
    size_t bytes = strlen(text) + 1;
    struct kept_text *copy = kept_texts;
    while (copy != NULL && strcmp(copy->text, text) != 0)
        copy = copy->next;
    if (copy == NULL) {
        copy = mem_alloc(sizeof *copy + 2 * bytes);
        memcpy(copy->text, text, bytes);
        copy->next = kept_texts;
        kept_texts = copy;
    }
    return memcpy(copy->text + bytes, text, bytes);
}

/* The default's or the environment's list: commas separate, empty items vanish. */
static bool split_list(struct option_list *list, const char *text)
{
    char *rest = keep_text(text);
    for (char *item; (item = strsep(&rest, ",")) != NULL;)
        if (*item != '\0' && !list_add(list, item))
            return false;
    return true;
}

static bool set_list(struct parse *p, size_t row, const char *text, enum source source)
{
    struct option_list *list =
        (struct option_list *)(void *)(p->options + p->table->rows[row].offset);

    if (source == FROM_DEFAULT || source == FROM_ENVIRONMENT) {
        list->count = 0;
        return split_list(list, text);
    }
    if (p->list_from[row] != source) {
        p->list_from[row] = source;
        list->count = 0;
    }
    return list_add(list, text);
}

static enum err
set_value(struct parse *p, size_t index, const char *text, enum source source)
{
    const struct option_row *row = &p->table->rows[index];
    void *at = p->options + row->offset;
    bool ok = false;
    int64_t whole;
    double seconds;

    switch (row->type) {
    case OPTION_FLAG:
        ok = option_parse_flag(text, at);
        break;
    case OPTION_TEXT:
        *(const char **)at = text;
        ok = true;
        break;
    case OPTION_LIST:
        ok = set_list(p, index, text, source);
        break;
    case OPTION_COUNT:
    case OPTION_SIZE:
        ok = row->type == OPTION_COUNT ? parse_count(text, &whole)
                                       : parse_size(text, &whole);
        ok = ok && is_in_range(row, (double)whole);
        if (ok)
            *(int64_t *)at = whole;
        break;
    case OPTION_SECONDS:
        ok = parse_seconds(text, &seconds) && is_in_range(row, seconds);
        if (ok)
            *(double *)at = seconds;
        break;
    }
    return ok ? ERR_NONE : refuse(p, row, text, source);
}

void option_print(const struct option_row *row, const void *options, struct buf *to)
{
    const void *at = (const char *)options + row->offset;
    const struct option_list *list;
    const char *text;
    switch (row->type) {
    case OPTION_FLAG:
        buf_addf(to, "%s", *(const bool *)at ? "yes" : "no");
        break;
    case OPTION_TEXT:
        text = *(const char *const *)at;
        buf_addf(to, "%s", text == NULL ? "" : text);
        break;
    case OPTION_LIST:
        list = at;
        for (size_t i = 0; i < list->count; i++)
            buf_addf(to, "%s%s", i == 0 ? "" : ",", list->items[i]);
        break;
    case OPTION_SECONDS:
        buf_addf(to, "%.9g", *(const double *)at);
        break;
    case OPTION_COUNT:
    case OPTION_SIZE:
        buf_addf(to, "%" PRId64, *(const int64_t *)at);
        break;
    }
}

/* ---- help ---- */

/* Words of `text` from HELP_COLUMN on; `column` is where the line stands now. */
static void print_wrapped(FILE *to, const char *text, int column)
{
    if (column > HELP_COLUMN - 2) {
        fputc('\n', to);
        column = 0;
    }
    fprintf(to, "%*s", HELP_COLUMN - column, "");
    column = HELP_COLUMN;
    for (bool first = true; *text != '\0'; first = false) {
        int length = (int)strcspn(text, " ");
        if (!first && column + 1 + length > HELP_WIDTH) {
            fprintf(to, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (!first) {
            fputc(' ', to);
            column++;
        }
        fprintf(to, "%.*s", length, text);
        column += length;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', to);
}

static void print_row(FILE *to, const struct option_row *row)
{
    char name[64], head[128];
    int column;

    if (row->letter != 0)
        column = snprintf(head, sizeof head, "  -%c, --%s", row->letter, row->name);
    else
        column = snprintf(head, sizeof head, "      --%s", row->name);
    if (row->type != OPTION_FLAG)
        column += snprintf(head + column, sizeof head - (size_t)column, " %s",
                           row->argument == NULL ? "VALUE" : row->argument);
    fputs(head, to);

    struct buf text;
    buf_init(&text, 0);
    buf_addf(&text, "%s", row->help);
    if (has_environment(row)) {
        buf_addf(&text, " [");
        if (row->fallback != NULL)
            buf_addf(&text, "default: %s; ", row->fallback);
        if (row->type == OPTION_LIST)
            buf_addf(&text, "repeatable; ");
        buf_addf(&text, "%s]", environment_name(row, name));
    }
    buf_add(&text, SLICE("\0"));
    print_wrapped(to, buf_slice(&text).ptr, column);
    buf_fini(&text);
}

void option_help(const struct option_table *table, FILE *to)
{
    fprintf(to, "Usage: %s %s\n\n%s\n", table->program, table->synopsis,
            table->summary);
    for (size_t i = 0; i < table->row_count; i++) {
        const struct option_row *row = &table->rows[i];
        if (row->section != NULL || i == 0)
            fprintf(to, "\n%s:\n", row->section != NULL ? row->section : "Options");
        print_row(to, row);
    }
}
