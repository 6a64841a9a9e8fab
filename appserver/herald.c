/* SPDX-License-Identifier: MIT
 * One loop over the master's lines, the proxies' connections and the clock. To each
 * proxy one line at a time:
 *
 *     register POOL/NAME ENDPOINT lease=SECONDS     a worker is ready; again at lease/3
 *     deregister POOL/NAME                          it leaves
 *
 * and a proxy whose connection is new is told of everybody at once: it may be one that
 * knows nobody. A member belongs to the key that announced it: before ours changes, all
 * are withdrawn. Names are looked up by a thread of its own (herald_names.c), for that
 * may take longer than a lease. */
#include "appserver/herald.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "appserver/herald_names.h"
#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/base/words.h"
#include "protocol/keys.h"
#include "protocol/link.h"

enum {
    PROXIES_MAX = ADDRESSES_MAX,
    LINE_BYTES = 1024,
    NOBODY = -1,
};

enum notice_state { NOTICE_FREE, NOTICE_UP, NOTICE_SILENT, NOTICE_LEAVING };

/* A worker, as its master told. */
struct notice {
    enum notice_state state;
    char *key, *name, *endpoint;
};

/* What one proxy was told of one worker. */
struct post {
    uint64_t due_us; /* of the next line */
    bool is_there;   /* it agreed to the last one */
    bool is_gone;    /* it was told that it leaves */
    bool was_told;   /* that it refuses */
};

struct proxy {
    char address[ADDRESS_BYTES]; /* empty: this place is free */
    struct link *link;
    bool is_wanted; /* its name still has this address */
    bool is_up, was_told;
    size_t key_index;    /* of the proxies' keys, that is tried */
    uint64_t open_at_us; /* not before */
    struct buf in;
    int busy; /* the notice that an answer is awaited for, or NOBODY */
    uint64_t busy_until_us;
    struct post *posts; /* of each notice */
};

struct herald {
    const struct app_options *options;
    struct keys *keys;        /* NULL: none */
    uint64_t moving_until_us; /* our key changes then, at the latest; 0: not */
    int fd;
    struct herald_names *names;
    struct link_context *context;
    uint64_t renew_us;
    struct notice *notices;
    size_t notice_count;
    struct proxy proxies[PROXIES_MAX];
};

static void follow_master(struct herald *h);
static void follow_names(struct herald *h);
static void open_due(struct herald *h);
static void follow_proxy(struct herald *h, struct proxy *p);
static void speak(struct herald *h, struct proxy *p);
static void tell_withdrawn(struct herald *h);
static void move(struct herald *h);
static void wait_for_news(struct herald *h);

void herald_run(const struct app_options *options, struct keys *keys, int fd)
{
    static struct herald h;
    h.options = options;
    h.keys = keys;
    if (keys != NULL)
        keys_forked(keys);
    h.fd = fd;
    h.renew_us = (uint64_t)(options->lease_s * 1e6 / 3);
    h.context = link_context_new(PROXIES_MAX);
    h.names = herald_names_new(&options->registers);
    for (;;) {
        follow_master(&h);
        follow_names(&h);
        open_due(&h);
        for (size_t i = 0; i < PROXIES_MAX; i++)
            if (h.proxies[i].link != NULL)
                follow_proxy(&h, &h.proxies[i]);
        tell_withdrawn(&h);
        move(&h);
        wait_for_news(&h);
    }
}

/* ---- the master ---- */

static struct notice *find_notice(struct herald *h, const char *key)
{
    for (size_t i = 0; i < h->notice_count; i++)
        if (h->notices[i].state != NOTICE_FREE && strcmp(h->notices[i].key, key) == 0)
            return &h->notices[i];
    return NULL;
}

static size_t make_notice(struct herald *h)
{
    size_t at = 0;
    while (at < h->notice_count && h->notices[at].state != NOTICE_FREE)
        at++;
    if (at == h->notice_count) {
        h->notices = mem_realloc(h->notices, ++h->notice_count * sizeof *h->notices);
        for (size_t i = 0; i < PROXIES_MAX; i++)
            h->proxies[i].posts =
                mem_realloc(h->proxies[i].posts, h->notice_count * sizeof(struct post));
    }
    h->notices[at] = (struct notice){0};
    for (size_t i = 0; i < PROXIES_MAX; i++)
        h->proxies[i].posts[at] = (struct post){0};
    return at;
}

