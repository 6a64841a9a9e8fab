/* SPDX-License-Identifier: MIT
 * `banyan top`: asks proxies for their pools and backends again and again, and shows
 * them. */
#ifndef BANYAN_TOP_H
#define BANYAN_TOP_H

int top_main(int argc, char **argv);

#endif
