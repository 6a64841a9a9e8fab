/* SPDX-License-Identifier: MIT
 * A pair of sockets between two processes; each message is a line:
 *
 *     announce WORKER NAME ENDPOINT | forget WORKER | withdraw WORKER | reread   to it
 *     withdrawn WORKER                                                         from it
 *
 * WORKER is NUMBER.GENERATION. */
#include "appserver/registrar.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "appserver/endpoint.h"
#include "appserver/herald.h"
#include "appserver/slot.h"
#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/base/process.h"
#include "protocol/base/words.h"

enum {
    REGISTRAR_MAGIC = 0x72656769,
    HOST_BYTES = 49, /* so that a name has room for the numbers */
};

struct registrar {
    uint32_t magic;
    const struct app_options *options;
    struct keys *keys; /* borrowed; NULL: none */
    char *name;        /* with {n} and {g} */
    pid_t pid;         /* 0: it does not run */
    int fd;
    uint64_t started_us, due_us;
    struct backoff backoff;
};

/* The host's, in letters that a name may have. */
static void read_host(char ret_host[HOST_BYTES])
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    memset(ret_host, 0, HOST_BYTES);
    if (gethostname(ret_host, HOST_BYTES - 1) != 0 || ret_host[0] == '\0')
        memcpy(ret_host, "app", sizeof "app");
    for (char *c = ret_host; *c != '\0'; c++)
        if (strchr(allowed, *c) == NULL)
            *c = '-';
}

static char *make_template(const struct app_options *o)
{
    char host[HOST_BYTES];
    bool has_generation = endpoint_has_generation(o->bind);
    read_host(host);
    const char *name = o->name == NULL ? host : o->name;
    bool needs_number =
        strstr(name, "{n}") == NULL && (o->name == NULL || o->processes > 1);
    bool needs_generation = has_generation && !endpoint_has_generation(name);
    return mem_printf("%s%s%s", name, needs_number ? "-{n}" : "",
                      needs_generation ? ".{g}" : "");
}

struct registrar *registrar_new(const struct app_options *options)
{
    if (options->registers.count == 0)
        return NULL;
    struct registrar *r = mem_zalloc(sizeof *r);
    r->magic = REGISTRAR_MAGIC;
    r->options = options;
    r->name = make_template(options);
    r->fd = -1;
    return r;
}

void registrar_use_keys(struct registrar *r, struct keys *keys)
{
    if (r != NULL)
        r->keys = keys;
}

static void close_fd(struct registrar *r)
{
    if (r->fd >= 0)
        (void)close(r->fd);
    r->fd = -1;
}

void registrar_free(struct registrar **registrar_p)
{
    struct registrar *r = take(*registrar_p);
    if (r == NULL)
        return;
    CHECK_OBJ(r, REGISTRAR_MAGIC);
    close_fd(r);
    if (r->pid != 0) {
        (void)kill(r->pid, SIGKILL); /* what it had to say it has said */
        (void)waitpid(r->pid, NULL, 0);
    }
    r->magic = 0;
    mem_free(&r->name);
    mem_free(&r);
}

/* ---- its process ---- */

/* True: it is there, and knows of no worker. */
static bool start(struct registrar *r)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) !=
        0) {
        log_error(NULL, "--register: no socket: %s", strerror(errno));
        r->due_us = clock_now_us() + backoff_next(&r->backoff, 0);
        return false;
    }
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        (void)close(fds[0]);
        if (!process_die_with(parent, SIGKILL))
            _exit(1);
        if (r->options->ready_fd >= 0)
            (void)close((int)r->options->ready_fd);
        (void)prctl(PR_SET_NAME, "banyan-register");
        log_set_name("register");
        herald_run(r->options, r->keys, fds[1]);
    }
    int error = errno;
    (void)close(fds[1]);
    if (pid < 0) {
        (void)close(fds[0]);
        log_error(NULL, "--register: fork: %s", strerror(error));
        r->due_us = clock_now_us() + backoff_next(&r->backoff, 0);
        return false;
    }
    r->pid = pid;
    r->fd = fds[0];
    r->started_us = clock_now_us();
    return true;
}

int registrar_fd(const struct registrar *r)
{
    return r == NULL ? -1 : r->fd;
}

void registrar_leave(struct registrar *r)
{
    if (r != NULL)
        close_fd(r);
}

bool registrar_ended(struct registrar *r, pid_t pid, int status)
{
    char reason[PROCESS_REASON_BYTES];
    if (r == NULL || r->pid == 0 || pid != r->pid)
        return false;
    uint64_t delay_us = backoff_next(&r->backoff, clock_now_us() - r->started_us);
    process_reason(status, reason);
    log_warn(NULL, "the registering process (pid %d) %s; restarting", (int)pid, reason);
    close_fd(r);
    r->pid = 0;
    r->due_us = clock_now_us() + delay_us;
    return true;
}

