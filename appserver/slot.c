/* SPDX-License-Identifier: MIT
 * The life of one worker's place. */
#include "appserver/slot.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appserver/endpoint.h"
#include "appserver/master.h"
#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"

enum { SLOT_MAGIC = 0x510a7b1d };

#define BIT(state) (1U << (state))
/* Which states may follow. */
static const struct {
    const char *name;
    unsigned next;
} STATES[] = {
    [SLOT_WAITING] = {"waiting", BIT(SLOT_STARTING) | BIT(SLOT_DONE)},
    [SLOT_STARTING] = {"starting", BIT(SLOT_READY) | BIT(SLOT_STOPPING) |
                                       BIT(SLOT_WAITING) | BIT(SLOT_DONE)},
    [SLOT_READY] = {"ready", BIT(SLOT_STOPPING) | BIT(SLOT_WAITING) | BIT(SLOT_DONE)},
    [SLOT_STOPPING] = {"stopping", BIT(SLOT_WAITING) | BIT(SLOT_DONE)},
    [SLOT_DONE] = {"done", 0},
};

static void drop_next(struct slot *slot, uint64_t kill_at_us);
static void set_state(struct slot *slot, enum slot_state state);
static void close_fd(int *fd_p);
static void remember_socket(struct slot *slot);
static void remove_socket(const struct slot *slot);

struct slot *slot_new(const char *bind, uint32_t number, uint32_t generation)
{
    char *endpoint = endpoint_expand(bind, number, generation);
    if (endpoint == NULL)
        return NULL;
    struct slot *slot = mem_zalloc(sizeof *slot);
    slot->magic = SLOT_MAGIC;
    slot->number = number;
    slot->generation = generation;
    slot->endpoint = endpoint;
    slot->words_fd = -1;
    slot->next = (struct understudy){.words_fd = -1, .go_fd = -1};
    slot->reread_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return slot;
}

void slot_free(struct slot **slot_p)
{
    struct slot *slot = take(*slot_p);
    if (slot == NULL)
        return;
    CHECK_OBJ(slot, SLOT_MAGIC);
    ASSERT(slot->pid == 0 && slot->next.pid == 0);
    remove_socket(slot);
    close_fd(&slot->reread_fd);
    slot->magic = 0;
    mem_free(&slot->endpoint);
    mem_free(&slot);
}

void slot_started(struct slot *slot, pid_t pid, int words_fd)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    slot->pid = pid;
    slot->words_fd = words_fd;
    slot->is_prepared = slot->is_outdated = slot->is_spent = false;
    slot->next_at_us = 0;
    slot->started_us = clock_now_us();
    set_state(slot, SLOT_STARTING);
}

/* What a worker says; '\0': it is ending, waitpid tells how. */
static char read_word(int fd)
{
    char byte = '\0';
    ssize_t got;
    do {
        got = read(fd, &byte, 1);
    } while (got < 0 && errno == EINTR);
    return got == 1 ? byte : '\0';
}

char slot_hear(struct slot *slot)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    char word = read_word(slot->words_fd);
    if (word == '\0')
        close_fd(&slot->words_fd);
    if (word == WORD_PREPARED)
        slot->is_prepared = true;
    if (word == WORD_READY && slot->state == SLOT_STARTING) {
        slot->was_ready = slot->is_prepared = true;
        remember_socket(slot);
        set_state(slot, SLOT_READY);
        return word;
    }
    if (word == WORD_SPENT && slot->state != SLOT_STOPPING) {
        slot->is_spent = true;
        return word;
    }
    return '\0';
}

void slot_outdate(struct slot *slot, uint64_t kill_at_us)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    slot->is_outdated = true;
    slot->next_at_us = 0;
    if (slot->state == SLOT_READY)
        drop_next(slot, kill_at_us);
    slot->next.is_outdated = slot->next.pid != 0;
}

void slot_keep(struct slot *slot)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    slot->is_outdated = slot->next.is_outdated = false;
}

void slot_reread(struct slot *slot)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    (void)eventfd_write(slot->reread_fd, 1);
    slot->next.is_to_reread = slot->next.pid != 0;
}

void slot_prepare(struct slot *slot, pid_t pid, int words_fd, int go_fd)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    ASSERT(slot->next.pid == 0);
    slot->next = (struct understudy){.pid = pid, .words_fd = words_fd, .go_fd = go_fd};
}

void slot_hear_next(struct slot *slot)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    slot->next.is_prepared = read_word(slot->next.words_fd) == WORD_PREPARED;
    if (!slot->next.is_prepared)
        close_fd(&slot->next.words_fd);
}

