/* SPDX-License-Identifier: MIT
 * A pipe for each seat; what is written there is one whole struct (PIPE_BUF). Under the
 * seat's lock, so that nothing comes after dealer_stand_up: what was dealt is never
 * lost. */
#include "proxy/http/dealer.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include "protocol/base/mem.h"

enum { DEALER_MAGIC = 0xdea1e500 };

struct dealer {
    uint32_t magic;
    uint32_t seats;
    struct seat {
        int pipe[2]; /* [0]: -1 when it is the seat's */
        pthread_mutex_t lock;
        bool is_taking;
    } table[DEALER_MAX_SEATS];
};

static_assert(sizeof(struct dealt) <= PIPE_BUF, "written whole or not at all");

struct dealer *dealer_new(uint32_t seats)
{
    struct dealer *dealer = mem_zalloc(sizeof *dealer);
    ASSERT(seats <= DEALER_MAX_SEATS);
    dealer->magic = DEALER_MAGIC;
    dealer->seats = seats;
    for (uint32_t i = 0; i < seats; i++) {
        ASSERT(pipe2(dealer->table[i].pipe, O_NONBLOCK | O_CLOEXEC) == 0);
        ASSERT(pthread_mutex_init(&dealer->table[i].lock, NULL) == 0);
    }
    return dealer;
}

void dealer_free(struct dealer **dealer_p)
{
    struct dealer *dealer = take(*dealer_p);
    if (dealer == NULL)
        return;
    CHECK_OBJ(dealer, DEALER_MAGIC);
    for (uint32_t i = 0; i < dealer->seats; i++) {
        struct seat *seat = &dealer->table[i];
        for (int end = 0; end < 2; end++)
            if (seat->pipe[end] >= 0)
                (void)close(seat->pipe[end]);
        (void)pthread_mutex_destroy(&seat->lock);
    }
    dealer->magic = 0;
    mem_free(&dealer);
}

bool dealer_deal(struct dealer *dealer,
                 uint32_t *turn,
                 uint32_t self,
                 const struct dealt *dealt)
{
    CHECK_OBJ(dealer, DEALER_MAGIC);
    *turn = (*turn + 1) % dealer->seats;
    if (*turn == self)
        return false;
    struct seat *seat = &dealer->table[*turn];
    ASSERT(pthread_mutex_lock(&seat->lock) == 0);
    bool is_dealt = seat->is_taking && write(seat->pipe[1], dealt, sizeof *dealt) ==
                                           (ssize_t)sizeof *dealt;
    ASSERT(pthread_mutex_unlock(&seat->lock) == 0);
    return is_dealt;
}

static struct seat *seat_of(struct dealer *dealer, uint32_t number)
{
    CHECK_OBJ(dealer, DEALER_MAGIC);
    ASSERT(number < dealer->seats);
    return &dealer->table[number];
}

static void set_taking(struct seat *seat, bool is_taking)
{
    ASSERT(pthread_mutex_lock(&seat->lock) == 0);
    seat->is_taking = is_taking;
    ASSERT(pthread_mutex_unlock(&seat->lock) == 0);
}

int dealer_sit(struct dealer *dealer, uint32_t number)
{
    struct seat *seat = seat_of(dealer, number);
    int fd = seat->pipe[0];
    ASSERT(fd >= 0);
    seat->pipe[0] = -1;
    set_taking(seat, true);
    return fd;
}

bool dealer_take(int fd, struct dealt *ret_dealt)
{
    return read(fd, ret_dealt, sizeof *ret_dealt) == (ssize_t)sizeof *ret_dealt;
}

void dealer_stand_up(struct dealer *dealer, uint32_t seat)
{
    set_taking(seat_of(dealer, seat), false);
}