bool registrar_reap(struct registrar *r)
{
    int status;
    return r != NULL && r->pid != 0 && process_reap(r->pid, &status) &&
           registrar_ended(r, r->pid, status);
}

/* ---- lines ---- */

/* One that takes nothing is hung: another one begins anew. */
static bool say(struct registrar *r, struct buf *line)
{
    struct slice text = buf_slice(line);
    bool is_said = r->fd >= 0 &&
                   send(r->fd, text.ptr, text.len, MSG_NOSIGNAL) == (ssize_t)text.len;
    if (!is_said && r->pid != 0)
        (void)kill(r->pid, SIGKILL);
    buf_fini(line);
    return is_said;
}

static bool say_of(struct registrar *r, const char *what, const struct slot *slot)
{
    struct buf line;
    buf_init(&line, 0);
    buf_addf(&line, "%s %u.%u", what, slot->number, slot->generation);
    return say(r, &line);
}

void registrar_on_ready(struct registrar *r, const struct slot *slot)
{
    struct buf line;
    if (r == NULL)
        return;
    const struct app_options *o = r->options;
    const char *where = o->advertise == NULL ? o->bind : o->advertise;
    own(mem) char *name = endpoint_expand(r->name, slot->number, slot->generation);
    own(mem) char *endpoint = endpoint_expand(where, slot->number, slot->generation);
    if (endpoint == NULL) {
        log_error(NULL, "--advertise %s: no port is left for worker %u", where,
                  slot->number);
        return;
    }
    buf_init(&line, 0);
    buf_addf(&line, "announce %u.%u %s/%s ", slot->number, slot->generation, o->pool,
             name);
    words_quote(&line, endpoint);
    (void)say(r, &line);
}

void registrar_on_end(struct registrar *r, const struct slot *slot)
{
    if (r != NULL) /* one that comes back keeps its lease for a while */
        (void)say_of(r, slot->retired ? "withdraw" : "forget", slot);
}

void registrar_reread(struct registrar *r)
{
    struct buf line;
    if (r == NULL || r->pid == 0 || r->keys == NULL)
        return;
    buf_init(&line, 0);
    buf_add(&line, SLICE("reread"));
    (void)say(r, &line);
}

/* ---- slots that leave ---- */

void registrar_stop(struct registrar *r, struct slot *slot, uint64_t kill_at_us)
{
    if (slot->leave_until_us != 0)
        return;
    if (r == NULL || slot->state != SLOT_READY || !say_of(r, "withdraw", slot)) {
        slot_stop(slot, kill_at_us);
        return;
    }
    uint64_t until_us = clock_now_us() + REGISTRAR_WITHDRAW_S * 1000000ull;
    slot->leave_until_us = until_us < kill_at_us ? until_us : kill_at_us;
    slot->leave_kill_at_us = kill_at_us;
}

static void let_go(struct slot *slot)
{
    if (slot->leave_until_us != 0)
        slot_stop(slot, slot->leave_kill_at_us);
    slot->leave_until_us = 0;
}

/* "withdrawn NUMBER.GENERATION". False: nothing was said. */
static bool hear(struct registrar *r, struct slot *const *slots, uint32_t count)
{
    static const char said[] = "withdrawn ";
    char line[64] = "", *end;
    ssize_t got = r->fd < 0 ? -1 : recv(r->fd, line, sizeof line - 1, 0);
    if (got == 0)
        close_fd(r); /* waitpid tells how it ended */
    if (got <= 0)
        return false;
    ASSERT(strncmp(line, said, sizeof said - 1) == 0);
    unsigned long number = strtoul(line + sizeof said - 1, &end, 10);
    ASSERT(*end == '.');
    unsigned long generation = strtoul(end + 1, NULL, 10);
    for (uint32_t i = 0; i < count; i++)
        if (slots[i]->number == number && slots[i]->generation == generation)
            let_go(slots[i]);
    return true;
}

void registrar_step(struct registrar *r, struct slot *const *slots, uint32_t count)
{
    uint64_t now_us = clock_now_us();
    if (r == NULL)
        return;
    while (hear(r, slots, count))
        ;
    for (uint32_t i = 0; i < count; i++)
        if (slots[i]->leave_until_us != 0 && slots[i]->leave_until_us <= now_us)
            let_go(slots[i]);
    if (r->pid != 0 || now_us < r->due_us || !start(r))
        return;
    for (uint32_t i = 0; i < count; i++)
        if (slots[i]->state == SLOT_READY && slots[i]->leave_until_us == 0)
            registrar_on_ready(r, slots[i]);
}

uint64_t
registrar_next_us(const struct registrar *r, struct slot *const *slots, uint32_t count)
{
    if (r == NULL)
        return UINT64_MAX;
    uint64_t next_us = r->pid == 0 ? r->due_us : UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t until_us = slots[i]->leave_until_us;
        if (until_us != 0 && until_us < next_us)
            next_us = until_us;
    }
    return next_us;
}
