/* SPDX-License-Identifier: MIT
 * The operators' part of replacing the process: the verb; what is decided holds still
 * meanwhile; the new process knows it, and when its app servers are up. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"

enum {
    FEW_ARE_ENOUGH_US = 1000 * 1000, /* one app server of each pool; before: all */
    NONE_IS_ENOUGH_US = 5 * 1000 * 1000,
};

/* ---- the process that is replaced ---- */

/* What changes something, and is not finished. */
static struct operation *find_change(struct admin *admin)
{
    LIST_FOREACH(&admin->operations, n) {
        struct operation *op = NODE_OF(n, struct operation, node);
        const struct verb *verb = op->command.verb;
        if (verb != NULL && verb->effect == VERB_CHANGES && verb->run != verb_upgrade)
            return op;
    }
    return NULL;
}

bool admin_freeze(struct admin *admin, struct buf *ret_state, struct buf *ret_message)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    const struct operation *other = find_change(admin);
    if (other != NULL) {
        buf_addf(ret_message,
                 "\"%s\" is not finished: wait for it, or say it again later",
                 other->line);
        return false;
    }
    admin->is_frozen = true;
    members_save(&admin->members, ret_state);
    return true;
}

static void finish_upgrade(struct admin *admin, const char *refusal)
{
    struct operation *op = take(admin->upgrade);
    if (op == NULL)
        return;
    if (refusal != NULL)
        operation_refuse(op, "%s", refusal);
    else
        operation_finish(op, OUTCOME_DONE);
}

void admin_tell_sockets(struct admin *admin,
                        void (*tell)(void *arg, int fd, const char *name),
                        void *arg)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    bind_set_tell_sockets(admin->controls, tell, arg);
    bind_set_tell_sockets(admin->metrics, tell, arg);
}

void admin_thaw(struct admin *admin, const char *reason)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    admin->is_frozen = false;
    register_resume(admin);
    finish_upgrade(admin, reason);
}

void admin_leave(struct admin *admin, int pid)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    bind_set_abandon(admin->controls);
    bind_set_abandon(admin->metrics);
    admin_close_listeners(admin);
    if (admin->upgrade != NULL)
        report_say(&admin->upgrade->report,
                   "pid %d has taken over from pid %d; what "
                   "runs here is finished",
                   pid, (int)getpid());
    finish_upgrade(admin, NULL);
    LIST_FOREACH(&admin->operations, n) {
        struct operation *op = NODE_OF(n, struct operation, node);
        if (op->is_listening)
            operation_finish(op, OUTCOME_DONE);
    }
    remote_leave(admin);
}

void verb_upgrade(struct operation *op)
{
    struct admin *admin = op->admin;
    struct buf message;
    buf_init(&message, 0);
    if (admin->options.upgrade(admin->options.owner, op->command.timeout_us, &message))
        admin->upgrade = op;
    else
        operation_refuse(op, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
}

/* ---- the process that comes ---- */

void admin_give_back_sockets(struct admin *admin)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    bind_set_give_back(admin->controls);
    bind_set_give_back(admin->metrics);
}

struct standing {
    uint32_t wanted, up; /* app servers, for each edge thread */
    bool has_empty_pool; /* one of which none is up for some edge thread */
};

static void look_at_pool(const struct pool_report *pool, struct standing *standing)
{
    uint32_t wanted = 0, up = 0;
    for (uint32_t i = 0; i < pool->backend_count; i++) {
        const struct backend_view *view = &pool->backends[i].view;
        bool is_wanted = view->settings.state == ADMIN_READY;
        wanted += is_wanted;
        up += is_wanted && view->state == BACKEND_UP;
    }
    standing->wanted += wanted;
    standing->up += up;
    standing->has_empty_pool |= wanted > 0 && up == 0;
}

static struct standing look_at_all(const struct operation *op)
{
    struct standing standing = {0};
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        for (uint32_t p = 0; s != NULL && p < s->pool_count; p++)
            look_at_pool(&s->pools[p], &standing);
    }
    return standing;
}

static void step_await(struct operation *op)
{
    struct admin *admin = op->admin;
    struct standing standing = look_at_all(op);
    uint64_t waited_us = clock_now_us() - op->begun_us;
    bool is_enough = standing.up == standing.wanted ||
                     (!standing.has_empty_pool && waited_us >= FEW_ARE_ENOUGH_US) ||
                     waited_us >= NONE_IS_ENOUGH_US;
    if (!is_enough) {
        operation_look_again(op);
        return;
    }
    if (standing.up < standing.wanted)
        log_warn(NULL, "not all app servers are up after %.1f s: going on without",
                 (double)waited_us / 1e6);
    void *owner = op->owner;
    operation_free(&op);
    admin->options.backends_are_up(owner);
}

static void step_look(struct operation *op)
{
    struct admin *admin = op->admin;
    struct standing standing = {0};
    const struct snapshot *s = op->snapshots[0]; /* as its edge sees it */
    for (uint32_t p = 0; s != NULL && p < s->pool_count; p++)
        look_at_pool(&s->pools[p], &standing);
    void *owner = op->owner;
    operation_free(&op);
    admin->options.backends(owner, standing.up, standing.wanted);
}

void admin_look_at_backends(struct admin *admin)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    operation_look(operation_for(admin, admin->options.owner), 0, step_look);
}

void admin_await_backends(struct admin *admin)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    operation_look(operation_for(admin, admin->options.owner), 0, step_await);
}
