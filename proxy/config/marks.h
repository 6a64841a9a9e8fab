/* SPDX-License-Identifier: MIT
 * Where in a YAML text something stands, for what is wrong in it beyond its grammar. */
#ifndef CONFIG_MARKS_H
#define CONFIG_MARKS_H

#include <stddef.h>

#include "protocol/base/check.h"
#include "protocol/base/slice.h"

struct mark { /* both from 1 */
    size_t line, column;
};

struct marks;
/* NULL: it is not one document of YAML, for the reason (a constant text) at the mark.
 */
MUST_CHECK struct marks *
marks_new(struct slice text, struct mark *ret_mark, const char **ret_reason);
void marks_free(struct marks **marks_p);

/* Of "pools[2].backends[0].endpoint"; of what is there on the way to it, when it is
 * not. */
struct mark marks_find(struct marks *marks, const char *path);
/* Of the first key of that name at or behind a place; the place, when there is none. */
struct mark marks_find_key(struct marks *marks, const char *key, struct mark from);

#endif
