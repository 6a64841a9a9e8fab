/* SPDX-License-Identifier: MIT
 * A backend's life: a link is opened, greets, is up, is lost, is opened again. What ran
 * there when it was lost is settled here, by the started rule (protocol/README.md). */
#include "proxy/upstream/backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/clock.h"
#include "protocol/base/mem.h"
#include "proxy/upstream/backend_priv.h"
#include "proxy/upstream/key.h"
#include "proxy/upstream/pool_priv.h"

char backend_orphan;

/* Who ended the connection: only when the kernel did is the other process past starting
 * anything more, and the mark in its page final. */
enum ending { ENDED_BY_PEER, ENDED_BY_US };

static void open_link(struct backend *b);
static void settle(struct backend *b, enum ending ending, enum err err);

/* ---- states ---- */

const char *backend_state_name(enum backend_state state)
{
    static const char *const names[] = {
#define STATE(name, text) text,
#include "proxy/upstream/backend_states.def"
    };
    ASSERT(state < BACKEND_STATE_COUNT);
    return names[state];
}

bool backend_state_may_become(enum backend_state from, enum backend_state to)
{
    static const struct {
        enum backend_state from, to;
    } edges[] = {
#define EDGE(from, to) {BACKEND_##from, BACKEND_##to},
#include "proxy/upstream/backend_states.def"
    };
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
        if (edges[i].from == from && edges[i].to == to)
            return true;
    return false;
}

void backend_set_state(struct backend *b, enum backend_state state)
{
    if (b->state == state)
        return;
    ASSERT(backend_state_may_become(b->state, state));
    log_debug(&b->log, "%s -> %s", backend_state_name(b->state),
              backend_state_name(state));
    b->state = state;
    backend_update_load(b);
}

/* An operator lets it have requests. */
static bool is_wanted(const struct backend *b)
{
    return b->settings.state == ADMIN_READY && b->settings.health != HEALTH_DOWN;
}

/* Likewise those whose cookie names it. */
static bool is_wanted_by_its_own(const struct backend *b)
{
    return b->settings.health != HEALTH_DOWN &&
           (b->settings.state == ADMIN_READY ||
            (b->settings.state == ADMIN_DRAIN && b->settings.keeps_sticky));
}

void backend_update_load(struct backend *b)
{
    bool is_fit = b->state == BACKEND_UP && b->window != 0 && health_permits(b);
    bool has_room = b->load.in_flight < b->window && b->rests_until_us == 0 &&
                    !b->is_in_doubt && list_is_empty(&b->backlog);
    balance_update(&b->pool->ready, &b->load, is_fit && has_room && is_wanted(b));
    claim_update(&b->pool->queue, &b->claim, is_fit && is_wanted_by_its_own(b),
                 has_room);
    bool is_up = backend_takes_requests(b);
    b->pool->up += (uint32_t)is_up - (uint32_t)b->is_counted;
    b->is_counted = is_up;
}

void backend_touch(struct backend *b)
{
    if (!node_is_linked(&b->turn_node))
        list_push_back(&b->pool->touched, &b->turn_node);
}

/* ---- new and free ---- */

struct backend *backend_new(struct pool *pool, const char *name, const char *endpoint)
{
    struct backend *b = mem_zalloc(sizeof *b);
    b->magic = BACKEND_MAGIC;
    b->pool = pool;
    b->name = mem_strdup(name);
    b->endpoint = mem_strdup(endpoint);
    b->has_death_notice = strncmp(endpoint, "ipc://", 6) == 0;
    const char *pool_name = pool->options.name;
    snprintf(b->log.prefix, sizeof b->log.prefix, "%.20s%s%.24s", pool_name,
             *pool_name == '\0' ? "" : "/", name);
    b->backoff_us = BACKEND_FIRST_BACKOFF_US;
    b->next_stream = 1;
    b->settings = BACKEND_SETTINGS;
    load_init(&b->load);
    claim_init(&b->claim);
    b->load.key = balance_key(slice_from(name));
    table_put(&pool->by_key, b->load.key, b);
    balance_join(&pool->ready, &b->load);
    table_init(&b->streams);
    list_init(&b->sent);
    list_init(&b->backlog);
    buf_init(&b->batch, 0);
    b->check = check_new(b);
    list_push_back(&pool->backends, &b->node);
    open_link(b);
    return b;
}

static void close_link(struct backend *b)
{
    waker_free(&b->waker);
    link_free(&b->link);
}

