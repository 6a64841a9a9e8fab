/* SPDX-License-Identifier: MIT
 * Verbs that change the membership. Each is one step for the operator:
 *
 *   check, change the model, write it down, order the edges, look until it is so
 *
 * What is as asked for already is "unchanged" and done. What cannot be written down is
 * not done at all. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/clock.h"
#include "protocol/link.h"
#include "proxy/admin/admin_priv.h"

static void step_effective(struct operation *op)
{
    operation_finish(op, OUTCOME_DONE);
}

static void unchanged(struct operation *op, const char *what)
{
    report_say(&op->report, "unchanged: %s", what);
    operation_finish(op, OUTCOME_DONE);
}

/* The one that the first operand names; NULL: refused. */
static struct member *find_member(struct operation *op)
{
    const char *name = op->command.operands[0];
    struct member *m =
        op->command.operand_count == 0 ? NULL : members_find(&op->admin->members, name);
    if (op->command.operand_count == 0)
        operation_refuse(op, "whose? usage: %s %s", op->command.verb->words,
                         op->command.verb->arguments);
    else if (m == NULL && strchr(name, '/') != NULL &&
             strncmp(name, POOL_NAME "/", sizeof POOL_NAME) != 0)
        operation_refuse(op,
                         "who is in the pool of %.80s is said in the configuration "
                         "file, not by verbs",
                         name);
    else if (m == NULL)
        operation_refuse(op, "no backend is called %.80s", name);
    else if (m->is_joining) {
        operation_refuse(op, "%s is just being added", m->name);
        return NULL;
    }
    if (m != NULL)
        memcpy(op->name, m->name, sizeof op->name);
    return m;
}

/* Changes the settings, everywhere; false: the operation is over. */
static bool
set_member(struct operation *op, struct member *m, struct backend_settings to)
{
    struct backend_settings before = m->settings;
    m->settings = to;
    if (!admin_commit(op, m->name, &m->change)) {
        m->settings = before;
        operation_refuse_unsaved(op);
        return false;
    }
    admin_order_member(op->admin, m, EDGE_SET);
    return true;
}

static bool is_same(const struct backend_settings *a, const struct backend_settings *b)
{
    return a->state == b->state && a->health == b->health && a->weight == b->weight &&
           a->limit == b->limit;
}

static void
change_to(struct operation *op, struct member *m, struct backend_settings to)
{
    if (is_same(&m->settings, &to)) {
        unchanged(op, m->name);
        return;
    }
    if (!set_member(op, m, to))
        return;
    report_say(&op->report, "%s: %s, health %s, weight %u, limit %u", m->name,
               admin_state_name(to.state), health_rule_name(to.health), to.weight,
               to.limit);
    operation_look(op, 0, step_effective);
}

/* ---- add ---- */

static void withdraw(struct operation *op, struct member *m)
{
    struct edge_order order = {.kind = EDGE_REMOVE, .pool = POOL_NAME};
    memcpy(order.name, m->name, sizeof order.name);
    members_remove(&op->admin->members, &m);
    admin_order(op->admin, &order);
}

static void step_add(struct operation *op)
{
    struct admin *admin = op->admin;
    struct member *m = members_find(&admin->members, op->name);
    struct backend_sum sum;
    if (m == NULL || !m->is_joining) {
        operation_refuse(op, "%s was removed meanwhile", op->name);
        return;
    }
    bool is_known = admin_sum_backend(op, admin->members.count - 1, m->name, &sum);
    if (is_known && sum.edges_up == admin->options.edge_count) {
        m->is_joining = false;
        m->settings.state = ADMIN_READY;
        if (!admin_commit(op, m->name, &m->change)) {
            withdraw(op, m);
            operation_refuse_unsaved(op);
            return;
        }
        admin_order_member(admin, m, EDGE_SET);
        report_say(&op->report, "%s is up with %u slots and takes requests", m->name,
                   sum.all.view.slots);
        operation_look(op, 0, step_effective);
    } else if (operation_is_late(op)) {
        report_say(
            &op->report,
            "%s at %s was up for %u of %u edge threads in time (%s); nothing was "
            "added",
            m->name, m->endpoint, sum.edges_up, admin->options.edge_count,
            backend_state_name(sum.all.view.state));
        withdraw(op, m);
        operation_finish(op, OUTCOME_LATE);
    } else {
        operation_look_again(op);
    }
}

static bool
read_number(struct operation *op, const char *key, uint64_t most, uint32_t *value)
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

