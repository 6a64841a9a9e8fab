/* SPDX-License-Identifier: MIT
 * What the tests of a core with a loop share: the test's own thread is the loop
 * (harness.h). Included after cmocka.h. */
#ifndef TESTS_CORE_LOOP_FIXTURE_H
#define TESTS_CORE_LOOP_FIXTURE_H

#include <poll.h>

#include "tests/unit/appserver/core/harness.h"

static inline void start(struct app *a, struct proxy *p, unsigned slots)
{
    app_init_loop(a, slots);
    app_start_loop(a);
    proxy_open_loop(p, a, FRAME_DEFAULT_WINDOW);
}

static inline void stop(struct app *a, struct proxy *p)
{
    app_stop(a);
    proxy_close(p);
}

static inline void finish(struct app *a, struct request *r, const char *body)
{
    respond(r, slice_from(body));
    request_finish(&r);
    assert_null(r);
    core_loop_flush(a->core);
}

static inline void send_streamed(struct proxy *p, uint32_t stream, uint32_t flags)
{
    proxy_request_body(p, stream, "/up", BODY_UNKNOWN, SLICE(""), 0, flags);
    proxy_send(p);
}

static inline bool is_readable(struct app *a)
{
    struct pollfd fd = {.fd = core_loop_fd(a->core), .events = POLLIN};

    return poll(&fd, 1, 0) > 0;
}

/* Turns until the descriptor is silent. */
static inline void settle(struct app *a)
{
    while (app_try_turn(a, 0))
        core_loop_flush(a->core);
}

/* One of `running` ends and, when a request waits or is sent again, another begins. */
static inline void replace(struct app *a, struct proxy *p, struct request **running)
{
    bool is_answered = false;
    struct frame f;

    finish(a, *running, "done");
    while (!is_answered || !app_has_news(a)) {
        if (!proxy_try_next(p, 1000, &f))
            continue;
        /* More than the window, or it had to wait for too long. */
        if (f.kind == FRAME_RETURN) {
            assert_int_equal(f.stop.reason, ERR_QUEUE_FULL);
            proxy_request(p, ++p->stream, "/slow");
            proxy_send(p);
            continue;
        }
        assert_int_equal(f.kind, FRAME_RESPONSE);
        is_answered = true;
    }
    *running = app_expect_news(a, NEWS_STARTED);
}

#endif
