/* SPDX-License-Identifier: MIT
 * One line to each proxy, all at once; what they answer, each under its heading. */
#include "deploy/banyan/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deploy/banyan/channel.h"
#include "deploy/banyan/identity.h"
#include "deploy/banyan/proxies.h"
#include "deploy/banyan/talk.h"
#include "protocol/base/words.h"

enum {
    HEAR_S = 5,  /* a proxy that lives has said "+" by then */
    GRACE_S = 5, /* beyond --timeout, which is the proxy's to keep */
};

struct admin_call {
    struct proxies proxies;
    struct talk talks[PROXIES_MAX];
    struct identity identity;
    const char *key, *proxy_key; /* NULL: not given */
    struct buf line;             /* what is sent */
    bool is_json;
    uint64_t timeout_us; /* 0: none given */
};

static bool read_words(struct admin_call *call, int argc, char **argv);
static int print_all(struct admin_call *call);

/* On standard error, if there is something to say. */
static void complain(struct buf *message)
{
    if (buf_len(message) > 0)
        (void)fprintf(stderr, "banyan: %.*s\n", SLICE_FMT(buf_slice(message)));
    buf_clear(message);
}

/* TALK_DONE: it can be said. */
static int prepare(struct admin_call *call, int argc, char **argv, struct buf *message)
{
    if (!read_words(call, argc, argv)) {
        buf_addf(message, "--proxy, --key, --proxy-key: what follows is missing, or "
                          "there are too many");
        return TALK_REFUSED;
    }
    if (!proxies_find(&call->proxies, message)) {
        complain(message);
        if (call->is_json)
            (void)printf("{\"code\":%d,\"text\":\"no proxy\"}\n", TALK_UNREACHABLE);
        return TALK_UNREACHABLE;
    }
    return identity_take(&call->identity, &call->proxies, call->key, call->proxy_key,
                         message)
               ? TALK_DONE
               : TALK_REFUSED;
}

static int talk_to_all(struct admin_call *call)
{
    size_t count = call->proxies.count;
    for (size_t i = 0; i < count; i++) {
        talk_begin(&call->talks[i], call->proxies.addresses[i], buf_slice(&call->line));
        call->talks[i].is_streaming = count == 1;
    }
    uint64_t patience_us =
        call->timeout_us == 0 ? 0 : call->timeout_us + GRACE_S * 1000000ull;
    talks_listen(call->talks, count, HEAR_S * 1000000ull, patience_us);
    channel_end();
    int code = print_all(call);
    for (size_t i = 0; i < count; i++)
        talk_fini(&call->talks[i]);
    return code;
}

int admin_main(int argc, char **argv)
{
    static struct admin_call call;
    struct buf message;
    proxies_init(&call.proxies);
    buf_init(&call.line, 0);
    buf_init(&message, 0);
    int code = prepare(&call, argc, argv, &message);
    complain(&message);
    if (code == TALK_DONE)
        code = talk_to_all(&call);
    identity_wipe(&call.identity);
    proxies_fini(&call.proxies);
    buf_fini(&call.line);
    buf_fini(&message);
    return code;
}

/* ---- words ---- */

/* What follows `name`, as the next word or behind a '='; NULL: this is another word. A
 * missing one is "". */
static const char *value_of(const char *name, int argc, char **argv, int *at)
{
    size_t length = strlen(name);
    if (strncmp(argv[*at], name, length) != 0)
        return NULL;
    if (argv[*at][length] == '=')
        return argv[*at] + length + 1;
    if (argv[*at][length] != '\0')
        return NULL;
    return *at + 1 < argc ? argv[++*at] : "";
}

/* Ours, not the proxy's. False: it is another word. */
static bool
read_own(struct admin_call *call, int argc, char **argv, int *at, bool *ret_good)
{
    const char *proxy = value_of("--proxy", argc, argv, at), *value = proxy;
    if (proxy != NULL)
        *ret_good = proxies_add(&call->proxies, proxy);
    else if ((value = value_of("--key", argc, argv, at)) != NULL)
        call->key = value;
    else if ((value = value_of("--proxy-key", argc, argv, at)) != NULL)
        call->proxy_key = value;
    else
        return false;
    *ret_good = *ret_good && value[0] != '\0';
    return true;
}

/* --json and --timeout are looked at and passed on. */
static bool read_words(struct admin_call *call, int argc, char **argv)
{
    static const char timeout[] = "--timeout=";
    bool is_good = true;
    for (int i = 1; i < argc && is_good; i++) {
        const char *word = argv[i];
        const char *seconds = NULL;
        if (read_own(call, argc, argv, &i, &is_good))
            continue;
        if (strcmp(word, "--json") == 0)
            call->is_json = true;
        else if (strcmp(word, "--timeout") == 0 && i + 1 < argc)
            seconds = argv[i + 1];
        else if (strncmp(word, timeout, sizeof timeout - 1) == 0)
            seconds = word + sizeof timeout - 1;
        if (seconds != NULL && strtod(seconds, NULL) > 0)
            call->timeout_us = (uint64_t)(strtod(seconds, NULL) * 1e6);
        if (buf_len(&call->line) > 0)
            buf_add(&call->line, SLICE(" "));
        words_quote(&call->line, word);
    }
    return is_good;
}

/* ---- the answer ---- */

static struct slice without_end(const struct buf *b)
{
    struct slice s = buf_slice(b);
    return s.len > 0 ? slice_of(s.ptr, s.len - 1) : s;
}

/* Each proxy's own object is passed on as it came. */
static void print_json(const struct talk *t, bool is_first)
{
    struct slice answer = without_end(&t->out);
    (void)printf("%s{\"proxy\":\"%s\",\"code\":%d,\"answer\":%.*s}",
                 is_first ? "" : ",", t->address, t->code,
                 answer.len == 0 ? 4 : (int)answer.len,
                 answer.len == 0 ? "null" : answer.ptr);
}

static void print_text(const struct talk *t, bool is_alone)
{
    if (!is_alone)
        (void)printf("== %s\n", t->address);
    (void)printf("%.*s", SLICE_FMT(buf_slice(&t->out)));
    (void)fflush(stdout);
    struct slice complaint = buf_slice(&t->complaint);
    if (complaint.len > 0)
        (void)fprintf(stderr, "%.*s", SLICE_FMT(complaint));
}

static int print_all(struct admin_call *call)
{
    size_t count = call->proxies.count;
    bool is_list = call->is_json && count > 1;
    int code = call->talks[0].code;
    if (is_list)
        (void)printf("{\"proxies\":[");
    for (size_t i = 0; i < count; i++) {
        const struct talk *t = &call->talks[i];
        if (is_list)
            print_json(t, i == 0);
        else
            print_text(t, count == 1);
        if (is_list && buf_len(&t->complaint) > 0)
            (void)fprintf(stderr, "%.*s", SLICE_FMT(buf_slice(&t->complaint)));
        if (t->code != code)
            code = TALK_PARTLY;
    }
    if (is_list)
        (void)printf("]}\n");
    else if (call->is_json && code == TALK_UNREACHABLE)
        (void)printf("{\"code\":%d,\"text\":\"no proxy\"}\n", code);
    return fflush(stdout) == 0 ? code : TALK_REFUSED;
}
