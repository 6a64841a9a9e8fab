/* SPDX-License-Identifier: MIT
 * Starting Python, when we are the program, and what both hosts do around an
 * application: search path, environment, logging before it is imported; what sys.exit()
 * would do at the end. */
#ifndef INTERP_INTERP_H
#define INTERP_INTERP_H

#include <stdbool.h>

#include "appserver/options.h"
#include "protocol/base/check.h"

/* The embedded interpreter: as --python, $VIRTUAL_ENV/bin/python or the one it was
 * built with would be, without signal handlers. Holds the GIL afterwards. False: it was
 * said why. */
MUST_CHECK bool interp_start(const struct app_options *options);

/* With the GIL, once, before the application is imported: sys.path, os.environ,
 * sys.argv, the log. False: an exception is set. */
MUST_CHECK bool interp_prepare(const struct app_options *options);

/* With the GIL, at the end of a worker process: what Py_Finalize would run of the
 * application (atexit, its non-daemon threads, flushing), without taking the
 * interpreter down. */
void interp_finish(void);

#endif
