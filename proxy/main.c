/* SPDX-License-Identifier: MIT
 * banyan-proxy: reads its options and runs the control thread. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/base/log.h"
#include "proxy/control.h"
#include "proxy/options.h"

enum { EXIT_USAGE = 2 };

static int refuse(const struct buf *message)
{
    fprintf(stderr, "banyan-proxy: %.*s\n", SLICE_FMT(buf_slice(message)));
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct config *config;
    struct buf message;
    buf_init(&message, 0);
    if (config_load(argc, argv, &config, &message) != ERR_NONE)
        return refuse(&message);
    buf_fini(&message);
    const struct proxy_options *options = &config->options;
    if (options->help) {
        option_help(&proxy_option_table, stdout);
        config_free(&config);
        return 0;
    }
    if (options->version) {
        puts("banyan-proxy " BANYAN_VERSION);
        config_free(&config);
        return 0;
    }

    enum log_level level;
    log_set_name("proxy");
    if (log_parse_level(options->log_level, &level))
        log_set_level(level);
    return control_run(&config);
}
