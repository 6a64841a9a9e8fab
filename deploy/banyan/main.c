/* SPDX-License-Identifier: MIT
 * The `banyan` command: what this program does itself (commands.c), or what a proxy
 * understands (admin.c). */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "deploy/banyan/admin.h"
#include "deploy/banyan/commands.h"
#include "deploy/banyan/ping.h"

enum { EXIT_USAGE = 2 };

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
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return print_help(stdout);
    bool is_help = argc == 2 && strcmp(word, "help") == 0;
    if (is_help)
        (void)print_help(stdout);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        (void)printf("banyan %s\n", BANYAN_VERSION);
        return 0;
    }
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (argc == 3 && strcmp(word, "ping") == 0 && ping_is_endpoint(argv[2]))
        return ping_endpoint(argv[2]);
    int code = admin_main(argc, argv);
    return is_help ? 0 : code; /* without a proxy it was some help */
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
    (void)fprintf(
        to, "Usage: banyan COMMAND [ARGUMENTS]\n"
            "       banyan [--proxy ADDRESS]... [--json] [--timeout SECONDS] VERB ...\n"
            "       banyan ping ENDPOINT\n"
            "       banyan --help | --version\n\nCommands:\n");
    for (size_t i = 0; i < command_count; i++)
        (void)fprintf(to, "  %-10s %s (banyan %s --help)\n", commands[i].name,
                      commands[i].help, commands[i].name);
    (void)fprintf(to, "  %-8s %s\n", "ping",
                  "ENDPOINT: is an app server there? tcp://HOST:PORT or ipc:///path");
    (void)fprintf(
        to,
        "\nVerbs are for proxies that run: `banyan help` asks one which there "
        "are, e.g. show backends,\ndrain NAME. --proxy, a path or "
        "tcp://HOST:PORT, is repeatable; without it $BANYAN_PROXY,\n"
        "/run/banyan/control.sock, or the one `banyan serve` of this user. A tcp:// "
        "that demands keys\ntakes --key FILE ($BANYAN_KEY) and --proxy-key KEY "
        "($BANYAN_PROXY_KEY). Exit codes: 0 done,\n1 refused, 2 timed out, 3 no "
        "proxy reached, 4 not the same with every proxy.\n");
    return 0;
}
