/* SPDX-License-Identifier: MIT
 * Credit in bytes; every sum is checked before it is made. */
#include "protocol/window.h"

bool window_granted(struct window_sender *w, uint64_t bytes)
{
    if (bytes > UINT64_MAX - w->left)
        return false;
    w->left += bytes;
    return true;
}

void window_sent(struct window_sender *w, uint64_t bytes)
{
    ASSERT(bytes <= w->left);
    w->left -= bytes;
}

void window_receiver_init(struct window_receiver *w, uint64_t bytes)
{
    *w = (struct window_receiver){.size = bytes, .left = bytes};
}

bool window_received(struct window_receiver *w, uint64_t bytes)
{
    if (bytes > w->left)
        return false;
    w->left -= bytes;
    return true;
}

uint64_t window_consumed(struct window_receiver *w, uint64_t bytes)
{
    /* What was passed on had been received, so the three never exceed the window. */
    ASSERT(bytes <= w->size - w->left - w->consumed);
    w->consumed += bytes;
    if (w->consumed == 0 || w->consumed < w->size - w->size / 2)
        return 0;

    uint64_t grant = w->consumed;
    w->left += grant;
    w->consumed = 0;
    return grant;
}
