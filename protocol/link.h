/* SPDX-License-Identifier: MIT
 * A ZeroMQ socket that carries messages of frames between a proxy and an app server:
 * the proxy's end is a DEALER that connects to exactly one endpoint, the app server's
 * end a ROUTER that binds. PAIR over inproc:// joins the threads of one process.
 * Nothing outside protocol/link*.c includes zmq.h.
 *
 * A link is used by one thread at a time. It may move to another thread behind a full
 * fence (a mutex, or a message over a PAIR), never while the other still calls it.
 *
 * link_fd() is edge-triggered in meaning (zmq_getsockopt(3), ZMQ_FD): after it becomes
 * readable, receive until STEP_MORE; after any send or receive ask link_has_input()
 * again before waiting for the fd. */
#ifndef PROTOCOL_LINK_H
#define PROTOCOL_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"
#include "protocol/keys.h"
#include "protocol/zap.h"

/* A ZeroMQ context: one I/O thread, ZMQ_MAX_SOCKETS raised to `sockets`. Make it after
 * fork, free it after its links. Links of one process meet over inproc:// only within
 * one context. */
struct link_context;
MUST_CHECK struct link_context *link_context_new(unsigned sockets);
void link_context_free(struct link_context **context_p);

struct link;

/* ERR_BAD_ENDPOINT: not ipc://PATH (at most 107 bytes, no abstract "@name"),
 * tcp://HOST:PORT, tcp://[V6]:PORT or inproc://NAME; or tcp:// off loopback (which is
 * 127.0.0.0/8, [::1] and localhost) without LINK_INSECURE. ERR_SYSTEM with errno: out
 * of descriptors or sockets. Connecting never waits for the peer. */
enum link_policy { LINK_LOCAL_ONLY, LINK_INSECURE };
MUST_CHECK enum err link_connect(struct link_context *context,
                                 const char *endpoint,
                                 enum link_policy policy,
                                 struct link **ret_link);
/* ERR_SYSTEM with errno set when the endpoint cannot be bound. An ipc:// path left by a
 * dead process is taken over; one that answers is refused (EADDRINUSE), as is a file
 * that is no socket. The socket has mode 0600. */
MUST_CHECK enum err link_bind(struct link_context *context,
                              const char *endpoint,
                              enum link_policy policy,
                              struct link **ret_link);
/* The same for lines of text in place of frames: no HELLO comes first, no message is
 * longer than LINK_MAX_LINES, and 64 of them wait in each direction. */
enum { LINK_MAX_LINES = 64 * 1024 };
MUST_CHECK enum err link_connect_lines(struct link_context *context,
                                       const char *endpoint,
                                       enum link_policy policy,
                                       struct link **ret_link);
MUST_CHECK enum err link_bind_lines(struct link_context *context,
                                    const char *endpoint,
                                    enum link_policy policy,
                                    struct link **ret_link);

enum link_cargo { CARGO_FRAMES, CARGO_LINES };

/* ---- with keys: CURVE, which encrypts and proves both ends; tcp:// only ---- */

/* The context admits peers by these keys (borrowed, outlives it), and its bound links
 * use them. `reread_fd` and `events` are zap.h's. Once. ERR_SYSTEM: errno. */
MUST_CHECK enum err link_context_use_keys(struct link_context *context,
                                          struct keys *keys,
                                          int reread_fd,
                                          const struct zap_events *events);
/* After keys_reload: connections whose key is not admitted any more are closed by their
 * links, which then say DOWN. Any thread. */
void link_context_keys_changed(struct link_context *context);

/* As link_bind for ZAP_APP, as link_bind_lines for ZAP_CONTROL; admits who
 * zap_domain_admits. */
MUST_CHECK enum err link_bind_secure(struct link_context *context,
                                     const char *endpoint,
                                     enum zap_domain domain,
                                     struct link **ret_link);
/* As link_connect or link_connect_lines, to whoever holds the secret half of
 * `server_key`. Needs no keys of the context. */
MUST_CHECK enum err link_connect_secure(struct link_context *context,
                                        const char *endpoint,
                                        enum link_cargo cargo,
                                        const struct key_pair *own,
                                        const char *server_key,
                                        struct link **ret_link);
/* Who the sender of a message is. NULL: the link has no keys, or there is no such peer.
 * Holds until the link is called again. */
const struct key_user *link_peer_user(const struct link *link, uint32_t peer);

/* Checks the form and the policy only. */
MUST_CHECK enum err link_check_endpoint(const char *endpoint, enum link_policy policy);
bool link_endpoint_is_local(const char *endpoint); /* ipc:// or inproc:// */
/* Of tcp:// whose host is a name, which stands for any number of addresses. False: an
 * address, localhost, or no tcp://. */
