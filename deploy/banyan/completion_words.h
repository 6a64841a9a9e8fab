/* SPDX-License-Identifier: MIT
 * What may stand at the cursor of a line that begins with `banyan`, by the words before
 * it and the proxies' table of verbs. Pure.
 *
 * The table says it in its column of arguments: words in small letters stand for
 * themselves, words in capital letters for something of that kind; [in brackets] what
 * may be left out, a|b either, key=..., and " | " between whole forms. */
#ifndef BANYAN_COMPLETION_WORDS_H
#define BANYAN_COMPLETION_WORDS_H

#include <stddef.h>

#include "protocol/base/slice.h"

struct completion_row {
    const char *words, *arguments, *help;
};

/* Names that somebody else knows. */
enum completion_kind {
    COMPLETE_BACKENDS,
    COMPLETE_POOLS,
    COMPLETE_REQUESTS,
    COMPLETE_CLIENTS,
    COMPLETE_KEYS,     /* of options */
    COMPLETE_SETTINGS, /* KEY= of those that can be changed */
    COMPLETE_FILES,
};

struct completion_sink {
    void *owner;
    void (*word)(void *owner, struct slice text, const char *help);
    void (*kind)(void *owner, enum completion_kind kind);
};

/* `words` are those before the cursor, without the program and without options. Told
 * are all that may follow, whatever stands at the cursor; some perhaps twice. */
void completion_find(const struct completion_row *rows,
                     size_t row_count,
                     const struct slice *words,
                     size_t count,
                     const struct completion_sink *sink);

#endif
