/* SPDX-License-Identifier: MIT
 * The states of an exchange and the steps between them, from exchange_states.def. */
#include "proxy/exchange_priv.h"

const char *exchange_state_name(enum exchange_state state)
{
    static const char *const names[] = {
#define STATE(name, text) text,
#include "proxy/exchange_states.def"
    };
    ASSERT(state < EXCHANGE_STATE_COUNT);
    return names[state];
}

bool exchange_state_may_become(enum exchange_state from, enum exchange_state to)
{
    static const uint8_t permitted[EXCHANGE_STATE_COUNT][EXCHANGE_STATE_COUNT] = {
#define EDGE(from, to) [EXCHANGE_##from][EXCHANGE_##to] = 1,
#include "proxy/exchange_states.def"
    };
    return permitted[from][to];
}

void exchange_set_state(struct exchange *x, enum exchange_state state)
{
    ASSERT(exchange_state_may_become(x->state, state));
    x->state = state;
}
