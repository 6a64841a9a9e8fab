/* SPDX-License-Identifier: MIT
 * New processes in the place of those that serve, for SIGHUP and for those that are
 * spent: one slot after the other, or a whole generation. */
#include <stdio.h>
#include <sys/wait.h>

#include "appserver/endpoint.h"
#include "appserver/master_priv.h"
#include "protocol/base/clock.h"
#include "protocol/base/log.h"

static bool replace(struct master *m, struct slot *slot);
static bool start_next(struct master *m, struct slot *slot);
static uint64_t late_us(const struct slot *slot);
static void say_late(const struct master *m, struct slot *slot);
static void next_failed(struct master *m, struct slot *slot, bool is_outdated);
static void give_up(struct master *m);
static void begin_anew(struct master *m);

void roll_begin(struct master *m)
{
    if (m->stopping)
        return;
    if (!master_reread_keys(m))
        return;
    if (m->roll == ROLL_GENERATION) {
        begin_anew(m);
        return;
    }
    if (m->options->preload)
        log_warn(NULL, "--preload: new processes run the application as it was loaded "
                       "at the start");
    if (endpoint_has_generation(m->options->bind)) {
        if (!master_add_generation(m))
            return;
        log_info(NULL, "generation %u is starting on SIGHUP", m->generation);
        m->roll = ROLL_GENERATION;
        return;
    }
    log_info(NULL, "replacing the workers one by one on SIGHUP");
    for (uint32_t i = 0; i < m->slot_count; i++)
        slot_outdate(m->slots[i], master_kill_time(m));
    m->turn = m->slot_count - 1;
    m->roll = ROLL_SLOTS;
}

uint64_t master_kill_time(const struct master *m)
{
    return clock_now_us() + (uint64_t)(m->options->graceful_timeout_s * 1e6) + 1;
}

/* ---- one slot after the other ---- */

static bool is_old(const struct slot *slot)
{
    return slot->is_outdated || slot->is_spent;
}

/* When the slot wants the turn. UINT64_MAX: it does not. */
static uint64_t wants_turn_us(const struct slot *slot)
{
    if (slot->retired || !is_old(slot))
        return UINT64_MAX;
    if (slot->is_outdated)
        return 0;
    return slot->state == SLOT_READY ? slot->next_at_us : UINT64_MAX;
}

/* NULL: nobody has it. */
static struct slot *find_turn(const struct master *m)
{
    for (uint32_t i = 0; i < m->slot_count; i++)
        if (m->slots[i]->has_turn)
            return m->slots[i];
    return NULL;
}

/* To the next one behind who had it last. NULL: nobody wants it. */
static struct slot *give_turn(struct master *m)
{
    uint64_t now_us = clock_now_us();

    for (uint32_t i = 1; i <= m->slot_count; i++) {
        uint32_t at = (m->turn + i) % m->slot_count;
        if (wants_turn_us(m->slots[at]) <= now_us) {
            m->turn = at;
            m->slots[at]->has_turn = true;
            return m->slots[at];
        }
    }
    return NULL;
}

static void end_turn(struct master *m, struct slot *slot)
{
    slot->has_turn = false;
    for (uint32_t i = 0; i < m->slot_count; i++)
        if (m->slots[i]->is_outdated)
            return;
    if (m->roll == ROLL_SLOTS)
        log_info(NULL, "all workers are replaced");
    m->roll = ROLL_NONE;
}

/* One at a time: imports take the processor from those that serve, and what cannot
 * start must not take the place of more than one. */
static void advance_slots(struct master *m)
{
    for (;;) {
        struct slot *slot = find_turn(m);
        if (slot == NULL)
            slot = give_turn(m);
        if (slot == NULL || !replace(m, slot))
            return;
        end_turn(m, slot);
    }
}

/* A next process is prepared, the one before it is stopped, the next one is ready:
 * true. */
static bool replace(struct master *m, struct slot *slot)
{
    if (slot->state == SLOT_READY) {
        if (!is_old(slot))
            return true;
        if (slot->next.is_prepared)
            slot_stop(slot, master_kill_time(m));
        else if (slot->next.pid == 0 && !start_next(m, slot))
            next_failed(m, slot, slot->is_outdated);
        else if (late_us(slot) <= clock_now_us())
            say_late(m, slot);
    } else if (slot->is_outdated && !slot->is_prepared) {
        slot_stop(slot, master_kill_time(m)); /* nobody serves, so at once */
    }
    return false;
}

static bool start_next(struct master *m, struct slot *slot)
{
    if (!master_start_next(m, slot))
        return false;
    if (m->options->timeout_s > 0)
        slot->next.late_at_us =
            clock_now_us() + (uint64_t)(m->options->timeout_s * 1e6);
    return true;
}

/* UINT64_MAX: the slot waits for nobody. */
static uint64_t late_us(const struct slot *slot)
{
    const struct understudy *next = &slot->next;
    bool is_awaited = slot->state == SLOT_READY && next->pid != 0 &&
                      !next->is_prepared && !next->is_dropped;
    return is_awaited && next->late_at_us != 0 ? next->late_at_us : UINT64_MAX;
}

