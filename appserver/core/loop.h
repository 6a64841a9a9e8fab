/* SPDX-License-Identifier: MIT
 * The contract between the core and an event loop: one thread runs all requests and is
 * the reader of the link, too. For core_options.is_loop; `threads` is then how many
 * requests run at once (the credits), and core_next and the workers are not used.
 *
 *     core_loop_enter(core, tag);
 *     watch core_loop_fd(core) for readability; whenever it is readable:
 *         do {
 *             n = core_loop_turn(core, news, max);     without the GIL
 *             ... look at each of news[0 .. n) ...     with it
 *         } while (n == max);
 *     at the end of an iteration in which something was sent:
 *         core_loop_flush(core);
 *
 * Of request.h these work, and never wait here: the view, request_readable,
 * request_gone, request_respond (bodies up to request_inline_max), request_head,
 * request_inform, request_end, request_abort, request_finish. What they and the
 * functions below send is gathered until core_loop_flush or core_loop_turn; only large
 * pieces of body leave at once.
 *
 * Nothing here waits. All functions belong to the loop's thread unless their comment
 * says "any"; core_loop_turn and core_loop_flush are called without the GIL, the others
 * as the embedder likes. A request belongs to the embedder from NEWS_STARTED
 * until request_finish, which every one of them needs, also the one that is gone. */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "appserver/core/core.h"
#include "appserver/core/request.h"

/* Once, before the first turn. `thread_tag` is handed back by events.stuck, which here
 * says that the loop has not turned for `request_timeout_s` although there was work for
 * it (its request_id is ""); events.stuck_again, that it still has not after as long
 * again. */
void core_loop_enter(struct core *core, uint64_t thread_tag);

/* any. Readable (level-triggered) whenever core_loop_turn has something to do; owned by
 * the core, closed by core_free. */
int core_loop_fd(const struct core *core);

enum loop_news_bit {
    NEWS_STARTED = 1, /* a new request, marked as started in the shared page. Its body
                         or messages are asked for with take, without waiting for
                         NEWS_BODY */
    NEWS_BODY = 2,    /* after a TAKE_WAIT: take would give something else now */
    NEWS_ROOM = 4,    /* after a put that left something: put would take some now */
    NEWS_GONE = 8,    /* request_gone() is not ERR_NONE any more: the client left, the
                         link is down, the deadline has passed. Once; no other news follow,
                         so it ends every wait */
    NEWS_FILED = 16,  /* the answer to request_put_file is there: request_file_taken */
};

struct loop_news {
    struct request *request; /* valid until it is finished */
    unsigned what;           /* enum loop_news_bit, or'ed; never 0 */
};

/* Sends what is pending, receives what came, starts what may start. Fills up to `max`
 * (> 0) news, each request at most once; returns how many. `max` of them: call again at
 * once (the descriptor stays readable, too). */
size_t core_loop_turn(struct core *core, struct loop_news *ret_news, size_t max);
/* Sends what is pending. News that this brings about leave the descriptor readable. */
void core_loop_flush(struct core *core);
/* any: frames wait for a flush. Without one they wait for the next turn, or for half a
 * second. */
bool core_loop_has_pending(const struct core *core);

/* any: core_drain was called. The descriptor becomes readable when this turns true.
 * What runs goes on; nothing new is started except requests whose bodies are on their
 * way already. core_wait_drained holds once all are finished and everything is out. */
bool core_is_draining(const struct core *core);

/* any: core_wait_drained would say so at once. The descriptor becomes readable when
 * this turns true. */
bool core_is_drained(struct core *core);

/* any: a pointer of the embedder's own, NULL at NEWS_STARTED. */
void request_set_owner(struct request *r, void *owner);
void *request_owner(const struct request *r);

/* ---- the body of a request ---- */
enum take {
    TAKE_DATA,
    TAKE_WAIT, /* nothing now: NEWS_BODY follows, or NEWS_GONE */
    TAKE_END,  /* all of it was taken */
    TAKE_GONE  /* ret_err says why; the same as request_gone */
};

