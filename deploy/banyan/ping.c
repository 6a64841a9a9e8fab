/* SPDX-License-Identifier: MIT
 * Connects, sends nothing, and waits for the signature of a greeting (ZMTP 3, RFC 23).
 */
#include "deploy/banyan/ping.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deploy/banyan/proxies.h"
#include "protocol/base/clock.h"
#include "protocol/base/mem.h"

enum {
    EXIT_PONG = 0,
    EXIT_NONE = 3,
    PATIENCE_MS = 5000,
    SIGNATURE_BYTES = 10,
};

static const char TCP[] = "tcp://";
static const char IPC[] = "ipc://";

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

bool ping_is_endpoint(const char *text)
{
    return starts_with(text, TCP) || starts_with(text, IPC);
}

static bool wait_for(int fd, short events, uint64_t until_us)
{
    for (;;) {
        uint64_t now_us = clock_now_us();
        int left_ms = now_us >= until_us ? 0 : (int)((until_us - now_us) / 1000) + 1;
        struct pollfd p = {.fd = fd, .events = events};
        int ready = poll(&p, 1, left_ms);
        if (ready > 0)
            return true;
        if (ready == 0 && left_ms == 0)
            break;
    }
    errno = ETIMEDOUT;
    return false;
}

static int connect_one(const struct addrinfo *to, uint64_t until_us)
{
    int error = 0;
    socklen_t size = sizeof error;
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
        return fd;
    if (errno != EINPROGRESS)
        error = errno;
    else if (!wait_for(fd, POLLOUT, until_us) ||
             getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error == 0)
        return fd;
    (void)close(fd);
    errno = error;
    return -1;
}

/* HOST:PORT; ret_why: what getaddrinfo has to say, else NULL. */
static int connect_tcp(const char *address, uint64_t until_us, const char **ret_why)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    own(mem) char *host = mem_strdup(address);
    char *colon = strrchr(host, ':'), *name = host;

    errno = EINVAL;
    if (colon == NULL)
        return -1;
    *colon = '\0';
    if (name[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        name++;
    }
    int failed = getaddrinfo(name, colon + 1, &hints, &list);
    if (failed != 0) {
        *ret_why = gai_strerror(failed);
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *to = list; to != NULL && fd < 0; to = to->ai_next)
        fd = connect_one(to, until_us);
    freeaddrinfo(list);
    return fd;
}

static bool hears_greeting(int fd, uint64_t until_us)
{
    unsigned char bytes[SIGNATURE_BYTES];
    size_t length = 0;

    while (length < sizeof bytes) {
        if (!wait_for(fd, POLLIN, until_us))
            return false;
        ssize_t got = recv(fd, bytes + length, sizeof bytes - length, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got == 0)
            errno = ECONNRESET;
        if (got <= 0)
            return false;
        length += (size_t)got;
    }
    errno = EPROTO;
    return bytes[0] == 0xff && bytes[SIGNATURE_BYTES - 1] == 0x7f;
}

int ping_endpoint(const char *endpoint)
{
    uint64_t until_us = clock_now_us() + PATIENCE_MS * 1000ull;
    const char *why = NULL;
    int fd = starts_with(endpoint, TCP)
                 ? connect_tcp(endpoint + strlen(TCP), until_us, &why)
                 : proxies_connect(endpoint + strlen(IPC));
    bool is_there = fd >= 0 && hears_greeting(fd, until_us);
    if (is_there)
        (void)puts("pong");
    else
        (void)fprintf(stderr, "banyan: no app server at %s: %s\n", endpoint,
                      why != NULL ? why : strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return is_there ? EXIT_PONG : EXIT_NONE;
}
