/* SPDX-License-Identifier: MIT
 * Connections of clients, the end of one, and what was refused lately. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/admin/admin_priv.h"

#define COLUMNS(array) array, sizeof(array) / sizeof((array)[0])

enum { ID_TEXT = 32, PLACE_TEXT = 64 };

/* "0-42": the edge thread, its number for the connection. */
static void print_id(char text[ID_TEXT], uint32_t edge, uint64_t number)
{
    (void)snprintf(text, ID_TEXT, "%" PRIu32 "-%" PRIu64, edge, number);
}

static bool read_id(const char *text, uint32_t *ret_edge, uint64_t *ret_number)
{
    char edge[4] = "";
    uint64_t value;
    size_t length = strcspn(text, "-");
    if (length >= sizeof edge || text[length] != '-')
        return false;
    memcpy(edge, text, length);
    if (!command_number(edge, ADMIN_MAX_EDGES - 1, &value))
        return false;
    *ret_edge = (uint32_t)value;
    return command_number(text + length + 1, UINT64_MAX, ret_number);
}

/* "127.0.0.1:8000", "[::1]:8000", or a Unix socket's path. */
static void print_place(char text[PLACE_TEXT], const char *address, uint16_t port)
{
    if (port == 0 || *address == '/')
        (void)snprintf(text, PLACE_TEXT, "%.56s", *address == '\0' ? "unix" : address);
    else
        (void)snprintf(text, PLACE_TEXT,
                       strchr(address, ':') != NULL ? "[%.50s]:%u" : "%.50s:%u",
                       address, port);
}

/* ---- clients ---- */

static void step_show_clients(struct operation *op)
{
    static const struct report_column columns[] = {
        {"id", "ID", ALIGN_LEFT},           {"thread", NULL, ALIGN_RIGHT},
        {"client", NULL, ALIGN_RIGHT},      {"state", "STATE", ALIGN_LEFT},
        {"address", "ADDRESS", ALIGN_LEFT}, {"port", "PORT", ALIGN_RIGHT},
        {"server", "SERVER", ALIGN_LEFT},   {"server_port", "PORT", ALIGN_RIGHT}};
    struct report *r = &op->report;
    uint32_t hidden = 0;
    char id[ID_TEXT];
    report_table(r, "clients", COLUMNS(columns));
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        for (uint32_t n = 0; s != NULL && n < s->clients.count; n++) {
            const struct client_report *c = &s->clients.rows[n];
            print_id(id, i, c->number);
            report_text(r, id);
            report_count(r, i);
            report_count(r, c->number);
            report_text(r, c->state);
            report_text(r, *c->address == '\0' ? "unix" : c->address);
            report_count(r, c->port);
            report_text(r, c->server);
            report_count(r, c->server_port);
        }
        hidden += s == NULL ? 0 : s->clients.total - s->clients.count;
    }
    if (hidden > 0)
        report_say(r, "and %u more", hidden);
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_clients(struct operation *op)
{
    operation_look(op, SNAPSHOT_CLIENTS, step_show_clients);
}

static void step_kill_client(struct operation *op)
{
    const char *id = op->command.operands[0];
    uint32_t edge;
    uint64_t number;
    bool is_id = read_id(id, &edge, &number);
    ASSERT(is_id);
    if (op->snapshots[edge] != NULL && op->snapshots[edge]->was_followed)
        report_say(&op->report, "%s is cut off", id);
    else
        report_say(&op->report, "unchanged: no connection has this id now");
    operation_finish(op, OUTCOME_DONE);
}

void verb_kill_client(struct operation *op)
{
    struct edge_order order = {.kind = EDGE_KILL_CLIENT};
    struct admin *admin = op->admin;
    uint32_t edge;
    if (!read_id(op->command.operands[0], &edge, &order.client)) {
        operation_refuse(op,
                         "\"%.40s\" is no id of a connection; show clients has them",
                         op->command.operands[0]);
        return;
    }
    if (edge < admin->options.edge_count && !admin->is_edge_stopped[edge])
        admin->options.order(admin->options.owner, edge, &order);
    operation_look(op, 0, step_kill_client);
}

/* ---- what was refused ---- */

struct refusal_ref {
    const struct refusal *row;
    uint32_t edge;
};

static int by_time(const void *a, const void *b)
{
    const struct refusal_ref *one = a, *other = b;
    int64_t x = one->row->at_ms, y = other->row->at_ms;
    return (x > y) - (x < y);
}

static void show_refusal(struct operation *op, const struct refusal_ref *ref)
{
    const struct refusal *row = ref->row;
    struct report *r = &op->report;
    struct buf bytes;
    char at[32], id[ID_TEXT], place[PLACE_TEXT];
    buf_init(&bytes, 0);
    refusal_print(row, &bytes);
    buf_add(&bytes, slice_of("", 1));
    admin_format_time(row->at_ms, at);
    print_id(id, ref->edge, row->client);
    report_text(r, at);
    report_text(r, id);
    print_place(place, row->address, row->port);
    report_text(r, place);
    print_place(place, row->server, row->server_port);
    report_text(r, place);
    report_text(r, refusal_part_name(row->part));
    report_count(r, (uint64_t)err_status(row->err));
    report_text(r, err_name(row->err));
    report_text(r, err_text(row->err));
    if (row->part == REFUSED_ANSWER)
        report_text(r, NULL);
    else
        report_count(r, row->offset);
    report_count(r, row->bytes_at);
    report_text(r, row->part == REFUSED_ANSWER ? row->backend : NULL);
    report_text(r, *row->detail != '\0' ? row->detail : buf_slice(&bytes).ptr);
    buf_fini(&bytes);
}

static uint32_t gather_refusals(const struct operation *op, struct refusal_ref *refs)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        for (uint32_t n = 0; s != NULL && n < refusals_count(&s->refusals); n++)
            refs[count++] = (struct refusal_ref){refusals_get(&s->refusals, n), i};
    }
    return count;
}

static void step_show_errors(struct operation *op)
{
    static const struct report_column columns[] = {
        {"at", "AT", ALIGN_LEFT},           {"id", "ID", ALIGN_LEFT},
        {"client", "CLIENT", ALIGN_LEFT},   {"listener", "LISTENER", ALIGN_LEFT},
        {"part", "PART", ALIGN_LEFT},       {"status", "STATUS", ALIGN_RIGHT},
        {"rule", "RULE", ALIGN_LEFT},       {"reason", NULL, ALIGN_LEFT},
        {"offset", "OFFSET", ALIGN_RIGHT},  {"bytes_at", "FROM", ALIGN_RIGHT},
        {"backend", "BACKEND", ALIGN_LEFT}, {"bytes", "BYTES", ALIGN_LEFT}};
    static struct refusal_ref refs[ADMIN_MAX_EDGES * REFUSALS_KEPT];
    uint32_t count = gather_refusals(op, refs);
    qsort(refs, count, sizeof refs[0], by_time);
    report_table(&op->report, "errors", COLUMNS(columns));
    for (uint32_t i = 0; i < count; i++)
        show_refusal(op, &refs[i]);
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_errors(struct operation *op)
{
    operation_look(op, SNAPSHOT_REFUSALS, step_show_errors);
}
