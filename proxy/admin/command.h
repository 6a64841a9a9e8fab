/* SPDX-License-Identifier: MIT
 * An operator's line taken apart, against the one table of verbs. Pure.
 *
 *   [--json] [--timeout SECONDS] [--ephemeral] VERB [OPERAND ...] [KEY=VALUE ...]
 *
 * The options may stand behind the verb, too. */
#ifndef ADMIN_COMMAND_H
#define ADMIN_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/words.h"

struct operation;

/* Each may what those before it may; but an app server only registers itself. */
enum role { ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN, ROLE_APP, ROLE_COUNT };
const char *role_name(enum role role);
bool role_may(enum role role, enum role wanted);
MUST_CHECK bool role_parse(struct slice name, enum role *ret_role);

enum effect { VERB_READS, VERB_CHANGES };

struct verb {
    const char *words;
    enum role role;
    enum effect effect;
    unsigned least, most;
    const char *keys, *arguments, *help;
    void (*run)(struct operation *op);
};
extern const struct verb verbs[];
extern const size_t verb_count;

/* What a verb's exit code says. */
enum outcome {
    OUTCOME_DONE,
    OUTCOME_REFUSED,     /* or invalid: nothing changed */
    OUTCOME_LATE,        /* the time was over; what there is, is shown */
    OUTCOME_UNREACHABLE, /* said by the client: no proxy there */
    OUTCOME_PARTLY,      /* likewise: not the same with every proxy */
};

enum { COMMAND_DEFAULT_TIMEOUT_S = 30 };

struct command {
    struct words words; /* owned; the rest points into it */
    const struct verb *verb;
    bool is_json, is_ephemeral;
    bool has_timeout;
    uint64_t timeout_us; /* default COMMAND_DEFAULT_TIMEOUT_S */
    bool has_generation;
    uint64_t if_generation;
    size_t operand_count;
    const char *operands[WORDS_MAX];
    size_t pair_count;
    struct {
        const char *key, *value; /* the key is cut off at its '=' */
    } pairs[WORDS_MAX];
};

/* False: ret_message says why and what would be accepted; is_json is set all the same.
 * command_fini either way. */
MUST_CHECK bool
command_parse(struct slice line, struct command *ret_command, struct buf *ret_message);
void command_fini(struct command *command);

/* The value of KEY=VALUE; NULL: not given. */
const char *command_value(const struct command *command, const char *key);
/* "30", "0.5", "500ms", "2m"; "30s" too. */
MUST_CHECK bool command_seconds(const char *text, uint64_t *ret_us);
MUST_CHECK bool command_number(const char *text, uint64_t most, uint64_t *ret_value);

#endif