static bool check_new(struct operation *op, const char *name, const char *endpoint)
{
    bool is_insecure = op->admin->options.proxy->insecure;
    if (name == NULL)
        operation_refuse(
            op, "\"%.80s\" is no name; expected letters, digits, '.', '_', '-'",
            op->command.operands[0]);
    else if (strlen(endpoint) >= MEMBER_ENDPOINT ||
             link_check_endpoint(endpoint, LINK_INSECURE) != ERR_NONE)
        operation_refuse(
            op, "\"%.80s\" is no endpoint; expected ipc:///path or tcp://host:port",
            endpoint);
    else if (!is_insecure && link_check_endpoint(endpoint, LINK_LOCAL_ONLY) != ERR_NONE)
        operation_refuse(
            op,
            "%.80s is not on loopback: its frames would pass in the clear; "
            "banyan-proxy --insecure allows it",
            endpoint);
    else if (op->admin->members.count >= MEMBERS_MAX)
        operation_refuse(op, "there are %d backends already", MEMBERS_MAX);
    else
        return true;
    return false;
}

void verb_add(struct operation *op)
{
    const struct command *c = &op->command;
    struct backend_settings settings = BACKEND_SETTINGS;
    if (c->operand_count != 2) {
        operation_refuse(op, "usage: %s %s", c->verb->words, c->verb->arguments);
        return;
    }
    const char *name = member_name_check(c->operands[0]), *endpoint = c->operands[1];
    if (!check_new(op, name, endpoint) ||
        !read_number(op, "weight", WEIGHT_MAX, &settings.weight) ||
        !read_number(op, "limit", UINT32_MAX, &settings.limit))
        return;
    struct member *m = members_find(&op->admin->members, name);
    if (m != NULL) {
        settings.state = m->settings.state;
        settings.health = m->settings.health;
        if (m->is_joining)
            operation_refuse(op, "%s is just being added", name);
        else if (strcmp(m->endpoint, endpoint) == 0 && is_same(&settings, &m->settings))
            unchanged(op, name);
        else
            operation_refuse(op,
                             "%s is there with other settings: remove it first, or use "
                             "weight, limit, ready",
                             name);
        return;
    }
    settings.state = ADMIN_DRAIN; /* until all edges have its credit */
    m = members_add(&op->admin->members, name, endpoint, &settings, SOURCE_CLI);
    m->is_joining = true;
    memcpy(op->name, m->name, sizeof op->name);
    admin_order_member(op->admin, m, EDGE_ADD);
    operation_look(op, 0, step_add);
}

/* ---- remove, drain, kill ---- */

static void finish_remove(struct operation *op, struct member *m)
{
    struct members *members = &op->admin->members;
    struct change change = {0};
    struct edge_order order = {.kind = EDGE_REMOVE, .pool = POOL_NAME};
    struct member kept = *m;
    memcpy(order.name, m->name, sizeof order.name);
    members_remove(members, &m);
    if (!admin_commit(op, op->name, &change)) {
        m = members_add(members, kept.name, kept.endpoint, &kept.settings, kept.source);
        m->full_weight = kept.full_weight;
        m->change = kept.change;
        operation_refuse_unsaved(op);
        return;
    }
    admin_order(op->admin, &order);
    report_say(&op->report, "%s is removed", op->name);
    operation_look(op, 0, step_effective);
}

static void step_remove(struct operation *op)
{
    struct member *m = members_find(&op->admin->members, op->name);
    struct backend_sum sum;
    if (m == NULL) {
        unchanged(op, "it is gone already");
        return;
    }
    if (m->settings.state == ADMIN_READY) {
        operation_refuse(op, "%s was made ready meanwhile; it stays", op->name);
        return;
    }
    bool is_known = admin_sum_backend(op, 0, m->name, &sum);
    bool is_over = clock_now_us() >= op->until_us;
    if (!is_known || sum.all.view.in_flight == 0 || (is_over && op->is_forced)) {
        finish_remove(op, m);
    } else if (is_over) {
        report_say(
            &op->report,
            "%s still runs %u requests; it stays draining (force removes it at once)",
            op->name, sum.all.view.in_flight);
        operation_finish(op, OUTCOME_LATE);
    } else {
        operation_look_again(op);
    }
}

void verb_remove(struct operation *op)
{
    const struct command *c = &op->command;
    uint64_t drain_us = 30 * 1000000ull;
    const char *drain = command_value(c, "drain");
    if (drain != NULL && !command_seconds(drain, &drain_us)) {
        operation_refuse(op, "drain=%.40s is not accepted; expected seconds, e.g. 30s",
                         drain);
        return;
    }
    op->is_forced = c->operand_count == 2 && strcmp(c->operands[1], "force") == 0;
    if (c->operand_count == 0 || (c->operand_count == 2 && !op->is_forced)) {
        operation_refuse(op, "usage: %s %s", c->verb->words, c->verb->arguments);
        return;
    }
    if (members_find(&op->admin->members, c->operands[0]) == NULL) {
        unchanged(op, "there is no such backend");
        return;
    }
    struct member *m = find_member(op);
    if (m == NULL)
        return;
    op->until_us = op->begun_us + drain_us;
    if (c->has_timeout && op->deadline_us < op->until_us)
        op->until_us = op->deadline_us;
    struct backend_settings to = m->settings;
    if (to.state == ADMIN_READY) {
        to.state = ADMIN_DRAIN;
        if (!set_member(op, m, to))
            return;
    }
    operation_look(op, 0, step_remove);
}

