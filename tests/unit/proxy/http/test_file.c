/* SPDX-License-Identifier: MIT
 * proxy/http/file.c: only the very file that is meant, only below the roots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/http/file.h"

enum { FILE_BYTES = 100 };

static char directory[] = "/tmp/banyan-test-file-XXXXXX";

static const char *in_directory(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static int make_files(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL || mkdir(in_directory("root"), 0700) != 0 ||
        mkdir(in_directory("rootless"), 0700) != 0 ||
        mkfifo(in_directory("root/pipe"), 0600) != 0)
        return -1;
    static const char *const files[] = {"root/file", "rootless/file"};
    for (int i = 0; i < 2; i++) {
        FILE *file = fopen(in_directory(files[i]), "w");
        fprintf(file, "%*s", FILE_BYTES, "x");
        fclose(file);
    }
    char target[256];
    (void)snprintf(target, sizeof(target), "%s/rootless", directory);
    if (symlink(target, in_directory("root/out")) != 0 ||
        symlink("file", in_directory("root/link")) != 0)
        return -1;
    (void)snprintf(target, sizeof(target), "%s/root", directory);
    return symlink(target, in_directory("alias"));
}

static int remove_files(void **state)
{
    (void)state;
    static const char *const names[] = {"root/file",     "root/pipe", "root/out",
                                        "root/link",     "root",      "alias",
                                        "rootless/file", "rootless"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)remove(in_directory(names[i]));
    return rmdir(directory);
}

/* Whether the file is opened; `real` is whose device and inode the application names.
 */
static bool opens(const char *name, const char *real, uint64_t offset, uint64_t length)
{
    const char *root = in_directory("root");
    struct file_roots *roots = file_roots_new(&root, 1);
    struct stat status = {0};
    assert_int_equal(stat(in_directory(real), &status), 0);
    int fd = file_open(roots, slice_from(in_directory(name)), status.st_dev,
                       status.st_ino, offset, length);
    if (fd >= 0)
        close(fd);
    file_roots_free(&roots);
    return fd >= 0;
}

static void opens_what_lies_below_a_root(void **state)
{
    (void)state;
    assert_true(opens("root/file", "root/file", 0, FILE_BYTES));
    assert_true(opens("root/file", "root/file", FILE_BYTES, 0));
    assert_true(
        opens("alias/file", "root/file", 1, 1)); /* where it really lies counts */
    assert_true(opens("root/../root/file", "root/file", 0, 1));
}

static void refuses_everything_else(void **state)
{
    (void)state;
    static const struct {
        const char *why, *name, *real;
        uint64_t offset, length;
    } rows[] = {
        {"a root's name is not a prefix", "rootless/file", "rootless/file", 0, 1},
        {"dots lead out", "root/../rootless/file", "rootless/file", 0, 1},
        {"a linked directory leads out", "root/out/file", "rootless/file", 0, 1},
        {"a symbolic link", "root/link", "root/file", 0, 1},
        {"another inode", "root/file", "rootless/file", 0, 1},
        {"a named pipe", "root/pipe", "root/pipe", 0, 0},
        {"a directory", "root", "root", 0, 0},
        {"nothing there", "root/none", "root/file", 0, 0},
        {"longer than the file", "root/file", "root/file", 0, FILE_BYTES + 1},
        {"beyond its end", "root/file", "root/file", FILE_BYTES + 1, 0},
        {"a length that overflows", "root/file", "root/file", 1, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (opens(rows[i].name, rows[i].real, rows[i].offset, rows[i].length))
            fail_msg("opened: %s", rows[i].why);
}

static void refuses_names_that_are_no_paths(void **state)
{
    (void)state;
    const char *root = "/";
    struct file_roots *roots = file_roots_new(&root, 1);
    struct stat status;
    assert_int_equal(stat("/proc/self/exe", &status), 0);
    char long_name[8192];
    memset(long_name, '/', sizeof(long_name));
    assert_int_equal(file_open(roots, SLICE(""), 0, 0, 0, 0), -1);
    assert_int_equal(file_open(roots, SLICE("relative"), 0, 0, 0, 0), -1);
    assert_int_equal(file_open(roots, SLICE("/etc\0/passwd"), 0, 0, 0, 0), -1);
    assert_int_equal(
        file_open(roots, slice_of(long_name, sizeof(long_name)), 0, 0, 0, 0), -1);
    file_roots_free(&roots);
}

static void without_roots_nothing_is_opened(void **state)
{
    (void)state;
    const char *missing = "/nonexistent";
    struct file_roots *roots = file_roots_new(&missing, 1);
    struct stat status;
    assert_int_equal(stat(in_directory("root/file"), &status), 0);
    assert_int_equal(file_open(roots, slice_from(in_directory("root/file")),
                               status.st_dev, status.st_ino, 0, 1),
                     -1);
    file_roots_free(&roots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_lies_below_a_root),
        cmocka_unit_test(refuses_everything_else),
        cmocka_unit_test(refuses_names_that_are_no_paths),
        cmocka_unit_test(without_roots_nothing_is_opened),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
