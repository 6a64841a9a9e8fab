/* SPDX-License-Identifier: MIT
 * Turns a judged head into the headers of a REQUEST frame: drops what stops here, joins
 * Cookie lines with "; ", sets Host, and says who the client was (X-Forwarded-For,
 * -Proto, -Host, X-Real-IP, X-Request-ID, X-Request-Start are overwritten unless the
 * peer is trusted).
 * Pure. */
#ifndef HTTP_HOP_H
#define HTTP_HOP_H

#include "protocol/frame.h"
#include "proxy/http/parse.h"
#include "proxy/http/rules.h"

/* Networks whose forwarding headers are believed. */
struct trusted_networks {
    uint32_t count;
    struct {
        uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
        uint8_t prefix;      /* bits of 128 */
    } networks[32];
    bool unix_sockets; /* peers on unix: listeners */
};
/* "127.0.0.0/8,10.0.0.0/8,::1,unix" or "*"; false: malformed. */
MUST_CHECK bool trusted_parse(const char *text, struct trusted_networks *ret_trusted);

struct hop_peer {
    struct slice addr; /* the connection's peer as text; empty: Unix socket */
    uint16_t port;
    bool is_tls;
};

struct hop_result {
    bool is_trusted;          /* the peer's forwarding headers are believed */
    struct slice client_addr; /* the peer, or who a trusted X-Forwarded-For names */
    uint16_t client_port;     /* 0 when not the peer itself */
    struct slice scheme;      /* "http"/"https", or a trusted X-Forwarded-Proto */
    struct slice id;          /* a trusted, well-formed X-Request-ID; else empty: the
                                 caller makes one */
};

/* Whether the peer's forwarding headers are believed. */
bool hop_is_trusted(const struct trusted_networks *trusted,
                    const struct hop_peer *peer);

/* Who the client is, as far as the peer is believed. The result's slices borrow from
 * head and peer. */
void hop_client(const struct request_head *head,
                const struct request_rules *rules,
                const struct hop_peer *peer,
                const struct trusted_networks *trusted,
                struct hop_result *ret_result);

/* What the edge adds, and keeps to itself. */
struct hop_own {
    struct slice id;     /* X-Request-ID: of hop_client, or the caller's */
    struct slice cookie; /* the name of one that stops here; empty: none does */
    uint64_t start_us;   /* X-Request-Start, in Unix time; 0: none is added */
};

/* Appends one complete packed header array to `to`, an own buf. Names are sent lower
 * case (numbers where the table has them). `client` comes from hop_client. */
void hop_headers(const struct request_head *head,
                 const struct request_rules *rules,
                 const struct hop_peer *peer,
                 const struct hop_result *client,
                 const struct hop_own *own,
                 struct buf *to);
/* X-Request-Start in the form that APM agents read: t= and microseconds. */
void hop_put_start(struct header_writer *w, uint64_t start_us);

#endif
