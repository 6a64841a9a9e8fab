/* SPDX-License-Identifier: MIT
 * The thread, its ROUTER at inproc://zeromq.zap.01, and the refusals that wait. */
#include "protocol/zap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "protocol/base/queue.h"
#include "protocol/quiet.h"

enum {
    ZAP_MAGIC = 0x5a415021,
    ZAP_PARTS = 9,    /* id, "", version, request id, domain, address, identity,
                         mechanism, key */
    PART_BYTES = 256, /* more than any of them */
    REQUESTS_A_TURN = 64,
};

enum part {
    PART_ID,
    PART_EMPTY,
    PART_VERSION,
    PART_REQUEST,
    PART_DOMAIN,
    PART_ADDRESS,
    PART_IDENTITY,
    PART_MECHANISM,
    PART_KEY,
};

struct request {
    size_t count;
    size_t lengths[ZAP_PARTS];
    char parts[ZAP_PARTS][PART_BYTES];
};

/* A refusal that is answered at `due_us`. */
struct waiting {
    struct node node;
    uint64_t due_us;
    struct request request;
};

struct zap {
    uint32_t magic;
    void *socket;
    struct keys *keys; /* borrowed */
    int stop_fd, reread_fd;
    void (*on_change)(void *arg);
    void *on_change_arg;
    struct zap_events events;
    struct quiet quiet;
    struct list waiting; /* in the order of due_us */
    uint32_t waiting_count;
    pthread_t thread;
};

static bool open_socket(struct zap *z, void *zmq);
static bool start_thread(struct zap *z);
static void *run(void *arg);
static void answer_all(struct zap *z);
static bool read_request(struct zap *z, struct request *r);
static void judge(struct zap *z, struct request *r);
static void refuse(struct zap *z, struct request *r, const struct key_user *user);
static void reply(struct zap *z,
                  const struct request *r,
                  const char *status,
                  const char *text,
                  const char *user_id);
static long reply_due(struct zap *z);
static void reread(struct zap *z);

const char *zap_domain_name(enum zap_domain domain)
{
    static const char *const names[] = {[ZAP_APP] = "app", [ZAP_CONTROL] = "control"};
    ASSERT(domain < ZAP_DOMAIN_COUNT);
    return names[domain];
}

bool zap_domain_admits(enum zap_domain domain, enum key_role role)
{
    if (domain == ZAP_APP)
        return role == KEY_PROXY;
    return domain == ZAP_CONTROL && role != KEY_PROXY;
}

bool zap_parse_user(const char *user_id, struct key_user *ret_user)
{
    struct key_user user = {0};
    const char *key = strchr(user_id, ' ');
    const char *name = key == NULL ? NULL : strchr(key + 1, ' ');
    if (name == NULL || name - key != KEY_TEXT || strlen(name + 1) >= KEY_NAME ||
        !key_role_parse(slice_of(user_id, (size_t)(key - user_id)), &user.role))
        return false;
    memcpy(user.key, key + 1, KEY_TEXT - 1);
    memcpy(user.name, name + 1, strlen(name + 1));
    *ret_user = user;
    return true;
}

struct zap *zap_new(void *zmq,
                    struct keys *keys,
                    int reread_fd,
                    void (*on_change)(void *arg),
                    void *on_change_arg,
                    const struct zap_events *events)
{
    struct zap *z = mem_zalloc(sizeof *z);
    z->magic = ZAP_MAGIC;
    z->keys = keys;
    z->reread_fd = reread_fd;
    z->on_change = on_change;
    z->on_change_arg = on_change_arg;
    z->events = *events;
    quiet_init(&z->quiet, ZAP_QUIET_S * 1000000ull);
    list_init(&z->waiting);
    z->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (z->stop_fd >= 0 && open_socket(z, zmq) && start_thread(z))
        return z;
    int failure = errno;
    if (z->socket != NULL)
        (void)zmq_close(z->socket);
    if (z->stop_fd >= 0)
        (void)close(z->stop_fd);
    mem_free(&z);
    errno = failure;
    return NULL;
}

