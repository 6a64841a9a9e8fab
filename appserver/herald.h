/* SPDX-License-Identifier: MIT
 * The process that registers an app server's workers with its proxies. */
#ifndef APPSERVER_HERALD_H
#define APPSERVER_HERALD_H

#include "appserver/options.h"
#include "protocol/base/check.h"

enum {
    HERALD_RESOLVE_S = 2, /* names are looked up again so often */
    HERALD_ANSWER_S = 5,  /* a proxy that does not answer is connected to anew */
};

/* `fd`: of registrar.c, whose lines it follows until the other end is closed. Renews at
 * a third of --lease. */
NO_RETURN void herald_run(const struct app_options *options, int fd);

#endif