struct link_name {
    char host[256], port[6];
};
MUST_CHECK bool link_endpoint_name(const char *endpoint, struct link_name *ret_name);
/* Closes at once and removes its ipc:// path; what is queued is dropped, except that a
 * bound link lingers for up to 1 s, in which link_context_free waits for it. */
void link_free(struct link **link_p);

int link_fd(const struct link *link); /* wait for readability; owned by the link */
/* The same for link_next_event. -1 on PAIR and on inproc://, which have no events: take
 * a connecting inproc:// link for up from the start, as long as its process lives. */
int link_monitor_fd(const struct link *link);
bool link_has_input(struct link *link); /* re-reads the socket's state */

/* One received message. A bound link names the connection it came from in `peer`;
 * `frames` is the first part, `bulk` the second (empty: none). The slices live until
 * link_message_done(), which every received message needs. Small: keep it on the stack;
 * move it with link_message_move (holding one pins its memory). */
struct link_message {
    uint32_t peer;
    int source_fd; /* matches link_event.fd of the same connection; -1 on inproc:// */
    struct slice frames, bulk;
    union {
        char raw[64];
        void *align;
    } storage[2];
};

/* DONE: a message; MORE: none now; BAD: a message of a form no peer may send was
 * dropped (more than two parts, over the limits): have done with `peer`, which is set.
 * Never waits.
 *
 * On a bound ipc:// or tcp:// link, good messages that come before a connection's HELLO
 * are dropped: they were meant for a process that is dead (link.c, greets). */
MUST_CHECK enum step link_recv(struct link *link, struct link_message *ret_message);
void link_message_done(struct link_message *message);
/* Of tcp://: the IP address that it came from, as long as it is not done with; NULL:
 * not known. */
const char *link_message_address(struct link_message *message);
/* Slices that were moved forward stay so. `from` needs no link_message_done. */
void link_message_move(struct link_message *to, struct link_message *from);

/* Copies; never waits. `peer` is for a bound link (0 on others). ERR_LINK_FULL: the
 * high-water mark. ERR_LINK_DOWN: no such peer; for a connecting link: link_next_event
 * has not said UP, or has said DOWN since. A message to a peer that is just dying may
 * be accepted and lost: only an answer proves arrival. */
MUST_CHECK enum err
link_send(struct link *link, uint32_t peer, struct slice frames, struct slice bulk);

enum { LINK_ADDRESS = 48 };

/* What became of connections.
 *
 * Connecting link. UP: usable, the handshake is done; say HELLO now. DOWN: gone; what
 * the peer sent before stays readable, so receive until MORE before settling anything.
 *
 * Bound link. UP: a connection was accepted; whose it is shows with its first message.
 * DOWN: gone; `peer` says who. What that peer sent and was not received yet is dropped.
 *
 * REFUSED: a handshake failed (fd -1). A connecting link that was not UP then says no
 * DOWN, a bound one does.
 *
 * A connecting link tries again by itself, but not after what ZeroMQ takes for a breach
 * of its protocol, and it cannot tell: after DOWN or REFUSED without an UP that follows
 * soon, open another one.
 *
 * UNREACHABLE: nobody took the connection; it is tried again. Of a connecting link for
 * lines only. */
enum link_event_kind { LINK_UP, LINK_DOWN, LINK_REFUSED, LINK_UNREACHABLE };
enum link_refusal {
    REFUSAL_BROKEN,    /* the connection ended, or what came was no handshake; also what
                          a secure connecting link sees of a peer with another key */
    REFUSAL_MECHANISM, /* one end has keys, the other has none */
    REFUSAL_KEY,       /* a secure bound link: the peer takes it for another one's */
    REFUSAL_DENIED,    /* the bound end does not admit the other's key */
};
struct link_event {
    enum link_event_kind kind;
    int fd;                     /* of the connection; reused by the kernel after DOWN */
    uint32_t peer;              /* DOWN of a bound link; 0: it never sent a message */
    enum link_refusal refusal;  /* of REFUSED */
    char address[LINK_ADDRESS]; /* of REFUSED of a bound link: whose, e.g.
                                    "192.0.2.7"; empty: not known */
};
MUST_CHECK bool link_next_event(struct link *link, struct link_event *ret_event);

/* PAIR over inproc:// between two threads of one process: both ends at once. Messages
 * are pointers or small structs, copied. As many as one likes may wait: none is lost.
 */
void link_pair_new(struct link_context *context,
                   struct link **ret_a,
                   struct link **ret_b);

#endif
