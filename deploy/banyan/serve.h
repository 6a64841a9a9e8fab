/* SPDX-License-Identifier: MIT
 * `banyan serve`: one proxy and one app server with N workers, as children of this
 * process. */
#ifndef BANYAN_SERVE_H
#define BANYAN_SERVE_H

#include "protocol/base/check.h"

/* argv[0] is "serve". Returns the program's exit code when everything has stopped. */
MUST_CHECK int serve_main(int argc, char **argv);

#endif
