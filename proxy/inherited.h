/* SPDX-License-Identifier: MIT
 * Descriptors that whoever started this process left open for it: LISTEN_FDS,
 * LISTEN_FDNAMES, LISTEN_PID, as systemd's socket activation and an upgrade (upgrade.h)
 * do it. Alone knows libsystemd's side of that. */
#ifndef PROXY_INHERITED_H
#define PROXY_INHERITED_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/base/check.h"
#include "proxy/bind.h"

/* What an upgrade calls a listening socket that its proxy opened for `text`, an
 * address; what has come from elsewhere keeps its name. */
#define INHERITED_OPENED "banyan-opened "

struct inherited;

/* None: an empty one. Takes them out of the environment's reach: they are closed by an
 * exec. */
MUST_CHECK struct inherited *inherited_new(void);
/* Closes what nobody took. */
void inherited_free(struct inherited **inherited_p);
/* Closes what nobody took so far. */
void inherited_close(struct inherited *inherited);
size_t inherited_count(const struct inherited *inherited); /* not taken */

/* The next one of that name, the caller's from here on; -1: no more. */
MUST_CHECK int inherited_take(struct inherited *inherited, const char *name);
/* The next socket that listens there, and in ret_name (caller owns) what it is called.
 * Port 0: the host only, of those that were opened for `text`. -1: no more. */
MUST_CHECK int inherited_take_at(struct inherited *inherited,
                                 const struct bind_place *at,
                                 const char *text,
                                 char **ret_name);
/* INHERITED_OPENED with the text in it, as a name may be; caller owns. */
MUST_CHECK char *inherited_name_for(const char *text);

#endif
