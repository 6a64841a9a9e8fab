/* SPDX-License-Identifier: MIT
 * The steps of proxy_options_check. */
#ifndef PROXY_OPTIONS_PRIV_H
#define PROXY_OPTIONS_PRIV_H

#include "proxy/options.h"

struct option_word {
    const char *text;
    int value;
};

/* In any case. False: none of the `count` words; the message names them. */
MUST_CHECK bool options_pick_word(const char *option,
                                  const char *given,
                                  const struct option_word *words,
                                  size_t count,
                                  int *ret_value,
                                  struct buf *ret_message);
/* options->policy. */
MUST_CHECK bool options_fill_policy(struct proxy_options *options,
                                    struct buf *ret_message);

#endif
