/* SPDX-License-Identifier: MIT
 * What a peer may get wrong: cut short, oversized, nested, mistyped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/frame.h"
#include "tests/support/frames.h"
#include "tests/support/vectors.h"

/* Everything in `bytes`, which stand in a block of exactly their size. */
static enum step unpack_all(struct slice bytes, enum err *ret_err)
{
    struct frame f;
    enum step step;
    while ((step = frame_unpack(&bytes, &f, ret_err)) == STEP_DONE)
        continue;
    return step;
}

static enum step unpack_copy(struct slice bytes, enum err *ret_err)
{
    own(mem) char *exact = mem_alloc(bytes.len);
    if (bytes.len > 0)
        memcpy(exact, bytes.ptr, bytes.len);
    return unpack_all(slice_of(exact, bytes.len), ret_err);
}

static void check_truncation(const struct vector *v, void *arg)
{
    (void)arg;
    for (size_t length = 1; length < v->bytes.len; length++) {
        enum err err = ERR_NONE;
        if (unpack_copy(slice_of(v->bytes.ptr, length), &err) != STEP_BAD ||
            (err != ERR_BAD_FRAME && err != ERR_FRAME_TOO_LARGE))
            fail_msg("%s.hex cut after %zu bytes is taken", v->name, length);
    }
}

static void a_frame_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    (void)vectors_each("", check_truncation, NULL);
}

static void check_mutations(const struct vector *v, void *arg)
{
    (void)arg;
    own(mem) char *copy = mem_alloc(v->bytes.len);
    for (size_t at = 0; at < v->bytes.len; at++) {
        for (int value = 0; value < 256; value++) {
            struct slice rest = slice_of(copy, v->bytes.len);
            struct frame f;
            enum err err;
            memcpy(copy, v->bytes.ptr, v->bytes.len);
            copy[at] = (char)value;
            if (frame_unpack(&rest, &f, &err) == STEP_DONE) {
                struct header_list it = frame_headers(&f);
                struct header h;
                while (header_next(&it, &h))
                    assert_true(h.name.len > 0);
                assert_int_equal(it.packed.len, 0);
            }
        }
    }
}

static void a_frame_with_any_byte_changed_does_no_harm(void **state)
{
    (void)state;
    (void)vectors_each("", check_mutations, NULL);
    (void)vectors_each("tolerated", check_mutations, NULL);
}

static void check_bad(const struct vector *v, void *arg)
{
    (void)arg;
    struct slice wanted = vector_note(v->text, "error");
    enum err err = ERR_NONE;
    if (unpack_all(v->bytes, &err) != STEP_BAD)
        fail_msg("bad/%s.hex is taken", v->name);
    if (!slice_eq(slice_from(err_name(err)), wanted))
        fail_msg("bad/%s.hex is refused as %s", v->name, err_name(err));
}

static void bad_vectors_are_refused_for_the_reason_they_name(void **state)
{
    (void)state;
    (void)vectors_each("bad", check_bad, NULL);
}

static void check_tolerated(const struct vector *v, void *arg)
{
    (void)arg;
    struct slice rest = v->bytes;
    struct frame f;
    enum err err;
    struct buf kinds;
    buf_init(&kinds, 0);
    while (frame_unpack(&rest, &f, &err) == STEP_DONE)
        buf_addf(&kinds, "%s%s", buf_len(&kinds) > 0 ? " " : "",
                 frame_kind_name(f.kind));
    if (rest.len != 0)
        fail_msg("tolerated/%s.hex is refused", v->name);
    if (!slice_eq(buf_slice(&kinds), vector_note(v->text, "frames")))
        fail_msg("tolerated/%s.hex holds \"%.*s\"", v->name,
                 SLICE_FMT(buf_slice(&kinds)));
    buf_fini(&kinds);
}

static void tolerated_vectors_hold_the_frames_they_name(void **state)
{
    (void)state;
    (void)vectors_each("tolerated", check_tolerated, NULL);
}

/* A frame of `count` elements whose last is a text or bin of `length` bytes. */
static enum err refuse_long(struct slice start, unsigned char form, uint32_t length)
{
    struct buf packed;
    enum err err = ERR_NONE;
    buf_init(&packed, 0);
    buf_add(&packed, start);
    char header[5] = {(char)form, (char)(length >> 24), (char)(length >> 16),
                      (char)(length >> 8), (char)length};
    buf_add(&packed, slice_of(header, sizeof header));
    for (uint32_t i = 0; i < length; i++)
        buf_add(&packed, SLICE("a"));
    enum step step = unpack_copy(buf_slice(&packed), &err);
    buf_fini(&packed);
    return step == STEP_BAD ? err : ERR_NONE;
}

static void texts_and_bodies_meet_their_limits(void **state)
{
    (void)state;
    static const struct {
        struct slice start; /* of a frame, up to its last element */
        unsigned char form; /* str32 or bin32 */
        uint32_t limit;
    } CASES[] = {
        {{"\x93\x0c\x07", 3}, 0xdb, FRAME_MAX_STRING},      /* CANCEL */
        {{"\x94\x0d\x07\xa0", 4}, 0xdb, FRAME_MAX_STRING},  /* ABORT */
        {{"\x93\x10\x07", 3}, 0xdb, FRAME_MAX_STRING},      /* BYE */
        {{"\x93\x06\x07", 3}, 0xc6, FRAME_MAX_INLINE_BODY}, /* BODY */
        {{"\x96\x03\x07\xcc\xc8\xa0\x90", 7},
         0xc6,
         FRAME_MAX_INLINE_BODY},                                     /* RESPONSE */
        {{"\x95\x0b\x07\x08\x05", 5}, 0xdb, FRAME_MAX_INLINE_BODY},  /* WS close */
        {{"\x94\x05\x07\x67\x92\x01", 6}, 0xdb, FRAME_MAX_HEAD - 6}, /* INFORM */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct slice start = CASES[i].start;
        assert_int_equal(refuse_long(start, CASES[i].form, CASES[i].limit), ERR_NONE);
        assert_int_equal(refuse_long(start, CASES[i].form, CASES[i].limit + 1),
                         ERR_FRAME_TOO_LARGE);
    }
}

