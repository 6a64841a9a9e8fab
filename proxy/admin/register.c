/* SPDX-License-Identifier: MIT
 * What app servers say about themselves. A member that registered itself stays as long
 * as it renews its lease; only who announced it may renew or withdraw it, and what a
 * person or the configuration says goes before. A renewal changes nothing: no edit, no
 * generation, no line in the audit. */
#include <event2/event.h>
#include <string.h>

#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/link.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/edit.h"

enum {
    LEASE_MAX_S = 3600,
    STALL_US = 1000 * 1000, /* it was we who did not listen */
    FROZEN_US = 2 * STALL_US,
};

struct announcement {
    struct member_pool *pool;
    const char *name, *endpoint;
    struct backend_settings settings;
    uint32_t lease_s;
};

/* ---- leases ---- */

typedef void lease_fn(struct member *m, void *arg);

static void each_leased(struct admin *admin, lease_fn *fn, void *arg)
{
    LIST_FOREACH(&admin->members.pools, p) {
        struct member_pool *pool = NODE_OF(p, struct member_pool, node);
        struct list *lists[] = {&pool->all, &pool->entries};
        for (size_t i = 0; i < 2; i++)
            LIST_FOREACH(lists[i], n) {
                struct member *m = NODE_OF(n, struct member, node);
                if (m->source == SOURCE_SELF)
                    fn(m, arg);
            }
    }
}

static void wake_at(struct admin *admin, uint64_t due_us)
{
    uint64_t now_us = clock_now_us();
    uint64_t left_us = due_us > now_us ? due_us - now_us : 0;
    struct timeval left = {(time_t)(left_us / 1000000),
                           (suseconds_t)(left_us % 1000000)};
    admin->lease_due_us = due_us;
    ASSERT(evtimer_add(admin->lease_timer, &left) == 0);
}

static void take_earliest(struct member *m, void *arg)
{
    uint64_t *earliest_us = arg;
    if (m->lease_until_us < *earliest_us)
        *earliest_us = m->lease_until_us;
}

static void wait_for_next(struct admin *admin)
{
    uint64_t earliest_us = UINT64_MAX;
    each_leased(admin, take_earliest, &earliest_us);
    admin->lease_due_us = 0;
    if (earliest_us != UINT64_MAX)
        wake_at(admin, earliest_us);
}

static void prolong(struct member *m, void *arg)
{
    m->lease_until_us += *(uint64_t *)arg;
}

struct ending {
    struct admin *admin;
    struct edit edit;
    uint64_t now_us;
    bool has_begun;
};

static void end_if_over(struct member *m, void *arg)
{
    struct ending *ending = arg;
    char name[MEMBER_FULL_NAME];
    if (m->lease_until_us > ending->now_us)
        return;
    member_full_name(m, name);
    log_warn(NULL, "%s did not renew its lease of %u s: nothing more is sent there",
             name, m->lease_s);
    if (!ending->has_begun)
        edit_begin(&ending->edit, ending->admin, "proxy", "its lease ended");
    ending->has_begun = true;
    members_drop(&m);
}

static void on_lease_time(evutil_socket_t fd, short what, void *arg)
{
    struct admin *admin = arg;
    struct ending ending = {.admin = admin, .now_us = clock_now_us()};
    (void)fd;
    (void)what;
    uint64_t late_us = ending.now_us - admin->lease_due_us;
    if (admin->is_frozen)
        late_us += FROZEN_US; /* they renew it with another process, or cannot */
    if (late_us > STALL_US)
        each_leased(admin, prolong, &late_us);
    each_leased(admin, end_if_over, &ending);
    if (ending.has_begun)
        (void)!edit_commit(&ending.edit); /* a file that cannot be written is logged */
    wait_for_next(admin);
}

void register_start(struct admin *admin)
{
    admin->lease_timer = evtimer_new(admin->options.base, on_lease_time, admin);
    ASSERT(admin->lease_timer != NULL);
    wait_for_next(admin);
}

static void begin_anew(struct member *m, void *arg)
{
    m->lease_until_us = *(uint64_t *)arg + m->lease_s * 1000000ull;
}

void register_resume(struct admin *admin)
{
    uint64_t now_us = clock_now_us();
    each_leased(admin, begin_anew, &now_us);
    wait_for_next(admin);
}

void register_free(struct admin *admin)
{
    if (admin->lease_timer != NULL)
        event_free(admin->lease_timer);
}

/* ---- register ---- */

/* With a key, what is connected to has to prove that it has the same; only tcp:// can.
 */
static bool
check_endpoint(const struct operation *op, const char *text, struct buf *message)
{
    if (op->key[0] == '\0')
        return proxy_endpoint_check(text, op->admin->options.proxy, "register",
                                    message);
    if (!link_endpoint_is_local(text) && strlen(text) < MEMBER_ENDPOINT &&
        link_check_endpoint(text, LINK_INSECURE) == ERR_NONE)
        return true;
    buf_addf(message, "register: \"%.80s\" is not accepted; expected tcp://HOST:PORT",
             text);
    return false;
}

static bool
read_place(struct operation *op, struct announcement *a, struct buf *message)
{
    const char *const *operands = op->command.operands;
    a->endpoint = operands[1];
    a->pool = members_place(&op->admin->members, operands[0], &a->name, message);
    if (a->pool == NULL)
        return false;
    if (!proxy_name_check(a->name)) {
        buf_addf(message, "\"%.80s\" is no name", operands[0]);
        return false;
    }
    return check_endpoint(op, a->endpoint, message);
}

