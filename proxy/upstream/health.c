/* SPDX-License-Identifier: MIT
 * Whether a backend still lives. The kernel tells of a dead process on this host within
 * a millisecond; of a host that is silent, or a process that stands still, only silence
 * tells. So a link that owes us something is asked (PING) after a second of silence,
 * over a network sooner while requests are there; one that does not answer at once is
 * in doubt and gets nothing new; it is given up after the heartbeat timeout.
 *
 * And whether it does its work: one that fails requests which the others do not is
 * ejected for a while, longer each time (outlier.h). */
#include "protocol/base/clock.h"
#include "proxy/upstream/backend_priv.h"
#include "proxy/upstream/pool_priv.h"

enum {
    STALL_US = 1000 * 1000, /* our own loop stood still for so long: blame nobody */
    MOST_EJECTED_US = 300 * 1000 * 1000,
};

void health_expect(struct backend *b, uint64_t now_us)
{
    b->expect_us = now_us;
}

void health_hear(struct backend *b)
{
    b->heard_us = clock_now_us();
    if (!b->is_in_doubt)
        return;
    b->is_in_doubt = false;
    log_debug(&b->log, "no longer in doubt");
    backend_update_load(b);
}

/* On ipc:// a link without work needs no asking. */
static bool owes_an_answer(const struct backend *b)
{
    return b->state == BACKEND_GREETING || b->load.in_flight != 0 ||
           !b->has_death_notice;
}

static uint64_t silence_us(const struct backend *b, uint64_t now_us)
{
    uint64_t since_us = b->heard_us > b->expect_us ? b->heard_us : b->expect_us;
    return now_us > since_us ? now_us - since_us : 0;
}

static void ping(struct backend *b, uint64_t now_us)
{
    b->ping_us = now_us;
    frame_pack_ping(&b->batch, b->epoch, ++b->ping_sequence, now_us);
    backend_frame_added(b);
}

static uint64_t at_most(uint64_t us, uint64_t most_us)
{
    return us < most_us ? us : most_us;
}

/* What is sent to a host that is gone fails for want of an answer: as little as can be.
 * A process on this host cannot be cut off. */
static void watch_silence(struct backend *b, uint64_t now_us)
{
    uint64_t timeout_us = b->pool->options.heartbeat_timeout_us;
    uint64_t doubt_us = at_most(timeout_us / 12, BACKEND_DOUBT_US);
    uint64_t ask_us = !b->has_death_notice && b->load.in_flight != 0
                          ? doubt_us
                          : at_most(timeout_us / 3, BACKEND_PING_US);
    bool is_asked = b->ping_us > b->heard_us;
    if (is_asked && !b->is_in_doubt && now_us - b->ping_us >= doubt_us) {
        b->is_in_doubt = true;
        b->stats.doubts++;
        log_debug(&b->log, "in doubt: silent for %llu ms",
                  (unsigned long long)silence_us(b, now_us) / 1000);
        backend_update_load(b);
    }
    if (silence_us(b, now_us) >= ask_us && now_us - b->ping_us >= ask_us)
        ping(b, now_us);
}

/* ---- ejection ---- */

static bool is_healthy(const struct backend *b)
{
    return b->settings.health == HEALTH_UP ||
           (b->ejected_until_us == 0 && !check_has_failed(b->check));
}

bool health_permits(const struct backend *b)
{
    return is_healthy(b) || b->pool->is_panicking;
}

/* Of those that could serve: an app server that is not there is none. */
void pool_count_healthy(struct pool *pool)
{
    uint32_t there = 0, healthy = 0;
    LIST_FOREACH(&pool->backends, n) {
        const struct backend *b = backend_of_node(n);
        if (b->state != BACKEND_UP || b->settings.state != ADMIN_READY)
            continue;
        there++;
        healthy += b->settings.health != HEALTH_DOWN && is_healthy(b);
    }
    bool panics = healthy * 100 < there * pool->options.policy.panic_percent;
    if (panics == pool->is_panicking)
        return;
    pool->is_panicking = panics;
    pool->stats.panics += panics;
    if (!pool->options.is_quiet)
        log_write(panics ? LOG_WARN : LOG_INFO, NULL,
                  "%u of %u app servers are healthy: %s", healthy, there,
                  panics ? "all are used" : "only those are used");
    LIST_FOREACH(&pool->backends, n)
        backend_update_load(backend_of_node(n));
}

static bool may_be_ejected(struct pool *pool)
{
    uint32_t all = 0, ejected = 0;
    LIST_FOREACH(&pool->backends, n) {
        all++;
        ejected += backend_of_node(n)->ejected_until_us != 0;
    }
    return (ejected + 1) * 100 <= all * pool->options.policy.eject_most_percent;
}

