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
#include "proxy/admin/edit.h"
#include "proxy/admin/metrics.h"
#include "proxy/admin/names.h"
#include "proxy/admin/state_file.h"

static bool load_state(struct admin *admin, struct buf *message);
static void use_configuration(struct admin *admin);
static bool take_state(struct admin *admin, struct buf *message);
static void configure_saved(struct admin *admin);
static void forget_unsaved(struct admin *admin);

struct admin *admin_new(const struct admin_options *options, struct buf *ret_message)
{
    struct admin *admin = mem_zalloc(sizeof *admin);
    ASSERT(options->edge_count <= ADMIN_MAX_EDGES);
    admin->magic = ADMIN_MAGIC;
    admin->options = *options;
    admin->started_us = clock_now_us();
    admin->is_frozen = options->is_successor;
    admin->options.proxy = &options->config->options;
    admin->live = *admin->options.proxy;
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
    if (admin->options.proxy->state_file != NULL)
        admin->state_file = mem_strdup(admin->options.proxy->state_file);
    if (!load_state(admin, ret_message)) {
        admin_free(&admin);
        return NULL;
    }
    register_start(admin);
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
    register_free(admin);
    names_free(&admin->names);
    members_fini(&admin->members);
    members_fini(&admin->saved);
    buf_fini(&admin->saved_text);
    mem_free(&admin->state_file);
    admin->magic = 0;
    mem_free(&admin);
}

/* Those options that `set` changed, as the state file has them. */
static bool use_settings(struct admin *admin, struct buf *message)
{
    LIST_FOREACH(&admin->members.settings, n) {
        const struct setting *setting = NODE_OF(n, struct setting, node);
        if (!admin_use_setting(admin, setting, message))
            return false;
    }
    return true;
}

static bool read_state(struct admin *admin, const char *path, struct buf *message)
{
    struct buf text;
    buf_init(&text, 0);
    bool ok = true;
    if (state_file_read(path, &text)) {
        buf_addf(message, "--state-file: %s: ", path);
        ok = members_load(&admin->members, buf_slice(&text), clock_now_us(), message) &&
             use_settings(admin, message);
        if (ok)
            buf_clear(message);
        else
            buf_addf(message, "; mend it, or move it away to start without");
    } else if (errno != ENOENT) {
        buf_addf(message, "--state-file: cannot read %s: %s", path, strerror(errno));
        ok = false;
    }
    buf_fini(&text);
    return ok;
}

/* The members as the state file has them, and what the configuration says of them. */
static bool load_state(struct admin *admin, struct buf *message)
{
    if (admin->state_file != NULL && !read_state(admin, admin->state_file, message))
        return false;
    use_configuration(admin);
    members_save(&admin->members, &admin->saved_text);
    forget_unsaved(admin);
    return admin->options.state.len == 0 || take_state(admin, message);
}

static void use_configuration(struct admin *admin)
{
    const struct config *config = admin->options.config;
    struct buf lines;
    buf_init(&lines, 0);
    members_configure(&admin->members, config, &lines);
    members_settle(&admin->members);
    admin->members.most = MEMBERS_MORE;
    for (size_t i = 0; i < config->pool_count; i++)
        admin->members.most += (uint32_t)config->pools[i].backend_count;
    log_text(LOG_INFO, NULL, buf_slice(&lines));
    buf_fini(&lines);
}

/* What is in force with the process before, whether saved or not. */
static bool take_state(struct admin *admin, struct buf *message)
{
    struct buf why;
    buf_init(&why, 0);
    admin->live = *admin->options.proxy;
    bool ok =
        members_load(&admin->members, admin->options.state, clock_now_us(), &why) &&
        use_settings(admin, &why);
    if (ok)
        use_configuration(admin);
    else
        buf_addf(message, "what the process before has decided cannot be read: %.*s",
                 SLICE_FMT(buf_slice(&why)));
    buf_fini(&why);
    return ok;
}

bool admin_has_room(const struct admin *admin,
                    const struct config *config,
                    uint32_t *ret_most)
{
    size_t count = 0;
    for (size_t i = 0; i < config->pool_count; i++)
        count += config->pools[i].backend_count;
    *ret_most = admin->members.most;
    return count <= admin->members.most;
}

void admin_configure(struct admin *admin,
                     const struct config *config,
                     const char *by,
                     struct buf *ret_lines)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    struct edit e;
    admin->options.config = config;
    admin_set_options(admin, &config->options);
    edit_begin(&e, admin, by, "reload");
    e.is_always_numbered = true;
    e.is_saved_apart = true;
    members_configure(&admin->members, config, ret_lines);
    configure_saved(admin);
    bool is_done = edit_commit(&e);
    ASSERT(is_done); /* it needs no file */
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
    struct edge_order order = {.kind = kind};
    memcpy(order.pool, m->pool->name, sizeof order.pool);
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

static void introduce_pool(struct admin *admin, struct member_pool *pool, uint32_t edge)
{
    LIST_FOREACH(&pool->all, n) {
        const struct member *m = NODE_OF(n, struct member, node);
        struct edge_order order = order_of(m, EDGE_ADD);
        admin->options.order(admin->options.owner, edge, &order);
    }
    struct edge_order order = {.kind = EDGE_SET_POOL};
    memcpy(order.pool, pool->name, sizeof order.pool);
    order.pool_settings = pool->settings;
    if (order.pool_settings.state != POOL_SERVING)
        admin->options.order(admin->options.owner, edge, &order);
}

void admin_introduce(struct admin *admin, uint32_t edge)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    LIST_FOREACH(&admin->members.pools, n) {
        struct member_pool *pool = NODE_OF(n, struct member_pool, node);
        if (pool->is_configured)
            introduce_pool(admin, pool, edge);
    }
    struct edge_order order = {.kind = EDGE_SET_TUNING, .tuning = admin_tuning(admin)};
    if (!list_is_empty(&admin->members.settings))
        admin->options.order(admin->options.owner, edge, &order);
    if (edge + 1 < admin->options.edge_count)
        return;
    admin->names = names_new(admin);
    names_update(admin->names);
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

void admin_on_notice(struct admin *admin,
                     const char *pool,
                     const char *name,
                     const char *text)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    char object[MEMBER_FULL_NAME];
    (void)snprintf(object, sizeof object, "%s/%s", pool, name);
    admin_note(admin, "proxy", object, text);
}

/* ---- what is saved ---- */

/* As it would be after a restart. */
static void configure_saved(struct admin *admin)
{
    struct buf lines;
    buf_init(&lines, 0);
    members_configure(&admin->saved, admin->options.config, &lines);
    members_settle(&admin->saved);
    buf_fini(&lines);
}

/* The saved state is as its text again. */
static void forget_unsaved(struct admin *admin)
{
    struct buf message;
    buf_init(&message, 0);
    bool is_good =
        members_load(&admin->saved, buf_slice(&admin->saved_text), 0, &message);
    ASSERT(is_good);
    configure_saved(admin);
    buf_fini(&message);
}

bool admin_write_saved(struct admin *admin)
{
    if (admin->is_frozen)
        return true; /* the file is another process's by now, or in a moment */
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

bool admin_save(struct admin *admin)
{
    members_fini(&admin->saved);
    members_clone(&admin->saved, &admin->members);
    return admin_write_saved(admin);
}