static void free_notice(struct notice *n)
{
    mem_free(&n->key);
    mem_free(&n->name);
    mem_free(&n->endpoint);
    n->state = NOTICE_FREE;
}

static void announce(struct herald *h, const struct words *w)
{
    struct notice *n = find_notice(h, w->items[1]);
    if (n != NULL)
        free_notice(n);
    size_t at = n != NULL ? (size_t)(n - h->notices) : make_notice(h);
    h->notices[at] = (struct notice){
        .state = NOTICE_UP,
        .key = mem_strdup(w->items[1]),
        .name = mem_strdup(w->items[2]),
        .endpoint = mem_strdup(w->items[3]),
    };
    for (size_t i = 0; i < PROXIES_MAX; i++)
        h->proxies[i].posts[at] = (struct post){0};
}

/* Connections live on with the keys that they were made with. */
static void reread(struct herald *h)
{
    struct key_pair before, now;
    struct buf report;
    buf_init(&report, 0);
    keys_own(h->keys, &before);
    bool ok = keys_reload(h->keys, &report); /* the master logs what is wrong */
    keys_own(h->keys, &now);
    if (ok && strcmp(before.public_key, now.public_key) != 0)
        h->moving_until_us = clock_now_us() + HERALD_ANSWER_S * 1000000ull;
    key_pair_wipe(&before);
    key_pair_wipe(&now);
    buf_fini(&report);
}

static void follow_line(struct herald *h, struct slice line)
{
    struct words w;
    const char *error;
    bool is_good = words_split(line, &w, &error);
    ASSERT(is_good && w.count >= 1); /* ours */
    struct notice *n = w.count < 2 ? NULL : find_notice(h, w.items[1]);
    if (strcmp(w.items[0], "reread") == 0)
        reread(h);
    else if (strcmp(w.items[0], "announce") == 0)
        announce(h, &w);
    else if (n != NULL)
        n->state = strcmp(w.items[0], "withdraw") == 0 ? NOTICE_LEAVING : NOTICE_SILENT;
    else if (strcmp(w.items[0], "withdraw") == 0)
        log_debug(NULL, "%s was never announced", w.items[1]);
    words_fini(&w);
}

static void follow_master(struct herald *h)
{
    char line[LINE_BYTES];
    ssize_t got;
    while ((got = recv(h->fd, line, sizeof line, 0)) > 0)
        follow_line(h, slice_of(line, (size_t)got));
    if (got == 0 || (errno != EAGAIN && errno != EINTR))
        _exit(0); /* it has ended */
}

/* ---- names ---- */

static void close_proxy(struct proxy *p)
{
    link_free(&p->link);
    buf_fini(&p->in);
    p->is_up = false;
    p->busy = NOBODY;
}

static enum err connect_proxy(struct herald *h, struct proxy *p)
{
    struct key_user user;
    struct key_pair own;
    if (h->keys == NULL)
        return link_connect_lines(h->context, p->address, LINK_INSECURE, &p->link);
    if (!keys_nth(h->keys, KEY_PROXY, p->key_index, &user)) {
        p->key_index = 0;
        if (!keys_nth(h->keys, KEY_PROXY, 0, &user)) {
            errno = ENOKEY;
            return ERR_SYSTEM;
        }
    }
    keys_own(h->keys, &own);
    enum err err = link_connect_secure(h->context, p->address, CARGO_LINES, &own,
                                       user.key, &p->link);
    key_pair_wipe(&own);
    return err;
}

static void open_proxy(struct herald *h, struct proxy *p)
{
    enum err err = connect_proxy(h, p);
    buf_init(&p->in, LINK_MAX_LINES);
    p->busy = NOBODY;
    if (err == ERR_NONE)
        return;
    if (!p->was_told)
        log_error(NULL, "cannot connect to %s: %s; trying on", p->address,
                  errno == ENOKEY ? "--authorized-keys has no line `proxy KEY`"
                                  : strerror(errno));
    p->was_told = true;
    p->open_at_us = clock_now_us() + HERALD_ROUND_S * 1000000ull;
}