void backend_free(struct backend **backend_p)
{
    struct backend *b = *backend_p;
    if (b == NULL)
        return;
    *backend_p = NULL;
    CHECK_OBJ(b, BACKEND_MAGIC);
    if (b->state != BACKEND_CLOSED)
        backend_set_state(b, BACKEND_CLOSED);
    close_link(b);
    settle(b, ENDED_BY_US, ERR_SHUTTING_DOWN);
    check_free(&b->check);
    backend_free(&b->successor);
    balance_leave(&b->pool->ready, &b->load);
    ASSERT(list_is_empty(&b->claim.tickets));
    node_leave(&b->node);
    node_leave(&b->turn_node);
    table_fini(&b->streams);
    buf_fini(&b->batch);
    mem_free(&b->name);
    mem_free(&b->endpoint);
    b->magic = 0;
    mem_free(&b);
}

/* It keeps to it, over all links: credit says how much of it is ours. */
static void tell_limit(struct backend *b)
{
    frame_pack_limit(&b->batch, b->epoch, b->settings.limit);
    backend_frame_added(b);
}

void backend_set(struct backend *b, const struct backend_settings *settings)
{
    CHECK_OBJ(b, BACKEND_MAGIC);
    bool is_other_limit = settings->limit != b->settings.limit;
    if (settings->state == ADMIN_READY && b->settings.state != ADMIN_READY)
        health_begin(b, clock_now_us());
    bool is_other_key = strcmp(b->settings.key, settings->key) != 0;
    b->settings = *settings;
    if (b->successor != NULL)
        backend_set(b->successor, settings);
    b->load.weight = settings->weight < WEIGHT_MAX ? settings->weight : WEIGHT_MAX;
    backend_update_load(b);
    if (is_other_limit && b->state >= BACKEND_GREETING)
        tell_limit(b);
    b->expect_us = clock_now_us(); /* its silence meant nothing until now */
    if (is_other_key && b->state < BACKEND_GREETING)
        backend_reopen(b, 0);
    else if (is_other_key && settings->key[0] != '\0' &&
             strcmp(settings->key, b->server_key) != 0)
        backend_lose(b, ERR_BACKEND_LOST, "another key was given for it");
}

void backend_abort_all(struct backend *b, enum err err)
{
    CHECK_OBJ(b, BACKEND_MAGIC);
    /* Aside first: what fails may bring others here. */
    struct list all;
    list_init(&all);
    for (struct node *n = list_pop_front(&b->sent); n != NULL;
         n = list_pop_front(&b->sent))
        list_push_back(&all, n);
    for (struct node *n = list_first(&all); n != NULL; n = list_first(&all)) {
        struct ticket *t = NODE_OF(n, struct ticket, node);
        ticket_cancel(t, err);
        t->events->failed(t, err, SLICE("an operator ended it"));
    }
}

/* ---- the connection ---- */

static void open_link(struct backend *b)
{
    uint64_t now_us = clock_now_us();
    link_free(&b->link);
    enum err err = backend_connect(b);
    if (err != ERR_NONE) {
        if (err != ERR_LINK_DOWN)
            log_error(&b->log, "cannot open a link to %s; trying again", b->endpoint);
        b->reopen_us = now_us + BACKEND_LAST_BACKOFF_US;
        return;
    }
    b->reopen_us = 0;
    b->waker = waker_new(b->pool->base, b->link, backend_on_input, b);
    backend_set_state(b, BACKEND_CONNECTING);
    /* inproc:// says nothing about connections: there, to connect is to be connected.
     */
    if (link_monitor_fd(b->link) < 0)
        backend_greet(b);
}

void backend_reopen(struct backend *b, uint64_t wait_us)
{
    ASSERT(b->state <= BACKEND_CONNECTING);
    close_link(b);
    backend_set_state(b, BACKEND_CLOSED);
    b->reopen_us = clock_now_us() + wait_us;
    if (wait_us == 0)
        open_link(b);
}

void backend_greet(struct backend *b)
{
    backend_keys_good(b);
    b->reopen_us = 0;
    backend_set_state(b, BACKEND_GREETING);
    const struct pool_options *options = &b->pool->options;
    b->epoch = ++b->pool->epoch;
    b->expect_us = b->heard_us = clock_now_us();
    b->is_in_doubt = false;
    struct frame_hello hello = {
        .version = PROTOCOL_VERSION,
        .role = SLICE("proxy"),
        .instance = options->instance,
        .clock_us = b->expect_us,
        .features = FEATURE_INFORM | FEATURE_WEBSOCKET | FEATURE_TRAILERS |
                    (options->has_files ? FEATURE_FILE : 0u),
        .window_bytes = options->window_bytes,
        .inline_bytes = FRAME_MAX_INLINE_BODY,
    };
    frame_pack_hello(&b->batch, b->epoch, &hello);
    backend_frame_added(b);
    if (b->settings.limit != 0)
        tell_limit(b);
}