/* Once. Nobody would notice: the one before serves. */
static void say_late(const struct master *m, struct slot *slot)
{
    log_warn(NULL,
             "worker %u: the next process (pid %d) has been starting for %g s; no "
             "other worker is replaced until it has",
             slot->number, (int)slot->next.pid, m->options->timeout_s);
    slot->next.late_at_us = 0;
}

/* One that was to be the next. */
void roll_next_ended(struct master *m, struct slot *slot, int status)
{
    char reason[PROCESS_REASON_BYTES];
    bool was_new = !slot->next.is_outdated;

    process_reason(status, reason);
    if (slot->next.is_dropped) {
        log_info(NULL, "worker %u: the dropped process (pid %d) %s", slot->number,
                 (int)slot->next.pid, reason);
        slot_next_ended(slot);
        return;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_IMPORT)
        (void)snprintf(reason, sizeof reason, "could not start the application");
    log_error(NULL, "worker %u: the next process (pid %d) %s%s", slot->number,
              (int)slot->next.pid, reason,
              slot->state == SLOT_READY ? "; the one before goes on" : "");
    slot_next_ended(slot);
    next_failed(m, slot, slot->is_outdated && was_new);
}

/* Who serves goes on: an application that cannot start must not take the whole service
 * down. */
static void next_failed(struct master *m, struct slot *slot, bool is_outdated)
{
    slot->next_at_us = clock_now_us() + backoff_next(&slot->backoff, 0);
    if (slot->state == SLOT_READY)
        slot->has_turn = false;
    if (m->roll != ROLL_SLOTS || !is_outdated)
        return;
    log_error(NULL, "the workers are not replaced");
    give_up(m);
}

static void give_up(struct master *m)
{
    for (uint32_t i = 0; i < m->slot_count; i++)
        slot_keep(m->slots[i]);
    m->roll = ROLL_NONE;
}

/* ---- all at once ---- */

/* SIGHUP before it is ready: what imports may have seen the code of before, and may
 * hang; what is further is replaced afterwards. */
static void begin_anew(struct master *m)
{
    log_info(NULL, "generation %u is starting anew on SIGHUP", m->generation);
    for (uint32_t i = 0; i < m->slot_count; i++) {
        struct slot *slot = m->slots[i];
        if (slot->generation != m->generation)
            continue;
        m->roll_again |= slot->is_prepared;
        if (!slot->is_prepared)
            slot_stop(slot, master_kill_time(m));
    }
}

static void advance_generation(struct master *m)
{
    for (uint32_t i = 0; i < m->slot_count; i++) {
        const struct slot *slot = m->slots[i];
        if (slot->generation == m->generation && slot->state != SLOT_READY)
            return;
    }
    log_info(NULL, "generation %u is ready; the one before is draining", m->generation);
    for (uint32_t i = 0; i < m->slot_count; i++) {
        struct slot *slot = m->slots[i];
        if (slot->generation != m->generation) {
            slot_retire(slot, master_kill_time(m));
            registrar_stop(m->registrar, slot, master_kill_time(m));
        }
    }
    m->roll = ROLL_NONE;
}

/* ---- both ---- */

void roll_advance(struct master *m)
{
    if (m->stopping)
        return;
    if (m->roll == ROLL_NONE && m->roll_again) {
        m->roll_again = false;
        roll_begin(m);
    }
    if (m->roll == ROLL_GENERATION)
        advance_generation(m);
    else
        advance_slots(m);
}

uint64_t roll_next_us(const struct master *m)
{
    uint64_t next_us = UINT64_MAX;

    if (m->roll == ROLL_GENERATION)
        return next_us;
    const struct slot *holder = find_turn(m);
    if (holder != NULL)
        return late_us(holder);
    for (uint32_t i = 0; i < m->slot_count; i++) {
        uint64_t wants_us = wants_turn_us(m->slots[i]);
        next_us = wants_us < next_us ? wants_us : next_us;
    }
    return next_us;
}

/* A new process of `slot` ended before it was ready. What still runs is kept. */
void roll_fail(struct master *m, const struct slot *slot)
{
    if (m->roll == ROLL_SLOTS && slot->has_turn && !slot->is_outdated) {
        log_error(NULL, "worker %u does not start; the others are not replaced",
                  slot->number);
        give_up(m);
    } else if (m->roll == ROLL_GENERATION && slot->generation == m->generation) {
        log_error(NULL, "generation %u does not start; the one before stays",
                  m->generation);
        for (uint32_t i = 0; i < m->slot_count; i++) {
            if (m->slots[i]->generation == m->generation) {
                slot_retire(m->slots[i], master_kill_time(m));
                slot_kill(m->slots[i]);
                slot_stop(m->slots[i], 0);
            }
        }
        m->roll = ROLL_NONE;
    }
}
