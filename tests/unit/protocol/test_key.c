/* SPDX-License-Identifier: MIT */
#include "protocol/key.h"

#include "tests/support/key_files.h"

/* Of RFC 26's reference implementation's tests. */
#define PUBLIC "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define SECRET "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"

static struct buf message;

static int setup(void **state)
{
    buf_init(&message, 0);
    return setup_key_files(state);
}

static int teardown(void **state)
{
    buf_fini(&message);
    return teardown_key_files(state);
}

static bool read_file(const char *name, struct key_pair *ret)
{
    own(mem) char *path = key_path(name);
    buf_clear(&message);
    return key_file_read(path, ret, &message);
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct key_pair made = make_pair(), got;
    write_pair("key", &made);
    assert_true(read_file("key", &got));
    assert_int_equal(buf_len(&message), 0);
    assert_string_equal(got.public_key, made.public_key);
    assert_string_equal(got.secret_key, made.secret_key);
    own(mem) char *path = key_path("key");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void no_two_pairs_are_the_same(void **state)
{
    (void)state;
    struct key_pair a = make_pair(), b = make_pair();
    assert_string_not_equal(a.public_key, b.public_key);
    assert_string_not_equal(a.secret_key, b.secret_key);
}

static void an_existing_file_is_kept(void **state)
{
    (void)state;
    struct key_pair a = make_pair(), b = make_pair(), got;
    own(mem) char *path = key_path("key");
    assert_true(key_file_write(path, &a, false, &message));
    assert_false(key_file_write(path, &b, false, &message));
    assert_says(&message, "--force");
    assert_true(read_file("key", &got));
    assert_string_equal(got.public_key, a.public_key);
    assert_true(key_file_write(path, &b, true, &message));
    assert_true(read_file("key", &got));
    assert_string_equal(got.public_key, b.public_key);
}

static void a_wrong_file_is_refused_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "`public KEY` is missing"},
        {"public " PUBLIC "\n", "`secret KEY` is missing"},
        {"# x\npublic " PUBLIC "x\n", ":2: this is no key"},
        {"public " PUBLIC "\nsecret short\n", ":2: this is no key"},
        {"public " PUBLIC " more\n", ":1: this is no key"},
        {"public " PUBLIC "\npublic " PUBLIC "\n", ":2: there are two lines `public`"},
        {"private " SECRET "\n", ":1: expected `public KEY` or `secret KEY`"},
        {"public " SECRET "\nsecret " SECRET "\n", "do not belong together"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct key_pair got;
        write_text("key", cases[i].text, 0600);
        assert_false(read_file("key", &got));
        assert_says(&message, cases[i].says);
    }
}

static void a_secret_is_never_repeated(void **state)
{
    (void)state;
    struct key_pair got;
    write_text("key", "secret " SECRET "x\n", 0600);
    assert_false(read_file("key", &got));
    own(mem) char *text = mem_printf("%.*s", SLICE_FMT(buf_slice(&message)));
    assert_null(strstr(text, "D:)Q"));
}

static void blanks_and_comments_are_skipped(void **state)
{
    (void)state;
    struct key_pair pair = make_pair(), got;
    own(mem) char *text = mem_printf("# c\r\n\n  secret\t%s \r\n public  %s",
                                     pair.secret_key, pair.public_key);
    write_text("key", text, 0400);
    assert_true(read_file("key", &got));
    assert_string_equal(got.secret_key, pair.secret_key);
}

static void others_may_not_write_it(void **state)
{
    (void)state;
    struct key_pair pair = make_pair(), got;
    own(mem) char *path = key_path("key");
    write_pair("key", &pair);
    assert_int_equal(chmod(path, 0620), 0);
    assert_false(read_file("key", &got));
    assert_says(&message, "chmod go-w");
    assert_int_equal(chmod(path, 0602), 0);
    assert_false(read_file("key", &got));
}

static void that_others_may_read_it_is_said(void **state)
{
    (void)state;
    struct key_pair pair = make_pair(), got;
    own(mem) char *path = key_path("key");
    write_pair("key", &pair);
    assert_int_equal(chmod(path, 0644), 0);
    assert_true(read_file("key", &got));
    assert_says(&message, "chmod o-r");
    assert_int_equal(chmod(path, 0640), 0);
    assert_true(read_file("key", &got));
    assert_int_equal(buf_len(&message), 0);
}

static void a_file_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct key_pair got;
    assert_false(read_file("nowhere", &got));
    assert_says(&message, "nowhere: No such file");
}

static void texts_are_judged(void **state)
{
    (void)state;
    assert_true(key_is_text(SLICE(PUBLIC)));
    assert_false(key_is_text(SLICE("")));
    assert_false(key_is_text(SLICE("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hI")));
    assert_false(key_is_text(SLICE("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{h\"D")));
    assert_false(key_is_text(SLICE("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{h\xff"
                                   "D")));
    assert_false(key_is_text(SLICE("Yne@$w-vo<fVvi]a\0NY6T1ed:M$fCG*[IaLV{hID")));
    /* Each five characters must fit 32 bits. */
    assert_false(key_is_text(SLICE("########################################")));
}

static void bytes_become_text(void **state)
{
    (void)state;
    char text[KEY_TEXT];
    uint8_t bytes[KEY_BYTES] = {0};
    key_from_bytes(bytes, text);
    assert_string_equal(text, "0000000000000000000000000000000000000000");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_written_is_read),
        TEST(no_two_pairs_are_the_same),
        TEST(an_existing_file_is_kept),
        TEST(a_wrong_file_is_refused_by_line),
        TEST(a_secret_is_never_repeated),
        TEST(blanks_and_comments_are_skipped),
        TEST(others_may_not_write_it),
        TEST(that_others_may_read_it_is_said),
        TEST(a_file_that_is_not_there_is_named),
        TEST(texts_are_judged),
        TEST(bytes_become_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
