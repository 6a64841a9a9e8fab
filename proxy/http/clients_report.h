/* SPDX-License-Identifier: MIT
 * The connections of an edge thread for an operator. */
#ifndef HTTP_CLIENTS_REPORT_H
#define HTTP_CLIENTS_REPORT_H

#include <stdint.h>

#include "proxy/http/clients.h"

struct client_report {
    uint64_t number; /* of the edge thread: "c42" in the log */
    char address[48], server[48];
    uint16_t server_port;
    const char *state; /* idle, head, body, busy, lingering */
};

struct clients_report {
    uint32_t count, total;      /* total: with those beyond CLIENTS_REPORTED */
    struct client_report *rows; /* owned */
};

enum { CLIENTS_REPORTED = 1000 };

void clients_report(struct clients *all, struct clients_report *ret_report);
void clients_report_fini(struct clients_report *report);

#endif
