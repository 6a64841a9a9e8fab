/* SPDX-License-Identifier: MIT
 * The addresses of --bind: from text to listening sockets. */
#ifndef PROXY_BIND_H
#define PROXY_BIND_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

enum {
    BIND_MAX_HOST = 255,
    BIND_MAX_PATH = 107, /* bytes of a Unix socket's path */
};

struct bind_address {
    bool is_unix;
    char host[BIND_MAX_HOST + 1]; /* empty: every address of this machine */
    uint16_t port;                /* 0: any free one */
    char path[BIND_MAX_PATH + 1];
};

/* "HOST:PORT", "[V6]:PORT", ":PORT", "unix:/path". False: ret_message says what would
 * be accepted. */
MUST_CHECK bool
bind_parse(const char *text, struct bind_address *ret_address, struct buf *ret_message);

/* The listening sockets of all addresses, one of each for every edge thread. */
struct bind_set;
MUST_CHECK struct bind_set *bind_set_new(uint32_t edges);
/* Closes what was not taken, and removes the Unix sockets that are still ours. */
void bind_set_free(struct bind_set **set_p);
/* A name may stand for several addresses; all are opened. TCP: one SO_REUSEPORT socket
 * for each edge; unix: one socket for all. False: ret_message names the address, the
 * reason and the remedy. */
MUST_CHECK bool bind_set_open(struct bind_set *set,
                              const struct bind_address *address,
                              struct buf *ret_message);

uint32_t bind_set_count(const struct bind_set *set);
/* "http://127.0.0.1:8000", "unix:/path"; with the port that was really opened. Borrowed
 * for the set's life. */
const char *const *bind_set_names(const struct bind_set *set);
/* An edge's sockets, one for each name; from here on they are the edge's to close. */
const int *bind_set_take(struct bind_set *set, uint32_t edge);

#endif
