/* SPDX-License-Identifier: MIT
 * Key files and allow-lists of a test, in a directory of its own. */
#ifndef TESTS_KEY_FILES_H
#define TESTS_KEY_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "protocol/keys.h"

static char key_directory[64];

static UNUSED int setup_key_files(void **state)
{
    (void)state;
    strcpy(key_directory, "/tmp/banyan-keys-XXXXXX");
    return mkdtemp(key_directory) == NULL ? -1 : 0;
}

static UNUSED int teardown_key_files(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", key_directory);
    return system(command);
}

static UNUSED char *key_path(const char *name) /* caller owns */
{
    return mem_printf("%s/%s", key_directory, name);
}

static UNUSED void write_text(const char *name, const char *text, unsigned mode)
{
    own(mem) char *path = key_path(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, (mode_t)mode), 0);
}

static UNUSED struct key_pair make_pair(void)
{
    struct key_pair pair;
    assert_true(key_pair_make(&pair));
    return pair;
}

static UNUSED void write_pair(const char *name, const struct key_pair *pair)
{
    own(mem) char *path = key_path(name);
    struct buf message;
    buf_init(&message, 0);
    if (!key_file_write(path, pair, true, &message))
        fail_msg("%.*s", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
}

/* Of the files "key" and "list". */
static UNUSED struct keys *open_keys(void)
{
    own(mem) char *key = key_path("key");
    own(mem) char *list = key_path("list");
    struct buf message;
    buf_init(&message, 0);
    struct keys *keys = keys_open(key, list, &message);
    if (keys == NULL)
        fail_msg("%.*s", SLICE_FMT(buf_slice(&message)));
    assert_int_equal(buf_len(&message), 0);
    buf_fini(&message);
    return keys;
}

static UNUSED void assert_says(const struct buf *message, const char *part)
{
    own(mem) char *text = mem_printf("%.*s", SLICE_FMT(buf_slice(message)));
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

#endif
