/* SPDX-License-Identifier: MIT
 * The rules for one field of an answer, whichever interface it comes by: names are
 * tokens, values hold no control characters (RFC 9110 section 5), framing is not the
 * application's. */
#ifndef INTERP_FIELD_H
#define INTERP_FIELD_H

#include <Python.h>

#include <stdbool.h>

#include "appserver/interp/answer.h"
#include "protocol/base/check.h"

/* With the GIL; runs no Python code. Packs the field into `a`; Content-Length becomes
 * the answer's length, a field of the hop is left out (a->dropped). `name_shown` and
 * `value_shown` (borrowed) are what a message shows. False: an exception is set. */
MUST_CHECK bool field_add(struct answer *a,
                          struct slice name,
                          struct slice value,
                          PyObject *name_shown,
                          PyObject *value_shown);

/* With the GIL, which is yielded: after the last field_add, says that fields were
 * dropped, once per field and process. */
void field_log_dropped(const struct answer *a);

#endif