static void open_due(struct herald *h)
{
    uint64_t now_us = clock_now_us();
    for (size_t i = 0; i < PROXIES_MAX; i++) {
        struct proxy *p = &h->proxies[i];
        if (p->address[0] != '\0' && p->link == NULL && p->open_at_us <= now_us)
            open_proxy(h, p);
    }
}

static void want(struct herald *h, const char *address)
{
    struct proxy *unused = NULL;
    for (size_t i = 0; i < PROXIES_MAX; i++) {
        struct proxy *p = &h->proxies[i];
        if (strcmp(p->address, address) == 0) {
            p->is_wanted = true;
            return;
        }
        if (p->address[0] == '\0' && unused == NULL)
            unused = p;
    }
    if (unused == NULL)
        return; /* 64 are many */
    (void)snprintf(unused->address, sizeof unused->address, "%s", address);
    unused->is_wanted = true;
    unused->was_told = false;
    unused->key_index = 0;
    unused->open_at_us = 0;
}

/* One that has lost its name is kept as long as it is there. */
static void follow_names(struct herald *h)
{
    static struct addresses found;
    if (!herald_names_take(h->names, &found))
        return;
    for (size_t i = 0; i < PROXIES_MAX; i++)
        h->proxies[i].is_wanted = false;
    for (size_t i = 0; i < found.count; i++)
        want(h, found.items[i]);
    for (size_t i = 0; i < PROXIES_MAX; i++) {
        struct proxy *p = &h->proxies[i];
        if (p->address[0] != '\0' && !p->is_wanted && !p->is_up) {
            close_proxy(p);
            p->address[0] = '\0';
        }
    }
}

/* ---- a proxy ---- */

static void begin_anew(struct herald *h, struct proxy *p)
{
    p->busy = NOBODY;
    buf_clear(&p->in);
    for (size_t i = 0; i < h->notice_count; i++)
        p->posts[i] = (struct post){0};
}

static const char *refusal_text(const struct herald *h, enum link_refusal refusal)
{
    if (refusal == REFUSAL_DENIED)
        return "it does not let this app server in: its --authorized-keys needs a line "
               "`app` with our public key";
    if (refusal == REFUSAL_MECHANISM)
        return h->keys == NULL ? "it demands keys: give --key and --authorized-keys"
                               : "it has no keys, and we have";
    return h->keys == NULL ? "it ended the handshake; perhaps it demands keys"
                           : "its key is in no line `proxy KEY` of --authorized-keys";
}

/* ZeroMQ does not try again after some refusals. A proxy cannot say which key is its
 * own before it has proved it: all are tried. */
static void on_refused(struct herald *h, struct proxy *p, enum link_refusal refusal)
{
    struct key_user user;
    bool is_other_key = h->keys != NULL && refusal == REFUSAL_BROKEN;
    close_proxy(p);
    if (is_other_key && keys_nth(h->keys, KEY_PROXY, ++p->key_index, &user))
        return;
    if (!p->was_told)
        log_warn(NULL, "no proxy at %s: %s; trying on", p->address,
                 refusal_text(h, refusal));
    p->was_told = true;
    p->key_index = is_other_key ? 0 : p->key_index;
    p->open_at_us = clock_now_us() + HERALD_ROUND_S * 1000000ull;
}

static void on_event(struct herald *h, struct proxy *p, const struct link_event *event)
{
    switch (event->kind) {
    case LINK_UP:
        p->is_up = true;
        p->was_told = false;
        begin_anew(h, p);
        break;
    case LINK_DOWN: /* ZeroMQ does not always come back by itself */
        log_warn(NULL, "lost the proxy at %s", p->address);
        close_proxy(p);
        begin_anew(h, p);
        p->open_at_us = clock_now_us() + HERALD_AGAIN_MS * 1000ull;
        break;
    case LINK_REFUSED:
        on_refused(h, p, event->refusal);
        break;
    case LINK_UNREACHABLE:
        if (!p->was_told)
            log_warn(NULL, "no proxy at %s: nobody listens there; trying on",
                     p->address);
        p->was_told = true;
        break;
    }
}

