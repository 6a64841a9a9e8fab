/* SPDX-License-Identifier: MIT
 * `banyan VERB ...`: carries an operator's words to proxies and prints what they
 * answer. It knows no verb; the table is the proxy's. */
#ifndef BANYAN_ADMIN_H
#define BANYAN_ADMIN_H

#include "protocol/base/check.h"

/* argv[0] is the program. The exit code: 0 done, 1 refused or invalid, 2 timed out, 3
 * no proxy reached, 4 not the same with every proxy. */
MUST_CHECK int admin_main(int argc, char **argv);

#endif
