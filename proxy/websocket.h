/* SPDX-License-Identifier: MIT
 * An exchange after its handshake was accepted: messages between a client and an app
 * server, and how they part. The edge keeps RFC 6455 towards the client (frames, masks,
 * UTF-8, pings, the closing handshake, permessage-deflate); the app server sees only
 * messages and a close.
 *
 * An open WebSocket that is silent holds its small structs and no buffer. */
#ifndef PROXY_WEBSOCKET_H
#define PROXY_WEBSOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/frame.h"
#include "proxy/http/client.h"

struct exchange;
struct exchanges;
struct websocket;

/* Those of an edge thread, and what they share: contexts of zlib. */
struct websockets;
MUST_CHECK struct websockets *websockets_new(struct exchanges *exchanges);
/* The options have changed: what is timed from here on. */
void websockets_set(struct websockets *all);
void websockets_free(struct websockets **websockets_p); /* none is open */
/* Each one gets a Close with 1001, spread over half of `seconds`, as websockets_tick is
 * called; those opened from now on as well. */
void websockets_stop(struct websockets *all, double seconds);
void websockets_tick(struct websockets *all);

/* A handshake is about to be sent on: notes which of its extensions will be taken. */
void websocket_offer(struct exchange *x, const struct request_head *head);
/* The app server accepts: the exchange becomes a WebSocket, or fails. */
void websocket_accept(struct exchange *x, const struct frame_ws *accept);
/* x->websocket was made; NULL again afterwards. */
void websocket_free(struct websocket **websocket_p);

/* What comes from the app server. */
void websocket_say(struct exchange *x, const struct frame_ws *ws);
void websocket_done(struct exchange *x);
void websocket_failed(struct exchange *x, enum err err, struct slice text);
/* The app server takes more. */
void websocket_room(struct exchange *x);

/* For client_events. */
bool websocket_input(struct client *c, char **input, size_t *length);

#endif