static void step_drained(struct operation *op)
{
    struct member *m = members_find(&op->admin->members, op->name);
    struct backend_sum sum;
    if (m != NULL && m->settings.state == ADMIN_READY) {
        operation_refuse(op, "%s was made ready meanwhile", op->name);
        return;
    }
    bool is_known = m != NULL && admin_sum_backend(op, 0, m->name, &sum);
    if (!is_known || sum.all.view.in_flight == 0) {
        report_say(&op->report, "%s is drained", op->name);
        operation_finish(op, OUTCOME_DONE);
    } else if (operation_is_late(op)) {
        report_say(&op->report, "%s still runs %u requests", op->name,
                   sum.all.view.in_flight);
        operation_finish(op, OUTCOME_LATE);
    } else {
        operation_look_again(op);
    }
}

void verb_drain(struct operation *op)
{
    const struct command *c = &op->command;
    bool waits = c->operand_count == 2 && strcmp(c->operands[1], "wait") == 0;
    if (c->operand_count == 2 && !waits) {
        operation_refuse(op, "usage: %s %s", c->verb->words, c->verb->arguments);
        return;
    }
    struct member *m = find_member(op);
    if (m == NULL)
        return;
    struct backend_settings to = m->settings;
    to.state = ADMIN_DRAIN;
    if (!waits)
        change_to(op, m, to);
    else if (is_same(&m->settings, &to) || set_member(op, m, to))
        operation_look(op, 0, step_drained);
}

void verb_maint(struct operation *op)
{
    struct member *m = find_member(op);
    if (m == NULL)
        return;
    struct backend_settings to = m->settings;
    to.state = ADMIN_MAINT;
    change_to(op, m, to);
}

void verb_ready(struct operation *op)
{
    struct member *m = find_member(op);
    if (m == NULL)
        return;
    struct backend_settings to = m->settings;
    to.state = ADMIN_READY;
    change_to(op, m, to);
}

void verb_kill(struct operation *op)
{
    struct member *m = find_member(op);
    if (m == NULL)
        return;
    struct edge_order order = {.kind = EDGE_ABORT_ALL, .pool = POOL_NAME};
    memcpy(order.name, m->name, sizeof order.name);
    admin_order(op->admin, &order);
    admin_note(op->admin, op->who, m->name, "kill: its requests are ended");
    report_say(&op->report, "what ran at %s is ended", m->name);
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
    struct edge_order order = {.kind = EDGE_KILL_REQUEST, .pool = POOL_NAME};
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
    char text[16] = "";
    uint64_t number = 0;
    size_t length = strlen(c->operands[1]);
    bool is_percent =
        length > 0 && length < sizeof text && c->operands[1][length - 1] == '%';
    (void)snprintf(text, sizeof text, "%.*s", (int)(length - is_percent),
                   c->operands[1]);
    if (length >= sizeof text || !command_number(text, 10000, &number)) {
        operation_refuse(op, "\"%.40s\" is no weight; expected 0 to %d, or N%%",
                         c->operands[1], WEIGHT_MAX);
        return;
    }
    if (is_percent)
        number = number * m->full_weight / 100;
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
    const struct member *m = members_find(&op->admin->members, op->name);
    struct backend_sum sum;
    bool is_known = m != NULL && admin_sum_backend(op, 0, op->name, &sum);
    if (!is_known || m->settings.limit == 0 || sum.edges_above == 0) {
        operation_finish(op, OUTCOME_DONE);
    } else if (operation_is_late(op)) {
        report_say(&op->report, "still %u requests run there", sum.all.view.running);
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
    if (!command_number(c->operands[1], UINT32_MAX, &number)) {
        operation_refuse(op, "\"%.40s\" is no limit; expected a number, 0 for none",
                         c->operands[1]);
        return;
    }
    struct backend_settings to = m->settings;
    to.limit = (uint32_t)number;
    if (is_same(&m->settings, &to)) {
        unchanged(op, m->name);
    } else if (set_member(op, m, to)) {
        report_say(&op->report, "%s: limit %u", m->name, to.limit);
        operation_look(op, 0, step_limit);
    }
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
