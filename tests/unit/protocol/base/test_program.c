/* SPDX-License-Identifier: MIT
 * protocol/base/program.c on a small tree of its own. */
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
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "protocol/base/program.h"

static char tree[] = "/tmp/test-program-XXXXXX";

/* a/tool is a program, b/tool too, a/text is not, a/folder is a directory. */
static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(tree));
    assert_int_equal(chdir(tree), 0);
    assert_int_equal(mkdir("a", 0700), 0);
    assert_int_equal(mkdir("b", 0700), 0);
    assert_int_equal(mkdir("a/folder", 0700), 0);
    (void)close(open("a/text", O_CREAT | O_RDWR, 0600));
    (void)close(open("a/tool", O_CREAT | O_RDWR, 0700));
    (void)close(open("b/tool", O_CREAT | O_RDWR, 0700));
    (void)close(open("b/other", O_CREAT | O_RDWR, 0700));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const FILES[] = {"a/text", "a/tool", "b/tool", "b/other"};
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++)
        (void)unlink(FILES[i]);
    (void)rmdir("a/folder");
    (void)rmdir("a");
    (void)rmdir("b");
    return rmdir(tree);
}

static void tells_programs_from_other_files(void **state)
{
    (void)state;
    assert_true(program_is("a/tool"));
    assert_false(program_is("a/text"));
    assert_false(program_is("a/folder"));
    assert_false(program_is("a/missing"));
}

static void searches_path_in_its_order(void **state)
{
    (void)state;
    static const struct {
        const char *path, *name, *want;
    } CASES[] = {
        {"a:b", "tool", "a/tool"},
        {"b:a", "tool", "b/tool"},
        {"a:b", "other", "b/other"},
        {"a:b", "text", NULL},
        {"a", "folder", NULL},
        {"", "tool", NULL},
        {"nowhere:b:", "tool", "b/tool"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(setenv("PATH", CASES[i].path, 1), 0);
        own(mem) char *found = program_find(CASES[i].name);
        if (CASES[i].want == NULL)
            assert_null(found);
        else
            assert_string_equal(found, CASES[i].want);
    }
}

static void an_empty_element_is_the_working_directory(void **state)
{
    (void)state;
    assert_int_equal(chdir("b"), 0);
    assert_int_equal(setenv("PATH", "/nowhere:", 1), 0);
    own(mem) char *found = program_find("other");
    assert_string_equal(found, "./other");
    assert_int_equal(chdir(".."), 0);
}

static void knows_where_it_lies(void **state)
{
    (void)state;
    own(mem) char *directory = program_directory();
    own(mem) char *self = mem_printf("%s/protocol_base_test_program", directory);
    assert_int_equal(directory[0], '/');
    assert_true(program_is(self));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_programs_from_other_files),
        cmocka_unit_test(searches_path_in_its_order),
        cmocka_unit_test(an_empty_element_is_the_working_directory),
        cmocka_unit_test(knows_where_it_lies),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