/* It broke the protocol; otherwise it is silent (BACKEND_LOST) or took its leave. */
static bool is_a_breach(enum err err)
{
    return err != ERR_BACKEND_LOST && err != ERR_SHUTTING_DOWN;
}

/* One line for an operator; of the edge threads one says it, the others at debug. A
 * breach is said by whoever saw it, once per streak of bad connections. */
static void log_down(struct backend *b, enum err err, const char *why)
{
    enum log_level level = LOG_WARN;
    if (is_a_breach(err))
        level = b->fault_logged ? LOG_DEBUG : LOG_WARN;
    else if (b->pool->options.is_quiet || b->state < BACKEND_UP)
        level = LOG_DEBUG;
    else if (b->state == BACKEND_DRAINING && b->load.in_flight == 0)
        level = LOG_INFO;
    log_write(level, &b->log, "app server %s is down: %s%s%s (%u requests there)",
              b->endpoint, err_text(err), *why == '\0' ? "" : ": ", why,
              b->load.in_flight);
    if (b->state >= BACKEND_UP)
        backend_notice(b, "down: %s%s%s, %u requests there", err_text(err),
                       *why == '\0' ? "" : ": ", why, b->load.in_flight);
}

void backend_notice(struct backend *b, const char *format, ...)
{
    const struct pool_options *options = &b->pool->options;
    if (options->notice == NULL || options->is_quiet)
        return;
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    options->notice(options->notice_arg, options->label, b->name, text);
}

void backend_on_link_down(struct backend *b)
{
    if (b->state <= BACKEND_CONNECTING)
        return;
    log_down(b, ERR_BACKEND_LOST, "");
    backend_set_state(b, BACKEND_CONNECTING);
    b->reopen_us = clock_now_us() + BACKEND_RECONNECT_US;
    settle(b, ENDED_BY_PEER, ERR_BACKEND_LOST);
}

void backend_lose(struct backend *b, enum err err, const char *why)
{
    CHECK_OBJ(b, BACKEND_MAGIC);
    if (b->state == BACKEND_CLOSED)
        return;
    uint64_t now_us = clock_now_us();
    bool is_breach = is_a_breach(err);
    /* A successor may come at once, and often; one that does not greet may be about to.
     */
    bool is_no_fault = err == ERR_SHUTTING_DOWN ||
                       (err == ERR_BACKEND_LOST && b->state == BACKEND_GREETING);
    if (is_no_fault)
        b->backoff_us = BACKEND_FIRST_BACKOFF_US;
    if (b->up_since_us != 0 && now_us - b->up_since_us > BACKEND_STEADY_US) {
        b->backoff_us = BACKEND_FIRST_BACKOFF_US;
        b->fault_logged = false;
    }
    /* Its successor may be there already; one that says so as soon as it is up may do
     * that for a while. */
    bool took_leave = err == ERR_SHUTTING_DOWN && b->up_since_us != 0 &&
                      now_us - b->up_since_us > BACKEND_RECONNECT_US;
    b->up_since_us = 0;
    log_down(b, err, why);
    if (is_breach) {
        b->fault_logged = true;
        b->pool->stats.bad_frames++;
        backend_drop_unsent(b);
        frame_pack_bye(&b->batch, b->epoch, slice_from(err_name(err)));
        backend_flush(b);
    }

    /* The link stays until it is opened again: closing it would drop the BYE. */
    waker_free(&b->waker);
    b->reopen_us = took_leave ? 0 : now_us + b->backoff_us;
    if (took_leave)
        backend_touch(b);
    if (!is_no_fault)
        b->backoff_us *= 2;
    if (b->backoff_us > BACKEND_LAST_BACKOFF_US)
        b->backoff_us = BACKEND_LAST_BACKOFF_US;
    backend_set_state(b, BACKEND_CLOSED);
    settle(b, ENDED_BY_US, err);
}

/* ---- settlement ---- */

/* Its handler was certainly not entered. */
static bool
was_never_started(const struct backend *b, const struct ticket *t, enum ending ending)
{
    if (t->head_seen)
        return false;
    if (stream_after(t->stream, b->flushed_stream))
        return true;
    return ending == ENDED_BY_PEER && b->page != NULL &&
           page_never_started(b->page, b->page_slot, t->stream);
}

static bool may_be_sent_again(const struct ticket *t)
{
    return t->is_replayable || t->body_sent == 0;
}

static bool may_be_retried(const struct ticket *t)
{
    return t->is_idempotent && !t->is_committed && !t->head_seen && !t->was_retried;
}

