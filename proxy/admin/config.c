/* SPDX-License-Identifier: MIT
 * The options of the command line as they are in force, from the same table. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/admin/admin_priv.h"

#define COLUMNS(array) array, sizeof(array) / sizeof((array)[0])

static void print_value(const struct option_row *row, const void *at, struct buf *to)
{
    const struct option_list *list;
    const char *text;
    switch (row->type) {
    case OPTION_FLAG:
        buf_addf(to, "%s", *(const bool *)at ? "yes" : "no");
        break;
    case OPTION_TEXT:
        text = *(const char *const *)at;
        buf_addf(to, "%s", text == NULL ? "" : text);
        break;
    case OPTION_LIST:
        list = at;
        for (size_t i = 0; i < list->count; i++)
            buf_addf(to, "%s%s", i == 0 ? "" : ",", list->items[i]);
        break;
    case OPTION_SECONDS:
        buf_addf(to, "%.9g", *(const double *)at);
        break;
    case OPTION_COUNT:
    case OPTION_SIZE:
        buf_addf(to, "%" PRId64, *(const int64_t *)at);
        break;
    }
    buf_add(to, slice_of("", 1));
}

/* Those that the edge threads hear of (struct edge_tuning). */
static bool is_changeable(const struct option_row *row)
{
    static const char *const names[] = {
        "max-queue",         "queue-timeout", "request-timeout", "graceful-timeout",
        "heartbeat-timeout", "retry-budget",  "log-level",
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
        print_value(row, (const char *)&op->admin->live + row->offset, &value);
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
