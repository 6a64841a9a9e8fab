/* SPDX-License-Identifier: MIT
 * Verbs about a whole pool, and waiting for what others do. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/admin/admin_priv.h"

/* ---- pause, resume, stop ---- */

/* No pool named, or ours. False: refused. */
static bool check_pool(struct operation *op)
{
    const struct command *c = &op->command;
    if (c->operand_count == 0 || strcmp(c->operands[0], POOL_NAME) == 0)
        return true;
    operation_refuse(op, "no pool is called %.80s; there is %s", c->operands[0],
                     POOL_NAME);
    return false;
}

static bool is_same(const struct pool_settings *a, const struct pool_settings *b)
{
    return a->state == b->state && a->max_pause_us == b->max_pause_us &&
           strcmp(a->message, b->message) == 0;
}

static void change_pool(struct operation *op,
                        struct pool_settings to,
                        void (*step)(struct operation *op))
{
    struct members *members = &op->admin->members;
    struct pool_settings before = members->pool;
    struct edge_order order = {.kind = EDGE_SET_POOL, .pool = POOL_NAME};
    if (!is_same(&before, &to)) {
        members->pool = to;
        if (!admin_commit(op, NULL, &members->pool_change)) {
            members->pool = before;
            operation_refuse_unsaved(op);
            return;
        }
        order.pool_settings = to;
        admin_order(op->admin, &order);
    } else {
        report_say(&op->report, "unchanged");
    }
    report_say(&op->report, "pool %s is %s", POOL_NAME, pool_state_name(to.state));
    operation_look(op, 0, step);
}

static void step_effective(struct operation *op)
{
    operation_finish(op, OUTCOME_DONE);
}

static void step_paused(struct operation *op)
{
    uint64_t running = 0;
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct pool_report *pool =
            op->snapshots[i] == NULL ? NULL
                                     : snapshot_pool(op->snapshots[i], POOL_NAME);
        running += pool == NULL ? 0 : pool->sent;
    }
    if (op->admin->members.pool.state != POOL_PAUSED) {
        operation_refuse(op, "it was resumed meanwhile");
    } else if (running == 0) {
        report_say(&op->report, "nothing runs");
        operation_finish(op, OUTCOME_DONE);
    } else if (operation_is_late(op)) {
        report_say(&op->report, "%" PRIu64 " requests still run; it stays paused",
                   running);
        operation_finish(op, OUTCOME_LATE);
    } else {
        operation_look_again(op);
    }
}

void verb_pause(struct operation *op)
{
    struct pool_settings to = {.state = POOL_PAUSED, .max_pause_us = 30 * 1000000ull};
    const char *most = command_value(&op->command, "max-pause");
    if (!check_pool(op))
        return;
    if (most != NULL && !command_seconds(most, &to.max_pause_us)) {
        operation_refuse(
            op, "max-pause=%.40s is not accepted; expected seconds, e.g. 30s", most);
        return;
    }
    change_pool(op, to, step_paused);
}

void verb_resume(struct operation *op)
{
    if (check_pool(op))
        change_pool(op, (struct pool_settings){.state = POOL_SERVING}, step_effective);
}

void verb_stop(struct operation *op)
{
    struct pool_settings to = {.state = POOL_STOPPED};
    const char *message = command_value(&op->command, "message");
    if (!check_pool(op))
        return;
    if (message != NULL && strlen(message) >= sizeof to.message) {
        operation_refuse(op, "the message is longer than %zu bytes",
                         sizeof to.message - 1);
        return;
    }
    if (message != NULL)
        memcpy(to.message, message, strlen(message));
    change_pool(op, to, step_effective);
}

/* ---- wait ---- */

static bool is_true(struct operation *op)
{
    const struct command *c = &op->command;
    struct members *members = &op->admin->members;
    const char *condition = c->operands[0], *what = c->operands[1];
    if (strcmp(condition, "generation") == 0)
        return members->generation >= op->seen;
    if (strcmp(condition, "removed") == 0)
        return members_find(members, what) == NULL;
    struct backend_sum sum;
    if (strcmp(condition, "drained") == 0) {
        const struct member *m = members_find(members, what);
        bool is_known = m != NULL && admin_sum_backend(op, 0, m->name, &sum);
        return m == NULL || (m->settings.state != ADMIN_READY &&
                             (!is_known || sum.all.view.in_flight == 0));
    }
    uint64_t ready = 0;
    LIST_FOREACH(&members->all, n) {
        const struct member *m = NODE_OF(n, struct member, node);
        ready += m->settings.state == ADMIN_READY && m->settings.weight > 0 &&
                 m->settings.health != HEALTH_DOWN &&
                 admin_sum_backend(op, 0, m->name, &sum) && sum.edges_up == sum.edges;
    }
    return ready >= op->seen;
}

static void step_wait(struct operation *op)
{
    if (is_true(op)) {
        report_say(&op->report, "it is so");
        operation_finish(op, OUTCOME_DONE);
    } else if (operation_is_late(op)) {
        report_say(&op->report, "not in time");
        operation_finish(op, OUTCOME_LATE);
    } else {
        operation_look_again(op);
    }
}

void verb_wait(struct operation *op)
{
    const struct command *c = &op->command;
    const char *condition = c->operands[0], *what = c->operands[1];
    bool is_counted =
        strcmp(condition, "ready") == 0 || strcmp(condition, "generation") == 0;
    bool is_named =
        strcmp(condition, "drained") == 0 || strcmp(condition, "removed") == 0;
    if (is_counted && !command_number(what, UINT64_MAX, &op->seen))
        operation_refuse(op, "\"%.40s\" is no number", what);
    else if (!is_counted && !is_named)
        operation_refuse(op, "wait for what? usage: %s %s", c->verb->words,
                         c->verb->arguments);
    else if (c->operand_count == 3 &&
             (!is_counted || strcmp(c->operands[2], POOL_NAME) != 0))
        operation_refuse(op, "no pool is called %.80s; there is %s", c->operands[2],
                         POOL_NAME);
    else
        operation_look(op, 0, step_wait);
}
