/* SPDX-License-Identifier: MIT
 * Each edge thread accepts from a socket of its own, so that the kernel spreads the
 * connections (SO_REUSEPORT). That option would also let a second proxy share the port
 * in silence: bind_set.c tries the address without it first. */
#include "proxy/bind.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- text ---- */

static bool parse_port(const char *text, uint16_t *ret_port)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    unsigned long port = strtoul(text, NULL, 10);
    if (port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static bool parse_tcp(const char *text, struct bind_address *ret_address)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !parse_port(colon + 1, &ret_address->port))
        return false;
    const char *host = text;
    size_t length = (size_t)(colon - text);
    if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
        if (length == 0 || memchr(host, ':', length) == NULL)
            return false;
    } else if (memchr(host, ':', length) != NULL || memchr(host, '/', length) != NULL) {
        return false; /* an IPv6 address without brackets, or a URL */
    }
    if (length > BIND_MAX_HOST)
        return false;
    memcpy(ret_address->host, host, length);
    return true;
}

bool bind_parse(const char *text,
                struct bind_address *ret_address,
                struct buf *ret_message)
{
    static const char scheme[] = "http://";
    struct bind_address address = {0};
    if (strncmp(text, scheme, sizeof scheme - 1) == 0)
        text += sizeof scheme - 1;
    bool ok;
    if (strncmp(text, "fd:", 3) == 0) {
        address.kind = BIND_INHERITED;
        address.passed_as = text + 3;
        ok = text[3] != '\0' && strchr(text + 3, ':') == NULL;
    } else if (strncmp(text, "unix:", 5) == 0) {
        const char *path = text + 5;
        size_t length = strlen(path);
        address.kind = BIND_UNIX;
        ok = length > 0 && length <= BIND_MAX_PATH;
        if (ok)
            memcpy(address.path, path, length);
    } else {
        ok = parse_tcp(text, &address);
    }
    if (!ok) {
        buf_addf(ret_message,
                 "--bind: \"%s\" is no address; expected HOST:PORT, [IPV6]:PORT, "
                 ":PORT, unix:/path (at most %d bytes of path) or fd:NAME",
                 text, BIND_MAX_PATH);
        return false;
    }
    *ret_address = address;
    return true;
}

/* ---- places ---- */

bool bind_place_of(int fd, struct bind_place *ret_place)
{
    struct bind_place place = {.size = sizeof(struct sockaddr_un)};
    static_assert(sizeof place.local >= sizeof place.v6, "the largest");
    if (getsockname(fd, &place.any, &place.size) != 0)
        return false;
    *ret_place = place;
    return true;
}

static uint16_t *port_in(struct bind_place *place)
{
    return place->any.sa_family == AF_INET6 ? &place->v6.sin6_port
                                            : &place->v4.sin_port;
}

uint16_t bind_place_port(const struct bind_place *place)
{
    struct bind_place copy = *place;
    return ntohs(*port_in(&copy));
}

void bind_place_set_port(struct bind_place *place, uint16_t port)
{
    *port_in(place) = htons(port);
}

bool bind_place_is_same(const struct bind_place *a, const struct bind_place *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    switch (a->any.sa_family) {
    case AF_INET:
        return a->v4.sin_port == b->v4.sin_port &&
               a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    case AF_INET6:
        return a->v6.sin6_port == b->v6.sin6_port &&
               a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
               memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
    case AF_UNIX:
        return strncmp(a->local.sun_path, b->local.sun_path,
                       sizeof a->local.sun_path) == 0;
    default:
        return false;
    }
}

void bind_place_name(const struct bind_place *place, char ret_name[BIND_MAX_NAME])
{
    char host[80] = "?";
    if (place->any.sa_family == AF_UNIX) {
        (void)snprintf(ret_name, BIND_MAX_NAME, "unix:%.*s", BIND_MAX_PATH,
                       place->local.sun_path);
        return;
    }
    (void)getnameinfo(&place->any, place->size, host, sizeof host, NULL, 0,
                      NI_NUMERICHOST);
    bool is_v6 = place->any.sa_family == AF_INET6;
    (void)snprintf(ret_name, BIND_MAX_NAME, "http://%s%s%s:%u", is_v6 ? "[" : "", host,
                   is_v6 ? "]" : "", bind_place_port(place));
}

