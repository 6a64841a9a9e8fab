/* SPDX-License-Identifier: MIT
 * `add`: it joins without requests, and gets some when every edge thread has its
 * credit. Until then nothing is saved; if that is never, nothing stays. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/edit.h"

static void step_effective(struct operation *op)
{
    operation_finish(op, OUTCOME_DONE);
}

static bool is_same(const struct backend_settings *a, const struct backend_settings *b)
{
    return a->state == b->state && a->keeps_sticky == b->keeps_sticky &&
           a->health == b->health && a->weight == b->weight && a->limit == b->limit;
}

/* Nothing of it stays; what was remembered before is so again. */
static void withdraw(struct operation *op)
{
    struct edit e;
    struct member *m = operation_target(op);
    edit_begin(&e, op->admin, op->who, "add");
    members_remove(&m);
    members_copy(&op->admin->members, op->before, op->pool, op->name);
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
    op->before = mem_alloc(sizeof *op->before);
    members_init(op->before);
    members_copy(op->before, &op->admin->members, pool->name, name);
    edit_begin(&e, op->admin, op->who, "add");
    if (members_give(pool, name, op->command.operands[1], settings, SOURCE_CLI, &m) ==
        GIVEN_FULL) {
        edit_cancel(&e);
        operation_refuse(op, "there are %u backends already", op->admin->members.most);
        return;
    }
    m->is_joining = true; /* drained until all edges have its credit */
    operation_set_target(op, m);
    edit_apply(&e);
    operation_look(op, 0, step_add);
}

void verb_add(struct operation *op)
{
    const struct command *c = &op->command;
    struct backend_settings settings = BACKEND_SETTINGS;
    const char *name;
    if (c->operand_count != 2) {
        operation_usage(op);
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
    operation_set_target(op, m);
    settings.state = m->settings.state;
    settings.health = m->settings.health;
    if (m->is_joining)
        operation_refuse(op, "%s is just being added", op->full_name);
    else if (is_same_place && is_same(&settings, &m->settings))
        operation_keep_unchanged(op, op->full_name);
    else
        operation_refuse(op,
                         "%s is there with other settings: remove it first, or use "
                         "weight, limit, ready",
                         op->full_name);
}
