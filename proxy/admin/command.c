/* SPDX-License-Identifier: MIT
 * Words first, then the options, then the row with the most words that
 * match, then its operands. */
#include "proxy/admin/command.h"

#include <stdlib.h>
#include <string.h>

static const char *const roles[ROLE_COUNT] = {"viewer", "operator", "admin", "app"};

const char *role_name(enum role role)
{
    return roles[role];
}

bool role_may(enum role role, enum role wanted)
{
    if (role == ROLE_APP || wanted == ROLE_APP)
        return role == wanted;
    return role >= wanted;
}

bool role_parse(struct slice name, enum role *ret_role)
{
    for (int i = 0; i < ROLE_COUNT; i++) {
        if (!slice_eq(name, slice_from(roles[i])))
            continue;
        *ret_role = (enum role)i;
        return true;
    }
    return false;
}

/* ---- numbers ---- */

bool command_number(const char *text, uint64_t most, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (*text < '0' || *text > '9' || digit > most || value > most / 10 ||
            10 * value > most - digit)
            return false;
        value = 10 * value + digit;
    }
    *ret_value = value;
    return true;
}

bool command_seconds(const char *text, uint64_t *ret_us)
{
    static const double MOST_S = 86400;
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"m", 60}, {"h", 3600}};
    char *end;
    size_t digits = strspn(text, "0123456789.");
    if (*text < '0' || *text > '9')
        return false;
    double value = strtod(text, &end);
    if (end != text + digits)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        value *= units[i].seconds;
        if (!(value >= 0 && value <= MOST_S))
            return false;
        *ret_us = (uint64_t)(value * 1e6);
        return true;
    }
    return false;
}

/* ---- options, before the verb or behind it ---- */

/* How many words it took; 0: no option, or a wrong one (then the message is not
 * empty). */
static size_t take_option(struct command *c, size_t at, struct buf *message)
{
    const char *word = c->words.items[at];
    if (strcmp(word, "--json") == 0) {
        c->is_json = true;
        return 1;
    }
    if (strcmp(word, "--ephemeral") == 0) {
        c->is_ephemeral = true;
        return 1;
    }
    static const char name[] = "--timeout";
    if (strncmp(word, name, sizeof name - 1) == 0) {
        bool is_joined = word[sizeof name - 1] == '=';
        const char *value = is_joined                 ? word + sizeof name
                            : at + 1 < c->words.count ? c->words.items[at + 1]
                                                      : "";
        if (command_seconds(value, &c->timeout_us)) {
            c->has_timeout = true;
            return is_joined ? 1 : 2;
        }
        buf_addf(message,
                 "--timeout: \"%.40s\" is not accepted; expected seconds, e.g. 5",
                 value);
    } else if (strncmp(word, "--", 2) == 0) {
        buf_addf(message,
                 "\"%.40s\" is no option; there are --json, --timeout and "
                 "--ephemeral",
                 word);
    }
    return 0;
}

/* ---- the verb ---- */

/* How many words of the row stand at `at`; 0: another verb. */
static size_t match(const struct verb *verb, const struct command *c, size_t at)
{
    const char *rest = verb->words;
    size_t count = 0;
    for (;;) {
        size_t length = strcspn(rest, " ");
        if (at + count == c->words.count)
            return 0;
        const char *word = c->words.items[at + count];
        if (strlen(word) != length || memcmp(word, rest, length) != 0)
            return 0;
        count++;
        if (rest[length] == '\0')
            return count;
        rest += length + 1;
    }
}

static void explain_verb(const struct command *c, size_t at, struct buf *message)
{
    const char *word = c->words.items[at];
    size_t length = strlen(word);
    bool is_first = true;
    for (size_t i = 0; i < verb_count; i++) {
        const char *words = verbs[i].words;
        if (strncmp(words, word, length) != 0 || words[length] != ' ')
            continue;
        if (is_first)
            buf_addf(message, "%s what? There are", word);
        buf_addf(message, "%s %s", is_first ? "" : ",", words + length + 1);
        is_first = false;
    }
    if (is_first)
        buf_addf(message, "\"%.40s\" is no verb; `help` lists them", word);
}

