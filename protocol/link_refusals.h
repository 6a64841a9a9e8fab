/* SPDX-License-Identifier: MIT
 * What a log should say of the connections that a bound link refused: what an operator
 * can mend, and not too often. What the ZAP handler tells is not told twice. Pure. */
#ifndef PROTOCOL_LINK_REFUSALS_H
#define PROTOCOL_LINK_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/link.h"
#include "protocol/quiet.h"

enum {
    LINK_REFUSALS_PERIOD_US = 10 * 1000 * 1000,
    /* So many handshakes of one address that were broken off within a period are no
     * probes of its port. */
    LINK_REFUSALS_BROKEN = 5,
};

struct link_refusals {
    struct quiet quiet;
    char address[LINK_ADDRESS]; /* whose handshakes were broken off last */
    uint32_t broken;            /* in a row, of it */
    uint64_t since_us;          /* the first of them */
};

void link_refusals_init(struct link_refusals *r);
/* NULL: nothing is to be said; otherwise what goes behind "refused a connection from
 * ADDRESS: ". `has_keys`: the link's. */
const char *link_refusals_note(struct link_refusals *r,
                               const struct link_event *event,
                               bool has_keys,
                               uint64_t now_us);
/* The address of an event, in words when it is not known. */
const char *link_refusals_address(const struct link_event *event);

#endif
