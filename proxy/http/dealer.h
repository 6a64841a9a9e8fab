/* SPDX-License-Identifier: MIT
 * Connections of a listening socket that the edge threads share (a Unix socket, one
 * that systemd has passed): one thread accepts and deals them out in turn. So all have
 * as many, and a new one wakes nobody in vain. */
#ifndef HTTP_DEALER_H
#define HTTP_DEALER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "protocol/base/check.h"

enum { DEALER_MAX_SEATS = 64, DEALT_NAME = 128 };

struct dealt {
    int fd;
    struct sockaddr_storage peer;
    char name[DEALT_NAME]; /* of the listener, with its end */
};

/* Of the process; outlives the threads. */
struct dealer;
MUST_CHECK struct dealer *dealer_new(uint32_t seats);
void dealer_free(struct dealer **dealer_p);

/* ---- any thread ---- */
/* To the next one after *turn that takes some. False: it is the caller's own, or its
 * seat is full: the connection stays the caller's. */
MUST_CHECK bool dealer_deal(struct dealer *dealer,
                            uint32_t *turn,
                            uint32_t self,
                            const struct dealt *dealt);
/* ---- the thread of this seat ---- */
/* Its descriptor, readable when there are some; the caller's to close. */
MUST_CHECK int dealer_sit(struct dealer *dealer, uint32_t seat);
MUST_CHECK bool dealer_take(int fd, struct dealt *ret_dealt); /* false: no more */
/* No more from now on; what was dealt before is there to be taken. */
void dealer_stand_up(struct dealer *dealer, uint32_t seat);

#endif
