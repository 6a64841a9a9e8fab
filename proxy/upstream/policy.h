/* SPDX-License-Identifier: MIT
 * How a pool treats its queue and its app servers: what an operator chooses, each as
 * the option of the same name says. */
#ifndef UPSTREAM_POLICY_H
#define UPSTREAM_POLICY_H

#include <stdint.h>

struct pool_policy {
    uint64_t queue_target_us; /* shed.h; 0: the queue is FIFO, however long it takes */
    uint64_t queue_interval_us;
};

#endif
