/* SPDX-License-Identifier: MIT
 * The connections of an edge thread for an operator. */
#ifndef HTTP_CLIENTS_REPORT_H
#define HTTP_CLIENTS_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "proxy/http/clients.h"

struct client_report {
    uint64_t number; /* of the edge thread: "c42" in the log */
    char address[48], server[48];
    uint16_t server_port;
    uint16_t port;     /* the client's */
    const char *state; /* idle, head, body, busy, upgraded, lingering */
};

struct clients_report {
    uint32_t count, total;      /* total: with those beyond CLIENTS_REPORTED */
    struct client_report *rows; /* owned */
};

enum { CLIENTS_REPORTED = 1000 };

void clients_report(struct clients *all, struct clients_report *ret_report);
void clients_report_fini(struct clients_report *report);

/* Cuts the connection with this number: a reset, whatever it was doing; its request
 * hears gone(KILLED). False: there is none. From the loop, outside the clients' events.
 */
MUST_CHECK bool clients_kill(struct clients *all, uint64_t number);
/* What was refused lately: refusals_fini. */
void clients_refusals(const struct clients *all, struct refusals *ret_copy);

#endif
