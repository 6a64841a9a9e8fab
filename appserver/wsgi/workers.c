/* SPDX-License-Identifier: MIT
 * Threads, and who does what:
 *
 *   main           waits without the GIL, always: it is the warden
 *   banyan-0 ..    threading.Thread each, loop over core_next (crew.c)
 *   banyan-keeper  does for the core what needs the GIL: starts threads, interrupts one
 */
#include <Python.h>

#include "appserver/wsgi/workers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "appserver/core/core.h"
#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/warden.h"
#include "appserver/wsgi/call.h"
#include "appserver/wsgi/crew.h"
#include "protocol/base/log.h"

static const double JOIN_S = 5; /* for threads */

static struct crew *make_crew(const struct app_options *o, PyObject *app);
static enum turn await_turn(const struct worker_options *o);
static enum err
make_core(const struct worker_options *o, struct crew *crew, struct core **ret_core);
static bool begin(const struct worker_options *o, struct crew *crew, struct core *core);

int workers_run(const struct worker_options *options, PyObject *app)
{
    struct core *core = NULL;
    int code = EXIT_FAILURE;

    struct crew *crew = call_init() ? make_crew(options->app, app) : NULL;
    if (crew == NULL)
        (void)failure_report(NULL, "starting");
    else if (await_turn(options) == TURN_NEVER)
        code = EXIT_SUCCESS;
    else if (make_core(options, crew, &core) == ERR_NONE &&
             begin(options, crew, core)) {
        GIL_YIELD;
        code = warden_wait(options);
        if (!warden_drain(options->app, core))
            _exit(code);
    }
    if (crew != NULL && core != NULL && !crew_join(crew, JOIN_S))
        _exit(code);
    if (core != NULL) {
        GIL_YIELD;
        core_free(&core);
    }
    crew_free(&crew);
    return code;
}

/* ---- starting ---- */

static struct crew *make_crew(const struct app_options *o, PyObject *app)
{
    int64_t most = o->threads_max > o->threads ? o->threads_max : o->threads;
    struct crew_options options = {
        .environ = {.is_multithread = most > 1,
                    .is_multiprocess = o->processes > 1,
                    .root_path = o->root_path},
        .threads = (uint32_t)o->threads,
        .max_requests = warden_pick_limit(o),
        .on_served_out = warden_served_out,
    };

    return crew_new(app, &options);
}

static enum turn await_turn(const struct worker_options *o)
{
    warden_take_sigterm();
    worker_say_prepared(o);
    GIL_YIELD;
    return worker_turn(o, warden_fd(), -1);
}

static enum err
make_core(const struct worker_options *o, struct crew *crew, struct core **ret_core)
{
    const struct app_options *app = o->app;
    struct core_options options = {
        .endpoint = o->endpoint,
        .pool = app->pool,
        .interface = "wsgi",
        .threads = (uint32_t)app->threads,
        .threads_max = (uint32_t)(app->threads_max > app->threads ? app->threads_max
                                                                  : app->threads),
        .insecure = app->insecure,
        .keys = o->keys,
        .reread_fd = o->reread_fd,
        .processors = 1,
        .request_timeout_s = app->timeout_s,
    };
    struct core_events events = {
        .grow = crew_grow,
        .stuck = crew_interrupt,
        .stuck_again = warden_stuck,
        .arg = crew,
    };

    GIL_YIELD;
    enum err e = core_new(&options, &events, ret_core);
    if (e != ERR_NONE)
        log_error(NULL, "cannot serve at %s: %s", o->endpoint,
                  e == ERR_SYSTEM ? strerror(errno) : err_text(e));
    return e;
}

/* False: it was reported. */
static bool begin(const struct worker_options *o, struct crew *crew, struct core *core)
{
    if (!crew_start(crew, core)) {
        (void)failure_report(NULL, "starting the threads");
        core_drain(core);
        return false;
    }
    worker_say_ready(o);
    return true;
}
