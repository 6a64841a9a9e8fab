/* SPDX-License-Identifier: MIT
 * A request's body on its way to an app server: gathered first (slow clients never
 * occupy a worker), or passed on as the app server makes room. What was gathered can be
 * sent again; so can what was passed on, up to UPLOAD_KEEP, until the request is known
 * to be started. */
#ifndef PROXY_UPLOAD_H
#define PROXY_UPLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"
#include "proxy/spool.h"
#include "proxy/upstream/ticket.h"

enum { UPLOAD_KEEP = FRAME_DEFAULT_WINDOW /* bytes */ };

enum upload_mode {
    UPLOAD_NONE,    /* no body, or it is inside the REQUEST frame */
    UPLOAD_GATHER,  /* into the spool; the ticket is not submitted yet */
    UPLOAD_SPOOLED, /* all of it is in the spool */
    UPLOAD_STREAM,  /* first what is in the spool, then as it comes */
    UPLOAD_DISCARD, /* nobody wants it any more */
};

struct upload {
    enum upload_mode mode;
    bool is_whole;      /* the client has sent all of it */
    bool is_ended;      /* the current backend knows */
    uint64_t received;  /* from the client */
    uint64_t replayed;  /* from the spool to the current backend */
    struct spool spool; /* the body's first bytes; with ticket.is_replayable all that
                           the backend was sent */
};

void upload_init(struct upload *u, enum upload_mode mode, const char *temp_dir);
void upload_fini(struct upload *u);

/* How much can be taken from the client now. */
size_t upload_room(const struct upload *u, const struct ticket *t);
/* At most upload_room bytes. */
MUST_CHECK enum err upload_take(struct upload *u, struct ticket *t, struct slice data);
/* The client has sent all. */
void upload_complete(struct upload *u, struct ticket *t);

/* It will not be sent again: frees what went through. */
void upload_forget(struct upload *u, struct ticket *t);

/* The request left for a (or another) backend: its body starts again. */
void upload_restart(struct upload *u);
/* Sends what the backend has room for; `scratch` holds FRAME_MAX_BULK bytes. */
MUST_CHECK enum err upload_pump(struct upload *u, struct ticket *t, char *scratch);

#endif
