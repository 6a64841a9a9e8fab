/* SPDX-License-Identifier: MIT
 * The way to one control endpoint and back: a Unix socket, or a link over tcp://. */
#ifndef BANYAN_CHANNEL_H
#define BANYAN_CHANNEL_H

#include <poll.h>

#include "protocol/base/buf.h"
#include "protocol/base/check.h"
#include "protocol/base/error.h"

struct channel;
struct identity;

enum { CHANNEL_POLLS = 2 };

/* `address`: a path, or tcp://HOST:PORT. The line, without its end, is sent as soon as
 * somebody is there. NULL: *ret_why says why not. */
MUST_CHECK struct channel *
channel_open(const char *address, struct slice line, const char **ret_why);
void channel_free(struct channel **channel_p);
/* What to wait for; how many. */
MUST_CHECK size_t channel_polls(const struct channel *c, struct pollfd *ret_polls);
/* Appends what came; again until it says something else than DONE. MORE: nothing now;
 * BAD: it is over, *ret_why says why. Never waits. */
MUST_CHECK enum step
channel_read(struct channel *c, struct buf *to, const char **ret_why);

/* For all channels over tcp:// that are opened from here on; borrowed until
 * channel_end. */
void channel_use(const struct identity *identity);
/* Frees what the channels shared. */
void channel_end(void);

#endif
