/* SPDX-License-Identifier: MIT
 * The control endpoint over tcp://: a ROUTER in the control thread's loop. A message is
 * a line; what the messages back hold, put together, is what a Unix socket would have
 * said. It has a ZeroMQ context of its own, so that nobody's handshakes take time from
 * the links to app servers.
 *
 * ZeroMQ keeps the connections; here are the peers that have said something lately. One
 * that was forgotten is met anew with its next line. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/link.h"
#include "protocol/link_refusals.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/identity.h"
#include "proxy/waker.h"

enum {
    MESSAGES_PER_CALL = 64,
    MAX_ENDPOINTS = 128, /* replaced ones for a moment, too */
    FULL_AGAIN_US = 20 * 1000,
    LOOKS_PER_IDLE_TIME = 4,
    LEAVE_US = 1000 * 1000, /* for the answers to what was said before */
    LEAVE_LOOK_US = 20 * 1000,
    CLOSED_US = 1000 * 1000, /* ZeroMQ has closed a socket by then at the latest */
    CLOSED_LOOK_US = 10 * 1000,
    CLOSED_LOOKS = 30,
};

struct remote {
    struct node node;
    struct admin *admin;
    struct link *link;
    struct waker *waker;
    enum role role; /* everybody's, without keys */
    struct link_refusals refusals;
    struct list peers;
    uint32_t app_count, operator_count;
    struct event *look; /* for idle peers */
    uint64_t leave_us;  /* no longer wanted: freed then, or before; 0: stays */
    char *endpoint;
    bool is_new, is_wanted; /* while a change is prepared */
    enum role next_role;
};

struct remote_peer {
    struct admin_client client;
    struct node node;
    struct remote *remote;
    uint32_t peer;
    uint64_t moved_us; /* it said something, or took something */
    struct event *writable;
};

