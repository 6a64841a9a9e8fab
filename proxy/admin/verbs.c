/* SPDX-License-Identifier: MIT
 * The table itself. */
#include "proxy/admin/admin_priv.h"

const struct verb verbs[] = {
#define VERB(words, role, effect, least, most, keys, arguments, help, function)        \
    {words, ROLE_##role, VERB_##effect, least, most, keys, arguments, help, function},
#include "proxy/admin/verbs.def"
#undef VERB
};
const size_t verb_count = sizeof verbs / sizeof verbs[0];