void bind_place_from(const struct addrinfo *from, struct bind_place *ret_place)
{
    *ret_place = (struct bind_place){.size = from->ai_addrlen};
    ASSERT(from->ai_addrlen <= sizeof ret_place->local);
    memcpy(&ret_place->any, from->ai_addr, from->ai_addrlen);
}

void bind_place_from_path(const char *path, struct bind_place *ret_place)
{
    *ret_place = (struct bind_place){.size = sizeof ret_place->local};
    ret_place->local.sun_family = AF_UNIX;
    memcpy(ret_place->local.sun_path, path, strnlen(path, BIND_MAX_PATH));
}

int bind_resolve(const struct bind_address *address, struct addrinfo **ret_found)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    const char *host = address->host;
    if (host[0] == '\0') {
        /* [::] takes IPv4, too; a kernel without IPv6 still has 0.0.0.0. */
        int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        host = probe < 0 ? "0.0.0.0" : "::";
        if (probe >= 0)
            (void)close(probe);
    }
    char port[8];
    (void)snprintf(port, sizeof port, "%u", address->port);
    return getaddrinfo(host, port, &hints, ret_found);
}

/* ---- sockets ---- */

static const char *remedy(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "another program listens there: stop it, or choose another --bind";
    case EACCES:
        return "this user may not: choose a port above 1023, or grant "
               "CAP_NET_BIND_SERVICE";
    case EADDRNOTAVAIL:
        return "this machine has no such address: see `ip address`, or bind :PORT";
    case ENOENT:
    case ENOTDIR:
        return "its directory does not exist: create it, or choose another --bind";
    case EMFILE:
    case ENFILE:
        return "too many open files: raise the limit";
    default:
        return "choose another --bind";
    }
}

bool bind_explain(struct buf *message, const char *name, int error)
{
    buf_addf(message, "cannot listen on %s: %s; %s", name, strerror(error),
             remedy(error));
    return false;
}

/* What accept() inherits: small pieces leave at once, and a client that vanished
 * without a word is noticed after two minutes even while nobody writes to it. */
static void set_for_connections(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 60}, {IPPROTO_TCP, TCP_KEEPINTVL, 15},
        {IPPROTO_TCP, TCP_KEEPCNT, 4},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof options[i].value);
}

int bind_listen_tcp(const struct bind_place *at,
                    enum bind_sharing sharing,
                    bool is_every_address)
{
    int on = 1, off = 0;
    int fd = socket(at->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    IPPROTO_TCP);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    set_for_connections(fd);
    if (at->any.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_every_address ? &off : &on,
                         sizeof on);
    if (sharing == BIND_SHARED)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, &at->any, at->size) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

void bind_adopt(int fd)
{
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    set_for_connections(fd);
}

bool bind_is_shared(int fd)
{
    int is_on = 0;
    socklen_t size = sizeof is_on;
    return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &is_on, &size) == 0 && is_on;
}

/* Removes a socket file that nobody listens on; errno when it must stay. */
static bool clear_path(const struct bind_place *at)
{
    struct stat there;
    if (lstat(at->local.sun_path, &there) != 0)
        return errno == ENOENT;
    if (!S_ISSOCK(there.st_mode)) {
        errno = EEXIST;
        return false;
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return false;
    bool is_dead = connect(probe, &at->any, at->size) != 0 && errno == ECONNREFUSED;
    (void)close(probe);
    if (!is_dead) {
        errno = EADDRINUSE;
        return false;
    }
    return unlink(at->local.sun_path) == 0;
}

int bind_listen_unix(const struct bind_place *at, int *ret_file)
{
    const char *path = at->local.sun_path;
    if (!clear_path(at))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    mode_t mask = umask(0);
    (void)umask(mask);
    if (bind(fd, &at->any, at->size) == 0 && chmod(path, 0666 & ~mask) == 0 &&
        listen(fd, SOMAXCONN) == 0 &&
        (*ret_file = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC)) >= 0)
        return fd;
    int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}
