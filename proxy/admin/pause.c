/* SPDX-License-Identifier: MIT
 * Verbs about a whole pool, and waiting for what others do. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/admin/admin_priv.h"
#include "proxy/admin/edit.h"

/* ---- pause, resume, stop ---- */

static bool is_meant(const struct operation *op, const struct member_pool *pool)
{
    return pool->is_configured &&
           (op->pool[0] == '\0' || strcmp(op->pool, pool->name) == 0);
}

static void change_pools(struct operation *op,
                         struct pool_settings to,
                         void (*step)(struct operation *op))
{
    struct members *members = &op->admin->members;
    struct edit e;
    operation_edit(op, &e);
    LIST_FOREACH(&members->pools, n) {
        struct member_pool *pool = NODE_OF(n, struct member_pool, node);
        if (!is_meant(op, pool))
            continue;
        pool->settings = to;
        edit_keep(&e, pool->name, NULL);
    }
    if (!operation_commit(op, &e))
        return;
    if (!op->has_changed)
        report_say(&op->report, "unchanged");
    LIST_FOREACH(&members->pools, n) {
        const struct member_pool *pool = NODE_OF(n, struct member_pool, node);
        if (is_meant(op, pool))
            report_say(&op->report, "pool %s is %s", pool->name,
                       pool_state_name(to.state));
    }
    operation_look(op, 0, step);
}

static void step_effective(struct operation *op)
{
    operation_finish(op, OUTCOME_DONE);
}

static uint64_t count_running(const struct operation *op, const char *name)
{
    uint64_t running = 0;
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct pool_report *pool =
            op->snapshots[i] == NULL ? NULL : snapshot_pool(op->snapshots[i], name);
        running += pool == NULL ? 0 : pool->sent;
    }
    return running;
}

static void step_paused(struct operation *op)
{
    uint64_t running = 0;
    LIST_FOREACH(&op->admin->members.pools, n) {
        const struct member_pool *pool = NODE_OF(n, struct member_pool, node);
        if (!is_meant(op, pool))
            continue;
        if (pool->settings.state != POOL_PAUSED) {
            operation_refuse(op, "pool %s was resumed meanwhile", pool->name);
            return;
        }
        running += count_running(op, pool->name);
    }
    if (running == 0) {
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
    if (!operation_find_pool(op, 0))
        return;
    if (most != NULL && !command_seconds(most, &to.max_pause_us)) {
        operation_refuse(
            op, "max-pause=%.40s is not accepted; expected seconds, e.g. 30s", most);
        return;
    }
    change_pools(op, to, step_paused);
}

void verb_resume(struct operation *op)
{
    if (operation_find_pool(op, 0))
        change_pools(op, (struct pool_settings){.state = POOL_SERVING}, step_effective);
}

void verb_stop(struct operation *op)
{
    struct pool_settings to = {.state = POOL_STOPPED};
    const char *message = command_value(&op->command, "message");
    if (!operation_find_pool(op, 0))
        return;
    if (message != NULL && strlen(message) >= sizeof to.message) {
        operation_refuse(op, "the message is longer than %zu bytes",
                         sizeof to.message - 1);
        return;
    }
    if (message != NULL)
        memcpy(to.message, message, strlen(message));
    change_pools(op, to, step_effective);
}

/* ---- wait ---- */

static bool is_drained(struct operation *op)
{
    const struct member *m = operation_target(op);
    struct target_sum sum;
    admin_sum_target(op, &sum);
    return m == NULL || (m->settings.state != ADMIN_READY && sum.in_flight == 0);
}

/* App servers that take requests through every edge thread. */
static uint64_t count_ready(struct operation *op)
{
    uint64_t ready = 0;
    LIST_FOREACH(&op->admin->members.pools, p) {
        struct member_pool *pool = NODE_OF(p, struct member_pool, node);
        uint32_t index = 0;
        if (!is_meant(op, pool))
            continue;
        LIST_FOREACH(&pool->all, n) {
            const struct member *m = NODE_OF(n, struct member, node);
            struct backend_sum sum;
            ready += m->settings.state == ADMIN_READY && m->settings.weight > 0 &&
                     m->settings.health != HEALTH_DOWN &&
                     admin_sum_backend(op, pool->name, index, m->name, &sum) &&
                     sum.edges_up == sum.edges;
            index++;
        }
    }
    return ready;
}

static bool is_true(struct operation *op)
{
    const char *condition = op->command.operands[0];
    if (strcmp(condition, "generation") == 0)
        return op->admin->members.generation >= op->seen;
    if (strcmp(condition, "removed") == 0)
        return operation_target(op) == NULL;
    if (strcmp(condition, "drained") == 0)
        return is_drained(op);
    return count_ready(op) >= op->seen;
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

/* Of a backend that is not there all that is waited for is true. */
static void wait_for_member(struct operation *op)
{
    bool is_none;
    if (operation_find(op, op->command.operands[1], &is_none) != NULL || is_none)
        operation_look(op, 0, step_wait);
}

static void wait_for_number(struct operation *op)
{
    const char *number = op->command.operands[1];
    if (!command_number(number, UINT64_MAX, &op->seen))
        operation_refuse(op, "\"%.40s\" is no number", number);
    else if (operation_find_pool(op, 2))
        operation_look(op, 0, step_wait);
}

void verb_wait(struct operation *op)
{
    const struct command *c = &op->command;
    const char *condition = c->operands[0];
    bool is_ready = strcmp(condition, "ready") == 0;
    bool is_known = is_ready || strcmp(condition, "generation") == 0 ||
                    strcmp(condition, "drained") == 0 ||
                    strcmp(condition, "removed") == 0;
    if (!is_known || (c->operand_count == 3 && !is_ready))
        operation_refuse(op, "wait for what? usage: %s %s", c->verb->words,
                         c->verb->arguments);
    else if (is_ready || strcmp(condition, "generation") == 0)
        wait_for_number(op);
    else
        wait_for_member(op);
}
