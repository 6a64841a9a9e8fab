/* SPDX-License-Identifier: MIT
 * Verbs about the running process: its logs, its counters, its options, its end. */
#include <errno.h>
#include <string.h>

#include "protocol/base/log.h"
#include "proxy/admin/admin_priv.h"

static void step_done(struct operation *op)
{
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_state(struct operation *op)
{
    struct buf text;
    buf_init(&text, 0);
    members_save(&op->admin->members, &text);
    report_say(&op->report, "%.*s", (int)buf_len(&text) - 1, buf_slice(&text).ptr);
    buf_fini(&text);
    operation_finish(op, OUTCOME_DONE);
}

void verb_stats_reset(struct operation *op)
{
    struct edge_order order = {.kind = EDGE_RESET_COUNTERS};
    admin_order(op->admin, &order);
    report_say(&op->report, "counters start again");
    operation_look(op, 0, step_done);
}

void verb_log_level(struct operation *op)
{
    enum log_level level;
    const char *name = op->command.operands[0];
    if (!log_parse_level(name, &level)) {
        operation_refuse(
            op, "\"%.40s\" is no level; expected error, warning, info or debug", name);
        return;
    }
    log_set_level(level);
    report_say(&op->report, "log level %s", name);
    operation_finish(op, OUTCOME_DONE);
}

void verb_log_reopen(struct operation *op)
{
    struct admin_options *o = &op->admin->options;
    if (!o->reopen_logs(o->owner)) {
        operation_refuse(op,
                         "cannot reopen the access log: %s; the old one stays in use",
                         strerror(errno));
        return;
    }
    report_say(&op->report, o->proxy->access_logfile == NULL ? "there is no access log"
                                                             : "access log reopened");
    operation_finish(op, OUTCOME_DONE);
}

void verb_shutdown(struct operation *op)
{
    const struct command *c = &op->command;
    struct admin_options *o = &op->admin->options;
    const char *how = c->operand_count == 0 ? "graceful" : c->operands[0];
    bool is_quick = strcmp(how, "quick") == 0;
    if (!is_quick && strcmp(how, "graceful") != 0) {
        operation_refuse(op, "shutdown is graceful or quick, not \"%.40s\"", how);
        return;
    }
    if (is_quick)
        report_say(&op->report, "ending at once");
    else
        report_say(&op->report, "finishing what runs, for at most %g s",
                   op->admin->live.graceful_timeout_s);
    operation_finish(op, OUTCOME_DONE);
    o->shut_down(o->owner, is_quick ? SHUTDOWN_QUICK : SHUTDOWN_GRACEFUL);
}
