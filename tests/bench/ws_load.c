/* SPDX-License-Identifier: MIT
 * A load generator for WebSocket: CONNECTIONS clients that each send a message of
 * BYTES, wait until it came back, and send the next, for SECONDS; or, with SECONDS 0,
 * clients that are only connected until standard input ends ("ready" is printed when
 * all are). Prints one line of JSON like load.lua.
 *
 *   cc -O2 -o ws_load tests/bench/ws_load.c
 *   ./ws_load PORT PATH CONNECTIONS BYTES SECONDS */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MESSAGE_MAX = 60000,
    BUFFER_BYTES = 1024, /* more is read in rounds; a payload is counted, not kept */
    EVENTS = 256,
    SLOWEST_US = 4 * 1000 * 1000,
    HANDSHAKES = 64, /* at a time */
    PATIENCE_MS = 20000,
};

enum stage { STAGE_HANDSHAKE, STAGE_OPEN, STAGE_LOST };

struct client {
    int fd;
    enum stage stage;
    size_t used;    /* bytes of an incomplete head in `buffer` */
    uint64_t rest;  /* payload bytes that still come */
    int op;         /* of that payload */
    uint64_t began; /* when the message was sent, µs */
    char buffer[BUFFER_BYTES];
};

static struct {
    struct sockaddr_in address;
    const char *path;
    size_t message_len, frame_len;
    char frame[MESSAGE_MAX + 14];
    struct client *clients;
    int count, epoll;
    bool is_talking;
    uint64_t messages, errors;
    uint32_t *histogram; /* messages by their round trip in µs */
} load;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void make_frame(size_t bytes)
{
    static const unsigned char key[4] = {0x12, 0x34, 0x56, 0x78};
    size_t at = 0;

    load.message_len = bytes;
    load.frame[at++] = (char)0x81;
    if (bytes < 126) {
        load.frame[at++] = (char)(0x80 | bytes);
    } else {
        load.frame[at++] = (char)(0x80 | 126);
        load.frame[at++] = (char)(bytes >> 8);
        load.frame[at++] = (char)bytes;
    }
    memcpy(load.frame + at, key, sizeof key);
    at += sizeof key;
    for (size_t i = 0; i < bytes; i++)
        load.frame[at++] = (char)((unsigned char)('a' + i % 26) ^ key[i % 4]);
    load.frame_len = at;
}

static void lose(struct client *c)
{
    if (c->stage == STAGE_LOST)
        return;
    c->stage = STAGE_LOST;
    load.errors++;
    close(c->fd);
}

static void send_message(struct client *c)
{
    c->began = now_us();
    if (send(c->fd, load.frame, load.frame_len, MSG_NOSIGNAL) !=
        (ssize_t)load.frame_len)
        lose(c);
}

static void send_pong(struct client *c)
{
    static const char pong[] = {(char)0x8a, (char)0x80, 0, 0, 0, 0};

    if (send(c->fd, pong, sizeof pong, MSG_NOSIGNAL) != (ssize_t)sizeof pong)
        lose(c);
}

static void take_message(struct client *c)
{
    uint64_t us = now_us() - c->began;

    load.messages++;
    load.histogram[us < SLOWEST_US ? us : SLOWEST_US - 1]++;
    if (load.is_talking)
        send_message(c);
}

/* Takes frames out of `buffer`; what is left is an incomplete head. */
static void take_frames(struct client *c)
{
    size_t at = 0;

    while (c->stage == STAGE_OPEN) {
        size_t here = c->used - at;
        if (c->rest > 0) {
            uint64_t part = here < c->rest ? here : c->rest;
            at += part;
            c->rest -= part;
            if (c->rest > 0)
                break;
            if (c->op == 1)
                take_message(c);
            continue;
        }
        const unsigned char *p = (const unsigned char *)c->buffer + at;
        size_t head = here < 2 ? 2 : p[1] == 126 ? 4 : p[1] == 127 ? 10 : 2;
        if (here < head)
            break;
        c->op = p[0] & 15;
        c->rest = p[1] < 126 ? p[1] : 0;
        for (size_t i = 2; i < head; i++)
            c->rest = c->rest << 8 | p[i];
        at += head;
        if (c->op == 8)
            lose(c);
        else if (c->op == 9)
            send_pong(c);
        else if (c->op == 1 && c->rest == 0)
            take_message(c);
    }
    memmove(c->buffer, c->buffer + at, c->used - at);
    c->used -= at;
}

