/* SPDX-License-Identifier: MIT
 * The frames of protocol version 1 as C structs, their codec, and their limits. Pure:
 * no socket, no clock, no allocation except the caller's buf.
 *
 * A decoded frame borrows from the bytes it was decoded from. Every count and length is
 * checked against what remains of the input and against a named limit before use; the
 * decoder allocates nothing (HELLO, the one cold frame, goes through msgpack-c within
 * FRAME_MAX_HELLO). Specification: protocol/README.md. */
#ifndef PROTOCOL_FRAME_H
#define PROTOCOL_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"

enum {
    PROTOCOL_VERSION = 1,
    FRAME_MAX_INLINE_BODY =
        32 * 1024,                 /* bytes of body inside REQUEST, RESPONSE, BODY */
    FRAME_MAX_BULK = 128 * 1024,   /* bytes of a raw second part */
    FRAME_MAX_HEAD = 256 * 1024,   /* bytes of all header names and values of a frame */
    FRAME_MAX_HEADERS = 256,       /* pairs */
    FRAME_MAX_STRING = 64 * 1024,  /* method, target, reason, text */
    FRAME_MAX_HELLO = 4096,        /* bytes of a HELLO frame */
    FRAME_MAX_FLAGS = 127,         /* of a REQUEST: always one byte */
    FRAME_MAX_ID = 64,             /* bytes of a request id */
    FRAME_MAX_DEPTH = 8,           /* nesting inside a frame, where a decoder skips */
    FRAME_MAX_BATCH = 64,          /* frames the sender puts in one message */
    FRAME_BATCH_BYTES = 32 * 1024, /* the sender closes a batch past this */
    FRAME_MAX_MESSAGE = 1024 * 1024, /* MAXMSGSIZE of the link */
    FRAME_DEFAULT_WINDOW =
        256 * 1024, /* body bytes in flight per stream and direction */
};

enum frame_kind {
#define KIND(number, name, senders, layer, fields) FRAME_##name = number,
#include "protocol/frame_kinds.def"
#undef KIND
    FRAME_KIND_COUNT
};

enum frame_sender { FRAME_FROM_APP = 1, FRAME_FROM_PROXY = 2, FRAME_FROM_BOTH = 3 };

/* Headers as they stand on the wire: a validated msgpack array of name, value, name,
 * value ...; a name is a number (header_names.h) or a string. */
struct header_list {
    struct slice packed; /* the elements, without the array header */
    uint32_t count;      /* pairs */
};

struct header {
    uint8_t number;    /* HEADER_NONE: `name` is as sent */
    struct slice name; /* lower case from the proxy; as the application wrote it from
                          the app. For a numbered name: its lower-case form */
    struct slice value;
};

/* Steps through a validated list: `struct header_list it = list; while
 * (header_next(&it, &h))`. */
bool header_next(struct header_list *it, struct header *ret_header);

/* Writes a list into an own buf (max 0) and counts pairs. */
struct header_writer {
    struct buf *to;
    size_t at; /* where the array header was reserved */
    uint32_t count;
};
void header_begin(struct header_writer *w, struct buf *to);
void header_put(struct header_writer *w,
                uint8_t number,
                struct slice name,
                struct slice value);
void header_end(struct header_writer *w); /* the array, complete, stands in `to` */

enum body_form {
    BODY_NONE,    /* nil */
    BODY_INLINE,  /* bin: the whole body */
    BODY_LENGTH,  /* uint: so many bytes follow as BODY frames, then END */
    BODY_UNKNOWN, /* true: BODY frames follow, then END */
};

enum request_flag {
    REQUEST_EXPECT = 1, /* 100-continue: the body's initial window is 0; the first
                           WINDOW asks for it */
    REQUEST_WEBSOCKET =
        2,                /* a WebSocket handshake: answer with WS accept, or as HTTP */
    REQUEST_RETRY = 4,    /* offered to another app server before */
    REQUEST_TRAILERS = 8, /* the client takes trailers */
};

struct frame_hello {
    uint32_t version;
    struct slice role;     /* "proxy" or "app" */
    uint64_t instance;     /* random, new with every process */
    uint64_t clock_us;     /* the sender's monotonic clock; translates deadlines */
    uint32_t features;     /* enum feature bits; on the wire an array of names */
    uint64_t window_bytes; /* initial body window per stream towards this peer
                              (limits.window) */
    uint64_t inline_bytes; /* largest inline body this peer takes (limits.inline) */
    bool has_app;          /* the rest is from an app server only */
    struct slice pool;
    uint32_t slots;         /* requests that may run at once */
    struct slice interface; /* "wsgi" or "asgi" */
    uint32_t pid;
    struct slice page;  /* path of the shared page, empty: none */
    uint32_t page_slot; /* this link's mark in it */
};

enum feature {
    FEATURE_FILE = 1,      /* "file": the proxy can send files itself */
    FEATURE_WEBSOCKET = 2, /* "websocket" */
    FEATURE_TRAILERS = 4,  /* "trailers" */
    FEATURE_INFORM = 8,    /* "inform" */
};

struct frame_request {
    uint32_t flags;
    struct slice method;
    struct slice target;      /* raw, origin form or "*" */
    uint8_t minor;            /* HTTP/1.minor; 20 for HTTP/2 */
    struct slice scheme;      /* "http", "https" */
    struct slice client_addr; /* "192.0.2.1", "2001:db8::1", empty: Unix socket */
    uint16_t client_port;
    struct slice
        server_addr; /* the address the connection came in on; a path for unix: */
    uint16_t server_port;
    struct header_list headers;
    enum body_form body_form;
    struct slice body;    /* BODY_INLINE */
    uint64_t body_length; /* BODY_INLINE, BODY_LENGTH */
    uint64_t deadline_us; /* on the proxy's clock; 0: none */
    uint64_t queued_us;   /* when the edge had all it waits for; the proxy's clock */
    struct slice id;      /* request id for logs, at most 64 bytes, visible ASCII */
    uint32_t root; /* bytes of target at its start: where the application is mounted */
};

