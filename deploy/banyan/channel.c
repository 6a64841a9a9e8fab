/* SPDX-License-Identifier: MIT
 * Both ways carry the same lines. ZeroMQ is woken up only for tcp://. */
#include "deploy/banyan/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deploy/banyan/identity.h"
#include "deploy/banyan/proxies.h"
#include "protocol/base/mem.h"
#include "protocol/link.h"

enum { READ_BYTES = 64 * 1024 };

struct channel {
    int fd;            /* -1: it is a link */
    struct link *link; /* NULL: it is a socket */
    struct buf line;   /* to be sent when the link is up */
    const char *end;   /* why it is over; NULL: it is not */
    char *endpoint;    /* of a link */
    size_t key_index;  /* of the identity's proxies, that is tried */
};

static struct link_context *context;    /* of all links; NULL: there are none */
static const struct identity *identity; /* NULL: without keys */

static bool open_socket(struct channel *c, const char *path, const char **why)
{
    c->fd = proxies_connect(path);
    if (c->fd < 0) {
        *why = strerror(errno);
        return false;
    }
    /* A line is short: the socket takes it at once. */
    buf_add(&c->line, SLICE("\n"));
    struct slice line = buf_slice(&c->line);
    if (send(c->fd, line.ptr, line.len, MSG_NOSIGNAL) == (ssize_t)line.len)
        return true;
    *why = "cannot send";
    return false;
}

void channel_use(const struct identity *with)
{
    identity = with->is_there ? with : NULL;
}

static enum err connect_link(struct channel *c)
{
    if (identity == NULL)
        return link_connect_lines(context, c->endpoint, LINK_INSECURE, &c->link);
    return link_connect_secure(context, c->endpoint, CARGO_LINES, &identity->own,
                               identity->proxies[c->key_index], &c->link);
}

static bool open_link(struct channel *c, const char *endpoint, const char **why)
{
    if (context == NULL)
        context = link_context_new(2 * PROXIES_MAX); /* a next one beside it */
    c->endpoint = mem_strdup(endpoint);
    enum err err = connect_link(c);
    if (err == ERR_NONE)
        return true;
    *why = err == ERR_SYSTEM ? strerror(errno)
                             : "this is no address; expected tcp://HOST:PORT";
    return false;
}

struct channel *
channel_open(const char *address, struct slice line, const char **ret_why)
{
    struct channel *c = mem_zalloc(sizeof *c);
    c->fd = -1;
    buf_init(&c->line, 0);
    buf_add(&c->line, line);
    bool is_open = proxies_is_remote(address) ? open_link(c, address, ret_why)
                                              : open_socket(c, address, ret_why);
    if (!is_open)
        channel_free(&c);
    return c;
}

void channel_free(struct channel **channel_p)
{
    struct channel *c = take(*channel_p);
    if (c == NULL)
        return;
    if (c->fd >= 0)
        (void)close(c->fd);
    link_free(&c->link);
    mem_free(&c->endpoint);
    buf_fini(&c->line);
    mem_free(&c);
}

void channel_end(void)
{
    link_context_free(&context);
    identity = NULL;
}

size_t channel_polls(const struct channel *c, struct pollfd *ret_polls)
{
    if (c->link == NULL) {
        ret_polls[0] = (struct pollfd){.fd = c->fd, .events = POLLIN};
        return 1;
    }
    ret_polls[0] = (struct pollfd){.fd = link_fd(c->link), .events = POLLIN};
    ret_polls[1] = (struct pollfd){.fd = link_monitor_fd(c->link), .events = POLLIN};
    return 2;
}

/* ---- a socket ---- */

static enum step read_socket(struct channel *c, struct buf *to, const char **why)
{
    ASSERT(buf_reserve(to, READ_BYTES));
    ssize_t got = recv(c->fd, buf_tail(to), buf_room(to), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return STEP_MORE;
    if (got <= 0) {
        *why = "the proxy ended the connection";
        return STEP_BAD;
    }
    buf_commit(to, (size_t)got);
    return STEP_DONE;
}

/* ---- a link ---- */

static bool read_messages(struct channel *c, struct buf *to)
{
    struct link_message m;
    bool has_some = false;
    while (link_recv(c->link, &m) == STEP_DONE) {
        buf_add(to, m.frames);
        link_message_done(&m);
        has_some = true;
    }
    return has_some;
}

/* A proxy cannot say which key is its own before it has proved it. */
static const char *on_refused(struct channel *c, enum link_refusal refusal)
{
    if (refusal == REFUSAL_DENIED)
        return "the proxy does not know this key; a line `operator PUBLIC-KEY` of its "
               "--authorized-keys lets it in";
    if (refusal == REFUSAL_MECHANISM)
        return identity == NULL ? "the proxy demands keys: --key FILE --proxy-key KEY"
                                : "the proxy has no keys; without --key it may answer";
    if (identity == NULL)
        return "the proxy ended the handshake; perhaps it demands keys: --key FILE "
               "--proxy-key KEY";
    if (++c->key_index == identity->count)
        return "the proxy ended the handshake: its key is not --proxy-key, or it has "
               "none";
    link_free(&c->link);
    return connect_link(c) == ERR_NONE ? NULL : strerror(errno);
}

static const char *follow_event(struct channel *c, const struct link_event *event)
{
    switch (event->kind) {
    case LINK_UP:
        return link_send(c->link, 0, buf_slice(&c->line), SLICE("")) == ERR_NONE
                   ? NULL
                   : "cannot send";
    case LINK_DOWN:
        return "the proxy ended the connection";
    case LINK_REFUSED:
        return on_refused(c, event->refusal);
    case LINK_UNREACHABLE:
        return "nobody listens there";
    }
    return NULL;
}

static enum step read_link(struct channel *c, struct buf *to, const char **why)
{
    bool has_some = false;
    do {
        struct link_event event;
        while (c->end == NULL && link_next_event(c->link, &event))
            c->end = follow_event(c, &event);
        if (c->link == NULL)
            break;                        /* the next key could not be tried */
        has_some |= read_messages(c, to); /* what came before the end counts */
    } while (c->end == NULL && link_has_input(c->link));
    if (has_some)
        return STEP_DONE;
    if (c->end == NULL)
        return STEP_MORE;
    *why = c->end;
    return STEP_BAD;
}

enum step channel_read(struct channel *c, struct buf *to, const char **ret_why)
{
    return c->link == NULL ? read_socket(c, to, ret_why) : read_link(c, to, ret_why);
}
