/* SPDX-License-Identifier: MIT
 * What receive() and send() give an application to await: an object that finishes
 * without a turn of the loop when it can, and else waits on a future of the loop's. It
 * is a coroutine to asyncio (collections.abc.Coroutine), so that create_task, wait_for
 * and task groups take it. All in the loop's thread, with the GIL. */
#ifndef ASGI_OPERATION_H
#define ASGI_OPERATION_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/queue.h"
#include "protocol/base/slice.h"
#include "protocol/frame.h"

struct channel;

enum turn {
    TURN_DONE,
    TURN_WAIT,
    TURN_BAD, /* an exception is set */
};

/* What one send() is about, while it is not done. */
struct job {
    enum job_stage {
        JOB_NEW,   /* `message` waits for the one before it */
        JOB_BODY,  /* `rest` waits for room */
        JOB_FILED, /* the edge was asked to send a file */
        JOB_FILE,  /* `future` gives the file's next bytes */
    } stage;
    bool is_sender; /* the connection's other messages wait for this one */
    bool has_more;  /* of this body */
    enum ws_op op;
    PyObject *message; /* owned, JOB_NEW */
    PyObject *keep;    /* owned bytes or str that `rest` lies in */
    struct slice rest;
    PyObject *file;   /* owned (file.h) */
    PyObject *future; /* owned: what is waited for, instead of a wake-up */
};

struct operation {
    PyObject_HEAD struct node
        node;                /* of the connection's receivers or senders, waiting */
    struct channel *channel; /* owned; NULL: over */
    PyObject *future;        /* owned: resolved by operation_wake */
    PyObject *waits_on;      /* owned: the future's iterator */
    struct job job;          /* of send() */
};

/* False: an exception is set. */
MUST_CHECK bool operation_init(void);

/* New reference. `channel` is borrowed; `*job`, of send(), is taken over. */
PyObject *operation_new(struct channel *channel, struct job *job);
/* New reference to one that is done, with the result None. */
PyObject *operation_done(void);

/* Those on the list look again. */
void operation_wake(struct list *waiting);

void job_clear(struct job *job);

#endif
