/* SPDX-License-Identifier: MIT
 * Each edge thread accepts from a socket of its own, so that the kernel spreads the
 * connections (SO_REUSEPORT). That option would also let a second proxy share the port
 * in silence, therefore a socket without it tries the address first. */
#include "proxy/bind.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/base/mem.h"

enum { BIND_SET_MAGIC = 0x42494e44, MAX_LISTENERS = 256 };

/* One name. */
struct listener_row {
    char *path; /* unix: the file to remove; NULL: TCP */
    int file;   /* O_PATH: while it is open no other file gets the inode's number */
};

struct bind_set {
    uint32_t magic;
    uint32_t edges, count;
    const char *names[MAX_LISTENERS];
    struct listener_row rows[MAX_LISTENERS];
    int *fds;   /* edges x MAX_LISTENERS; -1: none, or taken */
    int *taken; /* likewise */
};

static bool open_tcp(struct bind_set *set,
                     const struct bind_address *address,
                     struct buf *ret_message);
static bool open_unix(struct bind_set *set,
                      const struct bind_address *address,
                      struct buf *ret_message);

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
    if (strncmp(text, "unix:", 5) == 0) {
        const char *path = text + 5;
        size_t length = strlen(path);
        address.is_unix = true;
        ok = length > 0 && length <= BIND_MAX_PATH;
        if (ok)
            memcpy(address.path, path, length);
    } else {
        ok = parse_tcp(text, &address);
    }
    if (!ok) {
        buf_addf(ret_message,
                 "--bind: \"%s\" is no address; expected HOST:PORT, [IPV6]:PORT, :PORT "
                 "or unix:/path (at most %d bytes of path)",
                 text, BIND_MAX_PATH);
        return false;
    }
    *ret_address = address;
    return true;
}

/* ---- the set ---- */

struct bind_set *bind_set_new(uint32_t edges)
{
    struct bind_set *set = mem_zalloc(sizeof *set);
    set->magic = BIND_SET_MAGIC;
    set->edges = edges;
    set->fds = mem_alloc(sizeof(int) * MAX_LISTENERS * edges);
    set->taken = mem_alloc(sizeof(int) * MAX_LISTENERS * edges);
    for (uint32_t i = 0; i < MAX_LISTENERS * edges; i++)
        set->fds[i] = set->taken[i] = -1;
    return set;
}

static int look_at(const char *path)
{
    return open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

/* Whether the file that was bound still stands at its path. */
static bool is_ours(const struct listener_row *row)
{
    struct stat then, now;
    return fstat(row->file, &then) == 0 && lstat(row->path, &now) == 0 &&
           then.st_ino == now.st_ino && then.st_dev == now.st_dev;
}

static int *fd_of(struct bind_set *set, uint32_t edge, uint32_t listener)
{
    return &set->fds[edge * MAX_LISTENERS + listener];
}

void bind_set_free(struct bind_set **set_p)
{
    struct bind_set *set = *set_p;
    if (set == NULL)
        return;
    *set_p = NULL;
    CHECK_OBJ(set, BIND_SET_MAGIC);
    for (uint32_t i = 0; i < MAX_LISTENERS * set->edges; i++)
        if (set->fds[i] >= 0)
            (void)close(set->fds[i]);
    for (uint32_t i = 0; i < set->count; i++) {
        struct listener_row *row = &set->rows[i];
        if (row->path != NULL) {
            if (is_ours(row))
                (void)unlink(row->path);
            (void)close(row->file);
        }
        mem_free(&row->path);
        mem_free(&set->names[i]);
    }
    mem_free(&set->fds);
    mem_free(&set->taken);
    set->magic = 0;
    mem_free(&set);
}

bool bind_set_open(struct bind_set *set,
                   const struct bind_address *address,
                   struct buf *ret_message)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    return address->is_unix ? open_unix(set, address, ret_message)
                            : open_tcp(set, address, ret_message);
}

uint32_t bind_set_count(const struct bind_set *set)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    return set->count;
}

const char *const *bind_set_names(const struct bind_set *set)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    return set->names;
}

const int *bind_set_take(struct bind_set *set, uint32_t edge)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    ASSERT(edge < set->edges);
    int *from = fd_of(set, edge, 0), *to = &set->taken[edge * MAX_LISTENERS];
    for (uint32_t i = 0; i < set->count; i++) {
        to[i] = from[i];
        from[i] = -1;
    }
    return to;
}

/* ---- opening ---- */

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

static bool explain(struct buf *message, const char *name, int error)
{
    buf_addf(message, "cannot listen on %s: %s; %s", name, strerror(error),
             remedy(error));
    return false;
}

static struct listener_row *add_row(struct bind_set *set, const char *name)
{
    struct listener_row *row = &set->rows[set->count];
    *row = (struct listener_row){0};
    set->names[set->count++] = mem_strdup(name);
    return row;
}

enum sharing { SHARED, ALONE };

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

/* -1: errno. */
static int
listen_tcp(const struct addrinfo *at, enum sharing sharing, bool is_every_address)
{
    int on = 1, off = 0;
    int fd =
        socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    set_for_connections(fd);
    if (at->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_every_address ? &off : &on,
                         sizeof on);
    if (sharing == SHARED)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

static void set_port(struct addrinfo *at, uint16_t port)
{
    if (at->ai_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)at->ai_addr)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)(void *)at->ai_addr)->sin_port = htons(port);
}

