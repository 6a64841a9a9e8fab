/* SPDX-License-Identifier: MIT
 * A round: both lines go to every proxy that is not still being waited for; each is
 * shown when its two answers are there. A proxy that is away is asked again in the next
 * round. Keys are followed meanwhile. */
#include "deploy/banyan/top.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deploy/banyan/channel.h"
#include "deploy/banyan/identity.h"
#include "deploy/banyan/proxies.h"
#include "deploy/banyan/talk.h"
#include "deploy/banyan/top_screen.h"
#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "protocol/base/option.h"

enum { EXIT_USAGE = 2, PATIENCE_US = 3 * 1000 * 1000 };

static const char *const LINES_SENT[] = {"--json show pools", "--json show backends"};
enum { ASK_POOLS, ASK_BACKENDS, ASKS };

struct top_options {
    struct option_list proxy;
    const char *key, *proxy_key;
    double interval_s;
    const char *sort;
    bool once, help;
};

#define ROW(field) offsetof(struct top_options, field)
/* clang-format off */
static const struct option_row ROWS[] = {
    {"proxy", 0, OPTION_LIST, ROW(proxy), "ADDRESS", NULL, 0, 0, "Options",
     "control endpoint of a proxy; repeatable; default: as for every verb"},
    {"key", 0, OPTION_TEXT, ROW(key), "FILE", NULL, 0, 0, NULL,
     "your key pair, for proxies on tcp:// that demand keys (banyan keygen)"},
    {"proxy-key", 0, OPTION_TEXT, ROW(proxy_key), "KEY", NULL, 0, 0, NULL,
     "with --key: the proxy's public key, or a file with it"},
    {"interval", 'd', OPTION_SECONDS, ROW(interval_s), "SECONDS", "1", 0.1, 3600, NULL,
     "from one look to the next"},
    {"sort", 's', OPTION_TEXT, ROW(sort), "COLUMN", "BACKEND", 0, 0, NULL,
     "order of the app servers: the head of a column; of numbers the largest is first"},
    {"once", 0, OPTION_FLAG, ROW(once), NULL, NULL, 0, 0, NULL,
     "look twice, print, exit; so it does without a terminal"},
    {"help", 'h', OPTION_FLAG, ROW(help), NULL, NULL, 0, 0, NULL, "this text"},
};
/* clang-format on */
const struct option_table top_option_table = {
    .program = "banyan top",
    .synopsis = "[OPTIONS]",
    .summary =
        "Shows the pools and app servers of running proxies, live. Keys: q quit, "
        "< > sort by, r reverse, arrows and pages scroll, space look now.",
    .rows = ROWS,
    .row_count = sizeof ROWS / sizeof ROWS[0],
};

struct asked {
    struct talk talks[ASKS];
    bool is_open; /* not settled */
    uint64_t since_us;
    unsigned rounds; /* that were settled */
};

struct top {
    struct identity identity;
    struct top_options options;
    struct proxies paths;
    struct top_proxy proxies[PROXIES_MAX];
    struct asked asked[PROXIES_MAX];
    struct top_table pools, backends;
    struct top_view view;
    uint64_t next_us; /* the next round */
};

/* ---- asking ---- */

static void begin_round(struct top *top, uint64_t now_us)
{
    for (size_t i = 0; i < top->paths.count; i++) {
        struct asked *a = &top->asked[i];
        if (a->is_open)
            continue;
        a->is_open = true;
        a->since_us = now_us;
        for (int k = 0; k < ASKS; k++)
            talk_begin(&a->talks[k], top->paths.addresses[i],
                       slice_from(LINES_SENT[k]));
    }
    top->next_us = now_us + (uint64_t)(top->options.interval_s * 1e6);
}

/* Why, in one line, without the path. */
static void lose(struct top_proxy *p, struct talk *t)
{
    buf_add(&t->complaint, slice_of("", 1));
    const char *why = buf_slice(&t->complaint).ptr;
    size_t length = strlen(p->path);
    if (strncmp(why, p->path, length) == 0 && strncmp(why + length, ": ", 2) == 0)
        why += length + 2;
    own(mem) char *line = mem_printf("%.*s", (int)strcspn(why, "\n"), why);
    top_proxy_lose(p, line);
}

