/* SPDX-License-Identifier: MIT
 * What a worker process does about itself, right after fork. */
#ifndef APPSERVER_CHILD_H
#define APPSERVER_CHILD_H

#include <signal.h>
#include <stdint.h>

#include "appserver/options.h"

/* Its name, its scheduling and its signals (master.h); `mask` is the one that the
 * master started with. */
void child_prepare(const struct app_options *options,
                   uint32_t number,
                   const sigset_t *mask);

#endif
