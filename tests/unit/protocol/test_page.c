/* SPDX-License-Identifier: MIT
 * protocol/page.c: marks that outlive their writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "protocol/page.h"

enum { INSTANCE = 4711, PAGE_BYTES = 4096, PATIENCE_S = 30 };

static char directory[64], path[80];

static int setup_page(void **state)
{
    (void)state;
    (void)alarm(PATIENCE_S);
    strcpy(directory, "/tmp/banyan-test-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    (void)snprintf(path, sizeof path, "%s/page", directory);
    return 0;
}

static int teardown_page(void **state)
{
    (void)state;
    (void)alarm(0);
    (void)unlink(path);
    return rmdir(directory);
}

static struct page *create(void)
{
    struct page *p = NULL;
    assert_int_equal(page_create(path, INSTANCE, &p), ERR_NONE);
    return p;
}

static struct page *open_page(void)
{
    struct page *p = NULL;
    assert_int_equal(page_open(path, INSTANCE, &p), ERR_NONE);
    return p;
}

static void has_the_layout_of_the_specification(void **state)
{
    (void)state;
    own(page) struct page *writer = create();
    int first = page_claim(writer), second = page_claim(writer);
    page_mark(writer, second, 0x01020304);
    unsigned char file[PAGE_BYTES + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, file, sizeof file), PAGE_BYTES);
    (void)close(fd);

    unsigned char want[PAGE_BYTES] = {0};
    uint32_t version = 1, slots = 504;
    uint64_t instance = INSTANCE, mark = ((uint64_t)1 << 32) | 0x01020304;
    memcpy(want, "BNYNPAGE", 8);
    memcpy(want + 8, &version, 4);
    memcpy(want + 12, &slots, 4);
    memcpy(want + 16, &instance, 8);
    memcpy(want + 64 + 8 * second, &mark, 8);
    assert_int_equal(first, 0);
    assert_memory_equal(file, want, PAGE_BYTES);
}

static void is_private_and_replaces_what_was_there(void **state)
{
    (void)state;
    FILE *old = fopen(path, "w");
    assert_non_null(old);
    (void)fclose(old);
    assert_int_equal(chmod(path, 0644), 0);
    mode_t before = umask(0);
    struct page *writer = create();
    (void)umask(before);
    struct stat there;
    assert_int_equal(stat(path, &there), 0);
    assert_int_equal(there.st_mode & 07777, 0600);
    assert_int_equal(there.st_size, PAGE_BYTES);
    page_free(&writer);
    assert_null(writer);
    assert_int_equal(access(path, F_OK), -1);
}

static void leaves_a_successors_file_alone(void **state)
{
    (void)state;
    struct page *writer = create();
    own(page) struct page *successor = create();
    page_free(&writer);
    assert_int_equal(access(path, F_OK), 0);
    own(page) struct page *reader = open_page();
    int slot = page_claim(successor);
    page_mark(successor, slot, 1);
    assert_false(page_never_started(reader, slot, 1));
}

static void knows_what_was_never_started(void **state)
{
    (void)state;
    static const struct {
        uint32_t marks[3]; /* up to the first 0 */
        uint32_t stream;
        bool never;
    } CASES[] = {
        {{0}, 1, true},
        {{0}, UINT32_MAX, true},
        {{7}, 6, false},
        {{7}, 7, false},
        {{7}, 8, true},
        {{7, 9}, 8, false},
        {{9, 7}, 8, false}, /* only forward */
        {{9, 7}, 10, true},
        {{UINT32_MAX}, 2, true}, /* serial numbers wrap */
        {{UINT32_MAX, 2}, 1, false},
        {{UINT32_MAX, 2}, UINT32_MAX, false},
        {{UINT32_MAX, 2, UINT32_MAX}, 3, true},
    };
    own(page) struct page *writer = create();
    own(page) struct page *reader = open_page();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int slot = page_claim(writer);
        for (int m = 0; m < 3 && CASES[i].marks[m] != 0; m++)
            page_mark(writer, slot, CASES[i].marks[m]);
        if (page_never_started(reader, slot, CASES[i].stream) != CASES[i].never ||
            page_never_started(writer, slot, CASES[i].stream) != CASES[i].never)
            fail_msg("case %zu", i);
    }
}

static void has_as_many_slots_as_it_says(void **state)
{
    (void)state;
    own(page) struct page *writer = create();
    for (int i = 0; i < PAGE_SLOTS; i++)
        assert_int_equal(page_claim(writer), i);
    assert_int_equal(page_claim(writer), -1);
    page_mark(writer, 5, 42);
    page_release(writer, 5);
    assert_int_equal(page_claim(writer), 5);
    assert_true(page_never_started(writer, 5, 1)); /* a fresh mark */
}

static void a_released_slot_keeps_its_mark_until_its_turn_comes(void **state)
{
    (void)state;
    own(page) struct page *writer = create();
    own(page) struct page *reader = open_page();
    int slot = page_claim(writer);
    page_mark(writer, slot, 42);
    page_release(writer, slot);
    for (int i = 1; i < PAGE_SLOTS; i++)
        assert_int_not_equal(page_claim(writer), slot);
    assert_false(page_never_started(reader, slot, 42));
    assert_int_equal(page_claim(writer), slot);
}