/* Up to `max` (> 0) body bytes; ret_data lies in the request's own memory and is valid
 * until the next take or request_finish. The client is let send on by what was taken
 * (window), so what is not taken keeps it waiting. The first call on a REQUEST_EXPECT
 * request asks the edge for the body (100 Continue). */
MUST_CHECK enum take
request_take(struct request *r, size_t max, struct slice *ret_data, enum err *ret_err);

/* ---- the answer ----
 * Results as in request.h: ERR_NONE, or why nobody listens any more. */

/* any: the largest body that request_respond takes here. */
uint32_t request_inline_max(const struct request *r);
/* After request_head: sends as much of *data as the stream's window takes, and advances
 * it. data->len > 0 is left with ERR_NONE: try again at NEWS_ROOM. Copies. */
MUST_CHECK enum err request_put(struct request *r, struct slice *data);
/* After request_head: the rest of the answer is this file's bytes. *ret_asked:
 * NEWS_FILED (or NEWS_GONE) follows, and nothing may be sent until then. Else the edge
 * cannot: send the bytes. */
MUST_CHECK enum err
request_put_file(struct request *r, const struct frame_file *file, bool *ret_asked);
/* After NEWS_FILED. True: the edge sends the file and the answer is ended; false: send
 * the bytes and the end. */
bool request_file_taken(const struct request *r);
/* Ends a streamed answer. `trailers` is a complete packed array (header_begin ..
 * header_end) or empty; left out when the edge does not take them. */
MUST_CHECK enum err request_end_with(struct request *r, struct slice trailers);
/* any: the edge passes them on. (request_inform does nothing where it does not.) */
bool request_takes_trailers(const struct request *r);
bool request_takes_inform(const struct request *r);

/* ---- WebSocket ----
 * A handshake is refused with the usual answer (request_respond, or request_head and so
 * on), or accepted. After request_ws_accept:
 *
 *   messages out   request_ws_put, one message after the other
 *   messages in    request_ws_take, until TAKE_END or TAKE_GONE
 *   the end        request_ws_close (once), and request_end when the client's close was
 *                  taken or is not waited for; or request_abort (the edge closes with
 *                  1011); or request_finish, which ends an answer whose close was sent
 *                  or taken, and aborts another
 */

/* any: the request is a valid WebSocket handshake. */
bool request_is_websocket(const struct request *r);
/* `subprotocol`: at most 32 KiB, empty: none; `headers`: a complete packed array, or
 * HEADERS_NONE. Thousands of them are open and idle: from here on request_frame() says
 * nothing but flags. */
MUST_CHECK enum err
request_ws_accept(struct request *r, struct slice subprotocol, struct slice headers);
/* Sends as much of a message's rest as the window takes and advances *data. *ret_done:
 * all of it is sent, and the message has ended; else go on with the same message at
 * NEWS_ROOM. (An empty message needs room, too: each piece counts WINDOW_WS_PIECE bytes
 * beside its own.) `op`: WS_TEXT (UTF-8 as a whole) or WS_BINARY. Copies. ERR_INTERNAL:
 * after request_ws_close. ERR_CLIENT_GONE also when the client's close is there, taken
 * or not; a put that waits hears NEWS_ROOM then. */
MUST_CHECK enum err
request_ws_put(struct request *r, enum ws_op op, struct slice *data, bool *ret_done);
/* Also in the middle of a message. `reason`: UTF-8, at most 32 KiB; the edge cuts it to
 * 123 bytes (RFC 6455 5.5) and makes 1011 of a code that no peer may see. What the
 * client sends from now on is dropped, its close is not. ERR_INTERNAL: closed before.
 */
MUST_CHECK enum err
request_ws_close(struct request *r, uint16_t code, struct slice reason);

struct ws_piece {
    enum ws_op op;     /* WS_TEXT, WS_BINARY; WS_CLOSE, then TAKE_END follows */
    struct slice data; /* of the message, at most 32 KiB; WS_CLOSE: the reason */
    bool fin;          /* the message's last piece */
    uint16_t code;     /* WS_CLOSE; 0: the client gave none */
};
/* The next piece; memory, window and results as request_take, but what came before the
 * client was gone is given first. */
MUST_CHECK enum take
request_ws_take(struct request *r, struct ws_piece *ret_piece, enum err *ret_err);

#endif