static void on_answer(struct herald *h, struct proxy *p, bool is_done, struct slice why)
{
    struct notice *n = &h->notices[p->busy];
    struct post *post = &p->posts[p->busy];
    p->busy = NOBODY;
    if (post->is_gone)
        return; /* of deregister */
    if (is_done && !post->is_there)
        log_info(NULL, "%s is registered with the proxy at %s", n->name, p->address);
    else if (!is_done && !post->was_told)
        log_warn(NULL, "the proxy at %s does not register %s: %.*s; trying on",
                 p->address, n->name, SLICE_FMT(why));
    post->is_there = is_done;
    post->was_told = !is_done;
}

/* The lines of an answer up to "=CODE". */
static void read_answer(struct herald *h, struct proxy *p)
{
    struct slice why = SLICE("");
    struct slice rest = buf_slice(&p->in);
    while (p->busy != NOBODY && rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        if (end == NULL)
            return; /* all of it again when there is more */
        struct slice line = slice_of(rest.ptr, (size_t)(end - rest.ptr));
        rest = slice_of(end + 1, rest.len - line.len - 1);
        if (line.len > 1 && line.ptr[0] == '!')
            why = slice_of(line.ptr + 1, line.len - 1);
        if (line.len == 0 || line.ptr[0] != '=')
            continue;
        on_answer(h, p, slice_eq(line, SLICE("=0")), why);
        buf_clear(&p->in);
    }
}

static void follow_proxy(struct herald *h, struct proxy *p)
{
    struct link_message m;
    struct link_event event;
    do {
        while (link_recv(p->link, &m) == STEP_DONE) {
            if (!buf_append(&p->in, m.frames))
                buf_clear(&p->in); /* no answer to us is so long */
            link_message_done(&m);
        }
        read_answer(h, p);
        while (p->link != NULL && link_next_event(p->link, &event))
            on_event(h, p, &event);
        speak(h, p);
    } while (p->link != NULL && link_has_input(p->link));
}

/* ---- what to say ---- */

/* The address that the proxy sees us at stands for "all of ours". */
static void put_endpoint(struct buf *line, const struct notice *n, const char *proxy)
{
    static const char *const any[] = {"tcp://0.0.0.0:", "tcp://[::]:"};
    char own_host[ADDRESS_BYTES];
    for (size_t i = 0; i < sizeof any / sizeof any[0]; i++) {
        size_t length = strlen(any[i]);
        if (strncmp(n->endpoint, any[i], length) != 0 ||
            !herald_own_host(proxy, own_host))
            continue;
        own(mem) char *text = mem_printf("tcp://%s:%s", own_host, n->endpoint + length);
        words_quote(line, text);
        return;
    }
    words_quote(line, n->endpoint);
}

static bool say(struct herald *h, struct proxy *p, size_t at, struct buf *line)
{
    bool is_said = link_send(p->link, 0, buf_slice(line), SLICE("")) == ERR_NONE;
    buf_clear(&p->in);
    if (is_said) {
        p->busy = (int)at;
        p->busy_until_us = clock_now_us() + HERALD_ANSWER_S * 1000000ull;
        p->posts[at].due_us = clock_now_us() + h->renew_us;
    }
    buf_fini(line);
    return is_said;
}

/* True: it said something. */
static bool say_of(struct herald *h, struct proxy *p, size_t at)
{
    const struct notice *n = &h->notices[at];
    struct post *post = &p->posts[at];
    struct buf line;
    buf_init(&line, 0);
    bool is_moving = h->moving_until_us != 0 && n->state == NOTICE_UP;
    if ((n->state == NOTICE_LEAVING || is_moving) && !post->is_gone) {
        post->is_gone = true;
        buf_addf(&line, "deregister %s", n->name);
        return say(h, p, at, &line);
    }
    if (n->state != NOTICE_UP || is_moving || post->due_us > clock_now_us())
        return false;
    buf_addf(&line, "register %s ", n->name);
    put_endpoint(&line, n, p->address);
    buf_addf(&line, " lease=%g", h->options->lease_s);
    return say(h, p, at, &line);
}

