/* SPDX-License-Identifier: MIT
 * Verbs about the running process: its logs, its counters, its options, its end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

/* ---- the state file ---- */

static bool has_state_file(struct operation *op)
{
    if (op->admin->state_file != NULL)
        return true;
    operation_refuse(
        op, "there is no state file: changes hold until the end of the process "
            "(banyan-proxy --state-file PATH)");
    return false;
}

void verb_save(struct operation *op)
{
    if (!has_state_file(op))
        return;
    if (!admin_save(op->admin)) {
        op->save_error = errno;
        operation_refuse_unsaved(op);
        return;
    }
    report_say(&op->report, "saved to %s", op->admin->state_file);
    operation_finish(op, OUTCOME_DONE);
}

/* ---- counters and logs ---- */

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

void verb_reload(struct operation *op)
{
    struct admin *admin = op->admin;
    struct buf report;
    buf_init(&report, 0);
    bool is_in_force = admin->options.reload(admin->options.owner, op->who, &report);
    buf_add(&report, slice_of("", 1));
    if (!is_in_force) {
        operation_refuse(op, "%s", buf_slice(&report).ptr);
    } else {
        report_say(&op->report, "%s", buf_slice(&report).ptr);
        operation_look(op, 0, step_done);
    }
    buf_fini(&report);
}

/* Its mistakes show what stands there, and it is read as the proxy's user: hence the
 * role. Anything but a file might make us wait for ever. */
static bool is_file(struct operation *op, const char *path)
{
    struct stat st;
    if (*path != '/')
        operation_refuse(op,
                         "%.200s: the proxy reads it, in its own directory; name its "
                         "whole path, from / on",
                         path);
    else if (stat(path, &st) != 0)
        operation_refuse(op, "cannot read %.200s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        operation_refuse(op, "%.200s is no file", path);
    else
        return true;
    return false;
}

void verb_check(struct operation *op)
{
    const struct command *c = &op->command;
    const struct admin_options *o = &op->admin->options;
    const char *path = c->operand_count == 0 ? NULL : c->operands[0];
    struct buf text;
    if (path != NULL && !is_file(op, path))
        return;
    buf_init(&text, 0);
    bool is_good = o->check(o->owner, path, &text);
    buf_add(&text, slice_of("", 1));
    if (is_good) {
        report_say(&op->report, "%s", buf_slice(&text).ptr);
        operation_finish(op, OUTCOME_DONE);
    } else {
        operation_refuse(op, "%s", buf_slice(&text).ptr);
    }
    buf_fini(&text);
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
