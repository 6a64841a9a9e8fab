/* SPDX-License-Identifier: MIT
 * What client.c and clients.c share. */
#ifndef HTTP_CLIENT_PRIV_H
#define HTTP_CLIENT_PRIV_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "protocol/base/queue.h"
#include "proxy/http/clients.h"
#include "proxy/http/outbox.h"

enum {
    CLIENT_MAGIC = 0xc11e0700,
    CLIENTS_MAGIC = 0xc11e0701,
    SCRATCH_BYTES = 64 * 1024, /* one read */
    READ_MORE = 8 * 1024,      /* room for a read behind what is left over */
    READ_BUDGET = 4,           /* reads of one client in one turn */
    WHOLE_BODY = 32 * 1024,    /* a body this small is handed over with its head */
    WRITE_THROUGH = 16 * 1024, /* a piece this large is not copied first */
    LINGER_US = 2 * 1000000,
    HALF_CLOSED_US = 1 * 1000000,
    LOOK_US = 100 * 1000,
};

enum client_state {
    CLIENT_IDLE,     /* no byte of a request yet; on clients.idle, oldest first */
    CLIENT_HEAD,     /* part of a head; on clients.open, as are the next four */
    CLIENT_BODY,     /* a request is open, its body not whole */
    CLIENT_BUSY,     /* a request is open and read */
    CLIENT_UPGRADED, /* it is no HTTP any more; its bytes go to input() */
    CLIENT_LINGER, /* answered; what still comes is thrown away until the peer closes */
    CLIENT_CLOSED, /* on clients.closed until the end of the turn */
};

struct client {
    uint32_t magic;
    enum client_state state;
    struct clients *all;
    struct node node;  /* the state's list */
    struct node dirty; /* something to write, or an end to act upon */
    struct node ready; /* could read on */
    struct event event;
    int fd;
    /* The event is edge-triggered: what it said stays true until a call says otherwise.
     */
    bool can_read, can_write;
    bool saw_hangup;     /* the peer's end is somewhere in the input */
    bool saw_eof;        /* and was reached */
    bool has_to_look;    /* a reset may hide behind the bytes that were read last */
    bool is_out_of_step; /* where a next request would begin is not known */
    bool is_half_closed; /* which the open request knows */
    bool is_broken;      /* the socket failed; noticed at the end of the turn */
    bool may_keep_alive; /* the open request and what followed it allow another one */
    bool is_ended, is_kept,
        is_cut;         /* client_end (KEEP_ALIVE), client_cut were called */
    bool is_reset;      /* the cut ends with a reset */
    bool is_discarding; /* the body is thrown away */
    bool is_paused;     /* the body waits for room, its clock stands; or input() does */
    void *exchange;
    struct buf in; /* what was read and not used; empty most of the time */
    size_t scanned;
    struct outbox out;
    struct body_reader reader;
    uint64_t body_bytes, body_since_us, body_spent_us;
    struct deadline wait;  /* HEADER, BODY, KEEPALIVE, LINGER, HALF_CLOSED, LOOK */
    struct deadline stall; /* WRITE */
    int in_socket;         /* bytes the peer had not taken when `stall` was armed */
    uint64_t written;      /* bytes since the last look of on_half_closed */
    uint64_t number;
    struct hop_peer peer;
    char peer_text[48], server_text[48];
    struct slice server_addr;
    uint16_t server_port;
};

struct clients {
    uint32_t magic;
    struct clients_options options;
    struct event_base *base;
    struct list idle, open, closed, dirty, ready;
    struct node mark; /* of the list being visited: those behind it came since */
    uint32_t count;   /* not closed */
    uint64_t numbers;
    struct refusals refusals;
    bool is_stopping, is_leaving;
    int64_t date_second;
    char date[30];
    struct request_head head; /* of the request being read: large, used for one call */
    char scratch[SCRATCH_BYTES];
};

/* client.c */
struct client *client_new(struct clients *all,
                          int fd,
                          const struct sockaddr_storage *peer,
                          struct slice listener_path);
void client_free(struct client **client_p);
/* Releases the socket and moves to the closed ones; the open request hears gone(err).
 */
void client_close(struct client *c, enum err err);
void client_reset(struct client *c, enum err err); /* likewise, with a reset */
void client_flush(struct client *c);               /* dirty */
void client_set_state(struct client *c, enum client_state state);
void client_make_ready(struct client *c);

/* client_input.c */
void client_read(struct client *c);    /* the socket is readable */
void client_read_on(struct client *c); /* ready: buffered input first */

void client_on_header_late(struct deadline *d);
void client_on_body_late(struct deadline *d);
void client_on_idle(struct deadline *d);
void client_on_write_stalled(struct deadline *d);
void client_on_linger_end(struct deadline *d);
void client_on_half_closed(struct deadline *d);
void client_on_look(struct deadline *d);

#endif
