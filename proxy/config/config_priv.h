/* SPDX-License-Identifier: MIT
 * The steps of loading a configuration. */
#ifndef CONFIG_CONFIG_PRIV_H
#define CONFIG_CONFIG_PRIV_H

#include "proxy/config/config.h"

/* What the options say for every pool. */
void config_fill_pool(const struct proxy_options *o, struct config_pool *pool);
/* The one pool of --backend. */
void config_use_command_line(struct config *config);
/* Reads options.config and fills the rest. */
MUST_CHECK enum err
config_use_file(struct config *config, int argc, char **argv, struct buf *message);

#endif
