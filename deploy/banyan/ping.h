/* SPDX-License-Identifier: MIT
 * `banyan ping ENDPOINT`: is an app server there? For health checks of containers,
 * hence without keys: what every ZeroMQ socket says first is proof enough that the
 * process listens, which it does once its application is imported. */
#ifndef BANYAN_PING_H
#define BANYAN_PING_H

#include <stdbool.h>

#include "protocol/base/check.h"

/* tcp://HOST:PORT, tcp://[V6]:PORT or ipc:///path: not a word for a proxy. */
MUST_CHECK bool ping_is_endpoint(const char *text);

/* Says "pong" (exit code 0), or why not on standard error (3, in at most 5 s). */
MUST_CHECK int ping_endpoint(const char *endpoint);

#endif
