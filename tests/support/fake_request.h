/* SPDX-License-Identifier: MIT
 * Stands in for appserver/core in tests of appserver/wsgi and asgi: the functions of
 * request.h (and, with fake_loop.h, of loop.h) over a body that the test scripts, with
 * what they were told to send as text:
 *
 *   RESPOND 200 OK [content-type: text/plain] hello
 *   HEAD 200 OK [] length=3|WRITE abc|END
 */
#ifndef SUPPORT_FAKE_REQUEST_H
#define SUPPORT_FAKE_REQUEST_H

#include "appserver/core/loop.h"
#include "protocol/base/buf.h"

enum { FAKE_PIECES = 8, FAKE_FIELDS = 40 };

struct fake_field {
    const char *name; /* a numbered name is sent as its number */
    const char *value;
};

struct request {
    struct frame_request frame;
    struct buf headers; /* own */
    const char
        *pieces[FAKE_PIECES]; /* BODY_LENGTH, BODY_UNKNOWN: what request_read gives */
    size_t next_piece;
    struct slice piece;  /* not given out yet */
    enum err body_fails; /* after the last piece, instead of the end */
    enum err gone;       /* what the functions that send say */
    size_t gone_after;   /* ... from this write on */
    size_t writes;
    bool takes_files;
    struct buf sent; /* own */
    bool is_finished;
    /* for fake_loop.c */
    void *owner;
    bool is_websocket, takes_trailers, takes_inform;
    bool is_open;  /* after the last piece: more may come, TAKE_WAIT */
    bool is_filed; /* what request_file_taken says */
    size_t room;   /* bytes that request_put and request_ws_put take */
    struct ws_piece incoming[FAKE_PIECES]; /* of the client */
    size_t incoming_count, next_incoming;
};

/* GET / HTTP/1.1 for example.com without a body. */
void fake_request_init(struct request *r);
void fake_request_fini(struct request *r);
/* Replaces all fields; the list ends with a NULL name. */
void fake_request_fields(struct request *r, const struct fake_field *fields);
void fake_request_body(struct request *r, const char *whole);
/* Adds to what was sent; a list of fields as "[name: value, ...]". */
void fake_request_note(struct request *r, const char *what);
void fake_request_note_fields(struct request *r, struct slice headers);
/* What was sent so far, NUL-terminated. */
const char *fake_request_sent(struct request *r);

#endif