static void a_request_id_is_visible_ascii(void **state)
{
    (void)state;
    struct frame_request r = {.method = SLICE("GET"), .target = SLICE("/")};
    for (size_t length = 0; length <= FRAME_MAX_ID; length++) {
        for (size_t at = 0; at < length; at++) {
            for (int byte = 0; byte<256; byte += length> 17 ? 5 : 1) {
                char id[FRAME_MAX_ID];
                struct buf packed;
                enum err err = ERR_NONE;
                memset(id, at % 2 == 0 ? '!' : '~', sizeof id);
                id[at] = (char)byte;
                r.id = slice_of(id, length);
                buf_init(&packed, 0);
                frame_pack_request(&packed, 1, &r, HEADERS_NONE);
                bool visible = byte > ' ' && byte <= '~';
                assert_int_equal(unpack_all(buf_slice(&packed), &err),
                                 visible ? STEP_MORE : STEP_BAD);
                buf_fini(&packed);
            }
        }
    }
}

static void headers_together_meet_their_limit(void **state)
{
    (void)state;
    own(mem) char *letters = mem_alloc(FRAME_MAX_HEAD);
    memset(letters, 'a', FRAME_MAX_HEAD);
    struct buf packed;
    enum err err = ERR_NONE;
    buf_init(&packed, 0);
    buf_add(&packed, SLICE("\x94\x05\x07\x67\x94"));
    for (int i = 0; i < 2; i++) {
        buf_add(&packed, SLICE("\x01\xdb\x00\x02\x00\x00")); /* half the limit each */
        buf_add(&packed, slice_of(letters, FRAME_MAX_HEAD / 2));
    }
    assert_int_equal(unpack_copy(buf_slice(&packed), &err), STEP_BAD);
    assert_int_equal(err, ERR_FRAME_TOO_LARGE);
    buf_fini(&packed);
}

static void nesting_to_be_passed_over_is_limited_at_any_depth(void **state)
{
    (void)state;
    static const char *const OPENERS[] = {"\x91", "\x81\x01", "\x92\xc0"};
    for (size_t o = 0; o < sizeof OPENERS / sizeof OPENERS[0]; o++) {
        for (size_t depth = 1; depth <= 100000;
             depth = depth < 12 ? depth + 1 : depth * 7) {
            struct buf packed;
            enum err err = ERR_NONE;
            buf_init(&packed, 0);
            buf_add(&packed, SLICE("\x93\x0f\x01")); /* DRAIN and one element more */
            for (size_t i = 1; i < depth; i++)
                buf_add(&packed, slice_from(OPENERS[o]));
            buf_add(&packed, SLICE("\xc0"));
            enum step step = unpack_copy(buf_slice(&packed), &err);
            if (depth <= FRAME_MAX_DEPTH) {
                assert_int_equal(step, STEP_MORE);
            } else {
                assert_int_equal(step, STEP_BAD);
                assert_int_equal(err, ERR_FRAME_TOO_LARGE);
            }
            buf_fini(&packed);
        }
    }
}

static void a_kind_of_a_later_version_is_passed_over_when_odd(void **state)
{
    (void)state;
    for (unsigned kind = FRAME_KIND_COUNT; kind < 300; kind++) {
        char bytes[] = {(char)0x93,
                        (char)0xcd,
                        (char)(kind >> 8),
                        (char)kind,
                        7,
                        8,
                        /* DRAIN */ (char)0x92,
                        0x0f,
                        9};
        struct slice rest = slice_of(bytes, sizeof bytes);
        struct frame f;
        enum err err = ERR_NONE;
        enum step step = frame_unpack(&rest, &f, &err);
        if (kind % 2 == 1) {
            assert_int_equal(step, STEP_DONE);
            assert_int_equal(f.kind, FRAME_DRAIN);
            assert_int_equal(f.epoch, 9);
        } else {
            assert_int_equal(step, STEP_BAD);
            assert_int_equal(err, ERR_BAD_FRAME);
        }
    }
}

static void a_refused_message_leaves_the_rest_where_it_was(void **state)
{
    (void)state;
    struct slice bytes = SLICE("\x92\x0f\x01\x92\x14\x01"), rest = bytes;
    struct frame f;
    enum err err = ERR_NONE;
    assert_int_equal(frame_unpack(&rest, &f, &err), STEP_DONE);
    assert_int_equal(frame_unpack(&rest, &f, &err), STEP_BAD);
    assert_ptr_equal(rest.ptr, bytes.ptr + 3);
    assert_int_equal(rest.len, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_cut_at_any_byte_is_refused),
        cmocka_unit_test(a_frame_with_any_byte_changed_does_no_harm),
        cmocka_unit_test(bad_vectors_are_refused_for_the_reason_they_name),
        cmocka_unit_test(tolerated_vectors_hold_the_frames_they_name),
        cmocka_unit_test(texts_and_bodies_meet_their_limits),
        cmocka_unit_test(a_request_id_is_visible_ascii),
        cmocka_unit_test(headers_together_meet_their_limit),
        cmocka_unit_test(nesting_to_be_passed_over_is_limited_at_any_depth),
        cmocka_unit_test(a_kind_of_a_later_version_is_passed_over_when_odd),
        cmocka_unit_test(a_refused_message_leaves_the_rest_where_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
