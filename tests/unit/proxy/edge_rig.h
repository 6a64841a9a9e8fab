/* SPDX-License-Identifier: MIT
 * An edge thread without its upstream side, for tests: a real event loop, real sockets,
 * and a pool that does nothing but remember, so that the test plays the app server. The
 * clock stands unless rig_wait moves it. */
#ifndef UNIT_PROXY_EDGE_RIG_H
#define UNIT_PROXY_EDGE_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/exchange.h"
#include "proxy/http/clients.h"
#include "proxy/turn.h"

enum { RIG_TICKETS = 8 };

/* What the fake pool knows of a ticket. */
struct rig_ticket {
    struct ticket *ticket; /* NULL: cancelled, or done with */
    struct frame frame;    /* the REQUEST, unpacked; borrows from bytes */
    struct buf bytes;
    struct buf body; /* that came behind the frame */
    bool body_ended;
    enum err cancelled; /* ERR_NONE: was not */
    uint64_t passed_on;
    struct buf said; /* WebSocket: "t:text" "b+:piece" "c1000:reason" and so on, each
                        ended by a newline */
    bool was_left;   /* ticket_leave */
};

struct rig {
    struct event_base *base;
    struct proxy_options options;
    const struct route *routes; /* all to the one pool; none: everything goes there */
    size_t route_count;
    struct stats stats;
    struct deadlines *deadlines;
    struct file_roots *roots;
    struct sites *sites;
    struct exchanges *exchanges;
    struct clients *clients;
    struct access_log *log;
    struct access_writer *access;
    int fd;              /* the client's end of the connection */
    struct buf received; /* by the client */
    bool saw_eof, saw_reset;
};

/* The pool of the test, one at a time. */
struct pool {
    struct rig_ticket tickets[RIG_TICKETS]; /* in the order of their submission */
    int count;
    bool queues; /* keep tickets instead of sending them */
    bool is_asgi;
    bool has_started; /* what is sent */
    enum err refuses; /* fail them at once */
    struct sticky sticky;
    uint64_t key;          /* of the backend that they are sent to */
    uint64_t window_bytes; /* of a new stream, towards the app */
};
extern struct pool rig_pool;

void rig_init(struct rig *rig);
/* After changes to rig->options and before the first connection. */
void rig_start(struct rig *rig);
void rig_fini(struct rig *rig);
/* So many letters that can be told apart; the caller frees them. */
char *rig_text(size_t bytes);

/* A new connection; its client end is rig->fd. */
void rig_connect(struct rig *rig);
/* From the client; then the edge runs until nothing moves. */
void rig_send(struct rig *rig, const char *text);
void rig_run(struct rig *rig);
void rig_hang_up(struct rig *rig);
/* Time passes; deadlines expire. */
void rig_wait(struct rig *rig, double seconds);

/* All that the client received so far must be `want`; "*" stands for anything up to the
 * next character. Forgets it. */
void rig_expect(struct rig *rig, const char *want);
#define OK_HEAD "HTTP/1.1 200 OK\r\nDate: *\r\nServer: banyan\r\n"
#define ERROR_HEAD(status)                                                             \
    "HTTP/1.1 " status "\r\nDate: *\r\nServer: banyan\r\n*Content-Type: text/plain; "  \
    "charset=utf-8\r\nContent-Length: *\r\n"

/* The app server's side: of the latest ticket, and of any. */
struct rig_ticket *rig_latest(void);
void rig_sent(struct rig_ticket *t); /* a queued one leaves; or a retry */
void rig_room(struct rig_ticket *t, uint64_t bytes);
void rig_respond(struct rig_ticket *t, int status, const char *body);
enum { RIG_UNKNOWN_LENGTH = -1 };
void rig_head(struct rig_ticket *t, int status, int64_t length);
void rig_body(struct rig_ticket *t, const char *data, size_t length);
void rig_done(struct rig_ticket *t);
void rig_done_with(struct rig_ticket *t, const char *name, const char *value);
void rig_fail(struct rig_ticket *t, enum err err);
/* WebSocket: accept, then what the app server says. */
void rig_accept(struct rig_ticket *t);
void rig_say(struct rig_ticket *t, enum ws_op op, const char *data, bool fin);
void rig_close(struct rig_ticket *t, uint16_t code, const char *reason);

#endif
