/* SPDX-License-Identifier: MIT
 * Endpoints: what may be written, what is local, and the Unix socket a bound ipc://
 * link listens on. ZeroMQ's own ipc bind takes any path away from whoever serves it and
 * leaves the mode to the umask; ours asks first. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "protocol/base/slice.h"
#include "protocol/link_priv.h"

enum {
    MAX_NAME = 255, /* inproc:// name or host name */
    LOCK_TRIES = 200,
    LOCK_WAIT_MS = 5,
};

static bool parse_tcp(const char *address, struct endpoint *ret);
static bool host_is_well_formed(const char *host);
static bool port_is_valid(const char *port);
static int lock_directory(const char *path);
static bool clear_path(const char *path);
static int bind_and_listen(const char *path);
static void fill_address(const char *path, struct sockaddr_un *ret_address);

void endpoint_fresh_name(char ret_name[FRESH_NAME])
{
    static atomic_uint next;
    (void)snprintf(ret_name, FRESH_NAME, "inproc://link-%u",
                   atomic_fetch_add(&next, 1));
}

enum err endpoint_parse(const char *text, struct endpoint *ret_endpoint)
{
    struct endpoint e = {.transport = TRANSPORT_IPC};
    bool ok = false;
    if (strncmp(text, "ipc://", 6) == 0) {
        e.address = text + 6;
        /* '@' would be an abstract socket, open to every user; '*' a name of ZeroMQ's
         * own choice. */
        ok = e.address[0] != '\0' && e.address[0] != '@' && e.address[0] != '*' &&
             strlen(e.address) < sizeof((struct sockaddr_un *)0)->sun_path;
    } else if (strncmp(text, "tcp://", 6) == 0) {
        e.transport = TRANSPORT_TCP;
        e.address = text + 6;
        ok = parse_tcp(e.address, &e);
    } else if (strncmp(text, "inproc://", 9) == 0) {
        e.transport = TRANSPORT_INPROC;
        e.address = text + 9;
        ok = e.address[0] != '\0' && strlen(e.address) <= MAX_NAME;
    }
    if (!ok)
        return ERR_BAD_ENDPOINT;
    *ret_endpoint = e;
    return ERR_NONE;
}

enum err link_check_endpoint(const char *endpoint, enum link_policy policy)
{
    struct endpoint e;
    enum err failed = endpoint_parse(endpoint, &e);
    if (failed != ERR_NONE)
        return failed;
    if (e.transport == TRANSPORT_TCP && !e.is_loopback && policy != LINK_INSECURE)
        return ERR_BAD_ENDPOINT;
    return ERR_NONE;
}

bool link_endpoint_is_local(const char *endpoint)
{
    struct endpoint e;
    return endpoint_parse(endpoint, &e) == ERR_NONE && e.transport != TRANSPORT_TCP;
}

bool link_endpoint_name(const char *endpoint, struct link_name *ret_name)
{
    struct endpoint e;
    struct link_name name = {0};
    struct in_addr v4;
    if (endpoint_parse(endpoint, &e) != ERR_NONE || e.transport != TRANSPORT_TCP ||
        e.is_ipv6)
        return false;
    const char *colon = strrchr(e.address, ':');
    memcpy(name.host, e.address, (size_t)(colon - e.address));
    memcpy(name.port, colon + 1, strlen(colon + 1));
    if (inet_pton(AF_INET, name.host, &v4) == 1 ||
        strcasecmp(name.host, "localhost") == 0)
        return false;
    *ret_name = name;
    return true;
}

/* HOST:PORT, where HOST is a name, an IPv4 address or an IPv6 address in brackets. */
static bool parse_tcp(const char *address, struct endpoint *ret)
{
    char host[MAX_NAME + 1];
    const char *colon = strrchr(address, ':');
    if (colon == NULL || !port_is_valid(colon + 1))
        return false;
    size_t length = (size_t)(colon - address);
    bool bracketed = length >= 2 && address[0] == '[' && colon[-1] == ']';
    if (bracketed) {
        address++;
        length -= 2;
    }
    if (length == 0 || length > MAX_NAME)
        return false;
    memcpy(host, address, length);
    host[length] = '\0';

    if (bracketed) {
        struct in6_addr v6;
        ret->is_ipv6 = true;
        if (inet_pton(AF_INET6, host, &v6) != 1)
            return false;
        ret->is_loopback = IN6_IS_ADDR_LOOPBACK(&v6);
        return true;
    }
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        ret->is_loopback = ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
        return true;
    }
    ret->is_loopback = strcasecmp(host, "localhost") == 0;
    return host_is_well_formed(host);
}

