/* SPDX-License-Identifier: MIT
 * What the files of the link share: struct link, its endpoint and its monitor. */
#ifndef PROTOCOL_LINK_PRIV_H
#define PROTOCOL_LINK_PRIV_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "protocol/base/queue.h"
#include "protocol/link.h"

struct link_context {
    uint32_t magic;
    void *zmq;
    struct keys *keys; /* borrowed; NULL: none */
    struct zap *zap;
    pthread_mutex_t lock;
    struct list guarded; /* bound links with keys, by guard.node; under the lock */
};

enum transport { TRANSPORT_IPC, TRANSPORT_TCP, TRANSPORT_INPROC };

struct endpoint {
    enum transport transport;
    const char *address; /* borrowed: PATH, HOST:PORT or NAME */
    bool is_ipv6;
    bool is_loopback; /* tcp:// only */
};

MUST_CHECK enum err endpoint_parse(const char *text, struct endpoint *ret_endpoint);
/* A socket that listens at `path`, mode 0600; errno says why on false. A file left by a
 * dead process is taken over, one that answers is EADDRINUSE. */
struct listener {
    char *path; /* own; NULL: not an ipc:// link */
    dev_t device;
    ino_t inode;
};
MUST_CHECK bool
listener_open(const char *path, struct listener *ret_listener, int *ret_fd);
/* Removes the file unless somebody else has taken the path over since. */
void listener_close(struct listener *listener);
enum { FRESH_NAME = 32 };
/* An inproc:// endpoint that nobody else in the process has. */
void endpoint_fresh_name(char ret_name[FRESH_NAME]);

/* Whom a key has let in. */
struct guest {
    struct key_user user;
    struct sockaddr_storage address; /* the remote one */
    socklen_t address_length;
};

/* A connection of a bound link. Its peer is known from its first message on. */
struct connection {
    int fd;
    bool has_peer;
    bool has_greeted; /* HELLO came */
    uint32_t peer;
    struct guest *guest; /* owned; of a link with keys, from the first message on */
    char address[LINK_ADDRESS]; /* tcp:// */
};

/* Tells what became of connections. Events are read from ZeroMQ in their order into
 * `events`, because a bound link has to look ahead (monitor_admit). */
struct monitor {
    void *socket; /* PAIR; NULL: this link has none */
    int socket_fd;
    int wait_fd; /* for the user: socket_fd, or an epoll of it and look_ahead_fd */
    int look_ahead_fd; /* eventfd, readable while monitor_admit left events; -1: none */
    bool look_ahead_is_set;
    bool is_bound;
    bool is_up;       /* connecting link: between UP and DOWN */
    int connected_fd; /* connecting link: the last connection made */
    bool is_refused;  /* bound link: the next connection to end was refused; connecting
                         link: the last one was */
    enum link_refusal refusal;
    struct connection *connections;
    size_t connection_count, connection_cap;
    struct link_event *events;
    size_t event_first, event_count, event_cap; /* pending: [first, count) */
};

#define MONITOR_NONE                                                                   \
    ((struct monitor){                                                                 \
        .socket_fd = -1, .wait_fd = -1, .look_ahead_fd = -1, .connected_fd = -1})

/* What a link does about keys. */
struct guard {
    bool is_on;
    enum zap_domain domain; /* of a bound link */
    const struct key_pair *own;
    const char *server_key;       /* of a connecting one */
    struct link_context *context; /* a bound one's, which knows it by `node` */
    struct node node;
    int nudge_fd; /* eventfd, below monitor.wait_fd: the keys have changed; -1: none */
    uint64_t seen_version; /* of the keys */
};

enum link_shape { LINK_DEALER, LINK_ROUTER, LINK_PAIR };

struct link {
    uint32_t magic;
    enum link_shape shape;
    enum link_cargo cargo;
    void *socket;
    int fd;
    struct monitor monitor;
    struct listener listener;
    struct guard guard;
};

/* ---- link_guard.c ---- */
/* Before the socket is bound or connected. False: errno. */
MUST_CHECK bool guard_set_options(struct link *l);
/* After monitor_init. False: errno. */
MUST_CHECK bool guard_init(struct link *l);
void guard_fini(struct link *l);
/* The first message of a connection came, with this User-Id (NULL: none). False: it is
 * not admitted, or not any more; its connection ends. */
MUST_CHECK bool guard_admits(struct link *l, struct connection *c, const char *user_id);
/* Ends the connections of keys that were taken off the list meanwhile. */
void guard_review(struct link *l);

/* Before the socket is bound or connected, so that no event is missed. False: errno. */
MUST_CHECK bool monitor_init(struct monitor *m, void *context, struct link *link);
void monitor_fini(struct monitor *m, void *socket);
/* A message of `peer` came over the descriptor `fd`: its connection, if it is still
 * open. Reads every event that happened before the message first: a descriptor number
 * alone may belong to a dead connection or to its successor. */
MUST_CHECK struct connection *monitor_admit(struct monitor *m, uint32_t peer, int fd);
/* The connection of a peer admitted before. Both return NULL for none; what they return
 * holds until the monitor is called again. */
struct connection *monitor_find(const struct monitor *m, uint32_t peer);
MUST_CHECK bool monitor_next(struct monitor *m, struct link_event *ret_event);

#endif
