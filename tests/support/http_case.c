/* SPDX-License-Identifier: MIT
 * Reads case files: lines of expectations, then bytes with escapes. */
#include "tests/support/http_case.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/base/mem.h"

#define FOLDER TESTS_DIR "/cases/http"

static NO_RETURN void give_up(const char *file, const char *why)
{
    fprintf(stderr, "%s: %s\n", file, why);
    exit(1);
}

static void read_file(const char *path, struct buf *ret_text)
{
    FILE *file = fopen(path, "re");
    size_t got;

    if (file == NULL)
        give_up(path, "cannot be opened");
    do {
        bool fits = buf_reserve(ret_text, 65536);
        ASSERT(fits);
        got = fread(buf_tail(ret_text), 1, 65536, file);
        buf_commit(ret_text, got);
    } while (got > 0);
    (void)fclose(file);
    buf_add(ret_text, SLICE("\0"));
}

/* Appends what `text` stands for, up to its end or, inside of \{N:...}, to the brace
 * that closes it; returns where it stopped. */
static const char *
unescape(const char *file, const char *text, bool is_nested, struct buf *to)
{
    while (*text != 0 && !(is_nested && *text == '}')) {
        char c = *text++;
        if (c == '\n')
            continue;
        if (c != '\\') {
            buf_add(to, slice_of(&c, 1));
            continue;
        }
        char kind = *text++;
        const char *plain = kind == 0 ? NULL : strchr("r\rn\nt\t\\\\", kind);
        if (plain != NULL) {
            buf_add(to, slice_of(plain + 1, 1));
        } else if (kind == 'x') {
            char digits[3] = {text[0], text[0] == 0 ? 0 : text[1], 0};
            char byte = (char)strtoul(digits, NULL, 16);
            buf_add(to, slice_of(&byte, 1));
            text += 2;
        } else if (kind == '{') {
            char *colon;
            unsigned long times = strtoul(text, &colon, 10);
            struct buf piece;
            buf_init(&piece, 0);
            text = unescape(file, colon + 1, true, &piece);
            if (*text++ != '}')
                give_up(file, "\\{ without }");
            while (times-- > 0)
                buf_add(to, buf_slice(&piece));
            buf_fini(&piece);
        } else {
            give_up(file, "unknown escape");
        }
    }
    return text;
}

static void add_line(struct http_case *c, const char *key, const char *value)
{
    if (c->count == HTTP_CASE_MAX_LINES)
        give_up(c->name, "too many lines");
    c->lines[c->count].key = mem_strdup(key);
    buf_init(&c->lines[c->count].value, 0);
    (void)unescape(c->name, value, false, &c->lines[c->count].value);
    buf_add(&c->lines[c->count].value, SLICE("\0"));
    c->count++;
}

/* "> key: value" */
static void read_line(struct http_case *c, char *line)
{
    char *colon = strchr(line, ':');
    unsigned long times = 1;

    if (strncmp(line, "> ", 2) != 0 || colon == NULL)
        give_up(c->name, line);
    *colon = 0;
    char *value = colon + 1;
    while (*value == ' ')
        value++;
    char *repeat = strstr(value, " * ");
    if (repeat != NULL && strcmp(line, "> then") == 0) {
        *repeat = 0;
        times = strtoul(repeat + 3, NULL, 10);
    }
    while (times-- > 0)
        add_line(c, line + 2, value);
}

static void read_case(const char *file_name, struct http_case *c)
{
    char path[512];
    struct buf text;

    *c = (struct http_case){.count = 0};
    buf_init(&c->data, 0);
    buf_init(&text, 0);
    size_t len = strlen(file_name) - strlen(".http");
    ASSERT(len < sizeof(c->name));
    memcpy(c->name, file_name, len);
    (void)snprintf(path, sizeof(path), FOLDER "/%s", file_name);
    read_file(path, &text);

    char *at = text.data, *end;
    while (strncmp(at, "---\n", 4) != 0) {
        end = strchr(at, '\n');
        if (end == NULL)
            give_up(path, "no line of three dashes");
        *end = 0;
        if (*at != '#')
            read_line(c, at);
        at = end + 1;
    }
    (void)unescape(path, at + 4, false, &c->data);
    buf_fini(&text);
}

static void free_case(struct http_case *c)
{
    buf_fini(&c->data);
    for (uint32_t i = 0; i < c->count; i++) {
        free(c->lines[i].key);
        buf_fini(&c->lines[i].value);
    }
}

static int is_case(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 5 && len < sizeof(((struct http_case *)0)->name) &&
           strcmp(entry->d_name + len - 5, ".http") == 0;
}

unsigned http_cases_each(void (*use)(const struct http_case *c))
{
    struct dirent **entries;
    int count = scandir(FOLDER, &entries, is_case, alphasort);

    if (count <= 0)
        give_up(FOLDER, "no cases");
    for (int i = 0; i < count; i++) {
        struct http_case c;
        read_case(entries[i]->d_name, &c);
        use(&c);
        free_case(&c);
        free(entries[i]);
    }
    free(entries);
    return (unsigned)count;
}

bool http_case_line(const struct http_case *c,
                    const char *key,
                    unsigned nth,
                    struct slice *ret_value)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (strcmp(c->lines[i].key, key) != 0 || nth-- > 0)
            continue;
        *ret_value = buf_slice(&c->lines[i].value);
        ret_value->len--;
        return true;
    }
    return false;
}

bool http_case_says(const struct http_case *c, const char *key, const char *value)
{
    struct slice line;

    for (unsigned nth = 0; http_case_line(c, key, nth, &line); nth++)
        if (slice_eq(line, slice_from(value)))
            return true;
    return false;
}

const char *http_case_outcome(const struct http_case *c, unsigned nth)
{
    struct slice line;
    bool exists = nth == 0 ? http_case_line(c, "expect", 0, &line)
                           : http_case_line(c, "then", nth - 1, &line);
    return exists ? line.ptr : NULL;
}
