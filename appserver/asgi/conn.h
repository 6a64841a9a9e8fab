/* SPDX-License-Identifier: MIT
 * One request or WebSocket in Python: the coroutine that its task runs, and the two
 * callables that the application gets. All in the loop's thread, with the GIL.
 *
 *   task --> conn --> the application's coroutine --> receive, send
 *              |                                         |
 *              +------------- owns ----------------------+ point back while it runs
 */
#ifndef ASGI_CONN_H
#define ASGI_CONN_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "appserver/asgi/operation.h"
#include "appserver/asgi/server.h"
#include "appserver/core/loop.h"
#include "appserver/interp/answer.h"
#include "protocol/base/check.h"
#include "protocol/base/queue.h"

struct conn;

/* receive or send. */
struct channel {
    PyObject_HEAD vectorcallfunc vectorcall;
    struct conn *conn; /* NULL: the application has returned */
    bool is_receive, is_websocket;
};

/* What HTTP and WebSocket do differently. */
struct conn_kind {
    /* The next message for the application. */
    enum turn (*receive)(struct conn *c, PyObject **ret_message);
    /* A message of the application; JOB_NEW and again after waiting. */
    enum turn (*send)(struct conn *c, struct job *job);
    /* The application gave up in the middle of a job. */
    void (*send_dropped)(struct conn *c);
    /* The application returned, or ended by an exception that became `e`. */
    void (*returned)(struct conn *c);
    void (*raised)(struct conn *c, enum err e);
    /* The process is to end; NULL: the answer may go on. */
    void (*dismissed)(struct conn *c);
    /* What receive() says when there is nothing left to say. New reference. */
    PyObject *(*farewell)(const struct conn *c);
};

enum ws_state {
    WS_STATE_NEW,       /* websocket.connect was not received */
    WS_STATE_CONNECTED, /* it was; neither accepted nor refused */
    WS_STATE_REFUSING,  /* websocket.http.response.start was sent */
    WS_STATE_OPEN,
    WS_STATE_CLOSED, /* by either side; `code` says how */
};

struct conn {
    PyObject_HEAD struct node node; /* of server->conns */
    struct node held;               /* of server->held */
    struct server *server;          /* borrowed */
    const struct conn_kind *kind;
    struct request *request; /* NULL: the core has it back */
    PyObject *task;          /* owned while the application runs */
    PyObject *coroutine;     /* owned: the application's; NULL: not begun, or over */
    PyObject *scope;         /* owned */
    PyObject *id;            /* owned str: the request's id */
    struct channel *receive, *send; /* owned */
    struct list receivers, senders; /* of struct operation: those that wait */
    bool is_sending;                /* a job is in the middle of a message */
    bool is_over;                   /* the application has ended */
    enum err gone;                  /* why nobody listens any more */
    enum err cancelled;             /* why we cancelled the task */
    struct answer answer;
    /* HTTP */
    bool is_body_given; /* the application has all of the request's body */
    bool is_body_sent;  /* all of the answer's body; trailers may follow */
    bool is_backed;     /* answer.body waits for room */
    bool has_trailers;  /* http.response.start promised them */
    bool is_trailing;   /* the first of them came */
    bool is_filed;      /* the edge has answered whether it sends the file */
    uint64_t body_given;
    /* WebSocket */
    enum ws_state state;
    bool is_text;           /* of the message in `incoming` */
    bool is_cut;            /* a message of ours was not sent whole */
    bool is_closed_by_peer; /* or by the server, not by the application */
    bool is_dismissed;      /* was told of the end of the process */
    uint16_t code;          /* of websocket.disconnect */
    PyObject *reason;       /* owned str or NULL, of the same */
    struct buf incoming;    /* own: a message in several pieces */
};

extern const struct conn_kind http_kind, websocket_kind;

/* False: an exception is set. */
MUST_CHECK bool conn_init(void);

/* Starts the application for `request`, which is taken: it is answered and finished,
 * whatever happens. */
void conn_start(struct server *server, struct request *request);

/* News of the core. */
void conn_hear(struct conn *c, unsigned what);
/* The process is to end: a WebSocket is closed with 1012. */
void conn_dismiss(struct conn *c);
/* Its task is cancelled; `why` is what the client gets. */
void conn_cancel(struct conn *c, enum err why);

/* The answer is complete: the core gets its request back. */
void conn_complete(struct conn *c);
/* Nobody listens any more: remembers why, raises banyan.ClientDisconnected. */
enum turn conn_lost(struct conn *c, enum err e);
/* "GET /x", for the log. */
void conn_describe(const struct conn *c, char *ret_text, size_t bytes);
/* Logs "ID METHOD TARGET: `text`" at LOG_ERROR. */
void conn_complain(const struct conn *c, const char *text);
/* The client's side is over: every receive() and send() that waits looks again. */
void conn_wake_all(struct conn *c);

/* One receive() or send() of the application; `channel` may be that of an ended
 * request. */
enum turn channel_receive(struct channel *channel, PyObject **ret_message);
enum turn channel_send(struct channel *channel, struct job *job);
/* The list that such an operation waits on; NULL: the request has ended. */
struct list *channel_waiting(struct channel *channel);
/* A job that had begun is given up. */
void channel_drop(struct channel *channel, struct job *job);
struct server *channel_server(struct channel *channel);

#endif
