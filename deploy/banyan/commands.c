/* SPDX-License-Identifier: MIT
 * The table itself. */
#include "deploy/banyan/commands.h"

#include "deploy/banyan/completion.h"
#include "deploy/banyan/keygen.h"
#include "deploy/banyan/keys.h"
#include "deploy/banyan/serve.h"
#include "deploy/banyan/serve_options.h"
#include "deploy/banyan/top.h"

const struct command commands[] = {
    {"serve", "serve a Python web application on this machine", serve_main, "FILE",
     &serve_option_table},
    {"top", "pools and app servers of running proxies, live", top_main, "",
     &top_option_table},
    {"keygen", "make a key pair for tcp:// to other hosts", keygen_main, "FILE",
     &keygen_option_table},
    {"keys", "list or change whose keys are let in", keys_main,
     "FILE | add FILE proxy|app|viewer|operator|admin PUBLIC-KEY [LABEL] | "
     "remove FILE PUBLIC-KEY",
     NULL},
    {"completion", "print what bash or zsh needs to complete all this", completion_main,
     "bash|zsh", NULL},
};
const size_t command_count = sizeof commands / sizeof commands[0];
