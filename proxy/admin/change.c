/* SPDX-License-Identifier: MIT
 * Verbs that change the membership. Each is one step for the operator:
 *
 *   check, change the model, write it down, order the edges, look until it is so
 *
 * What is as asked for already is "unchanged" and done. What cannot be written down is
 * not done at all. A verb about an entry is about all addresses of its host. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/clock.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/edit.h"

static void step_effective(struct operation *op)
{
    operation_finish(op, OUTCOME_DONE);
}

/* ---- decisions ---- */

/* What differs is decided, everywhere; false: the operation is over. */
static bool
set_member(struct operation *op, struct member *m, struct backend_settings to)
{
    struct edit e;
    operation_edit(op, &e);
    if (to.state == m->given.state && to.keeps_sticky == m->given.keeps_sticky)
        members_undecide(m, DECIDED_STATE);
    else
        members_decide(m, DECIDED_STATE, &to);
    if (to.health == m->given.health)
        members_undecide(m, DECIDED_HEALTH);
    else
        members_decide(m, DECIDED_HEALTH, &to);
    if (to.weight != m->settings.weight)
        members_decide(m, DECIDED_WEIGHT, &to);
    if (to.limit != m->settings.limit)
        members_decide(m, DECIDED_LIMIT, &to);
    edit_keep(&e, op->pool, op->name);
    return operation_commit(op, &e);
}

static void
change_to(struct operation *op, struct member *m, struct backend_settings to)
{
    if (!set_member(op, m, to))
        return;
    if (!op->has_changed) {
        operation_unchanged(op, op->full_name);
        return;
    }
    report_say(&op->report, "%s: %s, health %s, weight %u, limit %u", op->full_name,
               admin_state_name(to.state), health_rule_name(to.health), to.weight,
               to.limit);
    operation_look(op, 0, step_effective);
}

/* Back to what the source, or the entry, says. */
static void undecide(struct operation *op, struct member *m, enum decision what)
{
    struct edit e;
    operation_edit(op, &e);
    members_undecide(m, what);
    edit_keep(&e, op->pool, op->name);
    if (!operation_commit(op, &e))
        return;
    if (!op->has_changed) {
        operation_unchanged(op, op->full_name);
        return;
    }
    report_say(&op->report, "%s: weight %u, limit %u", op->full_name,
               m->settings.weight, m->settings.limit);
    operation_look(op, 0, step_effective);
}

/* ---- remove, drain, kill ---- */

static void finish_remove(struct operation *op, struct member *m)
{
    struct edit e;
    operation_edit(op, &e);
    e.closes_now = op->is_forced;
    members_remove(&m);
    if (!operation_commit(op, &e))
        return;
    report_say(&op->report, "%s is removed", op->full_name);
    operation_look(op, 0, step_effective);
}

static void step_remove(struct operation *op)
{
    struct member *m = operation_target(op);
    struct target_sum sum;
    if (m == NULL) {
        operation_unchanged(op, "it is gone already");
        return;
    }
    if (m->settings.state == ADMIN_READY) {
        operation_refuse(op, "%s was made ready meanwhile; it stays", op->full_name);
        return;
    }
    admin_sum_target(op, &sum);
    bool is_over = clock_now_us() >= op->until_us;
    if (sum.in_flight == 0 || (is_over && op->is_forced)) {
        finish_remove(op, m);
    } else if (is_over) {
        report_say(
            &op->report,
            "%s still runs %u requests; it stays draining (force removes it at once)",
            op->full_name, sum.in_flight);
        operation_finish(op, OUTCOME_LATE);
    } else {
        operation_look_again(op);
    }
}

/* There is no such backend; it may be that it was removed --ephemeral. */
static void remove_saved(struct operation *op)
{
    struct buf message;
    bool is_none;
    buf_init(&message, 0);
    const struct member *m =
        members_find(&op->admin->saved, op->command.operands[0], &is_none, &message);
    buf_fini(&message);
    if (m != NULL)
        operation_set_target(op, m);
    operation_keep_unchanged(op, "there is no such backend");
}