/* Everything the backend held is queued again, in its order and before all others, or
 * failed. Nobody hears of anything before the backend is empty. */
static void settle(struct backend *b, enum ending ending, enum err err)
{
    struct pool *pool = b->pool;
    uint64_t now_us = clock_now_us();
    struct list again, lost;
    list_init(&again);
    list_init(&lost);
    /* Who died is gone; who is silent comes back as the one it was. It is one failure,
     * whatever was there: a cut cable that is mended is no reason to stay away. */
    if (ending == ENDED_BY_US && err == ERR_BACKEND_LOST && !list_is_empty(&b->sent))
        health_note(b, false, now_us);
    for (struct node *n = list_pop_front(&b->sent); n != NULL;
         n = list_pop_front(&b->sent)) {
        struct ticket *t = NODE_OF(n, struct ticket, node);
        struct list *to = &lost;
        b->stats.lost++;
        if (may_be_sent_again(t) && was_never_started(b, t, ending)) {
            pool->stats.requeued++;
            to = &again;
        } else if (may_be_sent_again(t) && may_be_retried(t)) {
            if (retry_take(&pool->retries, now_us)) {
                pool->stats.retried++;
                b->stats.retries++;
                t->was_retried = true;
                to = &again;
            } else {
                pool->stats.retries_refused++;
            }
        }
        t->backend = NULL;
        list_push_back(to, n);
    }

    table_clear(&b->streams);
    b->load.in_flight = 0;
    b->window = 0;
    b->returns = 0;
    b->rests_until_us = 0;
    page_free(&b->page);
    backend_drop_unsent(b);
    backend_update_load(b);

    while (!list_is_empty(&again))
        pool_requeue(pool, NODE_OF(again.head.prev, struct ticket, node), now_us);
    enum err told = is_a_breach(err) ? err : ERR_BACKEND_LOST;
    for (struct node *n = list_first(&lost); n != NULL; n = list_first(&lost))
        pool_fail(pool, NODE_OF(n, struct ticket, node), told, SLICE(""));
}

void backend_open_due(struct backend *b, uint64_t now_us)
{
    if (b->state == BACKEND_CLOSED && b->reopen_us <= now_us)
        open_link(b);
}

void backend_tick(struct backend *b, uint64_t now_us)
{
    CHECK_OBJ(b, BACKEND_MAGIC);
    if (!list_is_empty(&b->backlog))
        backend_touch(b);
    if (b->rests_until_us != 0 && b->rests_until_us <= now_us) {
        b->rests_until_us = 0;
        b->returns = 0;
        backend_update_load(b);
    }
    backend_open_due(b, now_us);
    if (b->state == BACKEND_CONNECTING && b->reopen_us != 0 && b->reopen_us <= now_us)
        backend_reopen(b, 0);
    health_tick(b, now_us);
}

/* ---- small accessors ---- */

void backend_view(const struct backend *b, struct backend_view *ret_view)
{
    CHECK_OBJ(b, BACKEND_MAGIC);
    *ret_view = (struct backend_view){
        .name = b->name,
        .endpoint = b->endpoint,
        .state = b->state,
        .settings = b->settings,
        .pid = b->pid,
        .weight = b->load.weight,
        .slots = b->load.slots,
        .window = b->window,
        .in_flight = b->load.in_flight,
        .waiting = b->claim.count,
        .running = b->running,
        .service_us = b->load.service_us,
        .up_since_us = b->state >= BACKEND_UP ? b->up_since_us : 0,
        .ejected_until_us = b->ejected_until_us,
        .has_failed_check = check_has_failed(b->check),
        .stats = b->stats,
    };
}

const char *backend_name(const struct backend *b)
{
    return b->name;
}

enum backend_state backend_state(const struct backend *b)
{
    return b->state;
}

bool backend_takes_requests(const struct backend *b)
{
    return b->state == BACKEND_UP && b->window != 0 && is_wanted(b);
}

struct load *backend_load(struct backend *b)
{
    return &b->load;
}

struct backend *backend_of_load(struct load *load)
{
    return NODE_OF(load, struct backend, load);
}

struct claim *backend_claim(struct backend *b)
{
    return &b->claim;
}

struct backend *backend_of_claim(struct claim *claim)
{
    return NODE_OF(claim, struct backend, claim);
}

struct node *backend_node(struct backend *b)
{
    return &b->node;
}

struct backend *backend_of_node(struct node *node)
{
    return NODE_OF(node, struct backend, node);
}

struct backend *backend_of_turn_node(struct node *node)
{
    return NODE_OF(node, struct backend, turn_node);
}