/* False: refused. */
static bool read_announcement(struct operation *op, struct announcement *a)
{
    uint64_t lease_us = 0;
    const char *lease = command_value(&op->command, "lease");
    struct buf message;
    *a = (struct announcement){.settings = BACKEND_SETTINGS};
    memcpy(a->settings.key, op->key, sizeof a->settings.key);
    if (op->command.operand_count != 2 || lease == NULL) {
        operation_refuse(op, "usage: %s %s", op->command.verb->words,
                         op->command.verb->arguments);
        return false;
    }
    if (!command_seconds(lease, &lease_us) || lease_us < 1000000 ||
        lease_us > LEASE_MAX_S * 1000000ull) {
        operation_refuse(op, "lease=%.40s is not accepted; expected 1 to %d seconds",
                         lease, LEASE_MAX_S);
        return false;
    }
    a->lease_s = (uint32_t)((lease_us + 999999) / 1000000);
    if (!operation_read_number(op, "weight", WEIGHT_MAX, &a->settings.weight) ||
        !operation_read_number(op, "limit", UINT32_MAX, &a->settings.limit))
        return false;
    buf_init(&message, 0);
    bool ok = read_place(op, a, &message);
    if (!ok)
        operation_refuse(op, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return ok;
}

/* Another connection than this one stands by what was said of it. */
static bool is_claimed(const struct operation *op, const struct member *m)
{
    if (op->client == NULL || m->announcer == op->client->id)
        return false;
    LIST_FOREACH(&op->admin->clients, n)
        if (NODE_OF(n, struct admin_client, node)->id == m->announcer)
            return true;
    return false;
}

static void renew(struct operation *op, struct member *m)
{
    m->lease_until_us = clock_now_us() + m->lease_s * 1000000ull;
    m->announcer = op->client == NULL ? 0 : op->client->id;
}

/* What is there goes before; true: the operation is over. */
static bool is_settled(struct operation *op, const struct announcement *a)
{
    struct member *m = members_get(a->pool, a->name);
    if (m == NULL)
        return false;
    bool is_same_place = strcmp(m->endpoint, a->endpoint) == 0;
    if (m->kind == MEMBER_AWAY && (m->decisions & DECIDED_REMOVAL)) {
        operation_refuse(op, "an operator removed %s/%s; `banyan add` brings it back",
                         a->pool->name, a->name);
    } else if (m->kind == MEMBER_AWAY) {
        return false;
    } else if (m->source != SOURCE_SELF && is_same_place) {
        op->is_quiet = true;
        report_say(&op->report, "unchanged: %s/%s is there (%s)", a->pool->name,
                   a->name, member_source_name(m->source));
        operation_finish(op, OUTCOME_DONE);
    } else if (m->source != SOURCE_SELF) {
        operation_refuse(op, "%s/%s is at %s (%s): use another name", a->pool->name,
                         a->name, m->endpoint, member_source_name(m->source));
    } else if (strcmp(m->owner, op->key) != 0) {
        operation_refuse(op, "%s/%s was registered with another key", a->pool->name,
                         a->name);
    } else if (is_same_place && m->lease_s == a->lease_s &&
               m->given.weight == a->settings.weight &&
               m->given.limit == a->settings.limit &&
               strcmp(m->given.key, a->settings.key) == 0) {
        op->is_quiet = true;
        renew(op, m);
        operation_finish(op, OUTCOME_DONE);
    } else if (!is_same_place && is_claimed(op, m)) {
        operation_refuse(op, "%s/%s is another one, at %s: give each its own --name",
                         a->pool->name, a->name, m->endpoint);
    } else {
        return false;
    }
    return true;
}

void verb_register(struct operation *op)
{
    struct announcement a;
    struct edit e;
    struct member *m;
    struct admin *admin = op->admin;
    if (!read_announcement(op, &a) || is_settled(op, &a))
        return;
    edit_begin(&e, admin, op->who, "register");
    if (members_give(a.pool, a.name, a.endpoint, &a.settings, SOURCE_SELF, &m) ==
        GIVEN_FULL) {
        edit_cancel(&e);
        operation_refuse(op, "there are %u backends already", admin->members.most);
        return;
    }
    memcpy(m->owner, op->key, sizeof op->key);
    m->lease_s = a.lease_s;
    renew(op, m);
    (void)!edit_commit(&e); /* a file that cannot be written is logged */
    wait_for_next(admin);
    report_say(&op->report, "registered for %u s", a.lease_s);
    operation_finish(op, OUTCOME_DONE);
}

/* ---- deregister ---- */

/* Each edge thread has followed: none sends anything more there. */
static void step_gone(struct operation *op)
{
    operation_finish(op, OUTCOME_DONE);
}

void verb_deregister(struct operation *op)
{
    struct buf message;
    const char *name;
    buf_init(&message, 0);
    struct member_pool *pool =
        members_place(&op->admin->members, op->command.operands[0], &name, &message);
    struct member *m = pool == NULL ? NULL : members_get(pool, name);
    buf_fini(&message);
    if (m == NULL || m->kind == MEMBER_AWAY || m->source != SOURCE_SELF) {
        op->is_quiet = true;
        report_say(&op->report,
                   "unchanged: nothing of that name has registered itself");
        operation_finish(op, OUTCOME_DONE);
        return;
    }
    if (strcmp(m->owner, op->key) != 0) {
        operation_refuse(op, "%s/%s was registered with another key", pool->name, name);
        return;
    }
    struct edit e;
    edit_begin(&e, op->admin, op->who, "deregister");
    members_drop(&m);
    (void)!edit_commit(&e);
    report_say(&op->report, "it leaves when what runs there has ended");
    operation_look(op, 0, step_gone);
}
