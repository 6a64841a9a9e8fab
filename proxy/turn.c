/* SPDX-License-Identifier: MIT
 *  1. requests leave: one message per app server; answers that are here are read later
 *  2. answers leave: one write per client; its next request may begin; the closed are
 * freed
 *  3. what 2 brought for app servers (requests, windows, cancels) leaves
 *  4. the access log's lines leave
 *  5. the next turn reads the clock anew */
#include "proxy/turn.h"

bool turn_end(const struct turn *turn)
{
    uint64_t now_us = deadlines_now(turn->deadlines);
    bool has_more = sites_turn(turn->sites, now_us);
    if (clients_turn(turn->clients))
        has_more = true;
    if (sites_turn(turn->sites, now_us))
        has_more = true;
    if (clients_has_output(turn->clients))
        has_more = true;
    if (turn->access != NULL)
        access_writer_flush(turn->access);
    deadlines_turn(turn->deadlines);
    return has_more;
}
