/* SPDX-License-Identifier: MIT
 * The control thread: opens the addresses, starts the edge threads, tells them who
 * their backends are, and takes the signals. It serves nothing itself. */
#ifndef PROXY_CONTROL_H
#define PROXY_CONTROL_H

#include "protocol/base/check.h"
#include "proxy/config/config.h"

/* Serves until SIGTERM or SIGINT; the process's exit code. Takes the configuration. */
MUST_CHECK int control_run(struct config **config_p);

#endif
