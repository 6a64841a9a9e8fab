/* SPDX-License-Identifier: MIT
 * A lookup may wait for a name server for longer than a lease lasts. */
#include "appserver/herald_names.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "appserver/herald.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"

struct herald_names {
    const struct option_list *endpoints;
    struct addresses *each; /* of each endpoint; the thread's alone */
    bool *was_told;
    int fd;
    pthread_mutex_t lock;
    struct addresses all; /* under the lock */
};

/* Whether it is known. */
static bool look_up(struct herald_names *names, size_t i)
{
    const char *endpoint = names->endpoints->items[i], *why;
    struct addresses found;
    bool is_good = addresses_resolve(endpoint, &found, &why);
    if (is_good)
        names->each[i] = found;
    else if (!names->was_told[i])
        log_warn(NULL, "--register %s: %s; trying on", endpoint, why);
    names->was_told[i] = !is_good;
    return is_good;
}

static void put_together(struct herald_names *names)
{
    struct addresses *all = &names->all;
    all->count = 0;
    for (size_t i = 0; i < names->endpoints->count; i++) {
        const struct addresses *each = &names->each[i];
        for (size_t a = 0; a < each->count && all->count < ADDRESSES_MAX; a++)
            if (!addresses_have(all, each->items[a]))
                memcpy(all->items[all->count++], each->items[a], ADDRESS_BYTES);
    }
}

static void *look_for_ever(void *arg)
{
    /* Of containers that start together any may be the first: who waits for a name
     * looks often. */
    static const struct timespec pause = {.tv_sec = HERALD_RESOLVE_S};
    static const struct timespec short_pause = {.tv_nsec = HERALD_SEEK_MS * 1000000L};
    struct herald_names *names = arg;
    for (;;) {
        bool are_known = true;
        for (size_t i = 0; i < names->endpoints->count; i++)
            are_known = look_up(names, i) && are_known;
        (void)pthread_mutex_lock(&names->lock);
        put_together(names);
        (void)pthread_mutex_unlock(&names->lock);
        (void)eventfd_write(names->fd, 1);
        (void)nanosleep(are_known ? &pause : &short_pause, NULL);
    }
    return NULL;
}

struct herald_names *herald_names_new(const struct option_list *endpoints)
{
    pthread_t thread;
    struct herald_names *names = mem_zalloc(sizeof *names);
    names->endpoints = endpoints;
    names->each = mem_zalloc(endpoints->count * sizeof *names->each);
    names->was_told = mem_zalloc(endpoints->count * sizeof *names->was_told);
    names->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ASSERT(names->fd >= 0 && pthread_mutex_init(&names->lock, NULL) == 0);
    ASSERT(pthread_create(&thread, NULL, look_for_ever, names) == 0);
    (void)pthread_detach(thread);
    return names;
}

int herald_names_fd(const struct herald_names *names)
{
    return names->fd;
}

bool herald_names_take(struct herald_names *names, struct addresses *ret_addresses)
{
    eventfd_t ignored;
    if (eventfd_read(names->fd, &ignored) != 0)
        return false;
    (void)pthread_mutex_lock(&names->lock);
    *ret_addresses = names->all;
    (void)pthread_mutex_unlock(&names->lock);
    return true;
}

/* A datagram socket that is connected knows its way; nothing is sent. */
bool herald_own_host(const char *endpoint, char ret_host[ADDRESS_BYTES])
{
    static const char scheme[] = "tcp://";
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *to = NULL;
    struct sockaddr_storage own_address;
    socklen_t size = sizeof own_address;
    char host[INET6_ADDRSTRLEN];
    own(mem) char *text = mem_strdup(endpoint + sizeof scheme - 1);
    char *port = strrchr(text, ':');
    *port++ = '\0';
    bool is_ipv6 = text[0] == '[';
    if (is_ipv6)
        port[-2] = '\0';
    if (getaddrinfo(text + is_ipv6, port, &hints, &to) != 0)
        return false;
    int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, to->ai_addr, to->ai_addrlen) == 0 &&
              getsockname(fd, (struct sockaddr *)&own_address, &size) == 0 &&
              getnameinfo((struct sockaddr *)&own_address, size, host, sizeof host,
                          NULL, 0, NI_NUMERICHOST) == 0;
    if (ok)
        (void)snprintf(ret_host, ADDRESS_BYTES, is_ipv6 ? "[%s]" : "%s", host);
    if (fd >= 0)
        (void)close(fd);
    freeaddrinfo(to);
    return ok;
}
