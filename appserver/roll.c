/* SPDX-License-Identifier: MIT
 * New processes on SIGHUP: slot by slot, or a whole generation. */
#include <stdio.h>
#include <sys/wait.h>

#include "appserver/endpoint.h"
#include "appserver/master_priv.h"
#include "protocol/base/clock.h"
#include "protocol/base/log.h"

static bool replace(struct master *m, struct slot *slot);

void roll_begin(struct master *m)
{
    if (m->stopping)
        return;
    if (m->roll != ROLL_NONE) {
        m->roll_again = true;
        return;
    }
    if (!master_reread_keys(m))
        return;
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
    m->roll = ROLL_SLOTS;
    m->roll_at = 0;
    m->roll_pid = 0;
    m->roll_replaced = false;
}

uint64_t master_kill_time(const struct master *m)
{
    return clock_now_us() + (uint64_t)(m->options->graceful_timeout_s * 1e6) + 1;
}

/* The slot at roll_at gets a process that has imported the application when the one
 * before it ends, and is ready; then the next one's turn comes. */
static void advance_slots(struct master *m)
{
    while (m->roll_at < m->slot_count) {
        struct slot *slot = m->slots[m->roll_at];
        if (!m->roll_replaced && !replace(m, slot))
            return;
        if (slot->state != SLOT_READY)
            return;
        m->roll_at++;
        m->roll_replaced = false;
    }
    log_info(NULL, "all workers are replaced");
    m->roll = ROLL_NONE;
}

/* True: a new process is in the place, or is due there. */
static bool replace(struct master *m, struct slot *slot)
{
    bool is_served = slot->state == SLOT_READY || slot->state == SLOT_STOPPING;

    if (slot->pid != m->roll_pid && m->roll_pid != 0) {
        m->roll_pid = 0;
        m->roll_replaced = true;
    } else if (!is_served) {
        slot_stop(slot, master_kill_time(m));
        m->roll_replaced = slot->state == SLOT_WAITING;
    } else if (slot->state == SLOT_READY && slot->next.is_imported) {
        slot_stop(slot, master_kill_time(m));
    } else if (slot->state == SLOT_READY && slot->next.pid == 0) {
        m->roll_pid = slot->pid;
        if (!master_start_next(m, slot))
            m->roll = ROLL_NONE;
    }
    return m->roll_replaced;
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
            slot_retire(slot);
            registrar_stop(m->registrar, slot, master_kill_time(m));
        }
    }
    m->roll = ROLL_NONE;
}

void roll_advance(struct master *m)
{
    if (m->stopping)
        return;
    if (m->roll == ROLL_NONE && m->roll_again) {
        m->roll_again = false;
        roll_begin(m);
    }
    if (m->roll == ROLL_SLOTS)
        advance_slots(m);
    else if (m->roll == ROLL_GENERATION)
        advance_generation(m);
}

/* A new process of `slot` ended before it was ready. What still runs is kept: an
 * application that cannot start must not take the whole service down. */
void roll_fail(struct master *m, const struct slot *slot)
{
    if (m->roll == ROLL_SLOTS && m->roll_replaced && m->slots[m->roll_at] == slot) {
        log_error(NULL, "worker %u does not start; the others are not replaced",
                  slot->number);
        m->roll = ROLL_NONE;
    } else if (m->roll == ROLL_GENERATION && slot->generation == m->generation) {
        log_error(NULL, "generation %u does not start; the one before stays",
                  m->generation);
        for (uint32_t i = 0; i < m->slot_count; i++) {
            if (m->slots[i]->generation == m->generation) {
                slot_retire(m->slots[i]);
                slot_kill(m->slots[i]);
                slot_stop(m->slots[i], 0);
            }
        }
        m->roll = ROLL_NONE;
    }
}

/* One that was to be the next. Who serves goes on: an application that cannot start
 * must not take the whole service down. */
void roll_next_ended(struct master *m, struct slot *slot, int status)
{
    char reason[PROCESS_REASON_BYTES];

    process_reason(status, reason);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_IMPORT)
        (void)snprintf(reason, sizeof reason, "could not import the application");
    log_error(NULL,
              "worker %u: the next process (pid %d) %s; the workers are not replaced",
              slot->number, (int)slot->next.pid, reason);
    slot_next_ended(slot);
    if (m->roll == ROLL_SLOTS)
        m->roll = ROLL_NONE;
}
