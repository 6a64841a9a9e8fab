/* SPDX-License-Identifier: MIT
 * banyan-app: reads the command line, then becomes the interpreter that was asked for
 * (which reads it again as `python -m banyan`), or embeds one. The two meet in
 * master_run(). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "appserver/interp/entry.h"
#include "appserver/launch.h"
#include "appserver/options.h"
#include "protocol/base/mem.h"

static bool prepare_environment(const struct app_options *options, struct buf *message);
static void become_python(const struct app_options *options,
                          int argc,
                          char **argv,
                          struct buf *message);

int main(int argc, char **argv)
{
    struct app_options options;
    struct buf message;
    int code = 1;

    if (!app_options_read(argc, argv, &options, &code))
        return code;
    buf_init(&message, 0);
    if (prepare_environment(&options, &message)) {
        if (options.embedded) {
            buf_fini(&message);
            return interp_embedded_main(argc, argv);
        }
        become_python(&options, argc, argv, &message);
    }
    (void)fprintf(stderr, "banyan-app: %.*s\n", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return 1;
}

/* --env and the place of our package; before the interpreter copies the environment. */
static bool prepare_environment(const struct app_options *options, struct buf *message)
{
    for (size_t i = 0; i < options->env.count; i++) {
        own(mem) char *name = mem_strdup(options->env.items[i]);
        char *equals = strchr(name, '=');
        *equals = '\0';
        if (setenv(name, equals + 1, 1) != 0) {
            buf_addf(message, "--env %s: %s", options->env.items[i], strerror(errno));
            return false;
        }
    }
    own(mem) char *package = launch_find_package(message);
    if (package == NULL)
        return false;
    const char *old = getenv("PYTHONPATH");
    own(mem) char *path = old == NULL || old[0] == '\0'
                              ? mem_strdup(package)
                              : mem_printf("%s:%s", package, old);
    return setenv("PYTHONPATH", path, 1) == 0;
}

/* Returns only when it failed. */
static void become_python(const struct app_options *options,
                          int argc,
                          char **argv,
                          struct buf *message)
{
    own(mem) char *python = launch_find_python(options->python, message);
    if (python == NULL)
        return;
    own(mem) char **words = mem_zalloc(((size_t)argc + 4) * sizeof *words);
    /* -P: a banyan.py that lies about must not be taken for ours. */
    char safe_path[] = "-P", module[] = "-m", name[] = "banyan";
    words[0] = python;
    words[1] = safe_path;
    words[2] = module;
    words[3] = name;
    for (int i = 1; i < argc; i++)
        words[3 + i] = argv[i];
    (void)execv(python, words);
    buf_addf(message, "cannot run %s: %s", python, strerror(errno));
}
