/* SPDX-License-Identifier: MIT
 * --key and --authorized-keys, for the master and the processes it forks. */
#include "appserver/identity.h"

#include "protocol/base/log.h"

static void say(struct buf *message, enum log_level level)
{
    if (buf_len(message) > 0)
        log_text(level, NULL, buf_slice(message));
    buf_fini(message);
}

bool identity_open(const struct app_options *options, struct keys **ret_keys)
{
    struct buf message;

    *ret_keys = NULL;
    if (options->key == NULL)
        return true;
    buf_init(&message, 0);
    *ret_keys = keys_open(options->key, options->authorized_keys, &message);
    say(&message, *ret_keys == NULL ? LOG_ERROR : LOG_WARN);
    return *ret_keys != NULL;
}

bool identity_reread(struct keys *keys)
{
    struct buf report;

    if (keys == NULL)
        return true;
    buf_init(&report, 0);
    bool ok = keys_reload(keys, &report);
    say(&report, ok ? LOG_INFO : LOG_ERROR);
    if (!ok)
        log_error(NULL, "the keys stay as they were, and so do the workers");
    return ok;
}
