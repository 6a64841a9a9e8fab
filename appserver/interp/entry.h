/* SPDX-License-Identifier: MIT
 * The two ways in: banyan-app with its own interpreter, and the module banyan._core
 * inside somebody else's. Both meet in entry_run. */
#ifndef INTERP_ENTRY_H
#define INTERP_ENTRY_H

#include "protocol/base/check.h"

/* The embedded program, from command line to exit code. */
MUST_CHECK int interp_embedded_main(int argc, char **argv);

/* With the GIL: reads the command line and runs the master. Returns the exit code of
 * the program; worker processes never return. */
MUST_CHECK int entry_run(int argc, char **argv);

#endif