static void write_peer(struct admin_client *client);
static void read_peer(struct admin_client *client);
static void flush_peer(struct admin_client *client);
static void free_peer(struct admin_client *client);
static enum waker_result on_input(void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_look(evutil_socket_t fd, short what, void *arg);

static const struct admin_carrier peer_carrier = {
    .write = write_peer,
    .read = read_peer,
    .flush = flush_peer,
    .free = free_peer,
};

static struct remote_peer *peer_of(struct admin_client *client)
{
    return NODE_OF(client, struct remote_peer, client);
}

/* ---- the endpoint ---- */

static void look_every(struct remote *r, uint64_t us)
{
    struct timeval pause = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
    if (r->look == NULL)
        r->look = event_new(r->admin->options.base, -1, EV_PERSIST, on_look, r);
    ASSERT(r->look != NULL && event_add(r->look, &pause) == 0);
}

static void watch_idle(struct remote *r)
{
    double seconds = r->admin->options.proxy->control_idle_timeout_s;
    look_every(r, (uint64_t)(seconds * 1e6) / LOOKS_PER_IDLE_TIME);
}

static bool open_context(struct admin *admin)
{
    struct keys *keys = admin->options.keys;
    if (admin->remote_context != NULL)
        return true;
    admin->remote_context = link_context_new(MAX_ENDPOINTS);
    return keys == NULL || link_context_use_keys(admin->remote_context, keys, -1,
                                                 &identity_events) == ERR_NONE;
}

static enum err bind_remote(struct remote *r)
{
    struct admin *admin = r->admin;
    struct link_context *context = admin->remote_context;
    enum link_policy policy =
        admin->options.proxy->insecure ? LINK_INSECURE : LINK_LOCAL_ONLY;
    if (admin->options.keys != NULL)
        return link_bind_secure(context, r->endpoint, ZAP_CONTROL, &r->link);
    return link_bind_lines(context, r->endpoint, policy, &r->link);
}

/* Where one of ours was a moment ago: ZeroMQ closes in a thread of its own. */
static enum err bind_again(struct remote *r)
{
    enum err err = bind_remote(r);
    for (int i = 0; i < CLOSED_LOOKS && err != ERR_NONE && errno == EADDRINUSE &&
                    clock_now_us() < r->admin->remote_closed_us + CLOSED_US;
         i++) {
        (void)usleep(CLOSED_LOOK_US);
        err = bind_remote(r);
    }
    return err;
}

static bool listen_remotely(struct admin *admin,
                            const char *endpoint,
                            enum role role,
                            struct buf *ret_message)
{
    struct remote *r = mem_zalloc(sizeof *r);
    r->admin = admin;
    r->role = r->next_role = role;
    r->endpoint = mem_strdup(endpoint);
    r->is_new = r->is_wanted = true;
    link_refusals_init(&r->refusals);
    list_init(&r->peers);
    list_push_back(&admin->remotes, &r->node);
    if (!open_context(admin) || bind_again(r) != ERR_NONE) {
        buf_addf(ret_message, "--control: cannot listen on %s: %s%s", endpoint,
                 strerror(errno),
                 errno == EADDRINUSE
                     ? "; stop the program that listens there, or name another port"
                     : "; name an address of this machine, or 0.0.0.0 for all");
        return false;
    }
    r->waker = waker_new(admin->options.base, r->link, on_input, r);
    watch_idle(r);
    log_info(NULL, "control endpoint %s (%s)", endpoint,
             admin->options.keys != NULL ? "with keys" : role_name(role));
    return true;
}

static void free_remote(struct remote **remote_p)
{
    struct remote *r = take(*remote_p);
    node_leave(&r->node);
    LIST_FOREACH(&r->peers, n) {
        struct admin_client *client = &NODE_OF(n, struct remote_peer, node)->client;
        admin_client_free(&client);
    }
    waker_free(&r->waker);
    if (r->look != NULL)
        event_free(r->look);
    if (r->link != NULL)
        r->admin->remote_closed_us = clock_now_us();
    link_free(&r->link);
    mem_free(&r->endpoint);
    mem_free(&r);
}

static struct remote *find_remote(struct admin *admin, const char *endpoint)
{
    LIST_FOREACH(&admin->remotes, n) {
        struct remote *r = NODE_OF(n, struct remote, node);
        if (strcmp(r->endpoint, endpoint) == 0)
            return r;
    }
    return NULL;
}

bool remote_prepare(struct admin *admin,
                    const struct proxy_options *options,
                    struct buf *ret_message)
{
    LIST_FOREACH(&admin->remotes, n)
        NODE_OF(n, struct remote, node)->is_wanted = false;
    for (size_t i = 0; i < options->control.count; i++) {
        struct proxy_control control;
        enum role role = ROLE_ADMIN;
        bool is_good = proxy_control_parse(options->control.items[i], &control) &&
                       (control.role.len == 0 || role_parse(control.role, &role));
        ASSERT(is_good); /* proxy_options_check */
        if (!control.is_remote)
            continue;
        struct remote *r = find_remote(admin, control.address);
        if (r != NULL) {
            r->is_wanted = true;
            r->next_role = role;
        } else if (!listen_remotely(admin, control.address, role, ret_message)) {
            remote_rollback(admin);
            return false;
        }
    }
    return true;
}

void remote_rollback(struct admin *admin)
{
    LIST_FOREACH(&admin->remotes, n) {
        struct remote *r = NODE_OF(n, struct remote, node);
        if (r->is_new)
            free_remote(&r);
    }
}

/* The line that is followed right now may have come from there: it ends later. */
static void begin_to_leave(struct remote *r)
{
    if (r->leave_us != 0)
        return;
    log_info(NULL, "no control endpoint %s any more", r->endpoint);
    r->leave_us = clock_now_us() + LEAVE_US;
    look_every(r, LEAVE_LOOK_US);
}

static void stay(struct remote *r)
{
    if (r->leave_us != 0)
        watch_idle(r);
    r->leave_us = 0;
}

void remote_commit(struct admin *admin)
{
    LIST_FOREACH(&admin->remotes, n) {
        struct remote *r = NODE_OF(n, struct remote, node);
        r->is_new = false;
        r->role = r->next_role;
        if (r->is_wanted)
            stay(r);
        else
            begin_to_leave(r);
    }
}

void remote_leave(struct admin *admin)
{
    LIST_FOREACH(&admin->remotes, n) {
        struct remote *r = NODE_OF(n, struct remote, node);
        LIST_FOREACH(&r->peers, peer)
            flush_peer(&NODE_OF(peer, struct remote_peer, node)->client);
        free_remote(&r);
    }
}

void remote_free_all(struct admin *admin)
{
    for (struct node *n = list_pop_front(&admin->remotes); n != NULL;
         n = list_pop_front(&admin->remotes)) {
        struct remote *r = NODE_OF(n, struct remote, node);
        free_remote(&r);
    }
    link_context_free(&admin->remote_context);
}

uint32_t remote_peer_count(const struct admin *admin)
{
    uint32_t count = 0;
    LIST_FOREACH(&admin->remotes, n) {
        const struct remote *r = NODE_OF(n, struct remote, node);
        count += r->app_count + r->operator_count;
    }
    return count;
}

/* ---- peers ---- */

static uint32_t *count_of(struct remote *r, enum role role)
{
    return role == ROLE_APP ? &r->app_count : &r->operator_count;
}

/* Those of the one kind never take the places of the other. */
static bool is_full(struct remote *r, enum role role)
{
    return *count_of(r, role) ==
           (role == ROLE_APP ? ADMIN_MAX_APPS : ADMIN_MAX_CLIENTS);
}

static struct remote_peer *find_peer(struct remote *r, uint32_t peer)
{
    LIST_FOREACH(&r->peers, n) {
        struct remote_peer *p = NODE_OF(n, struct remote_peer, node);
        if (p->peer == peer)
            return p;
    }
    return NULL;
}

static enum role role_of(enum key_role role)
{
    static const enum role roles[KEY_ROLE_COUNT] = {[KEY_APP] = ROLE_APP,
                                                    [KEY_VIEWER] = ROLE_VIEWER,
                                                    [KEY_OPERATOR] = ROLE_OPERATOR,
                                                    [KEY_ADMIN] = ROLE_ADMIN};
    ASSERT(zap_domain_admits(ZAP_CONTROL, role));
    return roles[role];
}

/* "NAME ADDRESS", by its key, or "tcp ADDRESS". */
static void
name_peer(struct remote_peer *p, const struct key_user *user, struct link_message *m)
{
    struct admin_client *client = &p->client;
    const char *address = link_message_address(m);
    int room = (int)(sizeof client->who - sizeof "2001:db8:1234:1234:1234:1234:1234:1");
    (void)snprintf(client->who, sizeof client->who, "%.*s %s", room,
                   user == NULL ? "tcp" : user->name,
                   address == NULL ? "unknown" : address);
    if (user != NULL)
        memcpy(client->key, user->key, sizeof client->key);
}

/* NULL: there are too many, and it was told so. */
static struct remote_peer *meet(struct remote *r, struct link_message *m)
{
    static const char full[] = "+\n!too many peers of this control endpoint\n=1\n";
    const struct key_user *user = link_peer_user(r->link, m->peer);
    enum role role = user == NULL ? r->role : role_of(user->role);
    ASSERT(user != NULL || r->admin->options.keys == NULL);
    if (is_full(r, role)) {
        (void)!link_send(r->link, m->peer, slice_from(full), SLICE(""));
        return NULL;
    }
    struct remote_peer *p = mem_zalloc(sizeof *p);
    admin_client_init(&p->client, r->admin, &peer_carrier);
    p->client.role = role;
    name_peer(p, user, m);
    p->remote = r;
    p->peer = m->peer;
    p->writable = event_new(r->admin->options.base, -1, EV_WRITE, on_writable, p);
    ASSERT(p->writable != NULL);
    list_push_back(&r->peers, &p->node);
    ++*count_of(r, role);
    return p;
}

static void free_peer(struct admin_client *client)
{
    struct remote_peer *p = peer_of(client);
    node_leave(&p->node);
    --*count_of(p->remote, client->role);
    event_free(p->writable);
    mem_free(&p);
}

static void drop(struct remote *r, uint32_t peer)
{
    struct remote_peer *p = find_peer(r, peer);
    if (p == NULL)
        return;
    struct admin_client *client = &p->client;
    admin_client_free(&client);
}

static bool has_to_answer(struct remote *r)
{
    LIST_FOREACH(&r->peers, n) {
        const struct admin_client *client =
            &NODE_OF(n, struct remote_peer, node)->client;
        if (client->operation != NULL || buf_len(&client->out) > 0)
            return true;
    }
    return false;
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    struct remote *r = arg;
    double seconds = r->admin->options.proxy->control_idle_timeout_s;
    uint64_t now_us = clock_now_us(), most_us = (uint64_t)(seconds * 1e6);
    (void)fd;
    (void)what;
    if (r->leave_us != 0 && (now_us >= r->leave_us || !has_to_answer(r))) {
        free_remote(&r);
        return;
    }
    LIST_FOREACH(&r->peers, n) {
        struct remote_peer *p = NODE_OF(n, struct remote_peer, node);
        struct admin_client *client = &p->client;
        bool is_stuck = buf_len(&client->out) > 0;
        if (now_us - p->moved_us >= most_us && (client->operation == NULL || is_stuck))
            admin_client_free(&client);
    }
}

/* ---- input ---- */

static void take_line(struct remote_peer *p, const struct link_message *m)
{
    struct admin_client *client = &p->client;
    if (client->is_ending)
        return;
    if (m->bulk.len > 0 || memchr(m->frames.ptr, '\n', m->frames.len) != NULL) {
        admin_client_refuse(client, "a message is one line");
    } else if (m->frames.len >= ADMIN_MAX_LINE) {
        admin_client_refuse(client, "this line is too long");
    } else if (!buf_append(&client->in, m->frames) ||
               !buf_append(&client->in, SLICE("\n"))) {
        admin_client_refuse(client, "too many lines wait; hear the answers first");
    } else {
        admin_client_follow(client);
    }
}

static void on_message(struct remote *r, struct link_message *m)
{
    struct remote_peer *p = find_peer(r, m->peer);
    if (p == NULL)
        p = meet(r, m);
    if (p == NULL)
        return;
    p->moved_us = clock_now_us();
    take_line(p, m);
}

static void say_refusal(struct remote *r, const struct link_event *event)
{
    bool has_keys = r->admin->options.keys != NULL;
    const char *text =
        link_refusals_note(&r->refusals, event, has_keys, clock_now_us());
    if (text != NULL)
        log_warn(NULL, "refused a connection from %s to %s: %s",
                 link_refusals_address(event), r->endpoint, text);
}

static void on_events(struct remote *r)
{
    struct link_event event;
    while (link_next_event(r->link, &event)) {
        if (event.kind == LINK_DOWN)
            drop(r, event.peer);
        else if (event.kind == LINK_REFUSED)
            say_refusal(r, &event);
    }
}

static enum waker_result on_input(void *arg)
{
    struct remote *r = arg;
    struct link_message m;
    for (unsigned i = 0; i < MESSAGES_PER_CALL; i++) {
        enum step step = link_recv(r->link, &m);
        if (step == STEP_MORE) {
            on_events(r);
            return i == 0 ? WAKER_DRAINED : WAKER_INPUT_LEFT;
        }
        if (step == STEP_DONE)
            on_message(r, &m);
        else
            drop(r, m.peer);
        link_message_done(&m);
    }
    on_events(r);
    return WAKER_INPUT_LEFT;
}

static void read_peer(struct admin_client *client)
{
    (void)client; /* its lines come whether there is room or not */
}

/* ---- output ---- */

static void write_peer(struct admin_client *client)
{
    event_active(peer_of(client)->writable, EV_WRITE, 0);
}

/* As much as the link takes. */
static enum err send_pieces(struct remote_peer *p)
{
    struct buf *out = &p->client.out;
    while (buf_len(out) > 0) {
        struct slice piece = buf_slice(out);
        if (piece.len > LINK_MAX_LINES)
            piece.len = LINK_MAX_LINES;
        enum err err = link_send(p->remote->link, p->peer, piece, SLICE(""));
        if (err != ERR_NONE)
            return err;
        buf_consume(out, piece.len);
        p->moved_us = clock_now_us();
    }
    return ERR_NONE;
}

static void flush_peer(struct admin_client *client)
{
    (void)!send_pieces(peer_of(client));
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval pause = {0, FULL_AGAIN_US};
    struct remote_peer *p = arg;
    struct admin_client *client = &p->client;
    struct remote *r = p->remote;
    (void)fd;
    (void)what;
    enum err err = send_pieces(p);
    if (err == ERR_NONE)
        admin_client_written(client);
    else if (err == ERR_LINK_FULL && buf_len(&client->out) < ADMIN_MAX_OUTPUT)
        (void)event_add(p->writable, &pause);
    else
        admin_client_free(&client);
    (void)waker_recheck(r->waker); /* what was sent may have used up the edge */
}

void admin_keys_changed(struct admin *admin)
{
    if (admin->remote_context != NULL)
        link_context_keys_changed(admin->remote_context);
}
