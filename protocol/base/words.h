/* SPDX-License-Identifier: MIT
 * Words on a line, as the admin's client sends them and a log shows them: separated by
 * spaces; a word with spaces, quotes or nothing in it stands in double quotes, in which
 * \" \\ \n \r \t stand for themselves. Pure. */
#ifndef BASE_WORDS_H
#define BASE_WORDS_H

#include <stddef.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

enum { WORDS_MAX = 64 };

struct words {
    size_t count;
    char *items[WORDS_MAX]; /* in `memory` */
    char *memory;           /* owned */
};

/* False, with ret_error in words: an open quote, an unknown escape, a NUL, too many.
 * `ret_words` is then empty. */
MUST_CHECK bool
words_split(struct slice line, struct words *ret_words, const char **ret_error);
void words_fini(struct words *words);

/* Appends the word so that words_split finds it again. */
void words_quote(struct buf *to, const char *word);

#endif