void slot_next_ended(struct slot *slot)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    close_fd(&slot->next.words_fd);
    close_fd(&slot->next.go_fd);
    slot->next = (struct understudy){.words_fd = -1, .go_fd = -1};
}

void slot_kill_next(struct slot *slot)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    if (slot->next.pid == 0)
        return;
    (void)kill(slot->next.pid, SIGKILL);
    slot->next.kill_at_us = 0;
}

/* What it still says is of no interest: it has no time to get prepared. */
static void drop_next(struct slot *slot, uint64_t kill_at_us)
{
    struct understudy *next = &slot->next;

    if (next->pid == 0)
        return;
    if (next->is_dropped) {
        if (kill_at_us < next->kill_at_us)
            next->kill_at_us = kill_at_us;
        return;
    }
    if (next->is_prepared) {
        (void)kill(next->pid, SIGTERM);
        next->kill_at_us = kill_at_us;
    } else {
        slot_kill_next(slot);
    }
    next->is_dropped = true;
    next->is_prepared = false;
    close_fd(&next->words_fd);
}

/* It takes the place. */
static void promote(struct slot *slot)
{
    struct understudy next = slot->next;
    slot->next = (struct understudy){.words_fd = -1, .go_fd = -1};
    if (next.is_to_reread) /* the one before may have taken the word */
        (void)eventfd_write(slot->reread_fd, 1);
    (void)eventfd_write(next.go_fd, 1);
    close_fd(&next.go_fd);
    slot_started(slot, next.pid, next.words_fd);
    slot->is_prepared = next.is_prepared;
    slot->is_outdated = next.is_outdated;
}

uint32_t slots_ready(struct slot *const *slots, uint32_t count)
{
    uint32_t ready = 0;
    for (uint32_t i = 0; i < count; i++)
        ready += slots[i]->state == SLOT_READY;
    return ready;
}

void slot_ended(struct slot *slot, uint64_t delay_us)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    slot->pid = 0;
    slot->is_prepared = false;
    slot->kill_at_us = slot->leave_until_us = 0;
    close_fd(&slot->words_fd);
    slot->start_at_us = clock_now_us() + delay_us;
    set_state(slot, slot->retired ? SLOT_DONE : SLOT_WAITING);
    if (!slot->retired && slot->next.pid != 0 && !slot->next.is_dropped)
        promote(slot);
}

void slot_stop(struct slot *slot, uint64_t kill_at_us)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    switch (slot->state) {
    case SLOT_WAITING:
        slot->start_at_us = 0;
        if (slot->retired)
            set_state(slot, SLOT_DONE);
        break;
    case SLOT_STARTING:
    case SLOT_READY:
        if (!slot->is_prepared) {
            slot_kill(slot);
            break;
        }
        (void)kill(slot->pid, SIGTERM);
        slot->kill_at_us = kill_at_us;
        set_state(slot, SLOT_STOPPING);
        break;
    case SLOT_STOPPING:
        if (kill_at_us < slot->kill_at_us)
            slot->kill_at_us = kill_at_us;
        break;
    case SLOT_DONE:
        break;
    }
}

void slot_kill(struct slot *slot)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    if (slot->pid == 0)
        return;
    (void)kill(slot->pid, SIGKILL);
    slot->kill_at_us = 0;
    if (slot->state != SLOT_STOPPING)
        set_state(slot, SLOT_STOPPING);
}

void slot_retire(struct slot *slot, uint64_t kill_at_us)
{
    CHECK_OBJ(slot, SLOT_MAGIC);
    slot->retired = true;
    slot->has_turn = false;
    drop_next(slot, kill_at_us);
}

static void set_state(struct slot *slot, enum slot_state state)
{
    ASSERT((STATES[slot->state].next & BIT(state)) != 0);
    log_debug(NULL, "worker %u of generation %u: %s -> %s", slot->number,
              slot->generation, STATES[slot->state].name, STATES[state].name);
    slot->state = state;
}

static void close_fd(int *fd_p)
{
    if (*fd_p >= 0)
        (void)close(*fd_p);
    *fd_p = -1;
}

/* A path may belong to another program by the time we leave; the inode tells. */
static void remember_socket(struct slot *slot)
{
    const char *path = endpoint_path(slot->endpoint);
    struct stat st;

    if (path == NULL || lstat(path, &st) != 0)
        return;
    slot->socket_device = st.st_dev;
    slot->socket_inode = st.st_ino;
}

static void remove_socket(const struct slot *slot)
{
    const char *path = endpoint_path(slot->endpoint);
    struct stat st;

    if (path == NULL || slot->socket_inode == 0 || lstat(path, &st) != 0)
        return;
    if (st.st_dev == slot->socket_device && st.st_ino == slot->socket_inode)
        (void)unlink(path);
}
