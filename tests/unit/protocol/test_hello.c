/* SPDX-License-Identifier: MIT
 * HELLO: defaults, growth, and what a stranger may put into it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <msgpack.h>

#include "protocol/frame.h"
#include "protocol/page.h"
#include "tests/support/frames.h"

static struct frame f;
static msgpack_sbuffer packed;
static msgpack_packer packer;

static void text(const char *s)
{
    (void)msgpack_pack_str_with_body(&packer, s, strlen(s));
}

/* HELLO of an app server up to its limits. */
static void begin_app(void)
{
    msgpack_sbuffer_clear(&packed);
    msgpack_packer_init(&packer, &packed, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 9);
    msgpack_pack_int(&packer, FRAME_HELLO);
    msgpack_pack_int(&packer, 42);
    msgpack_pack_int(&packer, PROTOCOL_VERSION);
    text("app");
    msgpack_pack_int(&packer, 1000);
    msgpack_pack_int(&packer, 2000);
    msgpack_pack_array(&packer, 0);
}

static enum err unpack(void)
{
    struct slice rest = slice_of(packed.data, packed.size);
    enum err err = ERR_NONE;
    if (frame_unpack(&rest, &f, &err) == STEP_BAD)
        return err;
    assert_int_equal(rest.len, 0);
    return ERR_NONE;
}

static int set_up(void **state)
{
    (void)state;
    msgpack_sbuffer_init(&packed);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    msgpack_sbuffer_destroy(&packed);
    return 0;
}

static void a_missing_key_takes_its_default(void **state)
{
    (void)state;
    begin_app();
    msgpack_pack_map(&packer, 0);
    msgpack_pack_map(&packer, 0);
    assert_int_equal(unpack(), ERR_NONE);
    assert_int_equal(f.epoch, 42);
    assert_int_equal(f.hello.instance, 1000);
    assert_int_equal(f.hello.clock_us, 2000);
    assert_int_equal(f.hello.window_bytes, FRAME_DEFAULT_WINDOW);
    assert_int_equal(f.hello.inline_bytes, FRAME_MAX_INLINE_BODY);
    assert_int_equal(f.hello.features, 0);
    assert_true(f.hello.has_app);
    assert_int_equal(f.hello.slots, 1);
    assert_int_equal(f.hello.page.len, 0);
    assert_true(slice_eq(f.hello.pool, SLICE("default")));
    assert_true(slice_eq(f.hello.interface, SLICE("wsgi")));
}

static void another_version_tells_its_version_whatever_follows(void **state)
{
    (void)state;
    msgpack_packer_init(&packer, &packed, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 4);
    msgpack_pack_int(&packer, FRAME_HELLO);
    msgpack_pack_int(&packer, 42);
    msgpack_pack_int(&packer, 99);
    msgpack_pack_true(&packer);
    assert_int_equal(unpack(), ERR_NONE);
    assert_int_equal(f.kind, FRAME_HELLO);
    assert_int_equal(f.epoch, 42);
    assert_int_equal(f.hello.version, 99);
}

static void every_set_of_features_round_trips(void **state)
{
    (void)state;
    for (uint32_t features = 0; features < 16; features++) {
        struct frame_hello h = {
            .version = PROTOCOL_VERSION, .role = SLICE("proxy"), .features = features};
        struct buf b;
        enum err err;
        buf_init(&b, 0);
        frame_pack_hello(&b, 7, &h);
        struct slice rest = buf_slice(&b);
        assert_int_equal(frame_unpack(&rest, &f, &err), STEP_DONE);
        assert_int_equal(f.hello.features, features);
        assert_false(f.hello.has_app);
        buf_fini(&b);
    }
}

static void later_features_keys_and_elements_are_passed_over(void **state)
{
    (void)state;
    msgpack_packer_init(&packer, &packed, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 10);
    msgpack_pack_int(&packer, FRAME_HELLO);
    msgpack_pack_int(&packer, 42);
    msgpack_pack_int(&packer, PROTOCOL_VERSION);
    text("app");
    msgpack_pack_int(&packer, 1000);
    msgpack_pack_int(&packer, 2000);
    msgpack_pack_array(&packer, 2);
    text("inform");
    text("telepathy");
    msgpack_pack_map(&packer, 3);
    msgpack_pack_int(&packer, 5); /* not even a text */
    msgpack_pack_nil(&packer);
    text("window");
    msgpack_pack_int(&packer, 77);
    text("moods");
    msgpack_pack_array(&packer, 1);
    msgpack_pack_double(&packer, 0.5);
    msgpack_pack_map(&packer, 1);
    text("slots");
    msgpack_pack_int(&packer, 3);
    msgpack_pack_int(&packer, -1);
    assert_int_equal(unpack(), ERR_NONE);
    assert_int_equal(f.hello.features, FEATURE_INFORM);
    assert_int_equal(f.hello.window_bytes, 77);
    assert_int_equal(f.hello.slots, 3);
}

