/* SPDX-License-Identifier: MIT
 * One address of --bind: from text to a listening socket. */
#ifndef PROXY_BIND_H
#define PROXY_BIND_H

#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"

enum {
    BIND_MAX_HOST = 255,
    BIND_MAX_PATH = 107, /* bytes of a Unix socket's path */
    BIND_MAX_NAME = 128, /* "http://[...]:65535", "unix:/path", with its end */
};

enum bind_kind { BIND_TCP, BIND_UNIX, BIND_INHERITED };

struct bind_address {
    enum bind_kind kind;
    char host[BIND_MAX_HOST + 1]; /* empty: every address of this machine */
    uint16_t port;                /* 0: any free one */
    char path[BIND_MAX_PATH + 1]; /* of a Unix socket */
    const char *passed_as;        /* "fd:NAME": the name; points into the text */
};

/* "HOST:PORT", "[V6]:PORT", ":PORT", "unix:/path", "fd:NAME". False: ret_message says
 * what would be accepted. */
MUST_CHECK bool
bind_parse(const char *text, struct bind_address *ret_address, struct buf *ret_message);

/* Where a socket listens. */
struct bind_place {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    };
    socklen_t size;
};
MUST_CHECK bool bind_place_of(int fd, struct bind_place *ret_place); /* false: errno */
bool bind_place_is_same(const struct bind_place *a, const struct bind_place *b);
uint16_t bind_place_port(const struct bind_place *place);
void bind_place_set_port(struct bind_place *place, uint16_t port);
/* "http://127.0.0.1:8000", "unix:/path". */
void bind_place_name(const struct bind_place *place, char ret_name[BIND_MAX_NAME]);

/* Every address that a BIND_TCP has, with its port; freeaddrinfo. Not 0: gai_strerror
 * says why there is none. */
MUST_CHECK int bind_resolve(const struct bind_address *address,
                            struct addrinfo **ret_found);
void bind_place_from(const struct addrinfo *from, struct bind_place *ret_place);
void bind_place_from_path(const char *path, struct bind_place *ret_place);

/* SHARED: SO_REUSEPORT, so that there may be another one of ours. */
enum bind_sharing { BIND_SHARED, BIND_ALONE };
/* A listening socket, non-blocking; -1: errno. `is_every_address`: an IPv6 one takes
 * IPv4 as well. */
MUST_CHECK int bind_listen_tcp(const struct bind_place *at,
                               enum bind_sharing sharing,
                               bool is_every_address);
/* Mode 0666 less the umask, as for a TCP port: who may reach the directory may connect.
 * A socket file that nobody listens on gives way. *ret_file: O_PATH of the new one. */
MUST_CHECK int bind_listen_unix(const struct bind_place *at, int *ret_file);
/* Of a listening socket that somebody else has opened: the same options. */
void bind_adopt(int fd);
bool bind_is_shared(int fd); /* BIND_SHARED */

/* Adds "cannot listen on NAME: why; what to do". False, always. */
bool bind_explain(struct buf *message, const char *name, int error);

#endif
