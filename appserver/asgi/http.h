/* SPDX-License-Identifier: MIT
 * The parts of an HTTP answer that a refused WebSocket handshake has, too. With the
 * GIL, in the loop's thread. */
#ifndef ASGI_HTTP_H
#define ASGI_HTTP_H

#include <Python.h>

#include "appserver/asgi/conn.h"

/* http.response.start and .body, whatever they are called. */
enum turn http_send_start(struct conn *c, PyObject *message);
enum turn http_send_body(struct conn *c, PyObject *message, struct job *job);
/* The rest of a body, once there is room. */
enum turn http_go_on(struct conn *c, struct job *job);

/* What is held leaves: the iteration ends, or there is room again. */
void http_push(struct conn *c);

#endif
