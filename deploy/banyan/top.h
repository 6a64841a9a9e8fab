/* SPDX-License-Identifier: MIT
 * `banyan top`: asks proxies for their pools and backends again and again, and shows
 * them. */
#ifndef BANYAN_TOP_H
#define BANYAN_TOP_H

#include "protocol/base/option.h"

extern const struct option_table top_option_table;

int top_main(int argc, char **argv);

#endif
