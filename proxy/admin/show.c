/* SPDX-License-Identifier: MIT
 * What needs no look at single backends: who, what, how many, what happened. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base/clock.h"
#include "protocol/base/text.h"
#include "protocol/frame.h"
#include "proxy/admin/admin_priv.h"

#define COLUMNS(array) array, sizeof(array) / sizeof((array)[0])

void verb_ping(struct operation *op)
{
    report_say(&op->report, "pong");
    operation_finish(op, OUTCOME_DONE);
}

void verb_whoami(struct operation *op)
{
    report_facts(&op->report, "whoami");
    report_fact_text(&op->report, "who", op->who);
    report_fact_text(&op->report, "role", role_name(op->role));
    operation_finish(op, OUTCOME_DONE);
}

/* ---- help ---- */

static bool is_asked_for(const struct operation *op, const struct verb *verb)
{
    const struct command *c = &op->command;
    char words[64] = "";
    for (size_t i = 0; i < c->operand_count; i++)
        (void)snprintf(words + strlen(words), sizeof words - strlen(words), "%s%s",
                       i == 0 ? "" : " ", c->operands[i]);
    size_t length = strlen(words);
    return strncmp(verb->words, words, length) == 0 &&
           (length == 0 || verb->words[length] == '\0' || verb->words[length] == ' ');
}

void verb_help(struct operation *op)
{
    static const struct report_column columns[] = {
        {"verb", "VERB", ALIGN_LEFT},
        {"arguments", "ARGUMENTS", ALIGN_LEFT},
        {"role", "ROLE", ALIGN_LEFT},
        {"effect", NULL, ALIGN_LEFT},
        {"help", "", ALIGN_LEFT}};
    struct report *r = &op->report;
    bool is_any = false;
    for (size_t i = 0; i < verb_count; i++)
        is_any |= is_asked_for(op, &verbs[i]);
    if (!is_any) {
        operation_refuse(op, "\"%.40s\" is no verb; `help` lists them",
                         op->command.operands[0]);
        return;
    }
    report_table(r, "verbs", COLUMNS(columns));
    for (size_t i = 0; i < verb_count; i++) {
        if (!is_asked_for(op, &verbs[i]))
            continue;
        report_text(r, verbs[i].words);
        report_text(r, r->is_json || *verbs[i].arguments != '\0' ? verbs[i].arguments
                                                                 : " ");
        report_text(r, role_name(verbs[i].role));
        report_text(r, verbs[i].effect == VERB_CHANGES ? "changes" : "reads");
        report_text(r, verbs[i].help);
    }
    if (!r->is_json && op->command.operand_count == 0)
        report_say(r,
                   "\nOptions: --json, --timeout SECONDS (default %d), --ephemeral. "
                   "Changes also take if-generation=N.",
                   COMMAND_DEFAULT_TIMEOUT_S);
    operation_finish(op, OUTCOME_DONE);
}

/* ---- the process ---- */

