/* SPDX-License-Identifier: MIT
 * The functions of loop.h over fake requests: a core whose news the test tells, and an
 * asyncio loop that the test turns. What is sent is noted like this:
 *
 *   HEAD 200  []|PUT abc|END [x: y]|ACCEPT chat [a: b]|TEXT hello|BINARY+ part|CLOSE
 * 1000 bye|FILE /path
 */
#ifndef SUPPORT_FAKE_LOOP_H
#define SUPPORT_FAKE_LOOP_H

#include <Python.h>

#include "appserver/asgi/server.h"
#include "tests/support/fake_request.h"

enum { FAKE_NEWS = 16 };

struct core {
    struct loop_news news[FAKE_NEWS];
    size_t count;
    bool is_draining;
    unsigned flushes;
};

/* A server for the `app` of `namespace` (borrowed) on a loop of its own, which becomes
 * `loop` there. Ends with fake_server_free. */
struct server *fake_server_new(PyObject *namespace,
                               const struct server_options *options,
                               struct core *core);
void fake_server_free(struct server **server_p);

/* The next turn brings this. */
void fake_core_tell(struct core *core, struct request *r, unsigned what);
/* server_turn, and then iterations of the loop until all that can run has run. */
void fake_server_turn(struct server *s);
/* NEWS_STARTED for `r`, and as fake_server_turn. */
void fake_server_start(struct server *s, struct request *r);
/* Iterations alone. */
void fake_server_settle(struct server *s);

/* A message of the client, whole. */
void fake_request_incoming(struct request *r, enum ws_op op, const char *data);

#endif