static void speak(struct herald *h, struct proxy *p)
{
    if (p->is_up && p->busy != NOBODY && clock_now_us() >= p->busy_until_us) {
        log_warn(NULL, "the proxy at %s does not answer; connecting anew", p->address);
        close_proxy(p);
        open_proxy(h, p);
        return;
    }
    for (size_t i = 0; p->is_up && p->busy == NOBODY && i < h->notice_count; i++)
        if (say_of(h, p, i))
            return;
}

/* Every proxy that could send something there has agreed not to. */
static bool is_withdrawn(const struct herald *h, size_t at)
{
    for (size_t i = 0; i < PROXIES_MAX; i++) {
        const struct proxy *p = &h->proxies[i];
        if (p->link != NULL && p->is_up &&
            (!p->posts[at].is_gone || p->busy == (int)at))
            return false;
    }
    return true;
}

static void tell_withdrawn(struct herald *h)
{
    for (size_t i = 0; i < h->notice_count; i++) {
        struct notice *n = &h->notices[i];
        if (n->state != NOTICE_LEAVING || !is_withdrawn(h, i))
            continue;
        char line[64];
        int length = snprintf(line, sizeof line, "withdrawn %s", n->key);
        (void)!send(h->fd, line, (size_t)length, MSG_NOSIGNAL);
        free_notice(n);
    }
}

/* ---- other keys ---- */

static bool has_left(const struct herald *h)
{
    for (size_t i = 0; i < h->notice_count; i++)
        if (h->notices[i].state == NOTICE_UP && !is_withdrawn(h, i))
            return false;
    return true;
}

/* When nobody is announced with the old key any more, all begins anew with ours. */
static void move(struct herald *h)
{
    if (h->moving_until_us == 0 ||
        (!has_left(h) && clock_now_us() < h->moving_until_us))
        return;
    h->moving_until_us = 0;
    for (size_t i = 0; i < PROXIES_MAX; i++) {
        struct proxy *p = &h->proxies[i];
        if (p->address[0] == '\0')
            continue;
        close_proxy(p);
        p->key_index = 0;
        p->open_at_us = 0;
        begin_anew(h, p);
    }
    open_due(h);
}

/* ---- waiting ---- */

static uint64_t next_us(const struct herald *h)
{
    uint64_t next = h->moving_until_us == 0 ? UINT64_MAX : h->moving_until_us;
    for (size_t i = 0; i < PROXIES_MAX; i++) {
        const struct proxy *p = &h->proxies[i];
        if (p->address[0] != '\0' && p->link == NULL && p->open_at_us < next)
            next = p->open_at_us;
        if (!p->is_up)
            continue;
        if (p->busy != NOBODY) {
            next = p->busy_until_us < next ? p->busy_until_us : next;
            continue;
        }
        for (size_t n = 0; n < h->notice_count; n++)
            if (h->notices[n].state == NOTICE_UP && h->moving_until_us == 0 &&
                p->posts[n].due_us < next)
                next = p->posts[n].due_us;
    }
    return next;
}

static void wait_for_news(struct herald *h)
{
    struct pollfd fds[2 + 2 * PROXIES_MAX] = {
        {.fd = h->fd, .events = POLLIN},
        {.fd = herald_names_fd(h->names), .events = POLLIN},
    };
    nfds_t count = 2;
    for (size_t i = 0; i < PROXIES_MAX; i++) {
        const struct link *link = h->proxies[i].link;
        if (link == NULL)
            continue;
        fds[count++] = (struct pollfd){.fd = link_fd(link), .events = POLLIN};
        fds[count++] = (struct pollfd){.fd = link_monitor_fd(link), .events = POLLIN};
    }
    (void)poll(fds, count, clock_poll_ms(next_us(h)));
}
