/* SPDX-License-Identifier: MIT
 * The command line alone makes one pool, which takes every request. A file may name
 * more (file.c). Of the options the command line outranks the environment, and that the
 * file; what a pool says for itself outranks them all. */
#include "proxy/config/config.h"

#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/raw.h"
#include "proxy/upstream/balance.h"

void config_fill_pool(const struct proxy_options *o, struct config_pool *pool)
{
    pool->options = *o;
    pool->balancer = o->balance;
    pool->policy = o->policy;
    pool->site.max_queue = (uint32_t)o->max_queue;
    pool->site.buffering = o->buffering;
    pool->site.request_buffer = (uint64_t)o->request_buffer;
    pool->site.queue_timeout_us = (uint64_t)(o->queue_timeout_s * 1e6);
    pool->site.request_timeout_us = (uint64_t)(o->request_timeout_s * 1e6);
}

void config_use_command_line(struct config *config)
{
    const struct proxy_options *o = &config->options;
    struct config_pool *pool = mem_zalloc(sizeof(*pool));
    config->pools = pool;
    config->pool_count = 1;
    config_fill_pool(o, pool);
    memcpy(pool->site.name, CONFIG_DEFAULT_POOL, sizeof(CONFIG_DEFAULT_POOL));
    pool->backends = mem_zalloc((o->backend.count + 1) * sizeof(struct config_backend));
    pool->backend_count = o->backend.count;
    for (size_t i = 0; i < o->backend.count; i++) {
        struct proxy_backend b;
        bool ok = proxy_backend_parse(o->backend.items[i], i, &b);
        ASSERT(ok);
        struct config_backend *to = &pool->backends[i];
        memcpy(to->name, b.name, sizeof(to->name));
        memcpy(to->endpoint, b.endpoint, sizeof(to->endpoint));
        to->weight = WEIGHT_DEFAULT;
    }
}

static enum err load(struct config *config, int argc, char **argv, struct buf *message)
{
    struct proxy_options *o = &config->options;
    int rest = argc;
    enum err err = option_parse(&proxy_option_table, argc, argv, o, &rest, message);
    if (err != ERR_NONE || o->help || o->version)
        return err;
    if (rest < argc) {
        buf_addf(message, "\"%s\" is no option; see banyan-proxy --help", argv[rest]);
        return ERR_BAD_OPTION;
    }
    if (o->config != NULL)
        return config_use_file(config, argc, argv, message);
    if (!proxy_options_check(o, message))
        return ERR_BAD_OPTION;
    config_use_command_line(config);
    return ERR_NONE;
}

enum err
config_load(int argc, char **argv, struct config **ret_config, struct buf *ret_message)
{
    struct config *config = mem_zalloc(sizeof(*config));
    config->argc = argc;
    config->argv = argv;
    enum err err = load(config, argc, argv, ret_message);
    if (err == ERR_NONE)
        *ret_config = config;
    else
        config_free(&config);
    return err;
}

void config_free(struct config **config_p)
{
    struct config *config = *config_p;
    if (config == NULL)
        return;
    node_leave(&config->node);
    for (size_t i = 0; i < config->pool_count; i++)
        mem_free(&config->pools[i].backends);
    mem_free(&config->pools);
    mem_free(&config->routes);
    raw_free(&config->raw);
    mem_free(config_p);
}

void config_praise(const struct config *config, struct buf *to)
{
    const char *path = config->options.config;
    size_t backends = 0;
    for (size_t i = 0; i < config->pool_count; i++)
        backends += config->pools[i].backend_count;
    buf_addf(to, "%s is good: pools %zu, app servers %zu, routes %zu",
             path == NULL ? "the command line" : path, config->pool_count, backends,
             config->route_count);
}

enum err
config_check_file(const struct config *config, const char *path, struct buf *ret_report)
{
    if (path == NULL)
        path = config->options.config;
    ASSERT(path != NULL);
    /* Of an option that is said twice the last one counts. */
    own(mem) char *word = mem_printf("--config=%s", path);
    own(mem) char **argv = mem_alloc(((size_t)config->argc + 2) * sizeof *argv);
    memcpy(argv, config->argv, (size_t)config->argc * sizeof *argv);
    argv[config->argc] = word;
    argv[config->argc + 1] = NULL;
    struct config *other = NULL;
    enum err err = config_load(config->argc + 1, argv, &other, ret_report);
    if (err == ERR_NONE)
        config_praise(other, ret_report);
    config_free(&other);
    return err;
}

const struct config_pool *config_find_pool(const struct config *config,
                                           const char *name)
{
    for (size_t i = 0; i < config->pool_count; i++)
        if (strcmp(config->pools[i].site.name, name) == 0)
            return &config->pools[i];
    return NULL;
}

const struct config_backend *config_find_backend(const struct config_pool *pool,
                                                 const char *name)
{
    for (size_t i = 0; i < pool->backend_count; i++)
        if (strcmp(pool->backends[i].name, name) == 0)
            return &pool->backends[i];
    return NULL;
}
