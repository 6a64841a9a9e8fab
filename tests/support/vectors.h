/* SPDX-License-Identifier: MIT
 * Reads the hex vectors of tests/cases/frames: lines that start with '#' are comments,
 * the rest is hex with blanks. */
#ifndef TESTS_SUPPORT_VECTORS_H
#define TESTS_SUPPORT_VECTORS_H

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/buf.h"
#include "protocol/base/mem.h"

/* The whole file, appended; the test ends when it cannot be read. */
static inline void vector_read_file(const char *path, struct buf *to)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        perror(path);
    ASSERT(file != NULL);
    char piece[4096];
    size_t length;
    while ((length = fread(piece, 1, sizeof piece, file)) > 0)
        buf_add(to, slice_of(piece, length));
    fclose(file);
}

static inline int vector_nibble(char c)
{
    ASSERT(isxdigit((unsigned char)c));
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

static inline void vector_decode(struct slice text, struct buf *to)
{
    int high = -1;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '#' && (i == 0 || text.ptr[i - 1] == '\n')) {
            while (i + 1 < text.len && text.ptr[i + 1] != '\n')
                i++;
        } else if (!isspace((unsigned char)c) && high < 0) {
            high = vector_nibble(c);
        } else if (!isspace((unsigned char)c)) {
            char byte = (char)(high << 4 | vector_nibble(c));
            buf_add(to, slice_of(&byte, 1));
            high = -1;
        }
    }
    ASSERT(high < 0);
}

/* The rest of the comment line "# KEY: rest", or an empty slice. */
static inline struct slice vector_note(struct slice text, const char *key)
{
    char start[64];
    int length = snprintf(start, sizeof start, "# %s:", key);
    const char *at = memmem(text.ptr, text.len, start, (size_t)length);
    if (at == NULL)
        return slice_of("", 0);
    at += length;
    const char *end = memchr(at, '\n', (size_t)(text.ptr + text.len - at));
    while (at < end && *at == ' ')
        at++;
    return slice_of(at, (size_t)(end - at));
}

/* One vector of a folder below tests/cases/frames ("" is the folder itself). */
struct vector {
    const char *name;   /* "grant" */
    struct slice text;  /* the file */
    struct slice bytes; /* in a block of its own of exactly that size */
};

static inline int vector_is_hex(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 4 && strcmp(entry->d_name + length - 4, ".hex") == 0;
}

/* Calls `each` for every vector in the order of names; returns how many there are. */
static inline size_t
vectors_each(const char *folder, void (*each)(const struct vector *, void *), void *arg)
{
    own(mem) char *path = mem_printf("%s/cases/frames/%s", TESTS_DIR, folder);
    struct dirent **entries;
    int count = scandir(path, &entries, vector_is_hex, alphasort);
    ASSERT(count > 0);
    for (int i = 0; i < count; i++) {
        own(mem) char *file = mem_printf("%s/%s", path, entries[i]->d_name);
        struct buf text, bytes;
        buf_init(&text, 0);
        buf_init(&bytes, 0);
        vector_read_file(file, &text);
        vector_decode(buf_slice(&text), &bytes);
        entries[i]->d_name[strlen(entries[i]->d_name) - 4] = '\0';
        own(mem) char *exact = mem_alloc(buf_len(&bytes));
        if (buf_len(&bytes) > 0)
            memcpy(exact, bytes.data, buf_len(&bytes));
        struct vector v = {entries[i]->d_name, buf_slice(&text),
                           slice_of(exact, buf_len(&bytes))};
        each(&v, arg);
        buf_fini(&text);
        buf_fini(&bytes);
        free(entries[i]);
    }
    free(entries);
    return (size_t)count;
}

#endif
