/* SPDX-License-Identifier: MIT
 * proxy/spool.c: memory, the step to the file, reading from any offset, no trace left.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/spool.h"

enum { PIECE = 10000 };

static char directory[] = "/tmp/banyan-test-spool-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory); /* fails when a file was left */
}

static char byte_at(uint64_t offset)
{
    return (char)('a' + offset % 23);
}

static void append(struct spool *s, size_t bytes)
{
    char *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = byte_at(s->size + i);
    assert_int_equal(spool_append(s, slice_of(data, bytes)), ERR_NONE);
    free(data);
}

static void check_all(struct spool *s, uint64_t from, size_t most)
{
    char *scratch = malloc(most);
    for (uint64_t offset = from; offset < s->size;) {
        struct slice data;
        assert_int_equal(spool_read(s, offset, most, scratch, &data), ERR_NONE);
        assert_in_range(data.len, 1, most);
        for (size_t i = 0; i < data.len; i++)
            if (data.ptr[i] != byte_at(offset + i))
                fail();
        offset += data.len;
    }
    free(scratch);
}

static void a_small_body_stays_in_memory(void **state)
{
    (void)state;
    struct spool s;
    spool_init(&s, "/nonexistent");
    append(&s, SPOOL_MEMORY - 1);
    append(&s, 1);
    assert_int_equal(s.fd, -1);
    assert_int_equal(s.size, SPOOL_MEMORY);
    check_all(&s, 0, PIECE);
    check_all(&s, 777, PIECE);
    spool_fini(&s);
}

static void a_large_body_goes_to_a_file_without_a_name(void **state)
{
    (void)state;
    struct spool s;
    spool_init(&s, directory);
    for (int i = 0; i < 50; i++)
        append(&s, PIECE);
    assert_true(s.fd >= 0);
    assert_int_equal(buf_len(&s.memory), 0);
    check_all(&s, 0, 3 * PIECE);
    check_all(&s, SPOOL_MEMORY - 1, PIECE);
    check_all(&s, s.size - 1, PIECE);

    DIR *dir = opendir(directory);
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL)
        assert_int_equal(entry->d_name[0], '.');
    closedir(dir);
    spool_fini(&s);
    assert_int_equal(s.fd, -1);
}

static void it_can_be_used_again_after_fini(void **state)
{
    (void)state;
    struct spool s;
    spool_init(&s, directory);
    append(&s, 2 * SPOOL_MEMORY);
    spool_fini(&s);
    append(&s, 5);
    assert_int_equal(s.fd, -1);
    check_all(&s, 0, PIECE);
    spool_fini(&s);
}

static void a_file_that_cannot_be_made_is_an_error(void **state)
{
    (void)state;
    struct spool s;
    spool_init(&s, "/nonexistent");
    append(&s, SPOOL_MEMORY);
    assert_int_equal(spool_append(&s, SLICE("x")), ERR_SYSTEM);
    assert_int_equal(s.size, SPOOL_MEMORY);
    spool_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_body_stays_in_memory),
        cmocka_unit_test(a_large_body_goes_to_a_file_without_a_name),
        cmocka_unit_test(it_can_be_used_again_after_fini),
        cmocka_unit_test(a_file_that_cannot_be_made_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
