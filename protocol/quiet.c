/* SPDX-License-Identifier: MIT
 * The oldest address makes room for a new one. */
#include "protocol/quiet.h"

#include <stdio.h>
#include <string.h>

static struct quiet_entry *find(struct quiet *q, const char *address);

void quiet_init(struct quiet *q, uint64_t period_us)
{
    *q = (struct quiet){.period_us = period_us};
}

bool quiet_permits(struct quiet *q,
                   const char *address,
                   uint64_t now_us,
                   uint32_t *ret_kept_back)
{
    struct quiet_entry *e = find(q, address);
    if (now_us - q->began_us >= q->period_us) {
        q->began_us = now_us;
        q->lines = 0;
    }
    bool is_new = e->said_us == 0;
    if ((!is_new && now_us - e->said_us < q->period_us) || q->lines >= QUIET_LINES) {
        e->kept_back++;
        return false;
    }
    q->lines++;
    *ret_kept_back = e->kept_back + q->kept_back;
    e->kept_back = q->kept_back = 0;
    e->said_us = now_us == 0 ? 1 : now_us;
    return true;
}

/* Or a new one. */
static struct quiet_entry *find(struct quiet *q, const char *address)
{
    struct quiet_entry *oldest = &q->entries[0];
    for (size_t i = 0; i < q->count; i++) {
        struct quiet_entry *e = &q->entries[i];
        if (strncmp(e->address, address, QUIET_ADDRESS - 1) == 0)
            return e;
        if (e->said_us < oldest->said_us)
            oldest = e;
    }
    if (q->count < QUIET_ADDRESSES)
        oldest = &q->entries[q->count++];
    q->kept_back += oldest->kept_back;
    *oldest = (struct quiet_entry){0};
    (void)snprintf(oldest->address, sizeof oldest->address, "%s", address);
    return oldest;
}
