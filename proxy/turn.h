/* SPDX-License-Identifier: MIT
 * The end of a loop turn: what its callbacks have gathered leaves in batches, and what
 * they have closed is freed. */
#ifndef PROXY_TURN_H
#define PROXY_TURN_H

#include <stdbool.h>

#include "protocol/base/check.h"
#include "proxy/deadline.h"
#include "proxy/http/access_log.h"
#include "proxy/http/clients.h"
#include "proxy/site.h"

struct turn { /* all borrowed */
    struct sites *sites;
    struct clients *clients;
    struct deadlines *deadlines;
    struct access_writer *access; /* NULL: none */
};

/* True: there is more to do already, the next turn must not sleep. */
MUST_CHECK bool turn_end(const struct turn *turn);

#endif
