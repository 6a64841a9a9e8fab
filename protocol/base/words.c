/* SPDX-License-Identifier: MIT
 * Unquoting never makes a word longer, so one copy of the line holds them all. */
#include "protocol/base/words.h"

#include <string.h>

#include "protocol/base/mem.h"

static const char escapes[] = "\"\\nrt", meant[] = "\"\\\n\r\t";

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Copies one word to *to, NUL included; returns where it ends, NULL: ret_error. */
static const char *
take_word(const char *at, const char *end, char **to, const char **ret_error)
{
    bool is_quoted = false;
    for (; at < end && (is_quoted || !is_space(*at)); at++) {
        if (*at == '"') {
            is_quoted = !is_quoted;
        } else if (is_quoted && *at == '\\') {
            const char *found = ++at < end && *at != '\0' ? strchr(escapes, *at) : NULL;
            if (found == NULL) {
                *ret_error = "unknown escape in a quoted word";
                return NULL;
            }
            *(*to)++ = meant[found - escapes];
        } else {
            *(*to)++ = *at;
        }
    }
    if (is_quoted) {
        *ret_error = "a quote is not closed";
        return NULL;
    }
    *(*to)++ = '\0';
    return at;
}

bool words_split(struct slice line, struct words *ret_words, const char **ret_error)
{
    *ret_words = (struct words){0};
    if (line.len > 0 && memchr(line.ptr, '\0', line.len) != NULL) {
        *ret_error = "a zero byte in the line";
        return false;
    }
    struct words w = {.memory = mem_alloc(line.len + 1)};
    char *to = w.memory;
    const char *at = line.ptr, *end = line.ptr + line.len;
    for (;;) {
        while (at < end && is_space(*at))
            at++;
        if (at == end)
            break;
        if (w.count == WORDS_MAX) {
            *ret_error = "too many words";
            at = NULL;
            break;
        }
        w.items[w.count++] = to;
        at = take_word(at, end, &to, ret_error);
        if (at == NULL)
            break;
    }
    if (at == NULL) {
        words_fini(&w);
        return false;
    }
    *ret_words = w;
    return true;
}

void words_fini(struct words *words)
{
    mem_free(&words->memory);
    words->count = 0;
}

void words_quote(struct buf *to, const char *word)
{
    if (*word != '\0' && strpbrk(word, " \"\\\n\r\t") == NULL) {
        buf_add(to, slice_from(word));
        return;
    }
    buf_add(to, SLICE("\""));
    for (; *word != '\0'; word++) {
        const char *found = strchr(meant, *word);
        if (found != NULL) {
            buf_add(to, SLICE("\\"));
            buf_add(to, slice_of(escapes + (found - meant), 1));
        } else {
            buf_add(to, slice_of(word, 1));
        }
    }
    buf_add(to, SLICE("\""));
}
