/* SPDX-License-Identifier: MIT
 * What exchange.c (its life) and exchange_record.c (what it packs, says and logs)
 * share. */
#ifndef PROXY_EXCHANGE_PRIV_H
#define PROXY_EXCHANGE_PRIV_H

#include "protocol/base/log.h"
#include "protocol/base/queue.h"
#include "proxy/answer.h"
#include "proxy/exchange.h"
#include "proxy/http/ws_deflate.h"
#include "proxy/upload.h"
#include "proxy/websocket.h"

enum {
    EXCHANGE_MAGIC = 0xe8c4a706,
    EXCHANGES_MAGIC = 0xe8c4a707,
    MAX_SPARE = 256,
    SPARE_FRAME_BYTES = 8 * 1024, /* a larger frame's memory is given back */
    ID_PREFIX = 8,
    ID_BYTES = 16,
};

struct exchange {
    uint32_t magic;
    enum exchange_state state;
    struct exchanges *all;
    struct node node; /* exchanges.open or .spare */
    struct client *client;
    struct site *site; /* where it goes; NULL: nowhere */
    uint32_t root;     /* of the REQUEST frame */
    struct ticket ticket;
    struct deadline deadline; /* REQUEST */
    struct upload upload;
    struct answer answer;
    struct websocket *websocket; /* what it became; NULL: HTTP */
    uint64_t begun_us;
    uint8_t minor;
    bool is_head, takes_trailers;
    bool is_continued;        /* the application asked for the body */
    struct ws_terms ws_terms; /* what a handshake offers */
    enum err err;             /* why it failed */
    char id[ID_BYTES]; /* the edge's own; a trusted peer's stands in the frame only */
    char backend_name[64];
};

struct exchanges {
    uint32_t magic;
    struct exchanges_options options;
    struct list open, spare;
    uint32_t spare_count;
    uint32_t id_count;
    bool has_told_hop_by_hop; /* said once */
    char id_prefix[ID_PREFIX];
    uint64_t unix_us; /* and clock.h make Unix time */
    char *temp_dir;
    struct buf headers, repacked, cookie; /* used within one call */
    struct websockets *websockets;
    char scratch[FRAME_MAX_BULK];
};

struct exchange_body { /* as the REQUEST frame tells it */
    enum body_form form;
    uint64_t length;
    struct slice data;
};

/* exchange.c */
/* The one door for failure: an error page, or a cut when the answer has begun. Ends the
 * ticket. `text` is for the log. */
void exchange_fail(struct exchange *x, enum err err, struct slice text);
/* What the door writes down: log and counters. */
void exchange_note_failure(struct exchange *x, enum err err, struct slice text);
/* The answer stands in the client's output. */
void exchange_end(struct exchange *x, enum client_after after);
/* Nothing more can be said to the client: what is pending goes out, and no more. The
 * exchange is closed. */
void exchange_cut(struct exchange *x, enum err err, enum client_cut how);
void exchange_set_state(struct exchange *x, enum exchange_state state);
void exchange_free(struct exchange **exchange_p);
void exchange_on_deadline(struct deadline *d);

/* exchange_record.c */
void exchange_id_prefix(struct exchanges *all);
/* Packs the REQUEST frame. */
void exchange_pack(struct exchange *x,
                   const struct client_request *r,
                   const struct exchange_body *body);
/* The same request with another body, and deadlines and queue time from now. */
void exchange_pack_again(struct exchange *x, const struct exchange_body *body);
/* Keeps of the frame only what the log and the access log will want. */
void exchange_keep_record(struct exchange *x);
/* The value of a field of the request; lives as long as the frame. */
struct slice exchange_header(const struct exchange *x, uint8_t number);
uint64_t exchange_deadline(const struct exchange *x); /* from now; 0: none */
/* Good until the next call for any exchange. */
struct response_to exchange_response_to(const struct exchange *x);
/* Body bytes of the page that stands in `out` from `start` on. */
size_t exchange_page_bytes(struct slice out, size_t start);
/* OPTIONS *: asks about the server, not about an application. */
void exchange_answer_self(struct exchange *x);
/* Counts it, and writes its line. */
void exchange_record(struct exchange *x);
void exchange_log(const struct exchange *x, enum log_level level, const char *text);
/* exchange_fail for what an application sent; kept for `show errors`. */
void exchange_fail_response(struct exchange *x, const struct response_failure *failure);

#endif
