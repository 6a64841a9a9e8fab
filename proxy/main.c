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
    static struct proxy_options options;
    struct buf message;
    buf_init(&message, 0);
    int rest = argc;
    if (option_parse(&proxy_option_table, argc, argv, &options, &rest, &message) !=
        ERR_NONE)
        return refuse(&message);
    if (options.help) {
        option_help(&proxy_option_table, stdout);
        return 0;
    }
    if (options.version) {
        puts("banyan-proxy " BANYAN_VERSION);
        return 0;
    }
    if (rest < argc) {
        buf_addf(&message, "\"%s\" is no option; see banyan-proxy --help", argv[rest]);
        return refuse(&message);
    }
    if (!proxy_options_check(&options, &message))
        return refuse(&message);
    buf_fini(&message);

    enum log_level level;
    log_set_name("proxy");
    if (log_parse_level(options.log_level, &level))
        log_set_level(level);
    return control_run(&options);
}