/* True: it was the last answer of this proxy. */
static bool settle(struct top *top, size_t i, uint64_t now_us)
{
    struct asked *a = &top->asked[i];
    struct talk *failed = NULL;
    if (!a->is_open)
        return false;
    for (int k = 0; k < ASKS; k++) {
        struct talk *t = &a->talks[k];
        if (t->channel != NULL && now_us - a->since_us > PATIENCE_US)
            talk_give_up(t, TALK_LATE, "the proxy does not answer");
        if (t->channel != NULL)
            return false;
        if (t->code != TALK_DONE)
            failed = t;
    }
    if (failed != NULL)
        lose(&top->proxies[i], failed);
    else
        top_proxy_see(&top->proxies[i], buf_slice(&a->talks[ASK_POOLS].out),
                      buf_slice(&a->talks[ASK_BACKENDS].out), now_us);
    for (int k = 0; k < ASKS; k++)
        talk_fini(&a->talks[k]);
    a->is_open = false;
    a->rounds++;
    return true;
}

static void fill(struct top *top)
{
    static const struct top_order by_name = {1, false};
    top_table_fill(&top->pools, top->proxies, top->paths.count, by_name);
    top_table_fill(&top->backends, top->proxies, top->paths.count, top->view.order);
}

/* Waits for answers, for `input` (-1: nobody's), or for the next round. True: there is
 * something new to show; *ret_input: poll's word on `input`. */
static bool wait_for_news(struct top *top, int input, short *ret_input)
{
    struct pollfd fds[1 + ASKS * PROXIES_MAX * CHANNEL_POLLS] = {
        {.fd = input, .events = POLLIN}};
    nfds_t count = 1;
    uint64_t now_us = clock_now_us(), until_us = top->next_us;
    for (size_t i = 0; i < top->paths.count; i++) {
        struct asked *a = &top->asked[i];
        if (a->is_open && a->since_us + PATIENCE_US < until_us)
            until_us = a->since_us + PATIENCE_US;
        for (int k = 0; a->is_open && k < ASKS; k++) {
            if (a->talks[k].channel != NULL)
                count += channel_polls(a->talks[k].channel, fds + count);
        }
    }
    int wait_ms = until_us > now_us ? (int)((until_us - now_us) / 1000) + 1 : 0;
    bool is_ready = poll(fds, count, wait_ms) > 0;
    *ret_input = is_ready ? fds[0].revents : 0;
    bool is_new = false;
    for (size_t i = 0; i < top->paths.count; i++) {
        struct asked *a = &top->asked[i];
        for (int k = 0; is_ready && a->is_open && k < ASKS; k++)
            if (a->talks[k].channel != NULL)
                talk_hear(&a->talks[k]);
        is_new |= settle(top, i, clock_now_us());
    }
    return is_new;
}

/* ---- once ---- */

static void print_table(struct top_table *t)
{
    struct buf text;
    buf_init(&text, 0);
    top_table_fit(t, 0);
    top_table_head(t, &text);
    buf_add(&text, SLICE("\n"));
    for (uint32_t i = 0; i < t->count; i++) {
        top_table_line(t, i, &text);
        buf_add(&text, SLICE("\n"));
    }
    (void)fwrite(buf_slice(&text).ptr, 1, buf_len(&text), stdout);
    buf_fini(&text);
}

/* As a verb exits. */
static int print_once(struct top *top)
{
    size_t seen = 0, rounds = 0;
    short input;
    while (rounds < 2) {
        if (clock_now_us() >= top->next_us)
            begin_round(top, clock_now_us());
        (void)wait_for_news(top, -1, &input);
        rounds = top->asked[0].rounds;
        for (size_t i = 1; i < top->paths.count; i++)
            rounds = top->asked[i].rounds < rounds ? top->asked[i].rounds : rounds;
    }
    fill(top);
    print_table(&top->pools);
    (void)printf("\n");
    print_table(&top->backends);
    (void)fflush(stdout);
    for (size_t i = 0; i < top->paths.count; i++) {
        const struct top_proxy *p = &top->proxies[i];
        seen += p->complaint == NULL;
        if (p->complaint != NULL)
            (void)fprintf(stderr, "%s: %s\n", p->path, p->complaint);
    }
    return seen == top->paths.count ? TALK_DONE
           : seen == 0              ? TALK_UNREACHABLE
                                    : TALK_PARTLY;
}

