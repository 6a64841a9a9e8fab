/* SPDX-License-Identifier: MIT
 * The `banyan` command: one verb, one function. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "deploy/banyan/serve.h"

enum { EXIT_USAGE = 2 };

static const struct {
    const char *name, *help;
    int (*run)(int argc, char **argv); /* argv[0] is the verb */
} VERBS[] = {
    {"serve", "serve a Python web application on this machine", serve_main},
};

static void keep_standard_descriptors(void);
static int print_help(FILE *to);

int main(int argc, char **argv)
{
    keep_standard_descriptors();
    if (argc < 2) {
        (void)print_help(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 ||
        strcmp(word, "help") == 0)
        return print_help(stdout);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        (void)printf("banyan %s\n", BANYAN_VERSION);
        return 0;
    }
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++) {
        if (strcmp(word, VERBS[i].name) == 0)
            return VERBS[i].run(argc - 1, argv + 1);
    }
    (void)fprintf(stderr, "banyan: unknown command %s; see banyan --help\n", word);
    return EXIT_USAGE;
}

/* What we open must not become somebody's standard output. */
static void keep_standard_descriptors(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void)close(fd);
}

static int print_help(FILE *to)
{
    (void)fprintf(to, "Usage: banyan COMMAND [ARGUMENTS]\n"
                      "       banyan --help | --version\n\nCommands:\n");
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++)
        (void)fprintf(to, "  %-8s %s (banyan %s --help)\n", VERBS[i].name,
                      VERBS[i].help, VERBS[i].name);
    return 0;
}