void verb_remove(struct operation *op)
{
    const struct command *c = &op->command;
    uint64_t drain_us = 30 * 1000000ull;
    const char *drain = command_value(c, "drain");
    bool is_none;
    if (drain != NULL && !command_seconds(drain, &drain_us)) {
        operation_refuse(op, "drain=%.40s is not accepted; expected seconds, e.g. 30s",
                         drain);
        return;
    }
    op->is_forced = c->operand_count == 2 && strcmp(c->operands[1], "force") == 0;
    if (c->operand_count == 0 || (c->operand_count == 2 && !op->is_forced)) {
        operation_usage(op);
        return;
    }
    struct member *m = operation_find(op, c->operands[0], &is_none);
    if (m == NULL) {
        if (is_none)
            remove_saved(op);
        return;
    }
    if (m->is_joining) {
        operation_refuse(op, "%s is just being added", op->full_name);
        return;
    }
    op->until_us = op->begun_us + drain_us;
    if (c->has_timeout && op->deadline_us < op->until_us)
        op->until_us = op->deadline_us;
    struct backend_settings to = m->settings;
    if (to.state == ADMIN_READY || to.keeps_sticky) {
        to.state = ADMIN_DRAIN;
        to.keeps_sticky = false;
        if (!set_member(op, m, to))
            return;
    }
    operation_look(op, 0, step_remove);
}

static void step_drained(struct operation *op)
{
    const struct member *m = operation_target(op);
    struct target_sum sum;
    if (m != NULL && m->settings.state == ADMIN_READY) {
        operation_refuse(op, "%s was made ready meanwhile", op->full_name);
        return;
    }
    admin_sum_target(op, &sum);
    if (sum.in_flight == 0) {
        report_say(&op->report, "%s is drained", op->full_name);
        operation_finish(op, OUTCOME_DONE);
    } else if (operation_is_late(op)) {
        report_say(&op->report, "%s still runs %u requests", op->full_name,
                   sum.in_flight);
        operation_finish(op, OUTCOME_LATE);
    } else {
        operation_look_again(op);
    }
}

void verb_drain(struct operation *op)
{
    const struct command *c = &op->command;
    bool waits = c->operand_count == 2 && strcmp(c->operands[1], "wait") == 0;
    const char *sticky = command_value(c, "sticky");
    if ((c->operand_count == 2 && !waits) ||
        (sticky != NULL && strcmp(sticky, "allow") != 0)) {
        operation_usage(op);
        return;
    }
    struct member *m = operation_find_member(op);
    if (m == NULL)
        return;
    struct backend_settings to = m->settings;
    to.state = ADMIN_DRAIN;
    to.keeps_sticky = sticky != NULL;
    if (!waits)
        change_to(op, m, to);
    else if (set_member(op, m, to))
        operation_look(op, 0, step_drained);
}

void verb_maint(struct operation *op)
{
    struct member *m = operation_find_member(op);
    if (m == NULL)
        return;
    struct backend_settings to = m->settings;
    to.state = ADMIN_MAINT;
    to.keeps_sticky = false;
    change_to(op, m, to);
}

void verb_ready(struct operation *op)
{
    struct member *m = operation_find_member(op);
    if (m == NULL)
        return;
    struct backend_settings to = m->settings;
    to.state = ADMIN_READY;
    to.keeps_sticky = false;
    change_to(op, m, to);
}

void verb_kill(struct operation *op)
{
    struct member *target = operation_find_member(op);
    if (target == NULL)
        return;
    LIST_FOREACH(&target->pool->all, n) {
        const struct member *m = NODE_OF(n, struct member, node);
        if (member_is_of(m, target))
            admin_order_member(op->admin, m, EDGE_ABORT_ALL);
    }
    admin_note(op->admin, op->who, op->full_name, "kill: its requests are ended");
    report_say(&op->report, "what ran at %s is ended", op->full_name);
    operation_look(op, 0, step_effective);
}

