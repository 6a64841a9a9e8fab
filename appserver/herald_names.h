/* SPDX-License-Identifier: MIT
 * The addresses behind the names of --register, looked up again and again by a thread
 * of their own. */
#ifndef APPSERVER_HERALD_NAMES_H
#define APPSERVER_HERALD_NAMES_H

#include <stdbool.h>

#include "protocol/addresses.h"
#include "protocol/base/check.h"
#include "protocol/base/option.h"

struct herald_names;

/* Borrows the list. It looks for as long as the process lives. */
MUST_CHECK struct herald_names *herald_names_new(const struct option_list *endpoints);
int herald_names_fd(const struct herald_names *names); /* readable: take */
/* All of them, each once; a name that could not be looked up keeps what it had. False:
 * nothing new. */
MUST_CHECK bool herald_names_take(struct herald_names *names,
                                  struct addresses *ret_addresses);

/* Our own address on the way to `endpoint`, as it stands in one. */
MUST_CHECK bool herald_own_host(const char *endpoint, char ret_host[ADDRESS_BYTES]);

#endif
