/* SPDX-License-Identifier: MIT
 * The requests of an edge thread for an operator: what runs or waits, and the end of
 * one. */
#ifndef PROXY_EXCHANGE_REPORT_H
#define PROXY_EXCHANGE_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/slice.h"
#include "proxy/exchange.h"

struct request_report { /* texts are clipped */
    char id[48], client[48], method[16], target[128];
    char pool[64];     /* empty: no route leads to one */
    char backend[128]; /* POOL/NAME where it was sent last; empty: not sent */
    const char *stage; /* gathering, queued, running, answering, ending */
    uint64_t age_us;   /* since its head was complete */
    uint64_t queued_us;
};

struct requests_report {
    uint32_t count, total;       /* total: with those beyond REQUESTS_REPORTED */
    struct request_report *rows; /* owned; the oldest first */
};

enum { REQUESTS_REPORTED = 1000 };

void exchanges_report(struct exchanges *all, struct requests_report *ret_report);
void requests_report_fini(struct requests_report *report);

/* Ends the request with this id: 503, or a cut when its answer has begun. False: there
 * is none here. From the loop, outside the exchanges' events. */
MUST_CHECK bool exchanges_kill(struct exchanges *all, struct slice id);

#endif
