/* SPDX-License-Identifier: MIT
 * deploy/banyan/completion_words.c: what may follow, by a small table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "deploy/banyan/completion_words.h"
#include "protocol/base/buf.h"

static const struct completion_row ROWS[] = {
    {"ping", "", "is it there?"},
    {"help", "[VERB]", "what can be said"},
    {"show pools", "", "pools"},
    {"show backends", "[POOL|[POOL/]NAME]", "app servers"},
    {"show config", "[KEY]", "options"},
    {"show events", "[-w]", "events"},
    {"add", "NAME ENDPOINT [weight=N] [limit=N]", "one more"},
    {"drain", "[POOL/]NAME [wait]", "no new ones"},
    {"remove", "NAME [drain=30s] [force]", "forget it"},
    {"kill-request", "ID", "end it"},
    {"kill-client", "ID", "cut it off"},
    {"health", "NAME auto|up|down", "as you say"},
    {"weight", "NAME N|N%", "its share"},
    {"pause", "[POOL] [max-pause=30s]", "hold"},
    {"set", "KEY=VALUE ...", "change"},
    {"wait", "drained NAME | ready N [POOL]", "until"},
    {"stats", "", "counters"},
    {"stats reset", "", "from 0"},
    {"check", "[FILE]", "is it good?"},
};

static void on_word(void *owner, struct slice text, const char *help)
{
    struct buf *out = owner;
    assert_non_null(help);
    struct slice said = buf_slice(out);
    if (said.len == 0 || memmem(said.ptr, said.len, text.ptr, text.len) == NULL)
        buf_addf(out, " %.*s", SLICE_FMT(text));
}

static void on_kind(void *owner, enum completion_kind kind)
{
    static const char *const names[] = {"BACKENDS", "POOLS",    "REQUESTS", "CLIENTS",
                                        "KEYS",     "SETTINGS", "FILES"};
    buf_addf(owner, " %s", names[kind]);
}

static void says_what_may_follow(void **state)
{
    (void)state;
    static const struct {
        const char *line, *want;
    } rows[] = {
        {"", " ping help show add drain remove kill-request kill-client health weight "
             "pause set wait stats check"},
        {"ping", ""},
        {"show", " pools backends config events"},
        {"help", " ping help show add drain remove kill-request kill-client health "
                 "weight pause set wait stats check"},
        {"help show", " pools backends config events"},
        {"help ping", ""},
        {"show pools", ""},
        {"show backends", " POOLS BACKENDS"},
        {"show backends a", ""},
        {"show config", " KEYS"},
        {"show events", " -w"},
        {"show events -w", ""},
        {"sing", ""},
        {"add", " BACKENDS"},
        {"add a", ""},
        {"add a tcp://h:1", " weight= limit="},
        {"add a tcp://h:1 weight=3", " limit="},
        {"add a tcp://h:1?x=y limit=3", " weight="},
        {"drain", " BACKENDS"},
        {"drain a", " wait"},
        {"drain a wait", ""},
        {"drain a now", ""},
        {"remove a", " force drain="},
        {"remove a drain=3s", " force"},
        {"remove a force", " drain="},
        {"kill-request", " REQUESTS"},
        {"kill-client", " CLIENTS"},
        {"health", " BACKENDS"},
        {"health a", " auto up down"},
        {"health a up", ""},
        {"weight a", ""},
        {"pause", " POOLS max-pause="},
        {"pause web", " max-pause="},
        {"pause max-pause=3s", " POOLS"},
        {"set", " SETTINGS"},
        {"set max-queue=3", " SETTINGS"},
        {"wait", " drained ready"},
        {"wait drained", " BACKENDS"},
        {"wait ready", ""},
        {"wait ready 3", " POOLS"},
        {"wait ready 3 web", ""},
        {"stats", " reset"},
        {"stats reset", ""},
        {"check", " FILES"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf out;
        struct slice words[8];
        size_t count = 0;
        buf_init(&out, 0);
        const struct completion_sink sink = {&out, on_word, on_kind};
        for (const char *at = rows[i].line; *at != '\0';) {
            size_t length = strcspn(at, " ");
            words[count++] = slice_of(at, length);
            at += length + (at[length] == ' ');
        }
        completion_find(ROWS, sizeof ROWS / sizeof ROWS[0], words, count, &sink);
        buf_add(&out, slice_of("", 1));
        if (strcmp(buf_slice(&out).ptr, rows[i].want) != 0)
            fail_msg("after \"%s\":%s, not%s", rows[i].line, buf_slice(&out).ptr,
                     rows[i].want);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_may_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
