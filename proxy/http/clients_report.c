/* SPDX-License-Identifier: MIT
 * Those with a request first. */
#include "proxy/http/clients_report.h"

#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/http/client_priv.h"

static const char *state_text(enum client_state state)
{
    switch (state) {
    case CLIENT_IDLE:
        return "idle";
    case CLIENT_HEAD:
        return "head";
    case CLIENT_BODY:
        return "body";
    case CLIENT_UPGRADED:
        return "upgraded";
    case CLIENT_LINGER:
        return "lingering";
    case CLIENT_CLOSED:
        return "closed";
    default:
        return "busy";
    }
}

static void copy_text(char *to, size_t size, struct slice text)
{
    size_t length = text.len < size - 1 ? text.len : size - 1;
    if (length > 0)
        memcpy(to, text.ptr, length);
}

static void report_list(struct list *list, uint32_t most, struct clients_report *r)
{
    LIST_FOREACH(list, n) {
        const struct client *c = NODE_OF(n, struct client, node);
        if (r->count == most)
            return;
        struct client_report *row = &r->rows[r->count++];
        *row = (struct client_report){
            .number = c->number,
            .server_port = c->server_port,
            .port = c->peer.port,
            .state = state_text(c->state),
        };
        copy_text(row->address, sizeof row->address, c->peer.addr);
        copy_text(row->server, sizeof row->server, c->server_addr);
    }
}

void clients_report(struct clients *all, struct clients_report *ret_report)
{
    CHECK_OBJ(all, CLIENTS_MAGIC);
    struct clients_report r = {.total = all->count};
    uint32_t most = all->count < CLIENTS_REPORTED ? all->count : CLIENTS_REPORTED;
    r.rows = mem_alloc((most + 1) * sizeof *r.rows);
    report_list(&all->open, most, &r);
    report_list(&all->idle, most, &r);
    *ret_report = r;
}

void clients_report_fini(struct clients_report *report)
{
    mem_free(&report->rows);
    report->count = report->total = 0;
}

static struct client *find(struct list *list, uint64_t number)
{
    LIST_FOREACH(list, n) {
        struct client *c = NODE_OF(n, struct client, node);
        if (c->number == number)
            return c;
    }
    return NULL;
}

bool clients_kill(struct clients *all, uint64_t number)
{
    CHECK_OBJ(all, CLIENTS_MAGIC);
    struct client *c = find(&all->open, number);
    if (c == NULL)
        c = find(&all->idle, number);
    if (c == NULL)
        return false;
    client_reset(c, ERR_KILLED);
    return true;
}

void clients_refusals(const struct clients *all, struct refusals *ret_copy)
{
    CHECK_OBJ(all, CLIENTS_MAGIC);
    refusals_copy(&all->refusals, ret_copy);
}
