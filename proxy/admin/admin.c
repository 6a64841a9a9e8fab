/* SPDX-License-Identifier: MIT
 * The admin's life and what all its verbs need. The edge threads have what their orders
 * said; the truth is admin->members. */
#include "proxy/admin/admin.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/metrics.h"
#include "proxy/admin/state_file.h"

static bool load_state(struct admin *admin, struct buf *message);
static void take_options(struct admin *admin);
static void forget_unsaved(struct admin *admin);

struct admin *admin_new(const struct admin_options *options, struct buf *ret_message)
{
    struct admin *admin = mem_zalloc(sizeof *admin);
    ASSERT(options->edge_count <= ADMIN_MAX_EDGES);
    admin->magic = ADMIN_MAGIC;
    admin->options = *options;
    admin->started_us = clock_now_us();
    admin->live = *options->proxy;
    members_init(&admin->members);
    list_init(&admin->operations);
    list_init(&admin->listeners);
    list_init(&admin->clients);
    list_init(&admin->remotes);
    list_init(&admin->metrics_clients);
    admin->controls = bind_set_new(1, options->inherited);
    admin->metrics = bind_set_new(1, options->inherited);
    members_init(&admin->saved);
    buf_init(&admin->saved_text, 0);
    if (options->proxy->state_file != NULL)
        admin->state_file = mem_strdup(options->proxy->state_file);
    if (!load_state(admin, ret_message)) {
        admin_free(&admin);
        return NULL;
    }
    return admin;
}

void admin_free(struct admin **admin_p)
{
    struct admin *admin = take(*admin_p);
    if (admin == NULL)
        return;
    CHECK_OBJ(admin, ADMIN_MAGIC);
    admin_server_free(admin);
    admin_close_listeners(admin);
    metrics_free(admin);
    for (struct node *n = list_first(&admin->operations); n != NULL;
         n = list_first(&admin->operations)) {
        struct operation *op = NODE_OF(n, struct operation, node);
        operation_free(&op);
    }
    members_fini(&admin->members);
    members_fini(&admin->saved);
    buf_fini(&admin->saved_text);
    mem_free(&admin->state_file);
    admin->magic = 0;
    mem_free(&admin);
}

/* The members as the state file has them, and as the command line adds to them. */
static bool load_state(struct admin *admin, struct buf *message)
{
    const char *path = admin->state_file;
    struct buf text;
    buf_init(&text, 0);
    bool ok = true;
    if (path != NULL && state_file_read(path, &text)) {
        buf_addf(message, "--state-file: %s: ", path);
        ok = members_load(&admin->members, buf_slice(&text), message);
        if (ok)
            buf_clear(message);
        else
            buf_addf(message,
                     "; mend it, or move it away to start with --backend alone");
    } else if (path != NULL && errno != ENOENT) {
        buf_addf(message, "--state-file: cannot read %s: %s", path, strerror(errno));
        ok = false;
    }
    buf_fini(&text);
    if (!ok)
        return false;
    take_options(admin);
    members_save(&admin->members, &admin->saved_text);
    forget_unsaved(admin);
    return true;
}

/* Each --backend that is not there yet and was not removed by an operator. Where one of
 * the command line's is, is the command line's to say; what was decided about it is
 * not.
 */
static void take_options(struct admin *admin)
{
    const struct option_list *list = &admin->options.proxy->backend;
    const struct backend_settings settings = BACKEND_SETTINGS;
    struct members *members = &admin->members;
    LIST_FOREACH(&members->all, n)
        NODE_OF(n, struct member, node)->is_given = false;
    for (size_t i = 0; i < list->count; i++) {
        struct proxy_backend b;
        bool is_good = proxy_backend_parse(list->items[i], i, &b);
        ASSERT(is_good);
        struct member *m = members_find(members, b.name);
        if (m == NULL && !members_is_removed(members, b.name))
            m = members_add(members, b.name, b.endpoint, &settings, SOURCE_OPTION);
        else if (m != NULL && m->source == SOURCE_OPTION)
            memcpy(m->endpoint, b.endpoint, sizeof b.endpoint);
        if (m != NULL)
            m->is_given = true;
    }
}

