/* SPDX-License-Identifier: MIT
 * The options of the command line as they are in force, from the same table. */
#include <stdio.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/edit.h"

#define COLUMNS(array) array, sizeof(array) / sizeof((array)[0])

/* Those that the edge threads hear of (struct edge_tuning), and the admin's own. */
static bool is_changeable(const struct option_row *row)
{
    static const char *const names[] = {
        "max-queue",         "queue-timeout", "request-timeout",  "graceful-timeout",
        "heartbeat-timeout", "retry-budget",  "resolve-interval",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(row->name, names[i]) == 0)
            return true;
    return false;
}

struct edge_tuning admin_tuning(const struct admin *admin)
{
    const struct proxy_options *o = &admin->live;
    return (struct edge_tuning){
        .max_queue = (uint32_t)o->max_queue,
        .retry_budget_percent = (uint32_t)o->retry_budget,
        .queue_timeout_s = o->queue_timeout_s,
        .request_timeout_s = o->request_timeout_s,
        .heartbeat_timeout_s = o->heartbeat_timeout_s,
        .graceful_timeout_s = o->graceful_timeout_s,
    };
}

static const struct option_row *find_row(const char *name)
{
    const struct option_row *row = option_find(&proxy_option_table, name);
    return row != NULL && is_changeable(row) ? row : NULL;
}

/* The row's value, parsed as the command line would be. */
static bool take_value(const struct option_row *row,
                       const char *value,
                       struct proxy_options *to,
                       struct buf *message)
{
    static struct proxy_options parsed;
    own(mem) char *word = mem_printf("--%s=%s", row->name, value);
    char program[] = "banyan-proxy", *argv[] = {program, word, NULL};
    int rest;
    if (option_parse(&proxy_option_table, 2, argv, &parsed, &rest, message) != ERR_NONE)
        return false;
    /* All that can be changed are numbers of eight bytes. */
    memcpy((char *)to + row->offset, (char *)&parsed + row->offset, sizeof(int64_t));
    return true;
}

bool admin_use_setting(struct admin *admin,
                       const struct setting *setting,
                       struct buf *ret_message)
{
    const struct option_row *row = find_row(setting->key);
    if (row != NULL)
        return take_value(row, setting->value, &admin->live, ret_message);
    buf_addf(ret_message, "set %s: no option that can be changed", setting->key);
    return false;
}

static void order_tuning(struct admin *admin)
{
    struct edge_order order = {.kind = EDGE_SET_TUNING, .tuning = admin_tuning(admin)};
    admin_order(admin, &order);
}

void admin_set_options(struct admin *admin, const struct proxy_options *options)
{
    struct buf message;
    buf_init(&message, 0);
    admin->options.proxy = options;
    admin->live = *options;
    LIST_FOREACH(&admin->members.settings, n) {
        bool is_good =
            admin_use_setting(admin, NODE_OF(n, struct setting, node), &message);
        ASSERT(is_good);
    }
    buf_fini(&message);
    if (!list_is_empty(&admin->members.settings))
        order_tuning(admin);
}

void verb_show_config(struct operation *op)
{
    static const struct report_column columns[] = {
        {"key", "KEY", ALIGN_LEFT},         {"value", "VALUE", ALIGN_LEFT},
        {"default", "DEFAULT", ALIGN_LEFT}, {"changeable", "CHANGEABLE", ALIGN_LEFT},
        {"source", "SOURCE", ALIGN_LEFT},
    };
    const char *only = op->command.operand_count > 0 ? op->command.operands[0] : NULL;
    bool is_found = only == NULL;
    struct buf value;
    buf_init(&value, 0);
    report_table(&op->report, "config", COLUMNS(columns));
    for (size_t i = 0; i < proxy_option_table.row_count; i++) {
        const struct option_row *row = &proxy_option_table.rows[i];
        if (strcmp(row->name, "help") == 0 || strcmp(row->name, "version") == 0 ||
            (only != NULL && strcmp(row->name, only) != 0))
            continue;
        is_found = true;
        buf_clear(&value);
        option_print(row, &op->admin->live, &value);
        buf_add(&value, slice_of("", 1));
        report_text(&op->report, row->name);
        report_text(&op->report, buf_slice(&value).ptr);
        report_text(&op->report, row->fallback);
        report_text(&op->report, is_changeable(row) ? "yes" : "no");
        report_text(&op->report, members_setting(&op->admin->members, row->name) != NULL
                                     ? "set"
                                     : "option");
    }
    buf_fini(&value);
    if (is_found)
        operation_finish(op, OUTCOME_DONE);
    else
        operation_refuse(op, "no option is called %.40s", only);
}

/* ---- set ---- */

static void step_effective(struct operation *op)
{
    operation_finish(op, OUTCOME_DONE);
}

/* KEY=VALUE into `to`; KEY= is as the command line or the file says. */
static bool read_pair(struct operation *op,
                      const char *key,
                      const char *value,
                      struct proxy_options *to)
{
    const struct option_row *row = find_row(key);
    if (row == NULL) {
        operation_refuse(op, "%s: %.40s; show config says what can be changed",
                         option_find(&proxy_option_table, key) == NULL
                             ? "no option is called"
                             : "needs a restart",
                         key);
        return false;
    }
    if (*value == '\0') {
        memcpy((char *)to + row->offset,
               (const char *)op->admin->options.proxy + row->offset, sizeof(int64_t));
        return true;
    }
    struct buf message;
    buf_init(&message, 0);
    bool is_good = strlen(value) < sizeof((struct setting *)0)->value &&
                   take_value(row, value, to, &message);
    if (!is_good && buf_len(&message) == 0)
        operation_refuse(op, "%s: the value is too long", key);
    else if (!is_good)
        operation_refuse(op, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return is_good;
}

void verb_set(struct operation *op)
{
    const struct command *c = &op->command;
    struct admin *admin = op->admin;
    struct proxy_options to = admin->live;
    struct edit e;
    if (c->operand_count > 0) {
        operation_refuse(op, "usage: set KEY=VALUE ...");
        return;
    }
    for (size_t i = 0; i < c->pair_count; i++)
        if (!read_pair(op, c->pairs[i].key, c->pairs[i].value, &to))
            return;
    operation_edit(op, &e);
    e.is_always_numbered = true;
    e.what = op->line;
    for (size_t i = 0; i < c->pair_count; i++) {
        members_set(&admin->members, c->pairs[i].key,
                    *c->pairs[i].value == '\0' ? NULL : c->pairs[i].value);
        edit_keep_setting(&e, c->pairs[i].key);
    }
    if (!operation_commit(op, &e))
        return;
    admin->live = to;
    order_tuning(admin);
    for (size_t i = 0; i < c->pair_count; i++)
        report_say(&op->report, "%s is %s", c->pairs[i].key,
                   *c->pairs[i].value == '\0' ? "as configured" : c->pairs[i].value);
    operation_look(op, 0, step_effective);
}