/* Keeps ZeroMQ's extras out: "*", interface lists, "source;destination". */
static bool host_is_well_formed(const char *host)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return host[strspn(host, allowed)] == '\0' && host[0] != '-' && host[0] != '.';
}

static bool port_is_valid(const char *port)
{
    size_t digits = strspn(port, "0123456789");
    if (digits == 0 || digits > 5 || port[digits] != '\0')
        return false;
    long number = strtol(port, NULL, 10);
    return number >= 1 && number <= 65535;
}

bool listener_open(const char *path, struct listener *ret_listener, int *ret_fd)
{
    /* Two processes may find the same dead file: looking and binding are one step under
     * a lock of the directory. A directory that cannot be locked only loses that. */
    int lock = lock_directory(path);
    if (lock < 0 && errno == EWOULDBLOCK)
        return false;
    int fd = clear_path(path) ? bind_and_listen(path) : -1;
    int failure = errno;
    if (lock >= 0)
        (void)close(lock);
    if (fd < 0) {
        errno = failure;
        return false;
    }
    struct stat now = {0};
    (void)stat(path, &now);
    ret_listener->path = mem_strdup(path);
    ret_listener->device = now.st_dev;
    ret_listener->inode = now.st_ino;
    *ret_fd = fd;
    return true;
}

void listener_close(struct listener *listener)
{
    struct stat now;
    if (listener->path != NULL && lstat(listener->path, &now) == 0 &&
        now.st_dev == listener->device && now.st_ino == listener->inode)
        (void)unlink(listener->path);
    mem_free(&listener->path);
}

static int lock_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    own(mem) char *directory = mem_strdup(slash == NULL ? "." : path);
    if (slash != NULL)
        directory[slash == path ? 1 : slash - path] = '\0';
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        static const struct timespec wait = {.tv_nsec = LOCK_WAIT_MS * 1000L * 1000L};
        if (errno != EWOULDBLOCK || i == LOCK_TRIES) {
            int failure = errno;
            (void)close(fd);
            errno = failure;
            return -1;
        }
        (void)nanosleep(&wait, NULL);
    }
    return fd;
}

/* True: nothing is at `path` any more. False: errno. */
static bool clear_path(const char *path)
{
    struct stat there;
    if (lstat(path, &there) != 0)
        return errno == ENOENT;
    errno = EADDRINUSE;
    if (!S_ISSOCK(there.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    struct sockaddr_un address;
    fill_address(path, &address);
    int rc = connect(fd, (struct sockaddr *)&address, sizeof address);
    int failure = errno;
    (void)close(fd);
    if (rc != 0 && failure == ECONNREFUSED)
        return unlink(path) == 0 || errno == ENOENT;
    if (rc != 0 && failure == ENOENT)
        return true;
    /* EAGAIN: somebody listens and is too busy to accept. */
    errno =
        rc != 0 && failure != EAGAIN && failure != EPROTOTYPE ? failure : EADDRINUSE;
    return false;
}

static int bind_and_listen(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    struct sockaddr_un address;
    fill_address(path, &address);
    /* On Linux the file takes the mode of the socket, less the umask: it is private
     * from its first moment. The chmod after it makes up for a umask that forbids too
     * much; nobody can connect before listen. */
    if (fchmod(fd, S_IRUSR | S_IWUSR) == 0 &&
        bind(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        if (chmod(path, S_IRUSR | S_IWUSR) == 0 && listen(fd, SOMAXCONN) == 0)
            return fd;
        int failure = errno;
        (void)unlink(path);
        errno = failure;
    }
    int failure = errno;
    (void)close(fd);
    errno = failure;
    return -1;
}

static void fill_address(const char *path, struct sockaddr_un *ret_address)
{
    ASSERT(strlen(path) < sizeof ret_address->sun_path);
    memset(ret_address, 0, sizeof *ret_address);
    ret_address->sun_family = AF_UNIX;
    memcpy(ret_address->sun_path, path, strlen(path) + 1);
}