/* ---- orders ---- */

void admin_order(struct admin *admin, const struct edge_order *order)
{
    for (uint32_t i = 0; i < admin->options.edge_count; i++)
        if (!admin->is_edge_stopped[i])
            admin->options.order(admin->options.owner, i, order);
}

static struct edge_order order_of(const struct member *m, enum edge_order_kind kind)
{
    struct edge_order order = {.kind = kind, .pool = POOL_NAME};
    memcpy(order.name, m->name, sizeof order.name);
    memcpy(order.backend.endpoint, m->endpoint, sizeof order.backend.endpoint);
    order.backend.settings = m->settings;
    return order;
}

void admin_order_member(struct admin *admin,
                        const struct member *m,
                        enum edge_order_kind kind)
{
    struct edge_order order = order_of(m, kind);
    admin_order(admin, &order);
}

void admin_introduce(struct admin *admin, uint32_t edge)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    LIST_FOREACH(&admin->members.all, n) {
        const struct member *m = NODE_OF(n, struct member, node);
        struct edge_order order = order_of(m, EDGE_ADD);
        admin->options.order(admin->options.owner, edge, &order);
    }
    struct edge_order order = {.kind = EDGE_SET_POOL, .pool = POOL_NAME};
    order.pool_settings = admin->members.pool;
    if (order.pool_settings.state != POOL_SERVING)
        admin->options.order(admin->options.owner, edge, &order);
}

/* ---- events ---- */

int64_t admin_now_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void admin_note(struct admin *admin,
                const char *by,
                const char *object,
                const char *text)
{
    (void)journal_add(&admin->journal, admin_now_ms(), admin->members.generation, by,
                      object, text);
    LIST_FOREACH(&admin->operations, n) {
        struct operation *op = NODE_OF(n, struct operation, node);
        if (op->is_listening)
            show_new_events(op);
    }
}

void admin_on_notice(struct admin *admin, const char *name, const char *text)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    admin_note(admin, "proxy", name, text);
}

/* ---- changes ---- */

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

/* The saved state is as its text again. */
static void forget_unsaved(struct admin *admin)
{
    struct buf message;
    buf_init(&message, 0);
    bool is_good = members_load(&admin->saved, buf_slice(&admin->saved_text), &message);
    ASSERT(is_good);
    buf_fini(&message);
}

static bool write_saved(struct admin *admin)
{
    struct buf text;
    buf_init(&text, 0);
    members_save(&admin->saved, &text);
    if (!state_file_write(admin->state_file, buf_slice(&text))) {
        int error = errno;
        buf_fini(&text);
        forget_unsaved(admin);
        errno = error;
        return false;
    }
    buf_fini(&admin->saved_text);
    admin->saved_text = text;
    return true;
}

bool admin_commit(struct operation *op, const char *name, struct change *change)
{
    struct admin *admin = op->admin;
    struct change before = *change;
    char what[MEMBER_WHO];
    admin->members.generation++;
    describe(&op->command, what, sizeof what);
    *change = (struct change){.at_ms = admin_now_ms()};
    memcpy(change->by, op->who, sizeof change->by);
    memcpy(change->what, what, sizeof change->what);
    if (admin->state_file != NULL && !op->command.is_ephemeral) {
        members_copy(&admin->saved, &admin->members, name);
        if (!write_saved(admin)) {
            op->save_error = errno;
            admin->members.generation--;
            *change = before;
            return false;
        }
    }
    admin_note(admin, op->who, name == NULL ? POOL_NAME : name, what);
    return true;
}

bool admin_save(struct admin *admin)
{
    struct buf text, message;
    buf_init(&text, 0);
    buf_init(&message, 0);
    members_save(&admin->members, &text);
    bool is_good = members_load(&admin->saved, buf_slice(&text), &message);
    ASSERT(is_good);
    buf_fini(&text);
    buf_fini(&message);
    return write_saved(admin);
}
