/* SPDX-License-Identifier: MIT
 * Verbs that change the membership. Each is one step for the operator:
 *
 *   check, change the model, write it down, order the edges, look until it is so
 *
 * What is as asked for already is "unchanged" and done. What cannot be written down is
 * not done at all. A verb about an entry is about all addresses of its host. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/clock.h"
#include "protocol/link.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/edit.h"

static void step_effective(struct operation *op)
{
    operation_finish(op, OUTCOME_DONE);
}

static void unchanged(struct operation *op, const char *what)
{
    report_say(&op->report, "unchanged: %s", what);
    operation_finish(op, OUTCOME_DONE);
}

static void usage(struct operation *op)
{
    operation_refuse(op, "usage: %s %s", op->command.verb->words,
                     op->command.verb->arguments);
}

/* ---- the one that is meant ---- */

static void keep_target(struct operation *op, const struct member *m)
{
    memcpy(op->pool, m->pool->name, sizeof op->pool);
    memcpy(op->name, m->name, sizeof op->name);
    member_full_name(m, op->full_name);
}

struct member *operation_target(const struct operation *op)
{
    struct member_pool *pool = members_pool(&op->admin->members, op->pool);
    struct member *m =
        pool == NULL || !pool->is_configured ? NULL : members_get(pool, op->name);
    return m == NULL || m->kind == MEMBER_AWAY ? NULL : m;
}

struct member *operation_find(struct operation *op, const char *name, bool *ret_none)
{
    struct buf message;
    buf_init(&message, 0);
    struct member *m = members_find(&op->admin->members, name, ret_none, &message);
    if (m != NULL)
        keep_target(op, m);
    else if (!*ret_none)
        operation_refuse(op, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return m;
}

/* The one that the first operand names; NULL: refused. */
static struct member *find_member(struct operation *op)
{
    bool is_none;
    if (op->command.operand_count == 0) {
        operation_refuse(op, "whose? usage: %s %s", op->command.verb->words,
                         op->command.verb->arguments);
        return NULL;
    }
    struct member *m = operation_find(op, op->command.operands[0], &is_none);
    if (m == NULL && is_none) {
        operation_refuse(op, "no backend is called %.80s", op->command.operands[0]);
    } else if (m != NULL && m->is_joining) {
        operation_refuse(op, "%s is just being added", op->full_name);
        return NULL;
    }
    return m;
}

/* ---- decisions ---- */

static bool is_same(const struct backend_settings *a, const struct backend_settings *b)
{
    return a->state == b->state && a->keeps_sticky == b->keeps_sticky &&
           a->health == b->health && a->weight == b->weight && a->limit == b->limit;
}

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
        unchanged(op, op->full_name);
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
        unchanged(op, op->full_name);
        return;
    }
    report_say(&op->report, "%s: weight %u, limit %u", op->full_name,
               m->settings.weight, m->settings.limit);
    operation_look(op, 0, step_effective);
}

/* It is as asked for, perhaps --ephemeral: then it is no more. */
static void keep_unchanged(struct operation *op, const char *what)
{
    struct edit e;
    operation_edit(op, &e);
    edit_keep(&e, op->pool, op->name);
    if (operation_commit(op, &e))
        unchanged(op, what);
}

/* ---- add ---- */

/* Nothing of it stays; what was removed before is so again. */
static void withdraw(struct operation *op)
{
    struct edit e;
    struct member *m = operation_target(op);
    edit_begin(&e, op->admin, op->who, "add");
    members_remove(&m);
    edit_apply(&e);
}

static void finish_add(struct operation *op, const struct target_sum *sum)
{
    struct edit e;
    operation_edit(op, &e);
    members_join(operation_target(op));
    if (!edit_commit(&e)) {
        op->save_error = errno;
        withdraw(op);
        operation_refuse_unsaved(op);
        return;
    }
    if (sum->count > 1)
        report_say(&op->report,
                   "%s: %u app servers are up with %u slots and take requests",
                   op->full_name, sum->count, sum->slots);
    else
        report_say(&op->report, "%s is up with %u slots and takes requests",
                   op->full_name, sum->slots);
    operation_look(op, 0, step_effective);
}

static void step_add(struct operation *op)
{
    const struct member *m = operation_target(op);
    struct target_sum sum;
    if (m == NULL || !m->is_joining) {
        operation_refuse(op, "%s was %s meanwhile", op->full_name,
                         m == NULL ? "removed" : "added by the configuration");
        return;
    }
    admin_sum_target(op, &sum);
    if (sum.count > 0 && sum.up == sum.count) {
        finish_add(op, &sum);
    } else if (operation_is_late(op)) {
        if (sum.count == 0)
            report_say(&op->report,
                       "%s at %s: its host has no address yet; nothing was added",
                       op->full_name, m->endpoint);
        else
            report_say(&op->report,
                       "%s at %s: %u of %u up for every edge thread in time (%s); "
                       "nothing was added",
                       op->full_name, m->endpoint, sum.up, sum.count, sum.why);
        withdraw(op);
        operation_finish(op, OUTCOME_LATE);
    } else {
        operation_look_again(op);
    }
}

