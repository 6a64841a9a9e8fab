/* SPDX-License-Identifier: MIT
 * deploy/banyan/rundir.c in a directory of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deploy/banyan/rundir.h"
#include "protocol/base/mem.h"

static char base[32];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(base, sizeof base, "/tmp/test-rundir-XXXXXX");
    assert_non_null(mkdtemp(base));
    (void)unsetenv("XDG_RUNTIME_DIR");
    return setenv("TMPDIR", base, 1);
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(base); /* fails when something was left in it */
}

static struct rundir *make(void)
{
    struct buf message;
    buf_init(&message, 0);
    struct rundir *dir = rundir_new(&message);
    assert_non_null(dir);
    buf_fini(&message);
    return dir;
}

static void touch(const char *directory, const char *name)
{
    own(mem) char *path = mem_printf("%s/%s", directory, name);
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
}

static void is_private_and_goes_with_all_its_files(void **state)
{
    (void)state;
    struct stat st;
    struct rundir *dir = make();
    own(mem) char *path = mem_strdup(rundir_path(dir));
    own(mem) char *start = mem_printf("%s/banyan-%d-", base, (int)getpid());
    assert_memory_equal(path, start, strlen(start));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    touch(path, "app-0.sock");
    touch(path, "app-0.sock.page");
    rundir_free(&dir);
    assert_null(dir);
    assert_int_equal(stat(path, &st), -1);
}

static void prefers_the_runtime_directory(void **state)
{
    (void)state;
    assert_int_equal(setenv("XDG_RUNTIME_DIR", base, 1), 0);
    assert_int_equal(setenv("TMPDIR", "/nonexistent", 1), 0);
    struct rundir *dir = make();
    assert_memory_equal(rundir_path(dir), base, strlen(base));
    rundir_free(&dir);
}

static void takes_the_next_place_when_one_cannot_be_used(void **state)
{
    (void)state;
    char longer[128];
    (void)snprintf(longer, sizeof longer, "%s/%090d", base, 0);
    assert_int_equal(mkdir(longer, 0700), 0);
    static const char *const BAD[] = {"/nonexistent", "relative", ""};
    for (size_t i = 0; i <= sizeof BAD / sizeof BAD[0]; i++) {
        const char *bad = i == sizeof BAD / sizeof BAD[0] ? longer : BAD[i];
        assert_int_equal(setenv("XDG_RUNTIME_DIR", bad, 1), 0);
        struct rundir *dir = make();
        assert_memory_equal(rundir_path(dir), base, strlen(base));
        assert_in_range(strlen(rundir_path(dir)), 1, 80);
        rundir_free(&dir);
    }
    assert_int_equal(rmdir(longer), 0);
}

/* A child makes one and dies without removing it. */
static char *abandoned(bool *alive_p, int *hold_p)
{
    int paths[2], hold[2];
    char path[128] = "";
    assert_int_equal(pipe(paths), 0);
    assert_int_equal(pipe(hold), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rundir *dir = make();
        touch(rundir_path(dir), "app-0.sock");
        const char *name = rundir_path(dir);
        (void)!write(paths[1], name, strlen(name));
        (void)close(hold[1]);
        char byte;
        if (alive_p != NULL)
            (void)!read(hold[0], &byte, 1);
        _exit(0);
    }
    assert_true(read(paths[0], path, sizeof path - 1) > 0);
    (void)close(paths[0]);
    (void)close(paths[1]);
    (void)close(hold[0]);
    if (alive_p == NULL) {
        (void)close(hold[1]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    } else {
        *hold_p = hold[1];
    }
    return mem_strdup(path);
}

static void removes_what_a_killed_supervisor_left(void **state)
{
    (void)state;
    struct stat st;
    own(mem) char *left = abandoned(NULL, NULL);
    assert_int_equal(stat(left, &st), 0);
    struct rundir *dir = make();
    assert_int_equal(stat(left, &st), -1);
    rundir_free(&dir);
}

static void leaves_what_a_living_one_uses(void **state)
{
    (void)state;
    struct stat st;
    bool alive;
    int hold;
    own(mem) char *used = abandoned(&alive, &hold);
    struct rundir *dir = make();
    assert_int_equal(stat(used, &st), 0);
    rundir_free(&dir);
    (void)close(hold);
    (void)wait(NULL);
    dir = make();
    assert_int_equal(stat(used, &st), -1);
    rundir_free(&dir);
}

/* A PID means nothing in another namespace: PID 1 of every container lives. */
static void the_lock_tells_whatever_the_pid_says(void **state)
{
    (void)state;
    struct stat st;
    own(mem) char *path = mem_printf("%s/banyan-%d-abcdef", base, (int)getpid());
    assert_int_equal(mkdir(path, 0700), 0);
    own(mem) char *lock = mem_printf("%s/lock", path);
    int fd = open(lock, O_CREAT | O_RDWR, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    struct rundir *dir = make();
    assert_int_equal(stat(path, &st), 0);
    rundir_free(&dir);
    (void)close(fd);
    dir = make();
    assert_int_equal(stat(path, &st), -1);
    rundir_free(&dir);
}

static void leaves_directories_of_other_names_and_modes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        mode_t mode;
    } OTHERS[] = {
        {"banyan-2147483646-abcde", 0700},  {"banyan--abcdef", 0700},
        {"banyan-x-abcdef", 0700},          {"banyan", 0700},
        {"banyan-2147483646-abcdef", 0755}, {"nayban-2147483646-abcdef", 0700},
    };
    struct stat st;
    for (size_t i = 0; i < sizeof OTHERS / sizeof OTHERS[0]; i++) {
        own(mem) char *path = mem_printf("%s/%s", base, OTHERS[i].name);
        assert_int_equal(mkdir(path, 0700), 0);
        touch(path, "lock");
        assert_int_equal(chmod(path, OTHERS[i].mode), 0);
    }
    own(mem) char *unlocked = mem_printf("%s/banyan-2147483646-nolock", base);
    assert_int_equal(mkdir(unlocked, 0700), 0);
    struct rundir *dir = make();
    rundir_free(&dir);
    for (size_t i = 0; i < sizeof OTHERS / sizeof OTHERS[0]; i++) {
        own(mem) char *path = mem_printf("%s/%s", base, OTHERS[i].name);
        own(mem) char *lock = mem_printf("%s/lock", path);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(unlink(lock), 0);
        assert_int_equal(rmdir(path), 0);
    }
    assert_int_equal(rmdir(unlocked), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(is_private_and_goes_with_all_its_files),
        TEST(prefers_the_runtime_directory),
        TEST(takes_the_next_place_when_one_cannot_be_used),
        TEST(removes_what_a_killed_supervisor_left),
        TEST(leaves_what_a_living_one_uses),
        TEST(the_lock_tells_whatever_the_pid_says),
        TEST(leaves_directories_of_other_names_and_modes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