void verb_show_version(struct operation *op)
{
    report_facts(&op->report, "version");
    report_fact_text(&op->report, "version", BANYAN_VERSION);
    report_fact_count(&op->report, "protocol", PROTOCOL_VERSION);
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_generation(struct operation *op)
{
    if (!op->report.is_json)
        report_say(&op->report, "%" PRIu64, op->admin->members.generation);
    operation_finish(op, OUTCOME_DONE);
}

static void step_show_info(struct operation *op)
{
    const struct admin *admin = op->admin;
    struct report *r = &op->report;
    uint64_t connections = 0, requests = 0, queued = 0;
    for (uint32_t i = 0; i < admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        if (s == NULL)
            continue;
        connections += s->connections;
        requests += s->stats.requests;
        for (uint32_t p = 0; p < s->pool_count; p++)
            queued += s->pools[p].queued;
    }
    report_facts(r, "info");
    report_fact_text(r, "version", BANYAN_VERSION);
    report_fact_count(r, "pid", (uint64_t)getpid());
    report_fact_count(r, "uptime_s", (clock_now_us() - admin->started_us) / 1000000);
    report_fact_count(r, "edge_threads", admin->options.edge_count);
    report_fact_count(r, "backends", members_count(&op->admin->members));
    report_fact_count(r, "connections", connections);
    report_fact_count(r, "control_peers", remote_peer_count(admin));
    report_fact_count(r, "queued", queued);
    report_fact_count(r, "requests", requests);
    report_fact_count(r, "generation", admin->members.generation);
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_info(struct operation *op)
{
    operation_look(op, 0, step_show_info);
}

void verb_show_listeners(struct operation *op)
{
    static const struct report_column columns[] = {{"address", "ADDRESS", ALIGN_LEFT}};
    const struct admin_options *o = &op->admin->options;
    report_table(&op->report, "listeners", COLUMNS(columns));
    for (const struct bind_row *row = bind_set_first(o->binds); row != NULL;
         row = bind_set_next(o->binds, row))
        report_text(&op->report, bind_row_name(row));
    operation_finish(op, OUTCOME_DONE);
}

/* ---- counters ---- */

static void step_show_stats(struct operation *op)
{
    struct report *r = &op->report;
    struct stats sum = {0};
    struct pool_stats pool = {0};
    for (uint32_t i = 0; i < op->admin->options.edge_count; i++) {
        const struct snapshot *s = op->snapshots[i];
        if (s == NULL)
            continue;
#define STAT(name, help) sum.name += s->stats.name;
#include "proxy/stats.def"
#undef STAT
        for (int e = 0; e < ERR_COUNT; e++)
            sum.failures[e] += s->stats.failures[e];
        for (uint32_t p = 0; p < s->pool_count; p++) {
#define STAT(name, help) pool.name += s->pools[p].stats.name;
#include "proxy/upstream/pool_stats.def"
#undef STAT
        }
    }
    report_facts(r, "stats");
#define STAT(name, help) report_fact_count(r, #name, sum.name);
#include "proxy/stats.def"
#undef STAT
    report_facts(r, "upstream");
#define STAT(name, help) report_fact_count(r, #name, pool.name);
#include "proxy/upstream/pool_stats.def"
#undef STAT
    report_facts(r, "failures");
    for (int e = 1; e < ERR_COUNT; e++)
        if (sum.failures[e] > 0)
            report_fact_count(r, err_name((enum err)e), sum.failures[e]);
    operation_finish(op, OUTCOME_DONE);
}

void verb_show_stats(struct operation *op)
{
    operation_look(op, 0, step_show_stats);
}

/* ---- events ---- */

void admin_format_time(int64_t at_ms, char ret_text[32])
{
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm tm;
    (void)gmtime_r(&seconds, &tm);
    size_t length = strftime(ret_text, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(ret_text + length, 32 - length, ".%03dZ", (int)(at_ms % 1000));
}

static void put_event(struct operation *op, const struct journal_event *e)
{
    char at[32];
    admin_format_time(e->at_ms, at);
    struct buf *out = &op->client->out;
    if (!op->command.is_json) {
        buf_addf(out, " %s  %4" PRIu64 "  %-20s  %-12s  %s\n", at, e->generation, e->by,
                 e->object, e->text);
        return;
    }
    buf_addf(out,
             " {\"number\":%" PRIu64 ",\"at\":\"%s\",\"generation\":%" PRIu64
             ",\"by\":",
             e->number, at, e->generation);
    text_add_json(out, slice_from(e->by));
    buf_add(out, SLICE(",\"object\":"));
    text_add_json(out, slice_from(e->object));
    buf_add(out, SLICE(",\"event\":"));
    text_add_json(out, slice_from(e->text));
    buf_add(out, SLICE("}\n"));
}

/* One line, or one JSON object, each, as they come. */
void show_new_events(struct operation *op)
{
    const struct journal *journal = &op->admin->journal;
    uint64_t first = journal_first(journal);
    for (op->seen = op->seen + 1 < first ? first - 1 : op->seen;
         op->seen < journal->last;)
        put_event(op, journal_get(journal, ++op->seen));
    admin_client_write(op->client);
}

void verb_show_events(struct operation *op)
{
    const struct command *c = &op->command;
    if (c->operand_count == 1 && strcmp(c->operands[0], "-w") != 0) {
        operation_refuse(op, "show events takes -w or nothing");
        return;
    }
    show_new_events(op);
    op->is_listening = c->operand_count == 1;
    if (!op->is_listening)
        operation_finish(op, OUTCOME_DONE);
}
