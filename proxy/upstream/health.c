/* SPDX-License-Identifier: MIT
 * Whether a backend still lives. The kernel tells of a dead process on this host within
 * a millisecond; of a host that is silent, or a process that stands still, only silence
 * tells. So a link that owes us something is asked (PING) after a second of silence,
 * and given up after the heartbeat timeout. */
#include "proxy/upstream/backend_priv.h"
#include "proxy/upstream/pool_priv.h"

enum {
    STALL_US = 1000 * 1000
}; /* our own loop stood still for so long: blame nobody */

void health_expect(struct backend *b, uint64_t now_us)
{
    b->expect_us = now_us;
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

void health_tick(struct backend *b, uint64_t now_us)
{
    if (b->state == BACKEND_CONNECTING || b->settings.state == ADMIN_MAINT)
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
    uint64_t ping_after_us =
        timeout_us / 3 < BACKEND_PING_US ? timeout_us / 3 : BACKEND_PING_US;
    if (b->state >= BACKEND_UP && silence_us(b, now_us) >= ping_after_us &&
        now_us - b->ping_us >= ping_after_us)
        ping(b, now_us);
}