struct frame_response { /* RESPONSE and HEAD; INFORM uses status and headers */
    uint16_t status;
    struct slice reason; /* empty: the standard phrase */
    struct header_list headers;
    bool has_length; /* HEAD: the body's length is known */
    uint64_t length;
    struct slice body; /* RESPONSE: the whole body */
};

struct frame_file {
    struct slice path;
    uint64_t device, inode, offset, length;
};

enum ws_op { WS_ACCEPT = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8 };

struct frame_ws {
    enum ws_op op;
    struct slice data; /* TEXT, BINARY: the message or a piece; CLOSE: the reason;
                          ACCEPT: the subprotocol */
    bool fin;          /* TEXT, BINARY: the message's last piece */
    uint16_t code;     /* CLOSE */
    struct header_list headers; /* ACCEPT */
};

struct frame {
    enum frame_kind kind;
    uint32_t stream; /* STREAM kinds */
    uint64_t epoch;  /* LINK kinds */
    union {
        struct frame_hello hello;
        uint32_t window;  /* GRANT: requests; */
        uint32_t running; /* LIMIT: requests; 0: none */
        uint64_t bytes;   /* WINDOW */
        struct frame_request request;
        struct frame_response response; /* RESPONSE, HEAD, INFORM */
        struct {
            bool bulk; /* the data is the message's second part */
            struct slice data;
        } body;
        struct header_list trailers; /* END; count 0: none */
        struct frame_file file;
        bool taken; /* FILED */
        struct frame_ws ws;
        struct {
            enum err reason;   /* CANCEL, ABORT, RETURN: ERR_NONE when the peer named an
                                  unknown one */
            struct slice text; /* ABORT, BYE; may be empty */
        } stop;
        struct {
            uint64_t sequence, clock_us;
            uint32_t running, waiting; /* LOAD only, as are the rest */
            uint64_t service_us;       /* average time in the application */
            uint32_t slots;
        } load; /* PING, LOAD */
    };
};

const char *frame_kind_name(enum frame_kind kind);
enum frame_sender frame_kind_sender(enum frame_kind kind);
bool frame_kind_is_link(enum frame_kind kind);

/* Takes the next frame off `rest`. DONE: one frame decoded, `rest` advanced; MORE:
 * `rest` is empty; BAD: the message is malformed (ret_err) and the link must be closed.
 * A kind above FRAME_KIND_COUNT is skipped when its number is odd, BAD when even.
 * Trailing fields beyond the known ones are skipped. */
MUST_CHECK enum step
frame_unpack(struct slice *rest, struct frame *ret_frame, enum err *ret_err);

/* Packing appends one whole frame to an own buf (max 0) and cannot fail; arguments
 * within the limits are the caller's duty (ASSERTed). */
void frame_pack_hello(struct buf *to, uint64_t epoch, const struct frame_hello *h);
void frame_pack_grant(struct buf *to, uint64_t epoch, uint32_t window);
void frame_pack_limit(struct buf *to, uint64_t epoch, uint32_t running);
void frame_pack_ping(struct buf *to,
                     uint64_t epoch,
                     uint64_t sequence,
                     uint64_t clock_us);
void frame_pack_load(struct buf *to, uint64_t epoch, const struct frame *load);
void frame_pack_drain(struct buf *to, uint64_t epoch);
void frame_pack_bye(struct buf *to, uint64_t epoch, struct slice reason);

/* REQUEST is packed once per exchange with a stream id of fixed width, so that a retry
 * patches it: frame_set_stream(). `headers` is a complete packed array
 * (header_begin..header_end). For BODY_INLINE the body's bytes are r->body. */
void frame_pack_request(struct buf *to,
                        uint32_t stream,
                        const struct frame_request *r,
                        struct slice headers);
void frame_set_stream(char *frame, uint32_t stream);       /* any packed STREAM frame */
void frame_set_flags(char *request_frame, uint32_t flags); /* fixed width too, < 128 */

void frame_pack_response(struct buf *to,
                         uint32_t stream,
                         uint16_t status,
                         struct slice reason,
                         struct slice headers,
                         struct slice body);
void frame_pack_head(struct buf *to,
                     uint32_t stream,
                     uint16_t status,
                     struct slice reason,
                     struct slice headers,
                     bool has_length,
                     uint64_t length);
void frame_pack_inform(struct buf *to,
                       uint32_t stream,
                       uint16_t status,
                       struct slice headers);
void frame_pack_body(struct buf *to, uint32_t stream, struct slice data); /* inline */
void frame_pack_body_bulk(struct buf *to, uint32_t stream); /* data in part two */
void frame_pack_window(struct buf *to, uint32_t stream, uint64_t bytes);
void frame_pack_end(struct buf *to,
                    uint32_t stream,
                    struct slice trailers); /* empty: none */
void frame_pack_file(struct buf *to, uint32_t stream, const struct frame_file *f);
void frame_pack_filed(struct buf *to, uint32_t stream, bool taken);
void frame_pack_ws(struct buf *to,
                   uint32_t stream,
                   const struct frame_ws *w,
                   struct slice headers);
void frame_pack_cancel(struct buf *to, uint32_t stream, enum err reason);
void frame_pack_abort(struct buf *to,
                      uint32_t stream,
                      enum err reason,
                      struct slice text);
void frame_pack_return(struct buf *to, uint32_t stream, enum err reason);

/* An empty header array, for frames without headers. */
#define HEADERS_NONE SLICE("\x90")

#endif
