/* SPDX-License-Identifier: MIT
 * The terminal of `banyan top`. Alone knows ncurses. */
#ifndef BANYAN_TOP_SCREEN_H
#define BANYAN_TOP_SCREEN_H

#include <stdbool.h>

#include "deploy/banyan/top_table.h"

struct top_view { /* all borrowed */
    const struct top_proxy *proxies;
    size_t proxy_count;
    struct top_table *pools, *backends;
    struct top_order order; /* of the backends */
    uint32_t scroll; /* the backend in the first line; drawing keeps it in range */
    double interval_s;
};

/* False: the terminal's type is unknown. */
MUST_CHECK bool top_screen_open(void);
void top_screen_close(void);
/* Fits the tables to the terminal. */
void top_screen_draw(struct top_view *view);

enum top_key { TOP_KEY_NONE, TOP_KEY_CHANGED, TOP_KEY_REFRESH, TOP_KEY_QUIT };
/* The next key that was pressed, or that the terminal's size changed; the view follows
 * it. NONE: no more now. */
enum top_key top_screen_key(struct top_view *view);

#endif
