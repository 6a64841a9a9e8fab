/* SPDX-License-Identifier: MIT
 * Files become keys; refusals become lines of the log. */
#include "proxy/identity.h"

#include "protocol/base/log.h"

bool identity_open(const struct proxy_options *options,
                   struct keys **ret_keys,
                   struct buf *ret_message)
{
    struct buf said;
    *ret_keys = NULL;
    if (options->key == NULL)
        return true;
    buf_init(&said, 0);
    *ret_keys = keys_open(options->key, options->authorized_keys, &said);
    if (*ret_keys == NULL)
        buf_addf(ret_message, "--key, --authorized-keys: %.*s",
                 SLICE_FMT(buf_slice(&said)));
    else if (buf_len(&said) > 0)
        log_warn(NULL, "--key: %.*s", SLICE_FMT(buf_slice(&said)));
    buf_fini(&said);
    return *ret_keys != NULL;
}

static void on_refused(void *arg, const char *text)
{
    (void)arg;
    log_warn(NULL, "%s", text);
}

const struct zap_events identity_events = {.refused = on_refused};
