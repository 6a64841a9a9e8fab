/* SPDX-License-Identifier: MIT
 * The endpoint of one worker process, made from --bind. Pure. */
#ifndef APPSERVER_ENDPOINT_H
#define APPSERVER_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"

/* Replaces {n} by `number` and {g} by `generation`; tcp://host:port without {n} gets
 * port + number. NULL: that port would pass 65535. Caller owns. */
MUST_CHECK char *
endpoint_expand(const char *bind, uint32_t number, uint32_t generation);

/* Whether `bind` gives each generation an endpoint of its own. */
bool endpoint_has_generation(const char *bind);

/* The file of an ipc:///path endpoint, borrowed from it; NULL: it has none. */
const char *endpoint_path(const char *endpoint);

#endif
