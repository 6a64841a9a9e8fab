/* SPDX-License-Identifier: MIT
 * The control thread: opens the addresses, starts the edge threads, tells them who
 * their backends are, and takes the signals. It serves nothing itself. */
#ifndef PROXY_CONTROL_H
#define PROXY_CONTROL_H

#include "protocol/base/check.h"
#include "proxy/config/config.h"

struct control;

/* Serves until SIGTERM or SIGINT; the process's exit code. Takes the configuration. */
MUST_CHECK int control_run(struct config **config_p);

/* Reads the configuration again, for `by`. True: it is in force, and ret_report (an own
 * buf) has a line for each change, and for each that takes a restart. False: nothing
 * has changed, ret_report has a line for each mistake. The same lines are logged. No
 * connection is closed; app servers that are not named any more finish what runs there.
 */
MUST_CHECK bool
control_reload(struct control *c, const char *by, struct buf *ret_report);

#endif
