/* SPDX-License-Identifier: MIT
 * The core's life: made after fork, drained, freed when its workers have left. */
#include "appserver/core/core.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "appserver/core/core_priv.h"
#include "protocol/base/log.h"
#include "protocol/link.h"

enum { LINK_SOCKETS = 16 };

static void init_lists(struct core *core);
static enum err use_keys(struct core *core);
static enum err make_page(struct core *core);
static void free_requests(struct list *l);

enum err core_new(const struct core_options *options,
                  const struct core_events *events,
                  struct core **ret_core)
{
    ASSERT(options->threads > 0 && options->threads_max >= options->threads);
    struct core *core = mem_zalloc(sizeof(*core));
    enum err e = ERR_NONE;

    core->magic = CORE_MAGIC;
    core->options = *options;
    core->events = *events;
    core->slots = options->threads;
    /* A loop's requests all wait, as far as the scheduler knows. */
    core->processors =
        options->processors == 0 || options->is_loop ? UINT32_MAX : options->processors;
    init_lists(core);
    if (getrandom(&core->instance, sizeof(core->instance), 0) !=
        (ssize_t)sizeof(core->instance))
        core->instance = clock_now_us();
    core->owns_context = options->context == NULL;
    core->context =
        core->owns_context ? link_context_new(LINK_SOCKETS) : options->context;
    e = use_keys(core);
    if (e == ERR_NONE)
        e = reader_init(core);
    if (e == ERR_NONE)
        e = make_page(core);
    if (e == ERR_NONE && core->options.is_loop)
        e = loop_init(core);
    if (e == ERR_NONE)
        e = watch_start(core);
    if (e != ERR_NONE) {
        int saved = errno;
        core_free(&core);
        errno = saved;
        return e;
    }
    core->is_watched = true;
    *ret_core = core;
    return ERR_NONE;
}

void core_free(struct core **core_p)
{
    struct core *core = *core_p;

    if (core == NULL)
        return;
    CHECK_OBJ(core, CORE_MAGIC);
    ASSERT(core->worker_count == 0);
    if (core->is_watched)
        watch_stop(core);
    loop_fini(core);
    reader_fini(core);
    free_requests(&core->inbox);
    peers_fini(core);
    free_requests(&core->recycled);
    free_requests(&core->fresh);
    outbox_fini(&core->outbox);
    if (core->page != NULL)
        page_free(&core->page);
    mem_free(&core->page_path);
    if (core->owns_context)
        link_context_free(&core->context);
    (void)pthread_cond_destroy(&core->drained);
    (void)pthread_mutex_destroy(&core->lock);
    core->magic = 0;
    mem_free(core_p);
}

void core_drain(struct core *core)
{
    atomic_store(&core->drain_asked, true);
    watch_rouse(core);
}

bool core_wait_drained(struct core *core, uint64_t timeout_us)
{
    uint64_t until = clock_now_us() + timeout_us;
    struct timespec limit = {.tv_sec = (time_t)(until / 1000000),
                             .tv_nsec = (long)(until % 1000000) * 1000};
    int rc = 0;

    core_lock(core);
    while (core->state != CORE_DRAINED && rc == 0)
        rc = pthread_cond_timedwait(&core->drained, &core->lock, &limit);
    bool drained = core->state == CORE_DRAINED;
    core_unlock(core);
    return drained;
}

void core_stats(struct core *core, struct core_stats *ret_stats)
{
    (void)pthread_mutex_lock(&core->reader.io);
    core_lock(core);
    *ret_stats = (struct core_stats){
        .requests = core->counters.requests,
        .returned = core->counters.returned,
        .cancelled = core->counters.cancelled,
        .dropped_frames = core->counters.dropped_frames,
        .bad_frames = core->counters.bad_frames,
        .messages_in = core->reader.messages_in,
        .messages_out = core->reader.messages_out,
        .running = core_open(core),
        .waiting = core->waiting,
        .workers = core->worker_count,
    };
    core_unlock(core);
    (void)pthread_mutex_unlock(&core->reader.io);
}

static void init_lists(struct core *core)
{
    pthread_condattr_t monotonic;

    ASSERT(pthread_mutex_init(&core->lock, NULL) == 0);
    ASSERT(pthread_condattr_init(&monotonic) == 0);
    ASSERT(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_cond_init(&core->drained, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    core->loop.fd = core->loop.timer_fd = -1;
    list_init(&core->loop.news);
    list_init(&core->inbox);
    list_init(&core->idle);
    list_init(&core->busy);
    list_init(&core->recycled);
    list_init(&core->fresh);
    peers_init(&core->peers);
    outbox_init(&core->outbox);
}

/* In the ZAP handler's thread. */
static void on_refused(void *arg, const char *text)
{
    (void)arg;
    log_warn(NULL, "%s", text);
}

static void on_reread(void *arg, const char *text, bool is_bad)
{
    (void)arg;
    if (*text != '\0')
        log_text(is_bad ? LOG_ERROR : LOG_INFO, NULL, slice_from(text));
}

static enum err use_keys(struct core *core)
{
    static const struct zap_events events = {.refused = on_refused,
                                             .reread = on_reread};
    const struct core_options *o = &core->options;

    if (o->keys == NULL || link_endpoint_is_local(o->endpoint))
        return ERR_NONE;
    return link_context_use_keys(core->context, o->keys, o->reread_fd, &events);
}

/* Beside the socket, where proxies of this host find it. Other endpoints have none. */
static enum err make_page(struct core *core)
{
    static const char scheme[] = "ipc://";
    const char *endpoint = core->options.endpoint;

    if (strncmp(endpoint, scheme, sizeof(scheme) - 1) != 0)
        return ERR_NONE;
    core->page_path = mem_printf("%s.page", endpoint + sizeof(scheme) - 1);
    return page_create(core->page_path, core->instance, &core->page);
}

static void free_requests(struct list *l)
{
    struct node *n;

    while ((n = list_pop_front(l)) != NULL) {
        struct request *r = NODE_OF(n, struct request, node);
        body_drop(r);
        request_dispose(r);
    }
}
