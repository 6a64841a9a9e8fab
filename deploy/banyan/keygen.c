/* SPDX-License-Identifier: MIT
 * Writes the secret file and prints what others may know. */
#include "deploy/banyan/keygen.h"

#include <stddef.h>
#include <stdio.h>

#include "protocol/base/option.h"
#include "protocol/key.h"

enum { EXIT_DONE, EXIT_REFUSED, EXIT_USAGE };

struct keygen_options {
    bool force, public, help;
};

#define ROW(field) offsetof(struct keygen_options, field)
static const struct option_row rows[] = {
    {"force", 0, OPTION_FLAG, ROW(force), NULL, NULL, 0, 0, "Options",
     "replace a key that is there"},
    {"public", 0, OPTION_FLAG, ROW(public), NULL, NULL, 0, 0, NULL,
     "make none: print the public key of the one that is there"},
    {"help", 'h', OPTION_FLAG, ROW(help), NULL, NULL, 0, 0, NULL, "this text"},
};
#undef ROW

const struct option_table keygen_option_table = {
    .program = "banyan keygen",
    .synopsis = "[--force] FILE\n       banyan keygen --public FILE",
    .summary = "Makes a key pair: FILE (mode 0600) is for --key and secret; the public "
               "key is printed,\nfor the others' --authorized-keys.",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
};

static bool
make(const char *path, bool force, struct key_pair *pair, struct buf *message)
{
    if (key_pair_make(pair))
        return key_file_write(path, pair, force, message);
    buf_addf(message, "this libzmq was built without CURVE: install one with it");
    return false;
}

int keygen_main(int argc, char **argv)
{
    struct keygen_options options = {0};
    struct key_pair pair = {0};
    struct buf message;
    int rest = argc, code = EXIT_DONE;
    buf_init(&message, 0);
    if (option_parse(&keygen_option_table, argc, argv, &options, &rest, &message) !=
        ERR_NONE) {
        code = EXIT_USAGE;
    } else if (options.help) {
        option_help(&keygen_option_table, stdout);
    } else if (argc - rest != 1) {
        buf_addf(&message, "one FILE is expected: banyan keygen FILE");
        code = EXIT_USAGE;
    } else {
        const char *path = argv[rest];
        bool ok = options.public ? key_file_read(path, &pair, &message)
                                 : make(path, options.force, &pair, &message);
        code = ok ? EXIT_DONE : EXIT_REFUSED;
        if (ok)
            (void)printf("%s\n", pair.public_key);
    }
    key_pair_wipe(&pair);
    if (buf_len(&message) > 0)
        (void)fprintf(stderr, "banyan keygen: %.*s\n", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return fflush(stdout) == 0 ? code : EXIT_REFUSED;
}
