/* SPDX-License-Identifier: MIT
 * One line from its arrival to its answer:
 *
 *   start -> the verb -> (look -> snapshots come -> step)* -> finish
 *
 * A verb that waits for something to become true looks again and again; that costs an
 * edge thread little and nobody else anything. The answer is
 * begun with "+" at once; its lines start with a blank, complaints with "!"; "=CODE"
 * ends it. */
#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/edit.h"

static void on_timer(evutil_socket_t fd, short what, void *arg);
static void audit(const struct operation *op, enum outcome outcome);
static void answer(struct operation *op, enum outcome outcome);

/* ---- start ---- */

struct operation *operation_for(struct admin *admin, void *owner)
{
    struct operation *op = mem_zalloc(sizeof *op);
    op->magic = OPERATION_MAGIC;
    op->admin = admin;
    op->owner = owner;
    op->id = ++admin->operation_ids;
    op->begun_us = clock_now_us();
    buf_init(&op->complaint, 0);
    op->timer = evtimer_new(admin->options.base, on_timer, op);
    ASSERT(op->timer != NULL);
    list_push_back(&admin->operations, &op->node);
    return op;
}

static struct operation *new_operation(struct admin_client *client, struct slice line)
{
    struct operation *op = operation_for(client->admin, NULL);
    op->client = client;
    op->role = client->role;
    memcpy(op->who, client->who, sizeof op->who);
    memcpy(op->key, client->key, sizeof op->key);
    (void)snprintf(op->line, sizeof op->line, "%.*s", SLICE_FMT(line));
    client->operation = op;
    return op;
}

void operation_free(struct operation **op_p)
{
    struct operation *op = take(*op_p);
    CHECK_OBJ(op, OPERATION_MAGIC);
    node_leave(&op->node);
    event_free(op->timer);
    for (uint32_t i = 0; i < ADMIN_MAX_EDGES; i++)
        snapshot_free(&op->snapshots[i]);
    if (op->before != NULL)
        members_fini(op->before);
    mem_free(&op->before);
    command_fini(&op->command);
    report_fini(&op->report);
    buf_fini(&op->complaint);
    op->magic = 0;
    mem_free(&op);
}

void operation_start(struct admin_client *client, struct slice line)
{
    struct operation *op = new_operation(client, line);
    buf_add(&client->out, SLICE("+\n"));
    admin_client_write(client);
    struct command *c = &op->command;
    bool is_good = command_parse(line, c, &op->complaint);
    report_init(&op->report, c->is_json ? REPORT_JSON : REPORT_TEXT);
    op->deadline_us = op->begun_us + c->timeout_us;
    if (!is_good) {
        operation_finish(op, OUTCOME_REFUSED);
        return;
    }
    uint64_t generation = op->admin->members.generation;
    if (!role_may(op->role, c->verb->role))
        operation_refuse(op, "%s is for the role %s; yours is %s", c->verb->words,
                         role_name(c->verb->role), role_name(op->role));
    else if (c->has_generation && c->if_generation != generation)
        operation_refuse(op, "if-generation=%llu, but it is %llu now: look again",
                         (unsigned long long)c->if_generation,
                         (unsigned long long)generation);
    else if (op->admin->is_frozen && c->verb->effect == VERB_CHANGES)
        operation_refuse(op,
                         "another process takes over from this one: say it again in "
                         "a moment");
    else
        c->verb->run(op);
}

/* ---- looking ---- */

static void run_step(struct operation *op)
{
    void (*step)(struct operation *) = op->step;
    op->step = NULL;
    step(op);
}

void operation_look(struct operation *op,
                    unsigned parts,
                    void (*step)(struct operation *))
{
    struct admin *admin = op->admin;
    op->parts = parts;
    op->step = op->again = step;
    op->awaited = 0;
    for (uint32_t i = 0; i < admin->options.edge_count; i++) {
        snapshot_free(&op->snapshots[i]);
        op->awaited += !admin->is_edge_stopped[i];
    }
    if (op->awaited == 0) {
        run_step(op);
        return;
    }
    for (uint32_t i = 0; i < admin->options.edge_count; i++) {
        if (admin->is_edge_stopped[i])
            continue;
        struct edge_order order = {.kind = EDGE_SNAPSHOT};
        order.snapshot = snapshot_new(parts, op->id);
        admin->options.order(admin->options.owner, i, &order);
    }
}

void operation_look_again(struct operation *op)
{
    op->pause_us = op->pause_us == 0 ? LOOK_FIRST_US : 2 * op->pause_us;
    if (op->pause_us > LOOK_AGAIN_US)
        op->pause_us = LOOK_AGAIN_US;
    const struct timeval pause = {0, op->pause_us};
    for (uint32_t i = 0; i < ADMIN_MAX_EDGES; i++)
        snapshot_free(&op->snapshots[i]);
    ASSERT(evtimer_add(op->timer, &pause) == 0);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct operation *op = CAST_OBJ(arg, struct operation, OPERATION_MAGIC);
    (void)fd;
    (void)what;
    operation_look(op, op->parts, op->again);
}

static struct operation *find_operation(struct admin *admin, uint64_t id)
{
    LIST_FOREACH(&admin->operations, n) {
        struct operation *op = NODE_OF(n, struct operation, node);
        if (op->id == id)
            return op;
    }
    return NULL;
}

