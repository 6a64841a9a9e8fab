/* SPDX-License-Identifier: MIT
 * The member that a line is about, and what is said when nothing is to be done. */
#include <string.h>

#include "proxy/admin/admin_priv.h"
#include "proxy/admin/edit.h"

void operation_unchanged(struct operation *op, const char *what)
{
    report_say(&op->report, "unchanged: %s", what);
    operation_finish(op, OUTCOME_DONE);
}

void operation_usage(struct operation *op)
{
    operation_refuse(op, "usage: %s %s", op->command.verb->words,
                     op->command.verb->arguments);
}

/* ---- the one that is meant ---- */

void operation_set_target(struct operation *op, const struct member *m)
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
        operation_set_target(op, m);
    else if (!*ret_none)
        operation_refuse(op, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return m;
}

bool operation_find_pool(struct operation *op, size_t operand)
{
    const struct command *c = &op->command;
    if (c->operand_count <= operand)
        return true;
    const struct member_pool *pool =
        members_pool(&op->admin->members, c->operands[operand]);
    if (pool != NULL && pool->is_configured) {
        memcpy(op->pool, pool->name, sizeof op->pool);
        return true;
    }
    operation_refuse(op, "no pool is called %.80s; show pools lists them",
                     c->operands[operand]);
    return false;
}

struct member *operation_find_member(struct operation *op)
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

void operation_keep_unchanged(struct operation *op, const char *what)
{
    struct edit e;
    operation_edit(op, &e);
    edit_keep(&e, op->pool, op->name);
    if (operation_commit(op, &e))
        operation_unchanged(op, what);
}
