/* SPDX-License-Identifier: MIT
 * Another configuration takes the place of the one in force. The old one stays until
 * every edge thread has said that it follows the new one. */
#include <string.h>

#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "proxy/config/diff.h"
#include "proxy/control_priv.h"

struct reload {
    struct buf *report;
    unsigned changes;
};

static void add_line(struct buf *report, const char *text)
{
    buf_addf(report, "%s%s", buf_len(report) == 0 ? "" : "\n", text);
}

static void log_lines(struct buf *report)
{
    struct slice rest = buf_slice(report);
    while (rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t length = end == NULL ? rest.len : (size_t)(end - rest.ptr);
        log_error(NULL, "reload: %.*s", (int)length, rest.ptr);
        length += end != NULL;
        rest = slice_of(rest.ptr + length, rest.len - length);
    }
}

static bool refuse_reload(struct buf *report)
{
    log_lines(report);
    log_error(NULL, "reload: nothing has changed");
    return false;
}

static void on_change(void *arg, const struct config_change *change)
{
    struct reload *r = arg;
    bool is_late = change->kind == CHANGE_FOR_RESTART;
    log_write(is_late ? LOG_WARN : LOG_INFO, NULL, "reload: %s", change->text);
    add_line(r->report, change->text);
    r->changes++;
}

void control_free_former(struct control *c)
{
    LIST_FOREACH(&c->former, n) {
        struct config *config = NODE_OF(n, struct config, node);
        bool is_in_use = false;
        for (uint32_t i = 0; i < c->edge_count; i++)
            is_in_use |=
                !c->edges[i].is_stopped && c->edges[i].config_number <= config->number;
        if (!is_in_use)
            config_free(&config);
    }
}

/* The pools first: then there is where their backends go. */
static void
put_in_force(struct control *c, struct config *fresh, const char *by, struct buf *lines)
{
    struct edge_order order = {.kind = EDGE_CONFIGURE, .config = fresh};
    control_order_all(c, &order);
    fresh->number = c->config->number + 1;
    if (c->config != c->started)
        list_push_back(&c->former, &c->config->node);
    c->config = fresh;
    c->options = &fresh->options;
    admin_configure(c->admin, fresh, by, lines);
    log_set_up(&c->options->log);
}

/* What a reload cannot change. */
static bool
is_possible(const struct control *c, const struct config *fresh, struct buf *report)
{
    uint32_t most;
    if (fresh->options.insecure != c->config->options.insecure ||
        (fresh->options.key == NULL) != (c->keys == NULL)) {
        add_line(report, "insecure, key: take a restart");
        return false;
    }
    if (c->keys != NULL && !keys_check(c->keys, report))
        return false;
    if (admin_has_room(c->admin, fresh, &most))
        return true;
    buf_addf(report, "%smore than %u app servers: takes a restart",
             buf_len(report) == 0 ? "" : "\n", most);
    return false;
}

/* The files were judged before. */
static unsigned reload_keys(struct control *c, struct buf *report)
{
    static const struct edge_order order = {.kind = EDGE_KEYS};
    struct buf changes;
    if (c->keys == NULL)
        return 0;
    buf_init(&changes, 0);
    uint64_t before = keys_version(c->keys);
    bool ok = keys_reload(c->keys, &changes);
    bool has_changed = keys_version(c->keys) != before;
    if (buf_len(&changes) > 0) {
        log_text(ok ? LOG_INFO : LOG_ERROR, NULL, buf_slice(&changes));
        buf_add(report, buf_len(report) == 0 ? SLICE("") : SLICE("\n"));
        buf_add(report, buf_slice(&changes));
    }
    buf_fini(&changes);
    if (has_changed) {
        control_order_all(c, &order);
        admin_keys_changed(c->admin);
    }
    return has_changed;
}

/* Without --config there are only the keys to read again. */
static bool reload_keys_alone(struct control *c, struct buf *ret_report)
{
    if (!keys_check(c->keys, ret_report))
        return refuse_reload(ret_report);
    if (reload_keys(c, ret_report) == 0)
        add_line(ret_report, "nothing differs");
    return true;
}

static bool reload(struct control *c, const char *by, struct buf *ret_report)
{
    struct config *was = c->config, *fresh = NULL;
    const char *why = c->is_stopping              ? "the proxy is shutting down"
                      : c->successor != NULL      ? "another process takes over"
                      : c->predecessor_is_waiting ? "this process is taking over"
                      : was->options.config == NULL && c->keys == NULL
                          ? "there is no --config to read again"
                          : NULL;
    if (why != NULL) {
        add_line(ret_report, why);
        return refuse_reload(ret_report);
    }
    if (was->options.config == NULL)
        return reload_keys_alone(c, ret_report);
    if (config_load(was->argc, was->argv, &fresh, ret_report) != ERR_NONE)
        return refuse_reload(ret_report);
    if (!is_possible(c, fresh, ret_report) ||
        !control_change_listeners(c, &fresh->options, ret_report)) {
        config_free(&fresh);
        return refuse_reload(ret_report);
    }
    struct reload r = {.report = ret_report};
    struct buf lines;
    buf_init(&lines, 0);
    config_diff(c->started, was, fresh, on_change, &r);
    put_in_force(c, fresh, by, &lines);
    if (buf_len(&lines) > 0) {
        log_text(LOG_WARN, NULL, buf_slice(&lines));
        buf_add(&lines, slice_of("", 1));
        add_line(ret_report, buf_slice(&lines).ptr);
    }
    buf_fini(&lines);
    r.changes += reload_keys(c, ret_report);
    if (r.changes == 0)
        add_line(ret_report, "nothing differs");
    log_info(NULL, "reload: %s is in force, changes: %u", fresh->options.config,
             r.changes);
    return true;
}

bool control_reload(struct control *c, const char *by, struct buf *ret_report)
{
    control_service_reloading(c);
    bool is_in_force = reload(c, by, ret_report);
    control_service_reloaded(c, is_in_force);
    return is_in_force;
}