static void step_kill_request(struct operation *op)
{
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        if (op->snapshots[i] == NULL || !op->snapshots[i]->was_followed)
            continue;
        report_say(&op->report, "%s is ended", op->command.operands[0]);
        operation_finish(op, OUTCOME_DONE);
        return;
    }
    operation_unchanged(op, "no request has this id now");
}

void verb_kill_request(struct operation *op)
{
    struct edge_order order = {.kind = EDGE_KILL_REQUEST};
    const char *id = op->command.operands[0];
    if (strlen(id) >= sizeof order.name) {
        operation_refuse(op, "no request has this id");
        return;
    }
    memcpy(order.name, id, strlen(id));
    admin_order(op->admin, &order);
    operation_look(op, 0, step_kill_request);
}

/* ---- settings ---- */

void verb_weight(struct operation *op)
{
    const struct command *c = &op->command;
    struct member *m = operation_find_member(op);
    if (m == NULL)
        return;
    if (strcmp(c->operands[1], "auto") == 0) {
        undecide(op, m, DECIDED_WEIGHT);
        return;
    }
    char text[16] = "";
    uint64_t number = 0;
    size_t length = strlen(c->operands[1]);
    bool is_percent =
        length > 0 && length < sizeof text && c->operands[1][length - 1] == '%';
    (void)snprintf(text, sizeof text, "%.*s", (int)(length - is_percent),
                   c->operands[1]);
    if (length >= sizeof text || !command_number(text, 10000, &number)) {
        operation_refuse(op, "\"%.40s\" is no weight; expected 0 to %d, N%% or auto",
                         c->operands[1], WEIGHT_MAX);
        return;
    }
    if (is_percent)
        number =
            number * (m->given.weight == 0 ? WEIGHT_DEFAULT : m->given.weight) / 100;
    if (number > WEIGHT_MAX) {
        operation_refuse(op, "that is a weight of %" PRIu64 "; the most is %d", number,
                         WEIGHT_MAX);
        return;
    }
    struct backend_settings to = m->settings;
    to.weight = (uint32_t)number;
    change_to(op, m, to);
}

static void step_limit(struct operation *op)
{
    const struct member *m = operation_target(op);
    struct target_sum sum;
    admin_sum_target(op, &sum);
    if (m == NULL || m->settings.limit == 0 || sum.above == 0) {
        operation_finish(op, OUTCOME_DONE);
    } else if (operation_is_late(op)) {
        report_say(&op->report, "still %u requests run there", sum.running);
        operation_finish(op, OUTCOME_LATE);
    } else {
        operation_look_again(op);
    }
}

void verb_limit(struct operation *op)
{
    const struct command *c = &op->command;
    uint64_t number;
    struct member *m = operation_find_member(op);
    if (m == NULL)
        return;
    if (strcmp(c->operands[1], "auto") == 0) {
        undecide(op, m, DECIDED_LIMIT);
        return;
    }
    if (!command_number(c->operands[1], UINT32_MAX, &number)) {
        operation_refuse(
            op, "\"%.40s\" is no limit; expected a number, 0 for none, or auto",
            c->operands[1]);
        return;
    }
    struct backend_settings to = m->settings;
    to.limit = (uint32_t)number;
    if (!set_member(op, m, to))
        return;
    report_say(&op->report, "%s%s: limit %u",
               op->has_changed ? "" : "unchanged: ", op->full_name, to.limit);
    operation_look(op, 0, step_limit);
}

void verb_health(struct operation *op)
{
    struct member *m = operation_find_member(op);
    if (m == NULL)
        return;
    struct backend_settings to = m->settings;
    for (enum health_rule rule = HEALTH_AUTO; rule <= HEALTH_DOWN; rule++) {
        if (strcmp(op->command.operands[1], health_rule_name(rule)) != 0)
            continue;
        to.health = rule;
        change_to(op, m, to);
        return;
    }
    operation_refuse(op, "\"%.40s\" is not accepted; expected auto, up or down",
                     op->command.operands[1]);
}
