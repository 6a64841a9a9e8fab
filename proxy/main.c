/* SPDX-License-Identifier: MIT
 * banyan-proxy: reads its options and runs the control thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/log.h"
#include "proxy/control.h"
#include "proxy/identity.h"
#include "proxy/options.h"

enum { EXIT_USAGE = 2 };

/* A line for each mistake; then it is done with the message. */
static int refuse(struct buf *message)
{
    struct slice rest = buf_slice(message);
    while (rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t length = end == NULL ? rest.len : (size_t)(end - rest.ptr);
        fprintf(stderr, "banyan-proxy: %.*s\n", (int)length, rest.ptr);
        length += end != NULL;
        rest = slice_of(rest.ptr + length, rest.len - length);
    }
    buf_fini(message);
    return EXIT_USAGE;
}

static int praise(struct config **config_p)
{
    struct buf text;
    buf_init(&text, 0);
    config_praise(*config_p, &text);
    printf("%.*s\n", SLICE_FMT(buf_slice(&text)));
    buf_fini(&text);
    config_free(config_p);
    return 0;
}

static int check(struct config **config_p)
{
    struct keys *keys;
    struct buf message;
    buf_init(&message, 0);
    if (identity_open(&(*config_p)->options, &keys, &message)) {
        buf_fini(&message);
        keys_free(&keys);
        return praise(config_p);
    }
    config_free(config_p);
    return refuse(&message);
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

    if (options->check)
        return check(&config);

    log_set_name("proxy");
    log_set_up(&options->log);
    return control_run(&config);
}
