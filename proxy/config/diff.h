/* SPDX-License-Identifier: MIT
 * What differs between two configurations. */
#ifndef CONFIG_DIFF_H
#define CONFIG_DIFF_H

#include "proxy/config/config.h"

enum change_kind {
    CHANGE_OPTION,
    CHANGE_FOR_RESTART, /* an option that is read at the start only */
    CHANGE_POOL_ADDED,
    CHANGE_POOL_REMOVED,
    CHANGE_POOL,     /* its settings */
    CHANGE_ADDED,    /* a backend, of a new pool too */
    CHANGE_REMOVED,  /* a backend; those of a removed pool are not named */
    CHANGE_SETTINGS, /* weight, limit */
    CHANGE_ROUTES,
};

struct config_change {
    enum change_kind kind;
    const struct config_pool *pool; /* of the new configuration; REMOVED: of the old */
    const struct config_backend *backend;
    const char *text; /* for people; lives for the call */
};

/* The options first; those for a restart against the configuration of the start, so
 * that they are told until they are restarted for. A backend with another endpoint is
 * removed, then added. */
void config_diff(const struct config *started,
                 const struct config *from,
                 const struct config *to,
                 void (*tell)(void *arg, const struct config_change *change),
                 void *arg);
/* Whether it takes effect without a restart. */
bool config_is_live(const struct option_row *row);

#endif