void zap_free(struct zap **zap_p)
{
    struct zap *z = *zap_p;
    struct node *n;
    if (z == NULL)
        return;
    *zap_p = NULL;
    CHECK_OBJ(z, ZAP_MAGIC);
    ASSERT(eventfd_write(z->stop_fd, 1) == 0);
    ASSERT(pthread_join(z->thread, NULL) == 0);
    (void)zmq_close(z->socket);
    (void)close(z->stop_fd);
    while ((n = list_pop_front(&z->waiting)) != NULL) {
        struct waiting *w = NODE_OF(n, struct waiting, node);
        mem_free(&w);
    }
    z->magic = 0;
    mem_free(&z);
}

static bool open_socket(struct zap *z, void *zmq)
{
    int none = 0;
    z->socket = zmq_socket(zmq, ZMQ_ROUTER);
    return z->socket != NULL &&
           zmq_setsockopt(z->socket, ZMQ_LINGER, &none, sizeof none) == 0 &&
           zmq_bind(z->socket, "inproc://zeromq.zap.01") == 0;
}

/* Signals are for the threads that wait for them. */
static bool start_thread(struct zap *z)
{
    sigset_t all, old;
    (void)sigfillset(&all);
    ASSERT(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
    int error = pthread_create(&z->thread, NULL, run, z);
    ASSERT(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    if (error == 0)
        (void)pthread_setname_np(z->thread, "zap");
    errno = error;
    return error == 0;
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct zap *z = CAST_OBJ(arg, struct zap, ZAP_MAGIC);
    for (;;) {
        zmq_pollitem_t items[] = {
            {.socket = z->socket, .events = ZMQ_POLLIN},
            {.fd = z->stop_fd, .events = ZMQ_POLLIN},
            {.fd = z->reread_fd, .events = ZMQ_POLLIN},
        };
        long wait_ms = reply_due(z);
        int rc = zmq_poll(items, z->reread_fd < 0 ? 2 : 3, wait_ms);
        ASSERT(rc >= 0 || errno == EINTR);
        if (rc <= 0)
            continue;
        if (items[1].revents != 0)
            return NULL;
        if (z->reread_fd >= 0 && items[2].revents != 0)
            reread(z);
        if (items[0].revents != 0)
            answer_all(z);
    }
}

static void reread(struct zap *z)
{
    eventfd_t ignored;
    struct buf report;
    buf_init(&report, 0);
    (void)eventfd_read(z->reread_fd, &ignored);
    bool ok = keys_reload(z->keys, &report);
    if (ok && z->on_change != NULL)
        z->on_change(z->on_change_arg);
    buf_add(&report, slice_of("", 1));
    if (z->events.reread != NULL)
        z->events.reread(z->events.arg, buf_slice(&report).ptr, !ok);
    buf_fini(&report);
}

static void answer_all(struct zap *z)
{
    struct request r;
    for (unsigned i = 0; i < REQUESTS_A_TURN && read_request(z, &r); i++)
        judge(z, &r);
}

/* False: there is none. Only libzmq itself writes there. */
static bool read_request(struct zap *z, struct request *r)
{
    int more = 1;
    size_t size = sizeof more;
    r->count = 0;
    for (unsigned i = 0; more != 0; i++) {
        char rest[PART_BYTES];
        char *to = i < ZAP_PARTS ? r->parts[i] : rest;
        int got = zmq_recv(z->socket, to, PART_BYTES - 1, ZMQ_DONTWAIT);
        if (got < 0 && errno == EINTR) {
            i--;
            continue;
        }
        if (got < 0) {
            ASSERT(errno == EAGAIN && i == 0);
            return false;
        }
        size_t length = got < PART_BYTES ? (size_t)got : PART_BYTES - 1;
        to[length] = '\0';
        if (i < ZAP_PARTS)
            r->lengths[i] = length;
        r->count = i + 1;
        ASSERT(zmq_getsockopt(z->socket, ZMQ_RCVMORE, &more, &size) == 0);
    }
    return true;
}

static void judge(struct zap *z, struct request *r)
{
    struct key_user user;
    char key[KEY_TEXT], user_id[KEY_TEXT + KEY_NAME + 16];
    bool is_curve = r->count == ZAP_PARTS && r->lengths[PART_KEY] == KEY_BYTES &&
                    strcmp(r->parts[PART_VERSION], "1.0") == 0 &&
                    strcmp(r->parts[PART_MECHANISM], "CURVE") == 0;
    if (!is_curve) {
        if (r->count > PART_REQUEST)
            reply(z, r, "400", "CURVE is expected here", "");
        return;
    }
    key_from_bytes((const uint8_t *)r->parts[PART_KEY], key);
    if (!keys_find(z->keys, key, &user)) {
        refuse(z, r, NULL);
        return;
    }
    bool is_welcome = false;
    for (unsigned d = 0; d < ZAP_DOMAIN_COUNT; d++)
        is_welcome |=
            strcmp(r->parts[PART_DOMAIN], zap_domain_name((enum zap_domain)d)) == 0 &&
            zap_domain_admits((enum zap_domain)d, user.role);
    if (!is_welcome) {
        refuse(z, r, &user);
        return;
    }
    (void)snprintf(user_id, sizeof user_id, "%s %s %s", key_role_name(user.role),
                   user.key, user.name);
    reply(z, r, "200", "", user_id);
}

static void refuse(struct zap *z, struct request *r, const struct key_user *user)
{
    uint64_t now_us = clock_now_us();
    uint32_t kept_back = 0;
    const char *address = r->parts[PART_ADDRESS];
    bool is_app = strcmp(r->parts[PART_DOMAIN], zap_domain_name(ZAP_APP)) == 0;
    const char *wanted = is_app ? "proxy" : "viewer, operator, admin or app";
    if (z->events.refused != NULL &&
        quiet_permits(&z->quiet, address, now_us, &kept_back)) {
        char text[512], key[KEY_TEXT], more[48] = "";
        key_from_bytes((const uint8_t *)r->parts[PART_KEY], key);
        if (kept_back > 0)
            (void)snprintf(more, sizeof more, " (and %u such before)", kept_back);
        if (user == NULL)
            (void)snprintf(text, sizeof text,
                           "refused a connection from %s: its key %.*s... is in no "
                           "line of --authorized-keys; wanted here: %s%s",
                           address, KEY_SHOWN, key, wanted, more);
        else
            (void)snprintf(text, sizeof text,
                           "refused a connection from %s: its key %.*s... (%s) is of "
                           "role %s; wanted here: %s%s",
                           address, KEY_SHOWN, key, user->name,
                           key_role_name(user->role), wanted, more);
        z->events.refused(z->events.arg, text);
    }
    if (z->waiting_count >= ZAP_WAITING_MAX) {
        reply(z, r, "400", "this key is not authorized here", "");
        return;
    }
    struct waiting *w = mem_zalloc(sizeof *w);
    w->due_us = now_us + ZAP_TARPIT_MS * 1000ull;
    w->request = *r;
    list_push_back(&z->waiting, &w->node);
    z->waiting_count++;
}

/* Answers what is due. Milliseconds until the next one is; -1: none waits. */
static long reply_due(struct zap *z)
{
    uint64_t now_us = clock_now_us();
    for (struct node *n = list_first(&z->waiting); n != NULL;
         n = list_first(&z->waiting)) {
        struct waiting *w = NODE_OF(n, struct waiting, node);
        if (w->due_us > now_us)
            return (long)((w->due_us - now_us) / 1000) + 1;
        reply(z, &w->request, "400", "this key is not authorized here", "");
        node_leave(n);
        z->waiting_count--;
        mem_free(&w);
    }
    return -1;
}

/* Who asked may be gone: a ROUTER drops what goes to nobody. */
static void reply(struct zap *z,
                  const struct request *r,
                  const char *status,
                  const char *text,
                  const char *user_id)
{
    const struct slice parts[] = {
        slice_of(r->parts[PART_ID], r->lengths[PART_ID]),
        SLICE(""),
        SLICE("1.0"),
        slice_of(r->parts[PART_REQUEST], r->lengths[PART_REQUEST]),
        slice_from(status),
        slice_from(text),
        slice_from(user_id),
        SLICE(""),
    };
    size_t count = sizeof parts / sizeof parts[0];
    for (size_t i = 0; i < count; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0), rc;
        do
            rc = zmq_send(z->socket, parts[i].ptr, parts[i].len, flags);
        while (rc < 0 && errno == EINTR);
        if (rc < 0)
            return;
    }
}
