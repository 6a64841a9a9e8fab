/* SPDX-License-Identifier: MIT
 * One level-triggered event per descriptor of a link; both mean "look at the link".
 * What is left over is carried to the next turn by activating the event by hand, so
 * that one busy link cannot hold the loop. */
#include "proxy/waker.h"

#include <event2/event.h>
#include <stdint.h>

#include "protocol/base/mem.h"

enum { WAKER_MAGIC = 0x57414b45 };

struct waker {
    uint32_t magic;
    struct link *link; /* borrowed */
    waker_fn on_input;
    void *arg;
    struct event *readable; /* link_fd */
    struct event *monitor;  /* link_monitor_fd; NULL: the link has none */
    struct event *again;    /* next turn, whatever the descriptors say */
    bool *freed;            /* set while on_input runs: it may free us */
};

static void on_readable(evutil_socket_t fd, short what, void *arg);

static struct event *watch(struct event_base *base, int fd, struct waker *w)
{
    struct event *e = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, w);
    ASSERT(e != NULL && event_add(e, NULL) == 0);
    return e;
}

static void look_next_turn(struct waker *w)
{
    static const struct timeval at_once = {0, 0};
    ASSERT(event_add(w->again, &at_once) == 0);
}

struct waker *
waker_new(struct event_base *base, struct link *link, waker_fn on_input, void *arg)
{
    struct waker *w = mem_zalloc(sizeof *w);
    w->magic = WAKER_MAGIC;
    w->link = link;
    w->on_input = on_input;
    w->arg = arg;
    w->readable = watch(base, link_fd(link), w);
    if (link_monitor_fd(link) >= 0)
        w->monitor = watch(base, link_monitor_fd(link), w);
    w->again = event_new(base, -1, 0, on_readable, w);
    ASSERT(w->again != NULL);
    /* What arrived before the event was added has used up its edge already. */
    look_next_turn(w);
    return w;
}

void waker_free(struct waker **waker_p)
{
    struct waker *w = *waker_p;
    if (w == NULL)
        return;
    *waker_p = NULL;
    CHECK_OBJ(w, WAKER_MAGIC);
    if (w->freed != NULL)
        *w->freed = true;
    event_free(w->readable);
    event_free(w->again);
    if (w->monitor != NULL)
        event_free(w->monitor);
    w->magic = 0;
    mem_free(&w);
}

bool waker_recheck(struct waker *w)
{
    CHECK_OBJ(w, WAKER_MAGIC);
    if (!link_has_input(w->link))
        return false;
    event_active(w->readable, EV_READ, 0);
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct waker *w = CAST_OBJ(arg, struct waker, WAKER_MAGIC);
    (void)fd;
    (void)what;

    bool freed = false;
    w->freed = &freed;
    enum waker_result result = w->on_input(w->arg);
    if (freed)
        return;
    w->freed = NULL;
    if (result == WAKER_INPUT_LEFT)
        look_next_turn(w);
}
