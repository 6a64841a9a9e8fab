/* SPDX-License-Identifier: MIT
 * `banyan keygen`: a key pair for a program that speaks or listens on tcp://. */
#ifndef BANYAN_KEYGEN_H
#define BANYAN_KEYGEN_H

#include "protocol/base/option.h"

extern const struct option_table keygen_option_table;

/* argv[0] is the verb. Returns the program's exit code. */
int keygen_main(int argc, char **argv);

#endif
