/* SPDX-License-Identifier: MIT
 * One connection of a client: reads heads and bodies, writes answers, keeps alive. It
 * has at most one request open; what the client sends ahead stays in the input buffer,
 * and when that is full in the socket, so that answers come in order and memory has a
 * limit.
 *
 * Whoever answers the requests hears client_events and is called from the loop or from
 * the end of a turn, never from inside client_* calls. */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"
#include "proxy/http/hop.h"
#include "proxy/http/parse.h"
#include "proxy/http/refusals.h"
#include "proxy/http/rules.h"

struct client;

struct client_request { /* lives for the call */
    const struct request_head *head;
    const struct request_rules *rules;
    bool body_is_whole; /* none, or all of it came along: `body` */
    struct slice body;
};

struct client_events {
    /* An acceptable head opens a request. Unless body_is_whole, room, body and body_end
     * follow. */
    void (*request)(struct client *c, const struct client_request *request);
    /* Something else came, or nothing in time: opens a request that can only be
     * refused. */
    void (*refused)(struct client *c, enum err err);

    /* How many bytes of the body can be taken now; 0: none until client_resume. */
    size_t (*room)(struct client *c);
    void (*body)(struct client *c, struct slice data);
    void (*body_end)(struct client *c);
    /* The body is malformed or late. The client still reads: it can be told. */
    void (*body_failed)(struct client *c, enum err err);

    /* After client_upgrade: takes what it can off *input (*length bytes, which it may
     * write to; perhaps none). True: what is left of them needs more behind it. False:
     * it needs client_resume. */
    bool (*input)(struct client *c, char **input, size_t *length);

    /* The client closed its sending side after its request. False: nobody will answer
     * it, gone() follows. True: go on; gone() follows when there is nothing to write
     * for a second. */
    bool (*half_closed)(struct client *c);
    /* The connection is lost; nothing can be said any more. Ends the request. */
    void (*gone)(struct client *c, enum err err);
    /* Something was written, or the answer's end is in the socket. */
    void (*written)(struct client *c);
    /* After client_end all was written. Ends the request. */
    void (*finished)(struct client *c);
};

/* The open request's owner data; NULL: none. */
void client_set_exchange(struct client *c, void *exchange);
void *client_exchange(const struct client *c);
/* What clients_new was given. */
void *client_owner(const struct client *c);

uint64_t client_number(const struct client *c); /* for logs */
const struct hop_peer *client_peer(const struct client *c);
struct slice
client_server_addr(const struct client *c); /* a path for a unix: listener */
uint16_t client_server_port(const struct client *c);
struct slice client_date(const struct client *c);  /* for a Date field */
bool client_body_is_whole(const struct client *c); /* all of it was read */
bool client_may_keep_alive(
    const struct client *c); /* as far as the edge is concerned */

/* An own buf: append to it, then client_touch. Written at the end of the turn. */
struct buf *client_out(struct client *c);
void client_touch(struct client *c);
/* The same for a piece of a body; a large one goes to the socket without a copy. */
void client_write(struct client *c, struct slice data);
/* Takes the descriptor over; after what was appended before. The answer's last part. */
void client_send_file(struct client *c, int file, uint64_t offset, uint64_t length);
uint64_t client_pending(const struct client *c); /* bytes not written yet */

/* The answer is complete: finished() comes when it is written. */
enum client_after { CLIENT_KEEP_ALIVE, CLIENT_CLOSE };
void client_end(struct client *c, enum client_after after);
/* The answer breaks off: what is pending goes out, then the connection is closed
 * (CUT_SHORT) or reset (CUT_RESET: for an answer whose end only the close would tell).
 * No event follows. */
enum client_cut { CUT_SHORT, CUT_RESET };
void client_cut(struct client *c, enum client_cut how);

/* The open request has become something else than HTTP: what follows it goes to
 * input(), what the client sent ahead included, from the end of the turn on. After
 * client_end the connection is closed. */
void client_upgrade(struct client *c);
/* room() is no longer 0; input() can go on. */
void client_resume(struct client *c);
/* Notes for `show errors` that this client's request, or the answer to it, broke a
 * rule; the row is the caller's to fill on, until the next is noted. */
struct refusal *
client_note_refusal(struct client *c, enum refusal_part part, enum err err);
/* From now on the body is read and thrown away. */
void client_discard_body(struct client *c);
/* Its request will take a while: gone() follows soon when nobody is there. */
void client_look(struct client *c);

#endif