static void the_first_of_equal_keys_counts(void **state)
{
    (void)state;
    begin_app();
    msgpack_pack_map(&packer, 2);
    text("window");
    msgpack_pack_int(&packer, 1);
    text("window");
    msgpack_pack_int(&packer, 2);
    msgpack_pack_map(&packer, 0);
    assert_int_equal(unpack(), ERR_NONE);
    assert_int_equal(f.hello.window_bytes, 1);
}

/* One pair in the app server's map. */
static enum err unpack_app_uint(const char *key, uint64_t value)
{
    begin_app();
    msgpack_pack_map(&packer, 0);
    msgpack_pack_map(&packer, 1);
    text(key);
    msgpack_pack_uint64(&packer, value);
    return unpack();
}

static void numbers_of_an_app_server_meet_their_ranges(void **state)
{
    (void)state;
    assert_int_equal(unpack_app_uint("slots", UINT32_MAX), ERR_NONE);
    assert_int_equal(unpack_app_uint("slots", (uint64_t)UINT32_MAX + 1), ERR_BAD_FRAME);
    assert_int_equal(unpack_app_uint("pid", (uint64_t)UINT32_MAX + 1), ERR_BAD_FRAME);
    assert_int_equal(unpack_app_uint("page_slot", PAGE_SLOTS - 1), ERR_NONE);
    assert_int_equal(unpack_app_uint("page_slot", PAGE_SLOTS), ERR_BAD_FRAME);
    assert_int_equal(unpack_app_uint("pool", 5), ERR_BAD_FRAME);
    assert_int_equal(unpack_app_uint("page", 5), ERR_BAD_FRAME);
}

static void a_page_path_holds_no_nul(void **state)
{
    (void)state;
    begin_app();
    msgpack_pack_map(&packer, 0);
    msgpack_pack_map(&packer, 1);
    text("page");
    msgpack_pack_str_with_body(&packer, "/a\0b", 4);
    assert_int_equal(unpack(), ERR_BAD_FRAME);
}

static void a_hello_of_4096_bytes_is_the_largest(void **state)
{
    (void)state;
    static char path[FRAME_MAX_HELLO];
    memset(path, 'p', sizeof path);
    for (size_t length = 3000; length <= FRAME_MAX_HELLO; length++) {
        begin_app();
        msgpack_pack_map(&packer, 0);
        msgpack_pack_map(&packer, 1);
        text("page");
        msgpack_pack_str_with_body(&packer, path, length);
        assert_int_equal(
            unpack(), packed.size <= FRAME_MAX_HELLO ? ERR_NONE : ERR_FRAME_TOO_LARGE);
    }
}

/* What makes msgpack-c ask for gigabytes never reaches it: under a sanitizer's or a
 * limit's eyes this test would die. */
static void counts_that_lie_are_refused_before_memory_is_taken(void **state)
{
    (void)state;
    static const struct slice FORMS[] = {
        {"\xdd\x10\x00\x00\x00", 5}, /* array 32 */
        {"\xdf\x10\x00\x00\x00", 5}, /* map 32 */
        {"\xdb\xff\xff\xff\xff", 5}, /* str 32 */
        {"\xc6\xff\xff\xff\xff", 5}, /* bin 32 */
    };
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
        begin_app();
        for (int depth = 0; depth < 6; depth++)
            (void)msgpack_sbuffer_write(&packed, FORMS[i].ptr, FORMS[i].len);
        assert_int_equal(unpack(), ERR_BAD_FRAME);
    }
}

static void nesting_is_limited(void **state)
{
    (void)state;
    for (unsigned depth = 1; depth < 40; depth++) {
        begin_app();
        msgpack_pack_map(&packer, 1);
        text("deep");
        for (unsigned i = 0; i < depth; i++)
            msgpack_pack_array(&packer, 1);
        msgpack_pack_nil(&packer);
        msgpack_pack_map(&packer, 0);
        /* the map is the first level, the innermost value the last */
        assert_int_equal(unpack(),
                         depth + 2 <= FRAME_MAX_DEPTH ? ERR_NONE : ERR_FRAME_TOO_LARGE);
    }
}

#define HELLO_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HELLO_TEST(a_missing_key_takes_its_default),
        HELLO_TEST(another_version_tells_its_version_whatever_follows),
        HELLO_TEST(every_set_of_features_round_trips),
        HELLO_TEST(later_features_keys_and_elements_are_passed_over),
        HELLO_TEST(the_first_of_equal_keys_counts),
        HELLO_TEST(numbers_of_an_app_server_meet_their_ranges),
        HELLO_TEST(a_page_path_holds_no_nul),
        HELLO_TEST(a_hello_of_4096_bytes_is_the_largest),
        HELLO_TEST(counts_that_lie_are_refused_before_memory_is_taken),
        HELLO_TEST(nesting_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
