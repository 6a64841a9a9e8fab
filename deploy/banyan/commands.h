/* SPDX-License-Identifier: MIT
 * What the `banyan` program does itself; every other word is a proxy's to understand.
 */
#ifndef BANYAN_COMMANDS_H
#define BANYAN_COMMANDS_H

#include <stddef.h>

#include "protocol/base/option.h"

struct command {
    const char *name, *help;
    int (*run)(int argc, char **argv); /* argv[0] is the name */
    const char *arguments; /* for completion, as in the proxies' table of verbs */
    const struct option_table *options; /* NULL: none */
};
extern const struct command commands[];
extern const size_t command_count;

#endif
