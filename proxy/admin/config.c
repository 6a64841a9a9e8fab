/* SPDX-License-Identifier: MIT
 * The options of the command line as they are in force, from the same table. */
#include <stdio.h>
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"

#define COLUMNS(array) array, sizeof(array) / sizeof((array)[0])

/* Those that the edge threads hear of (struct edge_tuning). */
static bool is_changeable(const struct option_row *row)
{
    static const char *const names[] = {
        "max-queue",        "queue-timeout",     "request-timeout",
        "graceful-timeout", "heartbeat-timeout", "retry-budget",
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

void admin_set_options(struct admin *admin, const struct proxy_options *options)
{
    CHECK_OBJ(admin, ADMIN_MAGIC);
    struct proxy_options was = admin->live;
    bool is_any_set = false;
    admin->options.proxy = options;
    admin->live = *options;
    for (size_t i = 0; i < proxy_option_table.row_count; i++) {
        const struct option_row *row = &proxy_option_table.rows[i];
        if (!admin->is_set[i] || !is_changeable(row))
            continue;
        /* All of them are numbers of eight bytes. */
        memcpy((char *)&admin->live + row->offset, (char *)&was + row->offset,
               sizeof(int64_t));
        is_any_set = true;
    }
    struct edge_order order = {.kind = EDGE_SET_TUNING, .tuning = admin_tuning(admin)};
    if (is_any_set)
        admin_order(admin, &order);
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
        report_text(&op->report, op->admin->is_set[i] ? "set" : "option");
    }
    buf_fini(&value);
    if (is_found)
        operation_finish(op, OUTCOME_DONE);
    else
        operation_refuse(op, "no option is called %.40s", only);
}

/* ---- set ---- */

/* The row's value, parsed as the command line would be; false: refused. */
static bool take_value(struct operation *op,
                       const struct option_row *row,
                       const char *value,
                       struct proxy_options *to)
{
    static struct proxy_options parsed;
    own(mem) char *word = mem_printf("--%s=%s", row->name, value);
    char program[] = "banyan-proxy", *argv[] = {program, word, NULL};
    struct buf message;
    int rest;
    buf_init(&message, 0);
    bool is_good = option_parse(&proxy_option_table, 2, argv, &parsed, &rest,
                                &message) == ERR_NONE;
    if (!is_good)
        operation_refuse(op, "%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    if (!is_good)
        return false;
    const char *from = (const char *)&parsed + row->offset;
    char *at = (char *)to + row->offset;
    if (row->type == OPTION_SECONDS)
        memcpy(at, from, sizeof(double));
    else if (row->type == OPTION_COUNT || row->type == OPTION_SIZE)
        memcpy(at, from, sizeof(int64_t));
    return true;
}

static void step_effective(struct operation *op)
{
    operation_finish(op, OUTCOME_DONE);
}

static const struct option_row *find_row(const char *name, size_t *ret_index)
{
    for (size_t i = 0; i < proxy_option_table.row_count; i++) {
        if (strcmp(proxy_option_table.rows[i].name, name) != 0)
            continue;
        *ret_index = i;
        return &proxy_option_table.rows[i];
    }
    return NULL;
}

void verb_set(struct operation *op)
{
    const struct command *c = &op->command;
    struct admin *admin = op->admin;
    struct proxy_options to = admin->live;
    bool is_set[ADMIN_MAX_OPTIONS];
    memcpy(is_set, admin->is_set, sizeof is_set);
    ASSERT(proxy_option_table.row_count <= ADMIN_MAX_OPTIONS);
    if (c->operand_count > 0) {
        operation_refuse(op, "usage: set KEY=VALUE ...");
        return;
    }
    for (size_t i = 0; i < c->pair_count; i++) {
        size_t index;
        const struct option_row *row = find_row(c->pairs[i].key, &index);
        if (row == NULL || !is_changeable(row)) {
            operation_refuse(op, "%s: %.40s; show config says what can be changed",
                             row == NULL ? "no option is called" : "needs a restart",
                             c->pairs[i].key);
            return;
        }
        if (!take_value(op, row, c->pairs[i].value, &to))
            return;
        is_set[index] = true;
    }
    admin->live = to;
    memcpy(admin->is_set, is_set, sizeof is_set);
    admin->members.generation++;
    admin_note(admin, op->who, "options", op->line);
    struct edge_order order = {.kind = EDGE_SET_TUNING, .tuning = admin_tuning(admin)};
    admin_order(admin, &order);
    for (size_t i = 0; i < c->pair_count; i++)
        report_say(&op->report, "%s is %s", c->pairs[i].key, c->pairs[i].value);
    operation_look(op, 0, step_effective);
}