void admin_on_snapshot(struct admin *admin, struct snapshot *snapshot)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    struct operation *op = find_operation(admin, snapshot->owner);
    if (op == NULL || op->snapshots[snapshot->number] != NULL) {
        snapshot_free(&snapshot);
        return;
    }
    op->snapshots[snapshot->number] = snapshot;
    if (--op->awaited == 0)
        run_step(op);
}

void admin_on_edge_stopped(struct admin *admin, uint32_t edge)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    admin->is_edge_stopped[edge] = true;
    LIST_FOREACH(&admin->operations, n) { /* a step may free its own operation only */
        struct operation *op = NODE_OF(n, struct operation, node);
        if (op->awaited > 0 && op->snapshots[edge] == NULL && --op->awaited == 0)
            run_step(op);
    }
}

bool operation_is_late(const struct operation *op)
{
    return clock_now_us() >= op->deadline_us;
}

/* ---- changing ---- */

/* "weight 50": the verb and what came with it, without the name. */
static void describe(const struct command *c, char *to, size_t size)
{
    int length = snprintf(to, size, "%s", c->verb->words);
    for (size_t i = 1; i < c->operand_count && length > 0 && (size_t)length < size; i++)
        length += snprintf(to + length, size - (size_t)length, " %s", c->operands[i]);
    for (size_t i = 0; i < c->pair_count && length > 0 && (size_t)length < size; i++)
        length += snprintf(to + length, size - (size_t)length, " %s=%s",
                           c->pairs[i].key, c->pairs[i].value);
}

void operation_edit(struct operation *op, struct edit *e)
{
    describe(&op->command, op->what, sizeof op->what);
    edit_begin(e, op->admin, op->who, op->what);
    e->is_ephemeral = op->command.is_ephemeral;
    e->needs_file = true;
}

bool operation_commit(struct operation *op, struct edit *e)
{
    if (edit_commit(e)) {
        op->has_changed = e->changes > 0;
        return true;
    }
    op->save_error = errno;
    operation_refuse_unsaved(op);
    return false;
}

/* ---- the end ---- */

void operation_refuse(struct operation *op, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0);
    buf_clear(&op->complaint);
    buf_add(&op->complaint, slice_of(text, (size_t)length));
    mem_free(&text);
    operation_finish(op, OUTCOME_REFUSED);
}

void operation_refuse_unsaved(struct operation *op)
{
    operation_refuse(op, "cannot write the state file %s: %s; nothing was changed",
                     op->admin->state_file, strerror(op->save_error));
}

void operation_finish(struct operation *op, enum outcome outcome)
{
    CHECK_OBJ(op, OPERATION_MAGIC);
    audit(op, outcome);
    struct admin_client *client = op->client;
    if (client != NULL) {
        answer(op, outcome);
        client->operation = NULL;
    }
    operation_free(&op);
    if (client != NULL)
        admin_client_write(client);
}

void operation_client_left(struct operation *op)
{
    op->client = NULL;
    if (op->command.verb != NULL && op->command.verb->effect == VERB_CHANGES)
        return;
    operation_free(&op);
}

/* App servers say the same again and again: a complaint is told once. */
static bool is_known(const struct operation *op)
{
    struct admin_client *client = op->client;
    struct slice complaint = buf_slice(&op->complaint);
    if (client == NULL || op->command.verb->role != ROLE_APP)
        return false;
    size_t length =
        complaint.len < sizeof client->refused ? complaint.len : sizeof client->refused;
    bool is_same = length > 0 && memcmp(client->refused, complaint.ptr, length) == 0;
    memset(client->refused, 0, sizeof client->refused);
    if (length > 0)
        memcpy(client->refused, complaint.ptr, length);
    return is_same;
}

/* Who, when, what, and what came of it. */
static void audit(const struct operation *op, enum outcome outcome)
{
    static const char *const words[] = {"done", "refused", "timed out"};
    const struct verb *verb = op->command.verb;
    if (verb == NULL || verb->role == ROLE_VIEWER || op->is_quiet || is_known(op))
        return;
    log_info(NULL, "admin: %s: %s: %s%s%.*s, generation %llu", op->who, op->line,
             words[outcome], buf_len(&op->complaint) > 0 ? ": " : "",
             SLICE_FMT(buf_slice(&op->complaint)),
             (unsigned long long)op->admin->members.generation);
}

static void put_lines(struct buf *out, char mark, struct slice text)
{
    while (text.len > 0) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t length = end == NULL ? text.len : (size_t)(end - text.ptr);
        buf_addf(out, "%c", mark);
        buf_add(out, slice_of(text.ptr, length));
        buf_add(out, SLICE("\n"));
        length += end != NULL;
        text = slice_of(text.ptr + length, text.len - length);
    }
}

static void answer(struct operation *op, enum outcome outcome)
{
    struct buf *out = &op->client->out;
    struct buf text;
    buf_init(&text, 0);
    struct slice complaint = buf_slice(&op->complaint);
    if (complaint.len > 0 && op->command.is_json) {
        buf_add(&op->complaint, slice_of("", 1));
        report_say(&op->report, "%s", buf_slice(&op->complaint).ptr);
    } else if (complaint.len > 0) {
        put_lines(out, '!', complaint);
    }
    report_finish(&op->report, (int)outcome, op->admin->members.generation, &text);
    put_lines(out, ' ', buf_slice(&text));
    buf_addf(out, "=%d\n", (int)outcome);
    buf_fini(&text);
}
