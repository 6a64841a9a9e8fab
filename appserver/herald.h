/* SPDX-License-Identifier: MIT
 * The process that registers an app server's workers with its proxies. */
#ifndef APPSERVER_HERALD_H
#define APPSERVER_HERALD_H

#include "appserver/options.h"
#include "protocol/base/check.h"

struct keys;

enum {
    HERALD_RESOLVE_S = 2,  /* names are looked up again so often */
    HERALD_SEEK_MS = 250,  /* likewise while one of them is not known */
    HERALD_ANSWER_S = 5,   /* a proxy that does not answer is connected to anew */
    HERALD_AGAIN_MS = 100, /* from a connection's end to the next one */
    HERALD_ROUND_S = 1,    /* between two rounds of all keys that a proxy might have */
};

/* `keys`: of the process that was forked; NULL: none. `fd`: of registrar.c, whose lines
 * it follows until the other end is closed. Renews at a third of --lease. */
NO_RETURN void herald_run(const struct app_options *options, struct keys *keys, int fd);

#endif