static void take_answer(struct client *c)
{
    char *end = memmem(c->buffer, c->used, "\r\n\r\n", 4);

    if (end == NULL)
        return;
    if (c->used < 12 || memcmp(c->buffer, "HTTP/1.1 101", 12) != 0) {
        lose(c);
        return;
    }
    size_t head = (size_t)(end + 4 - c->buffer);
    memmove(c->buffer, c->buffer + head, c->used - head);
    c->used -= head;
    c->stage = STAGE_OPEN;
}

static void hear(struct client *c)
{
    ssize_t got = recv(c->fd, c->buffer + c->used, sizeof c->buffer - c->used, 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        lose(c);
        return;
    }
    c->used += (size_t)got;
    if (c->stage == STAGE_HANDSHAKE)
        take_answer(c);
    take_frames(c);
    if (c->used == sizeof c->buffer)
        lose(c);
}

static void turn(int patience_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(load.epoll, events, EVENTS, patience_ms);

    for (int i = 0; i < count; i++)
        if (((struct client *)events[i].data.ptr)->stage != STAGE_LOST)
            hear(events[i].data.ptr);
}

static void open_client(struct client *c)
{
    const int yes = 1;
    char request[512];

    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 ||
        connect(c->fd, (struct sockaddr *)&load.address, sizeof load.address) < 0)
        err(1, "connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    int len = snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                       "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n\r\n",
                       load.path);
    if (send(c->fd, request, (size_t)len, MSG_NOSIGNAL) != len)
        err(1, "send");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        err(1, "epoll_ctl");
}

static int count_in(enum stage stage, int among)
{
    int count = 0;

    for (int i = 0; i < among; i++)
        count += load.clients[i].stage == stage;
    return count;
}

static void open_all(void)
{
    for (int i = 0; i < load.count; i++) {
        open_client(&load.clients[i]);
        if ((i + 1) % HANDSHAKES != 0 && i + 1 < load.count)
            continue;
        uint64_t end = now_us() + PATIENCE_MS * 1000ull;
        while (count_in(STAGE_HANDSHAKE, i + 1) > 0 && now_us() < end)
            turn(100);
        if (count_in(STAGE_OPEN, i + 1) != i + 1)
            errx(1, "%d of %d connections were accepted", count_in(STAGE_OPEN, i + 1),
                 i + 1);
    }
}

static double percentile(double share)
{
    uint64_t wanted = (uint64_t)((double)load.messages * share), seen = 0;

    if (load.messages == 0)
        return 0;

    for (uint32_t us = 0; us < SLOWEST_US; us++)
        if ((seen += load.histogram[us]) > wanted)
            return us;
    return SLOWEST_US;
}

static uint64_t talk(int seconds)
{
    uint64_t began = now_us(), end = began + (uint64_t)seconds * 1000000;

    load.is_talking = true;
    for (int i = 0; i < load.count; i++)
        send_message(&load.clients[i]);
    while (now_us() < end)
        turn(100);
    return now_us() - began;
}

static void idle(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

    puts("ready");
    fflush(stdout);
    while (poll(&input, 1, 0) == 0)
        turn(100);
}

int main(int argc, char **argv)
{
    struct rlimit files;

    if (argc != 6)
        errx(2, "usage: ws_load PORT PATH CONNECTIONS BYTES SECONDS");
    size_t bytes = strtoul(argv[4], NULL, 10);
    int seconds = atoi(argv[5]);
    if (bytes > MESSAGE_MAX)
        errx(2, "at most %d bytes", MESSAGE_MAX);
    load.address = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)atoi(argv[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    load.path = argv[2];
    load.count = atoi(argv[3]);
    load.clients = calloc((size_t)load.count, sizeof *load.clients);
    load.histogram = calloc(SLOWEST_US, sizeof *load.histogram);
    load.epoll = epoll_create1(0);
    if (load.clients == NULL || load.histogram == NULL || load.epoll < 0)
        err(1, "starting");
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    make_frame(bytes);
    open_all();
    uint64_t us = 1;
    if (seconds > 0)
        us = talk(seconds);
    else
        idle();
    printf("JSON {\"requests\":%llu,\"us\":%llu,\"p50\":%.1f,\"p99\":%.1f,"
           "\"errors\":%llu}\n",
           (unsigned long long)load.messages, (unsigned long long)us, percentile(0.5),
           percentile(0.99), (unsigned long long)load.errors);
    return 0;
}