static void what_cannot_be_known_counts_as_started(void **state)
{
    (void)state;
    own(page) struct page *writer = create();
    own(page) struct page *reader = open_page();
    assert_int_equal(page_claim(writer), 0);
    assert_false(page_never_started(reader, -1, 1));
    assert_false(page_never_started(reader, PAGE_SLOTS, 1));
    assert_false(page_never_started(reader, INT32_MAX, 1));
    assert_false(page_never_started(reader, INT32_MIN, 1));
    assert_true(page_never_started(reader, 0, 1));
    assert_int_equal(truncate(path, 0), 0);
    assert_false(page_never_started(reader, 0, 1));
    assert_int_equal(truncate(path, PAGE_BYTES), 0);
}

static void write_file(const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, bytes, size), size);
    (void)close(fd);
}

static void opens_nothing_but_a_page_of_the_instance(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t at; /* of the byte that is changed */
        size_t size;
    } CASES[] = {
        {"another name", 0, PAGE_BYTES},
        {"another version", 8, PAGE_BYTES},
        {"another number of slots", 12, PAGE_BYTES},
        {"another instance", 23, PAGE_BYTES},
        {"too short", 64, PAGE_BYTES - 1},
        {"too long", 64, PAGE_BYTES + 1},
        {"empty", 64, 0},
    };
    char good[PAGE_BYTES + 1] = {0};
    struct page *writer = create(), *reader = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, good, PAGE_BYTES), PAGE_BYTES);
    (void)close(fd);
    page_free(&writer);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char bad[sizeof good];
        memcpy(bad, good, sizeof bad);
        bad[CASES[i].at] ^= 1;
        write_file(bad, CASES[i].size);
        if (page_open(path, INSTANCE, &reader) != ERR_BAD_FRAME)
            fail_msg("%s", CASES[i].name);
    }
    write_file(good, PAGE_BYTES);
    assert_int_equal(page_open(path, INSTANCE, &reader), ERR_NONE);
    page_free(&reader);
}

static void opens_nothing_but_a_plain_file(void **state)
{
    (void)state;
    struct page *reader = NULL;
    assert_int_equal(page_open(path, INSTANCE, &reader), ERR_SYSTEM);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(page_open(directory, INSTANCE, &reader), ERR_BAD_FRAME);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(page_open(path, INSTANCE, &reader), ERR_BAD_FRAME); /* at once */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/hostname", path), 0);
    assert_int_equal(page_open(path, INSTANCE, &reader), ERR_SYSTEM);
    assert_int_equal(errno, ELOOP);
    /* Creating replaces the symbolic link, not what it points to. */
    own(page) struct page *writer = create();
    assert_non_null(writer);
    struct stat there;
    assert_int_equal(lstat(path, &there), 0);
    assert_true(S_ISREG(there.st_mode));
}

static void says_why_it_cannot_be_created(void **state)
{
    (void)state;
    struct page *p = NULL;
    assert_int_equal(page_create("/nowhere/page", INSTANCE, &p), ERR_SYSTEM);
    assert_int_equal(errno, ENOENT);
    assert_null(p);
}

static void survives_kill_and_unlink(void **state)
{
    (void)state;
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct page *writer = create();
        page_mark(writer, page_claim(writer), 41);
        page_mark(writer, 0, 42);
        if (write(ready[1], "!", 1) == 1)
            (void)pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    own(page) struct page *reader = open_page();
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(unlink(path), 0);
    assert_false(page_never_started(reader, 0, 42));
    assert_true(page_never_started(reader, 0, 43));
    (void)close(ready[0]);
    (void)close(ready[1]);
}

enum { THREADS = 4, MARKS = 20000 };

static void *mark_many(void *arg)
{
    struct page *writer = arg;
    for (uint32_t stream = 1; stream <= MARKS; stream++)
        page_mark(writer, 0, stream);
    return NULL;
}

static void marks_of_many_threads_only_go_forward(void **state)
{
    (void)state;
    own(page) struct page *writer = create();
    own(page) struct page *reader = open_page();
    pthread_t threads[THREADS];
    (void)page_claim(writer);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, mark_many, writer), 0);
    uint32_t seen = 0;
    while (seen < MARKS) {
        while (seen < MARKS && !page_never_started(reader, 0, seen + 1))
            seen++;
        if (seen > 0)
            assert_false(page_never_started(reader, 0, seen));
    }
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    assert_true(page_never_started(reader, 0, MARKS + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(has_the_layout_of_the_specification, setup_page,
                                        teardown_page),
        cmocka_unit_test_setup_teardown(is_private_and_replaces_what_was_there,
                                        setup_page, teardown_page),
        cmocka_unit_test_setup_teardown(leaves_a_successors_file_alone, setup_page,
                                        teardown_page),
        cmocka_unit_test_setup_teardown(knows_what_was_never_started, setup_page,
                                        teardown_page),
        cmocka_unit_test_setup_teardown(has_as_many_slots_as_it_says, setup_page,
                                        teardown_page),
        cmocka_unit_test_setup_teardown(
            a_released_slot_keeps_its_mark_until_its_turn_comes, setup_page,
            teardown_page),
        cmocka_unit_test_setup_teardown(what_cannot_be_known_counts_as_started,
                                        setup_page, teardown_page),
        cmocka_unit_test_setup_teardown(opens_nothing_but_a_page_of_the_instance,
                                        setup_page, teardown_page),
        cmocka_unit_test_setup_teardown(opens_nothing_but_a_plain_file, setup_page,
                                        teardown_page),
        cmocka_unit_test_setup_teardown(says_why_it_cannot_be_created, setup_page,
                                        teardown_page),
        cmocka_unit_test_setup_teardown(survives_kill_and_unlink, setup_page,
                                        teardown_page),
        cmocka_unit_test_setup_teardown(marks_of_many_threads_only_go_forward,
                                        setup_page, teardown_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
