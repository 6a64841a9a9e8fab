/* SPDX-License-Identifier: MIT
 *   client -> spool                      GATHER
 *             spool -> ticket            SPOOLED, and first in STREAM
 *   client ----------> ticket            STREAM, once the spool is through;
 *             spool <- a copy            while the request may come back
 */
#include "proxy/upload.h"

enum { GATHER_PIECE = 128 * 1024 };

void upload_init(struct upload *u, enum upload_mode mode, const char *temp_dir)
{
    *u = (struct upload){.mode = mode};
    spool_init(&u->spool, temp_dir);
}

void upload_fini(struct upload *u)
{
    spool_fini(&u->spool);
    u->mode = UPLOAD_NONE;
}

static bool spool_is_through(const struct upload *u)
{
    return u->replayed == u->spool.size;
}

size_t upload_room(const struct upload *u, const struct ticket *t)
{
    switch (u->mode) {
    case UPLOAD_GATHER:
        return GATHER_PIECE;
    case UPLOAD_STREAM:
        return t->state == TICKET_SENT && spool_is_through(u) ? ticket_room(t) : 0;
    case UPLOAD_DISCARD:
        return SIZE_MAX;
    case UPLOAD_NONE:
    case UPLOAD_SPOOLED:
        break;
    }
    return 0;
}

void upload_forget(struct upload *u, struct ticket *t)
{
    if ((u->mode != UPLOAD_STREAM && u->mode != UPLOAD_SPOOLED) || !spool_is_through(u))
        return;
    t->is_replayable = false;
    spool_fini(&u->spool);
    u->replayed = 0;
}

/* The request may be handed back as long as nobody began with it. */
static void keep_copy(struct upload *u, struct ticket *t, struct slice data)
{
    if (!t->is_replayable)
        return;
    if (!ticket_is_started(t) && u->spool.size + data.len <= UPLOAD_KEEP &&
        spool_append(&u->spool, data) == ERR_NONE)
        u->replayed += data.len; /* the ticket has them already */
    else
        upload_forget(u, t);
}

enum err upload_take(struct upload *u, struct ticket *t, struct slice data)
{
    u->received += data.len;
    if (u->mode == UPLOAD_GATHER)
        return spool_append(&u->spool, data);
    if (u->mode == UPLOAD_STREAM) {
        keep_copy(u, t, data);
        ticket_send_body(t, data);
    }
    return ERR_NONE;
}

static void end_if_through(struct upload *u, struct ticket *t)
{
    if (!u->is_whole || u->is_ended || t->state != TICKET_SENT || !spool_is_through(u))
        return;
    u->is_ended = true;
    ticket_send_end(t);
}

void upload_complete(struct upload *u, struct ticket *t)
{
    u->is_whole = true;
    if (u->mode == UPLOAD_GATHER)
        u->mode = UPLOAD_SPOOLED;
    else if (u->mode == UPLOAD_STREAM)
        end_if_through(u, t);
}

void upload_restart(struct upload *u)
{
    u->replayed = 0;
    u->is_ended = false;
}

enum err upload_pump(struct upload *u, struct ticket *t, char *scratch)
{
    if (u->mode != UPLOAD_SPOOLED && u->mode != UPLOAD_STREAM)
        return ERR_NONE;
    size_t room;
    while (!spool_is_through(u) && (room = ticket_room(t)) > 0) {
        struct slice data;
        size_t most = room < FRAME_MAX_BULK ? room : FRAME_MAX_BULK;
        enum err err = spool_read(&u->spool, u->replayed, most, scratch, &data);
        if (err != ERR_NONE)
            return err;
        u->replayed += data.len;
        ticket_send_body(t, data);
    }
    end_if_through(u, t);
    return ERR_NONE;
}
