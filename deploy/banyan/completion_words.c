/* SPDX-License-Identifier: MIT
 * A form is followed token by token, as the words before the cursor use them up. */
#include "deploy/banyan/completion_words.h"

#include <stdbool.h>
#include <string.h>

struct search {
    const struct completion_row *rows;
    size_t row_count;
    const struct completion_row *row; /* whose arguments are looked at */
    const struct slice *operands;     /* behind its words */
    size_t count;
    const struct completion_sink *sink;
};

static const struct {
    const char *name, *verb; /* NULL: of any */
    enum completion_kind kind;
} KINDS[] = {
    {"NAME", NULL, COMPLETE_BACKENDS},       {"[POOL/]NAME", NULL, COMPLETE_BACKENDS},
    {"POOL", NULL, COMPLETE_POOLS},          {"KEY", NULL, COMPLETE_KEYS},
    {"FILE", NULL, COMPLETE_FILES},          {"ID", "kill-request", COMPLETE_REQUESTS},
    {"ID", "kill-client", COMPLETE_CLIENTS},
};

/* The next piece up to one of `ends`; false: none. */
static bool next(struct slice *rest, char end, struct slice *ret_piece)
{
    while (rest->len > 0 && rest->ptr[0] == end)
        *rest = slice_of(rest->ptr + 1, rest->len - 1);
    if (rest->len == 0)
        return false;
    const char *at = memchr(rest->ptr, end, rest->len);
    size_t length = at == NULL ? rest->len : (size_t)(at - rest->ptr);
    *ret_piece = slice_of(rest->ptr, length);
    *rest = slice_of(rest->ptr + length, rest->len - length);
    return true;
}

/* In brackets as a whole: not "[POOL/]NAME". */
static bool is_optional(struct slice token)
{
    unsigned depth = 0;
    for (size_t i = 0; i < token.len; i++) {
        depth += token.ptr[i] == '[';
        depth -= token.ptr[i] == ']';
        if (depth == 0)
            return i > 0 && i + 1 == token.len;
    }
    return false;
}

static struct slice bare(struct slice token)
{
    if (!is_optional(token))
        return token;
    return slice_of(token.ptr + 1, token.len - 2);
}

static bool is_pair(struct slice text)
{
    const char *at = memchr(text.ptr, '=', text.len);
    return at != NULL && memchr(text.ptr, '/', (size_t)(at - text.ptr)) == NULL;
}

static bool is_kind(struct slice alternative)
{
    char first = alternative.ptr[0];
    return (first >= 'A' && first <= 'Z') || first == '[';
}

/* ---- what a token stands for ---- */

static void tell_verbs(const struct search *s, const struct slice *words, size_t count);

static void tell_kind(const struct search *s, struct slice name)
{
    if (slice_eq(name, SLICE("VERB")))
        tell_verbs(s, s->operands, s->count);
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++)
        if (slice_eq(name, slice_from(KINDS[i].name)) &&
            (KINDS[i].verb == NULL || strcmp(KINDS[i].verb, s->row->words) == 0))
            s->sink->kind(s->sink->owner, KINDS[i].kind);
}

static void tell_token(const struct search *s, struct slice token)
{
    struct slice rest = bare(token), one;
    while (next(&rest, '|', &one)) {
        if (is_kind(one))
            tell_kind(s, one);
        else
            s->sink->word(s->sink->owner, one, s->row->help);
    }
}

static bool takes(struct slice token, struct slice word)
{
    struct slice rest = bare(token), one;
    while (next(&rest, '|', &one))
        if (is_kind(one) || slice_eq(one, word))
            return true;
    return false;
}

/* ---- a form ---- */

static bool has_pair(const struct search *s, struct slice key)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->operands[i].len >= key.len &&
            memcmp(s->operands[i].ptr, key.ptr, key.len) == 0)
            return true;
    return false;
}