static void eject(struct backend *b, enum outlier_verdict verdict, uint64_t now_us)
{
    struct pool *pool = b->pool;
    uint32_t in_row = b->outlier.in_row;
    struct tally_sum own = tally_sum(&b->outlier.own, now_us);
    b->outlier.in_row = 0; /* the next ones count from here */
    if (!may_be_ejected(pool)) {
        pool->stats.ejections_refused++;
        return;
    }
    uint64_t span_us = ++b->ejections * pool->options.policy.eject_us;
    span_us = span_us < MOST_EJECTED_US ? span_us : MOST_EJECTED_US;
    b->ejected_until_us = now_us + span_us;
    b->stats.ejections++;
    pool->stats.ejections++;
    if (verdict == OUTLIER_IN_ROW)
        log_warn(&b->log, "ejected for %.1f s: %u requests failed in a row",
                 (double)span_us / 1e6, in_row);
    else
        log_warn(&b->log, "ejected for %.1f s: %llu of %llu requests failed",
                 (double)span_us / 1e6, (unsigned long long)own.bad,
                 (unsigned long long)(own.good + own.bad));
    backend_notice(b, "ejected for %.1f s", (double)span_us / 1e6);
    backend_update_load(b);
    pool_count_healthy(pool);
}

void health_note(struct backend *b, bool is_good, uint64_t now_us)
{
    const struct pool_policy *policy = &b->pool->options.policy;
    if (policy->eject_after == 0 && policy->eject_rate_percent == 0)
        return;
    tally_note(&b->pool->ends, is_good, now_us);
    enum outlier_verdict verdict =
        outlier_note(&b->outlier, &b->pool->ends, policy, is_good, now_us);
    if (verdict != OUTLIER_NONE && b->ejected_until_us == 0)
        eject(b, verdict, now_us);
}

static void readmit(struct backend *b, uint64_t now_us)
{
    b->ejected_until_us = 0;
    b->forgiven_us = now_us + b->pool->options.policy.eject_us;
    b->outlier.in_row = 0;
    health_begin(b, now_us);
    log_info(&b->log, "no longer ejected");
    backend_notice(b, "no longer ejected");
    backend_update_load(b);
}

void health_renew(struct backend *b)
{
    b->outlier = (struct outlier){0};
    check_renew(b->check);
    if (b->ejected_until_us != 0)
        readmit(b, b->heard_us);
}

static void forgive(struct backend *b, uint64_t now_us)
{
    if (b->ejected_until_us != 0 && b->ejected_until_us <= now_us) {
        readmit(b, now_us);
    } else if (b->ejected_until_us == 0 && b->ejections > 0 &&
               b->forgiven_us <= now_us) {
        b->ejections--;
        b->forgiven_us = now_us + b->pool->options.policy.eject_us;
    }
}

/* ---- slow start ---- */

void health_begin(struct backend *b, uint64_t now_us)
{
    b->began_us = now_us;
    balance_begin(&b->pool->ready, &b->load);
    b->load.ramp = b->pool->options.policy.slow_start_us == 0 ? 0 : 1;
}

static void ramp_up(struct backend *b, uint64_t now_us)
{
    uint64_t age_us = now_us > b->began_us ? now_us - b->began_us : 0;
    uint64_t whole_us = b->pool->options.policy.slow_start_us;
    b->load.ramp =
        age_us >= whole_us ? 0 : 1 + (uint32_t)(age_us * RAMP_WHOLE / whole_us);
}

/* ---- the tick ---- */

void health_tick(struct backend *b, uint64_t now_us)
{
    forgive(b, now_us);
    if (b->load.ramp != 0)
        ramp_up(b, now_us);
    check_tick(b->check, now_us);
    if (b->state <= BACKEND_CONNECTING || b->settings.state == ADMIN_MAINT)
        return;
    if (now_us - b->pool->tick_us > STALL_US || !owes_an_answer(b)) {
        b->expect_us = now_us;
        return;
    }
    uint64_t timeout_us = b->pool->options.heartbeat_timeout_us;
    if (silence_us(b, now_us) >= timeout_us && b->settings.health != HEALTH_UP) {
        /* Its answer may lie in the link already. */
        if (backend_receive(b, BACKEND_RECEIVE_MESSAGES) == RECEIVE_LOST ||
            silence_us(b, now_us) < timeout_us)
            return;
        backend_lose(b, ERR_BACKEND_LOST, "it is silent");
        return;
    }
    if (b->state >= BACKEND_UP)
        watch_silence(b, now_us);
}