static uint16_t port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {0};
    socklen_t size = sizeof at;
    if (getsockname(fd, &at.any, &size) != 0)
        return 0;
    return ntohs(at.any.sa_family == AF_INET6 ? at.v6.sin6_port : at.v4.sin_port);
}

static void name_tcp(const struct addrinfo *at, uint16_t port, char name[80])
{
    char host[64] = "?";
    (void)getnameinfo(at->ai_addr, at->ai_addrlen, host, sizeof host, NULL, 0,
                      NI_NUMERICHOST);
    bool is_v6 = at->ai_family == AF_INET6;
    (void)snprintf(name, 80, "http://%s%s%s:%u", is_v6 ? "[" : "", host,
                   is_v6 ? "]" : "", port);
}

/* One socket for each edge; *port is filled in when it was 0. False: errno, and `name`
 * is what could not be opened. */
static bool open_one_tcp(struct bind_set *set,
                         struct addrinfo *at,
                         bool is_every_address,
                         uint16_t *port,
                         char name[80])
{
    set_port(at, *port);
    name_tcp(at, *port, name);
    enum sharing sharing = set->edges > 1 ? SHARED : ALONE;
    if (sharing == SHARED && *port != 0) {
        int probe = listen_tcp(at, ALONE, is_every_address);
        if (probe < 0)
            return false;
        (void)close(probe);
    }
    for (uint32_t edge = 0; edge < set->edges; edge++) {
        int fd = listen_tcp(at, sharing, is_every_address);
        if (fd < 0)
            return false;
        *fd_of(set, edge, set->count) = fd;
        if (*port == 0) {
            *port = port_of(fd);
            set_port(at, *port);
            name_tcp(at, *port, name);
        }
    }
    (void)add_row(set, name);
    return true;
}

static int resolve(const struct bind_address *address, struct addrinfo **ret_found)
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
    return getaddrinfo(host, "0", &hints, ret_found);
}

static bool open_tcp(struct bind_set *set,
                     const struct bind_address *address,
                     struct buf *ret_message)
{
    struct addrinfo *found = NULL;
    int failed = resolve(address, &found);
    if (failed != 0) {
        buf_addf(ret_message,
                 "cannot listen on %s:%u: %s; use an address of this machine, or "
                 ":PORT for all of them",
                 address->host, address->port, gai_strerror(failed));
        return false;
    }
    uint32_t before = set->count;
    uint16_t port = address->port;
    char name[80];
    (void)snprintf(name, sizeof name, "%.60s:%u", address->host, address->port);
    int error = 0;
    for (struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        errno = EMFILE;
        if (set->count < MAX_LISTENERS &&
            open_one_tcp(set, at, address->host[0] == '\0', &port, name))
            continue;
        error = errno;
        /* "localhost" has an IPv6 address even where IPv6 is switched off. */
        bool is_missing = error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
        if (!is_missing || (set->count == before && at->ai_next == NULL))
            break;
        error = 0;
    }
    freeaddrinfo(found);
    return error == 0 || explain(ret_message, name, error);
}

/* Removes a socket file that nobody listens on; errno when it must stay. */
static bool clear_path(const struct sockaddr_un *at)
{
    struct stat there;
    if (lstat(at->sun_path, &there) != 0)
        return errno == ENOENT;
    if (!S_ISSOCK(there.st_mode)) {
        errno = EEXIST;
        return false;
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return false;
    bool is_dead =
        connect(probe, (const struct sockaddr *)(const void *)at, sizeof *at) != 0 &&
        errno == ECONNREFUSED;
    (void)close(probe);
    if (!is_dead) {
        errno = EADDRINUSE;
        return false;
    }
    return unlink(at->sun_path) == 0;
}

/* Mode 0666 less the umask, as for a TCP port: who may reach the directory may connect.
 */
static int listen_unix(const struct sockaddr_un *at, int *ret_file)
{
    if (!clear_path(at))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    mode_t mask = umask(0);
    (void)umask(mask);
    if (bind(fd, (const struct sockaddr *)(const void *)at, sizeof *at) == 0 &&
        chmod(at->sun_path, 0666 & ~mask) == 0 && listen(fd, SOMAXCONN) == 0 &&
        (*ret_file = look_at(at->sun_path)) >= 0)
        return fd;
    int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

static bool open_unix(struct bind_set *set,
                      const struct bind_address *address,
                      struct buf *ret_message)
{
    char name[sizeof address->path + 8];
    (void)snprintf(name, sizeof name, "unix:%s", address->path);
    if (set->count == MAX_LISTENERS) {
        buf_addf(ret_message, "more than %d addresses to listen on", MAX_LISTENERS);
        return false;
    }
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, address->path, strlen(address->path));
    int file;
    int fd = listen_unix(&at, &file);
    if (fd < 0)
        return explain(ret_message, name, errno);
    uint32_t listener = set->count;
    *fd_of(set, 0, listener) = fd;
    struct listener_row *row = add_row(set, name);
    row->path = mem_strdup(address->path);
    row->file = file;
    for (uint32_t edge = 1; edge < set->edges; edge++) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            return explain(ret_message, name, errno);
        *fd_of(set, edge, listener) = copy;
    }
    return true;
}