static bool find_verb(struct command *c, size_t *at, struct buf *message)
{
    size_t best = 0;
    for (size_t i = 0; i < verb_count; i++) {
        size_t count = match(&verbs[i], c, *at);
        if (count <= best)
            continue;
        best = count;
        c->verb = &verbs[i];
    }
    if (c->verb == NULL) {
        explain_verb(c, *at, message);
        return false;
    }
    *at += best;
    return true;
}

/* ---- operands ---- */

static bool has_key(const char *keys, const char *key, size_t length)
{
    if (strcmp(keys, "*") == 0)
        return true;
    while (*keys != '\0') {
        size_t this = strcspn(keys, " ");
        if (this == length && memcmp(keys, key, length) == 0)
            return true;
        keys += this + (keys[this] == ' ');
    }
    return false;
}

/* A word with '=' is a pair, unless the '=' is part of an endpoint or a path. */
static bool is_pair(const char *word)
{
    size_t length = strcspn(word, "=/:");
    return length > 0 && word[length] == '=';
}

static bool take_pair(struct command *c, char *word, struct buf *message)
{
    size_t length = strcspn(word, "=");
    static const char generation[] = "if-generation";
    if (length == sizeof generation - 1 && memcmp(word, generation, length) == 0) {
        if (command_number(word + length + 1, UINT64_MAX, &c->if_generation)) {
            c->has_generation = true;
            return true;
        }
        buf_addf(message, "if-generation: \"%.40s\" is no number", word + length + 1);
        return false;
    }
    if (!has_key(c->verb->keys, word, length)) {
        buf_addf(message, "%s takes no %.*s=; usage: %s %s", c->verb->words,
                 (int)length, word, c->verb->words, c->verb->arguments);
        return false;
    }
    word[length] = '\0';
    c->pairs[c->pair_count].key = word;
    c->pairs[c->pair_count++].value = word + length + 1;
    return true;
}

static bool take_operands(struct command *c, size_t at, struct buf *message)
{
    for (; at < c->words.count; at++) {
        char *word = c->words.items[at];
        if (strncmp(word, "--", 2) == 0) {
            size_t taken = take_option(c, at, message);
            if (taken == 0)
                return false;
            at += taken - 1;
        } else if (is_pair(word)) {
            if (!take_pair(c, word, message))
                return false;
        } else {
            c->operands[c->operand_count++] = word;
        }
    }
    size_t count = c->operand_count + c->pair_count;
    if (count >= c->verb->least && count <= c->verb->most)
        return true;
    buf_addf(message, "%s; usage: %s%s%s",
             count < c->verb->least ? "something is missing" : "that is too much",
             c->verb->words, *c->verb->arguments == '\0' ? "" : " ",
             c->verb->arguments);
    return false;
}

bool command_parse(struct slice line,
                   struct command *ret_command,
                   struct buf *ret_message)
{
    struct command *c = ret_command;
    *c = (struct command){.timeout_us = COMMAND_DEFAULT_TIMEOUT_S * 1000000ull};
    const char *error;
    if (!words_split(line, &c->words, &error)) {
        buf_addf(ret_message, "%s", error);
        return false;
    }
    size_t at = 0;
    while (at < c->words.count) {
        size_t taken = take_option(c, at, ret_message);
        if (taken == 0)
            break;
        at += taken;
    }
    if (buf_len(ret_message) > 0)
        return false;
    if (at == c->words.count) {
        buf_addf(ret_message, "a verb is missing; `help` lists them");
        return false;
    }
    return find_verb(c, &at, ret_message) && take_operands(c, at, ret_message);
}

void command_fini(struct command *command)
{
    words_fini(&command->words);
}

const char *command_value(const struct command *command, const char *key)
{
    for (size_t i = 0; i < command->pair_count; i++)
        if (strcmp(command->pairs[i].key, key) == 0)
            return command->pairs[i].value;
    return NULL;
}