bool operation_read_number(struct operation *op,
                           const char *key,
                           uint64_t most,
                           uint32_t *value)
{
    uint64_t number;
    const char *text = command_value(&op->command, key);
    if (text == NULL)
        return true;
    if (!command_number(text, most, &number)) {
        operation_refuse(op, "%s=%.40s is not accepted; expected 0 to %" PRIu64, key,
                         text, most);
        return false;
    }
    *value = (uint32_t)number;
    return true;
}

/* Where it will be; NULL: refused. */
static struct member_pool *check_new(struct operation *op, const char **ret_name)
{
    const char *const *operands = op->command.operands;
    struct buf message;
    buf_init(&message, 0);
    struct member_pool *pool =
        members_place(&op->admin->members, operands[0], ret_name, &message);
    if (pool != NULL && !proxy_name_check(*ret_name)) {
        buf_addf(&message,
                 "\"%.80s\" is no name; expected letters, digits, '.', '_', '-'",
                 operands[0]);
        pool = NULL;
    } else if (pool != NULL &&
               !proxy_endpoint_check(operands[1], op->admin->options.proxy, "add",
                                     &message)) {
        pool = NULL;
    }
    if (pool == NULL)
        operation_refuse(op, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return pool;
}

static void begin_add(struct operation *op,
                      struct member_pool *pool,
                      const char *name,
                      const struct backend_settings *settings)
{
    struct edit e;
    struct member *m;
    edit_begin(&e, op->admin, op->who, "add");
    if (members_give(pool, name, op->command.operands[1], settings, SOURCE_CLI, &m) ==
        GIVEN_FULL) {
        edit_cancel(&e);
        operation_refuse(op, "there are %u backends already", op->admin->members.most);
        return;
    }
    m->is_joining = true; /* drained until all edges have its credit */
    keep_target(op, m);
    edit_apply(&e);
    operation_look(op, 0, step_add);
}

void verb_add(struct operation *op)
{
    const struct command *c = &op->command;
    struct backend_settings settings = BACKEND_SETTINGS;
    const char *name;
    if (c->operand_count != 2) {
        usage(op);
        return;
    }
    struct member_pool *pool = check_new(op, &name);
    if (pool == NULL)
        return;
    const struct member *m = members_get(pool, name);
    bool is_same_place = m != NULL && strcmp(m->endpoint, c->operands[1]) == 0;
    if (is_same_place && m->kind == MEMBER_AWAY)
        settings = m->given;
    if (!operation_read_number(op, "weight", WEIGHT_MAX, &settings.weight) ||
        !operation_read_number(op, "limit", UINT32_MAX, &settings.limit))
        return;
    if (m == NULL || m->kind == MEMBER_AWAY) {
        begin_add(op, pool, name, &settings);
        return;
    }
    keep_target(op, m);
    settings.state = m->settings.state;
    settings.health = m->settings.health;
    if (m->is_joining)
        operation_refuse(op, "%s is just being added", op->full_name);
    else if (is_same_place && is_same(&settings, &m->settings))
        keep_unchanged(op, op->full_name);
    else
        operation_refuse(op,
                         "%s is there with other settings: remove it first, or use "
                         "weight, limit, ready",
                         op->full_name);
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
        unchanged(op, "it is gone already");
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
        keep_target(op, m);
    keep_unchanged(op, "there is no such backend");
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
        usage(op);
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
        usage(op);
        return;
    }
    struct member *m = find_member(op);
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
    struct member *m = find_member(op);
    if (m == NULL)
        return;
    struct backend_settings to = m->settings;
    to.state = ADMIN_MAINT;
    to.keeps_sticky = false;
    change_to(op, m, to);
}

void verb_ready(struct operation *op)
{
    struct member *m = find_member(op);
    if (m == NULL)
        return;
    struct backend_settings to = m->settings;
    to.state = ADMIN_READY;
    to.keeps_sticky = false;
    change_to(op, m, to);
}

void verb_kill(struct operation *op)
{
    struct member *target = find_member(op);
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
    unchanged(op, "no request has this id now");
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
    struct member *m = find_member(op);
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
    struct member *m = find_member(op);
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
    struct member *m = find_member(op);
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
