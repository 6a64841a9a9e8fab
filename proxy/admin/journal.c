/* SPDX-License-Identifier: MIT
 * A ring; event n stands at n modulo its size. */
#include "proxy/admin/journal.h"

#include <stdio.h>

#include "protocol/base/check.h"

const struct journal_event *journal_add(struct journal *journal,
                                        int64_t at_ms,
                                        uint64_t generation,
                                        const char *by,
                                        const char *object,
                                        const char *text)
{
    uint64_t number = ++journal->last;
    struct journal_event *e = &journal->events[number % JOURNAL_EVENTS];
    *e = (struct journal_event){
        .number = number, .at_ms = at_ms, .generation = generation};
    (void)snprintf(e->by, sizeof e->by, "%s", by);
    (void)snprintf(e->object, sizeof e->object, "%s", object);
    (void)snprintf(e->text, sizeof e->text, "%s", text);
    return e;
}

uint64_t journal_first(const struct journal *journal)
{
    return journal->last <= JOURNAL_EVENTS ? 1 : journal->last - JOURNAL_EVENTS + 1;
}

const struct journal_event *journal_get(const struct journal *journal, uint64_t number)
{
    ASSERT(number >= journal_first(journal) && number <= journal->last);
    return &journal->events[number % JOURNAL_EVENTS];
}