/* ---- live ---- */

static void show(struct top *top)
{
    fill(top);
    top_screen_draw(&top->view);
}

/* False: it is over. */
static bool follow_keys(struct top *top)
{
    enum top_key key;
    bool is_changed = false;
    while ((key = top_screen_key(&top->view)) != TOP_KEY_NONE) {
        if (key == TOP_KEY_QUIT)
            return false;
        if (key == TOP_KEY_REFRESH)
            top->next_us = 0;
        is_changed = true;
    }
    if (is_changed)
        show(top);
    return true;
}

static int show_live(struct top *top)
{
    if (!top_screen_open()) {
        const char *type = getenv("TERM");
        (void)fprintf(
            stderr,
            "banyan top: the terminal type \"%s\" is unknown; set TERM, or use "
            "--once\n",
            type == NULL ? "" : type);
        return TALK_REFUSED;
    }
    short input = 0;
    show(top);
    while ((input & (POLLHUP | POLLERR | POLLNVAL)) == 0 && follow_keys(top)) {
        if (clock_now_us() >= top->next_us)
            begin_round(top, clock_now_us());
        if (wait_for_news(top, STDIN_FILENO, &input))
            show(top);
    }
    top_screen_close();
    return TALK_DONE;
}

/* ---- the command ---- */

static int fail(struct buf *message, int code)
{
    (void)fprintf(stderr, "banyan top: %.*s\n", SLICE_FMT(buf_slice(message)));
    return code;
}

/* -1: go on. */
static int read_options(struct top *top, int argc, char **argv, struct buf *message)
{
    struct top_options *o = &top->options;
    int rest;
    if (option_parse(&top_option_table, argc, argv, o, &rest, message) != ERR_NONE)
        return fail(message, EXIT_USAGE);
    if (o->help) {
        option_help(&top_option_table, stdout);
        return 0;
    }
    unsigned column = top_column_find(TOP_BACKENDS, o->sort);
    if (rest < argc)
        buf_addf(message, "\"%s\" is no option; see banyan top --help", argv[rest]);
    else if (column == TOP_MAX_COLUMNS)
        buf_addf(message, "--sort: no column is called \"%s\"", o->sort);
    if (buf_len(message) > 0)
        return fail(message, EXIT_USAGE);
    top->view.order =
        (struct top_order){column, top_column_is_number(TOP_BACKENDS, column)};
    for (size_t i = 0; i < o->proxy.count; i++) {
        if (proxies_add(&top->paths, o->proxy.items[i]))
            continue;
        buf_addf(message, "--proxy: there are too many");
        return fail(message, EXIT_USAGE);
    }
    if (!proxies_find(&top->paths, message))
        return fail(message, TALK_UNREACHABLE);
    bool is_good =
        identity_take(&top->identity, &top->paths, o->key, o->proxy_key, message);
    return is_good ? -1 : fail(message, TALK_REFUSED);
}

static void free_all(struct top *top)
{
    for (size_t i = 0; i < top->paths.count; i++) {
        for (int k = 0; top->asked[i].is_open && k < ASKS; k++)
            talk_fini(&top->asked[i].talks[k]);
        top_proxy_fini(&top->proxies[i]);
    }
    top_table_fini(&top->pools);
    top_table_fini(&top->backends);
    proxies_fini(&top->paths);
    channel_end();
    identity_wipe(&top->identity);
}

int top_main(int argc, char **argv)
{
    static struct top top;
    struct buf message;
    buf_init(&message, 0);
    proxies_init(&top.paths);
    top_table_init(&top.pools, TOP_POOLS);
    top_table_init(&top.backends, TOP_BACKENDS);
    int code = read_options(&top, argc, argv, &message);
    buf_fini(&message);
    if (code < 0) {
        for (size_t i = 0; i < top.paths.count; i++)
            top.proxies[i].path = top.paths.addresses[i];
        top.view.proxies = top.proxies;
        top.view.proxy_count = top.paths.count;
        top.view.pools = &top.pools;
        top.view.backends = &top.backends;
        top.view.interval_s = top.options.interval_s;
        bool is_live =
            !top.options.once && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
        code = is_live ? show_live(&top) : print_once(&top);
    }
    free_all(&top);
    return code;
}