/* "weight=N": "weight=" can be said as long as it was not. */
static void tell_pair(const struct search *s, struct slice token)
{
    struct slice text = bare(token);
    const char *at = memchr(text.ptr, '=', text.len);
    struct slice key = slice_of(text.ptr, (size_t)(at - text.ptr) + 1);
    if (is_kind(key))
        s->sink->kind(s->sink->owner, COMPLETE_SETTINGS);
    else if (!has_pair(s, key))
        s->sink->word(s->sink->owner, key, s->row->help);
}

/* Follows the operands; false: this form does not begin so. *ret_at: the token that
 * comes next. */
static bool follow(const struct search *s,
                   const struct slice *tokens,
                   size_t token_count,
                   size_t *ret_at)
{
    size_t at = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (is_pair(s->operands[i]))
            continue;
        while (at < token_count && is_optional(tokens[at]) &&
               !takes(tokens[at], s->operands[i]))
            at++;
        if (at == token_count || !takes(tokens[at], s->operands[i]))
            return false;
        at += !slice_eq(bare(tokens[at]), SLICE("VERB")); /* of several words */
    }
    *ret_at = at;
    return true;
}

static void tell_form(const struct search *s, struct slice form)
{
    enum { MOST = 16 };
    struct slice tokens[MOST], pairs[MOST], token;
    size_t token_count = 0, pair_count = 0, at;
    while (next(&form, ' ', &token)) {
        if (slice_eq(token, SLICE("...")))
            continue; /* pairs may be said again and again */
        if (is_pair(token) && pair_count < MOST)
            pairs[pair_count++] = token;
        else if (token_count < MOST)
            tokens[token_count++] = token;
    }
    if (!follow(s, tokens, token_count, &at))
        return;
    for (; at < token_count; at++) {
        tell_token(s, tokens[at]);
        if (!is_optional(tokens[at]))
            return; /* it comes before what may follow it */
    }
    for (size_t i = 0; i < pair_count; i++)
        tell_pair(s, pairs[i]);
}

static void tell_operands(const struct search *s)
{
    struct slice rest = slice_from(s->row->arguments);
    while (rest.len > 0) {
        const char *bar = memmem(rest.ptr, rest.len, " | ", 3);
        size_t length = bar == NULL ? rest.len : (size_t)(bar - rest.ptr);
        tell_form(s, slice_of(rest.ptr, length));
        length += bar == NULL ? 0 : 3;
        rest = slice_of(rest.ptr + length, rest.len - length);
    }
}

/* ---- verbs ---- */

/* How many words of the row stand there, of all that do; false: others do.
 * *ret_next: its next word, empty: it is whole. */
static bool begins(const struct completion_row *row,
                   const struct slice *words,
                   size_t count,
                   size_t *ret_used,
                   struct slice *ret_next)
{
    struct slice rest = slice_from(row->words), word;
    size_t used = 0;
    *ret_next = slice_of("", 0);
    for (; next(&rest, ' ', &word); used++) {
        if (used == count) {
            *ret_next = word;
            break;
        }
        if (!slice_eq(word, words[used]))
            return false;
    }
    *ret_used = used;
    return true;
}

static const char *help_of(const struct completion_row *row, struct slice word)
{
    size_t length = strlen(row->words);
    bool is_last = word.ptr + word.len == row->words + length;
    return is_last ? row->help : "";
}

static void tell_verbs(const struct search *s, const struct slice *words, size_t count)
{
    for (size_t i = 0; i < s->row_count; i++) {
        struct slice word;
        size_t used;
        if (begins(&s->rows[i], words, count, &used, &word) && word.len > 0)
            s->sink->word(s->sink->owner, word, help_of(&s->rows[i], word));
    }
}

void completion_find(const struct completion_row *rows,
                     size_t row_count,
                     const struct slice *words,
                     size_t count,
                     const struct completion_sink *sink)
{
    struct search s = {.rows = rows, .row_count = row_count, .sink = sink};
    tell_verbs(&s, words, count);
    for (size_t i = 0; i < row_count; i++) {
        struct slice word;
        size_t used;
        if (!begins(&rows[i], words, count, &used, &word) || word.len > 0)
            continue;
        s.row = &rows[i];
        s.operands = words + used;
        s.count = count - used;
        tell_operands(&s);
    }
}
