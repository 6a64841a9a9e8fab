/* SPDX-License-Identifier: MIT
 * proxy/http/ws_frame.c: frames of a client, whole and byte by byte; heads and Closes
 * of the server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/http/ws_frame.h"
#include "tests/support/assert_slice.h"

static const struct ws_limits plain = {.max_message = 1000};
static const struct ws_limits deflating = {.max_message = 1000, .has_deflate = true};

/* What a client's bytes amount to: "T:text." for a message, "T-" for a piece of one
 * that is not the last, "P:" ping, "O:" pong, "C:" close, "z" in front of what is
 * compressed, then "more", "blocked" or the code. */
static void describe(struct buf *out, const struct ws_input *in, char *open)
{
    bool is_data = in->opcode == WS_OP_TEXT || in->opcode == WS_OP_BINARY;
    char letter = in->opcode == WS_OP_TEXT     ? 'T'
                  : in->opcode == WS_OP_BINARY ? 'B'
                  : in->opcode == WS_OP_PING   ? 'P'
                  : in->opcode == WS_OP_PONG   ? 'O'
                                               : 'C';
    if (!is_data || *open != letter)
        buf_addf(out, "%s%c:", in->is_compressed ? "z" : "", letter);
    buf_add(out, in->data);
    if (in->fin)
        buf_add(out, SLICE(". "));
    if (is_data)
        *open = in->fin ? 0 : letter;
}

/* `step`: bytes that arrive at once; `room`: of each piece. */
static void expect(const char *name,
                   const struct ws_limits *limits,
                   struct slice bytes,
                   size_t step,
                   size_t room,
                   const char *want)
{
    struct ws_reader r = {0};
    struct buf got, in;
    char open = 0;
    size_t fed = 0;
    buf_init(&got, 0);
    buf_init(&in, 0);
    enum step result = STEP_MORE;
    enum ws_code code = WS_CODE_NONE;
    while (result == STEP_MORE && fed < bytes.len) {
        size_t n = bytes.len - fed < step ? bytes.len - fed : step;
        buf_add(&in, slice_of(bytes.ptr + fed, n));
        fed += n;
        do {
            char *at = in.data + in.start;
            size_t length = buf_len(&in), before = length;
            struct ws_input piece;
            result = ws_read(&r, limits, &at, &length, room, &piece, &code);
            if (result == STEP_DONE)
                describe(&got, &piece, &open);
            if (result != STEP_BAD)
                buf_consume(&in, before - length);
        } while (result == STEP_DONE);
    }
    if (result == STEP_BAD)
        buf_addf(&got, "%d", code);
    else if (buf_len(&in) > 0 || r.in_payload || r.opcode != 0)
        buf_add(&got,
                ws_is_blocked(&r, buf_len(&in)) ? SLICE("blocked") : SLICE("more"));
    if (buf_len(&got) != strlen(want) ||
        (buf_len(&got) > 0 && memcmp(buf_slice(&got).ptr, want, strlen(want)) != 0))
        fail_msg("%s, %zu bytes at a time: \"%.*s\" instead of \"%s\"", name, step,
                 SLICE_FMT(buf_slice(&got)), want);
    buf_fini(&got);
    buf_fini(&in);
}

/* The mask 00 00 00 00 leaves the payload readable. */
#define M "\0\0\0\0"

static const struct {
    const char *name;
    bool deflates;
    struct slice bytes;
    const char *want;
} rows[] = {
    {"the RFC's example", 0, SLICE("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
     "T:Hello. "},
    {"empty text", 0, SLICE("\x81\x80" M), "T:. "},
    {"empty binary", 0, SLICE("\x82\x80" M), "B:. "},
    {"two messages", 0, SLICE("\x81\x81" M "a\x82\x81" M "b"), "T:a. B:b. "},
    {"two fragments", 0, SLICE("\x01\x83" M "Hel\x80\x82" M "lo"), "T:Hello. "},
    {"empty fragments", 0, SLICE("\x01\x80" M "\x00\x80" M "\x80\x80" M), "T:. "},
    {"a last empty fragment", 0, SLICE("\x02\x81" M "a\x80\x80" M), "B:a. "},
    {"ping, pong", 0, SLICE("\x89\x80" M "\x8a\x82" M "hi"), "P:. O:hi. "},
    {"a ping between fragments", 0, SLICE("\x01\x81" M "a\x89\x81" M "p\x80\x81" M "b"),
     "T:aP:p. b. "},
    {"close", 0, SLICE("\x88\x80" M), "C:. "},
    {"close with code", 0, SLICE("\x88\x84" M "\x03\xe8ok"), "C:\x03\xe8ok. "},
    {"125 bytes", 0, SLICE("\x89\xfd" M "\x31\x31\x31"), "more"},
    {"length in two bytes", 0, SLICE("\x82\xfe\x00\x7e" M "abc"), "B:abcmore"},
    {"half a head", 0, SLICE("\x81"), "more"},
    {"half a mask", 0, SLICE("\x81\x85\x01\x02"), "more"},
    /* RSV */
    {"RSV1 without deflate", 0, SLICE("\xc1\x80" M), "1002"},
    {"RSV2", 1, SLICE("\xa1\x80" M), "1002"},
    {"RSV3", 1, SLICE("\x91\x80" M), "1002"},
    {"RSV1 of a message", 1, SLICE("\xc1\x81" M "x\x81\x81" M "y"), "zT:x. T:y. "},
    {"RSV1 of a fragmented one", 1, SLICE("\x41\x81" M "x\x80\x81" M "y"), "zT:xy. "},
    {"RSV1 of a continuation", 1, SLICE("\x01\x81" M "x\xc0\x81" M "y"), "T:x1002"},
    {"RSV1 of a ping", 1, SLICE("\xc9\x80" M), "1002"},
    {"RSV1 of a close", 1, SLICE("\xc8\x80" M), "1002"},
    /* masks */
    {"unmasked text", 0,
     SLICE("\x81\x01"
           "a"),
     "1002"},
    {"unmasked ping", 0, SLICE("\x89\x00"), "1002"},
    /* opcodes */
    {"opcode 3", 0, SLICE("\x83\x80" M), "1002"},
    {"opcode 4", 0, SLICE("\x84\x80" M), "1002"},
    {"opcode 7", 0, SLICE("\x87\x81" M "a"), "1002"},
    {"opcode 11", 0, SLICE("\x8b\x80" M), "1002"},
    {"opcode 12", 0, SLICE("\x8c\x80" M), "1002"},
    {"opcode 15", 0, SLICE("\x8f\x81" M "a"), "1002"},
    {"opcode 3, not the last", 0, SLICE("\x03\x80" M), "1002"},
    /* fragments */
    {"a continuation of nothing", 0, SLICE("\x80\x80" M), "1002"},
    {"a fragment of nothing", 0, SLICE("\x00\x81" M "a"), "1002"},
    {"a continuation after the last", 0, SLICE("\x81\x80" M "\x80\x80" M), "T:. 1002"},
    {"text in a text", 0, SLICE("\x01\x81" M "a\x81\x81" M "b"), "T:a1002"},
    {"binary in a text", 0, SLICE("\x01\x81" M "a\x02\x81" M "b"), "T:a1002"},
    /* control frames */
    {"a fragmented ping", 0, SLICE("\x09\x80" M), "1002"},
    {"a fragmented pong", 0, SLICE("\x0a\x80" M), "1002"},
    {"a fragmented close", 0, SLICE("\x08\x80" M), "1002"},
    {"a ping of 126 bytes", 0, SLICE("\x89\xfe\x00\x7e" M), "1002"},
    {"a close in 64 bits", 0, SLICE("\x88\xff"), "1002"},
    /* lengths */
    {"125 in two bytes", 0, SLICE("\x82\xfe\x00\x7d" M), "1002"},
    {"0 in two bytes", 0, SLICE("\x82\xfe\x00\x00" M), "1002"},
    {"65535 in eight bytes", 0, SLICE("\x82\xff\0\0\0\0\0\0\xff\xff" M), "1002"},
    {"0 in eight bytes", 0, SLICE("\x82\xff\0\0\0\0\0\0\0\0" M), "1002"},
    {"the 64th bit", 0, SLICE("\x82\xff\x80\0\0\0\0\0\0\0" M), "1002"},
    {"all bits", 0, SLICE("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff" M), "1002"},
    {"63 bits", 0, SLICE("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" M), "1009"},
    {"as long as allowed", 0, SLICE("\x82\xfe\x03\xe8" M "abc"), "B:abcmore"},
    {"one more", 0, SLICE("\x82\xfe\x03\xe9" M), "1009"},
    {"one more in fragments", 0, SLICE("\x02\x81" M "a\x80\xfe\x03\xe8" M), "B:a1009"},
    {"a compressed one may be a little longer", 1, SLICE("\xc2\xfe\x03\xe9" M "a"),
     "zB:amore"},
    {"not much longer", 1, SLICE("\xc2\xfe\x10\x00" M), "1009"},
};

static void reads_whole_input(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect(rows[i].name, rows[i].deflates ? &deflating : &plain, rows[i].bytes,
               4096, 4096, rows[i].want);
}

static void reads_the_same_in_pieces_of_any_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t step = 1; step < 9; step++)
            for (size_t room = 1; room < 4; room++)
                expect(rows[i].name, rows[i].deflates ? &deflating : &plain,
                       rows[i].bytes, step, room, rows[i].want);
}

static void without_room_no_data_is_handed_out_but_control_frames_are(void **state)
{
    (void)state;
    expect("data", &plain, SLICE("\x89\x81" M "p\x81\x81" M "a"), 100, 0,
           "P:p. blocked");
    expect("empty data", &plain, SLICE("\x81\x80" M), 100, 0, "blocked");
    expect("a head alone", &plain, SLICE("\x81\x81" M), 100, 0, "more");
}

static void unmasks_from_any_place_of_the_mask(void **state)
{
    (void)state;
    static const uint8_t mask[4] = {0x12, 0xfe, 0x00, 0x81};
    char data[64], want[64];
    for (unsigned at = 0; at < 4; at++)
        for (size_t length = 0; length < sizeof data; length++) {
            for (size_t i = 0; i < sizeof data; i++) {
                data[i] = (char)(i * 37 + 5);
                want[i] = (char)(data[i] ^ (char)mask[(at + i) & 3]);
                if (i >= length)
                    want[i] = data[i];
            }
            ws_unmask(data, length, mask, at);
            assert_memory_equal(data, want, sizeof data);
        }
}

static void what_is_put_back_comes_again(void **state)
{
    (void)state;
    char bytes[] = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    for (size_t back = 0; back <= 5; back++) {
        struct ws_reader r = {0};
        char copy[sizeof bytes];
        memcpy(copy, bytes, sizeof bytes);
        char *at = copy;
        size_t length = sizeof bytes - 1;
        struct ws_input piece;
        enum ws_code code;
        assert_int_equal(ws_read(&r, &plain, &at, &length, 100, &piece, &code),
                         STEP_DONE);
        assert_slice(piece.data, "Hello");
        ws_unread(&r, &piece, &at, &length, back);
        assert_int_equal(length, back);
        if (back == 0)
            continue;
        assert_true(ws_is_blocked(&r, length));
        assert_int_equal(ws_read(&r, &plain, &at, &length, 100, &piece, &code),
                         STEP_DONE);
        assert_slice(piece.data, &"Hello"[5 - back]);
        assert_true(piece.fin);
        assert_int_equal(piece.opcode, WS_OP_TEXT);
        assert_int_equal(r.opcode, 0);
    }
}

/* ---- Close ---- */

static void a_close_says_why(void **state)
{
    (void)state;
    static const struct {
        struct slice payload;
        bool is_good;
        unsigned code;
        const char *reason;
    } closes[] = {
        {SLICE(""), true, 0, ""},
        {SLICE("\x03\xe8"), true, 1000, ""},
        {SLICE("\x03\xe9"
               "bye"),
         true, 1001, "bye"},
        {SLICE("\x0f\xa0\xc3\xa4"), true, 4000, "\xc3\xa4"},
        {SLICE("\x03"), false, 1002, ""},
        {SLICE("\x00\x00"), false, 1002, ""},
        {SLICE("\x03\xed"), false, 1002, ""},             /* 1005 */
        {SLICE("\x03\xe8\xff"), false, 1007, ""},         /* no UTF-8 */
        {SLICE("\x03\xe8\xe2\x82"), false, 1007, ""},     /* cut off */
        {SLICE("\x03\xe8\xed\xa0\x80"), false, 1007, ""}, /* a surrogate */
    };
    for (size_t i = 0; i < sizeof closes / sizeof closes[0]; i++) {
        unsigned code;
        struct slice reason;
        assert_int_equal(ws_read_close(closes[i].payload, &code, &reason),
                         closes[i].is_good);
        assert_int_equal(code, closes[i].code);
        if (closes[i].is_good)
            assert_slice(reason, closes[i].reason);
    }
}

static void codes_that_may_be_sent(void **state)
{
    (void)state;
    static const struct {
        unsigned first, last;
    } good[] = {{1000, 1003}, {1007, 1014}, {3000, 4999}};
    for (unsigned code = 0; code <= 65535; code++) {
        bool want = false;
        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
            want = want || (code >= good[i].first && code <= good[i].last);
        assert_int_equal(ws_code_is_valid(code), want);
    }
}

static void the_server_s_heads_are_as_short_as_can_be(void **state)
{
    (void)state;
    static const struct {
        struct ws_head head;
        uint64_t length;
        struct slice want;
    } heads[] = {
        {{WS_OP_TEXT, true, false}, 0, SLICE("\x81\x00")},
        {{WS_OP_TEXT, true, true}, 125, SLICE("\xc1\x7d")},
        {{WS_OP_BINARY, false, false}, 126, SLICE("\x02\x7e\x00\x7e")},
        {{WS_OP_CONTINUATION, true, false}, 65535, SLICE("\x80\x7e\xff\xff")},
        {{WS_OP_BINARY, true, false}, 65536, SLICE("\x82\x7f\0\0\0\0\0\x01\0\0")},
    };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct buf out;
        buf_init(&out, 0);
        ws_write_head(&out, heads[i].head, heads[i].length);
        assert_int_equal(buf_len(&out), heads[i].want.len);
        assert_memory_equal(buf_slice(&out).ptr, heads[i].want.ptr, heads[i].want.len);
        buf_fini(&out);
    }
}

static void expect_close(unsigned code, struct slice reason, struct slice want)
{
    struct buf out;
    buf_init(&out, 0);
    ws_write_close(&out, code, reason);
    assert_int_equal(buf_len(&out), want.len);
    assert_memory_equal(buf_slice(&out).ptr, want.ptr, want.len);
    buf_fini(&out);
}

static void the_server_s_close_fits_a_control_frame(void **state)
{
    (void)state;
    expect_close(0, SLICE("ignored"), SLICE("\x88\x00"));
    expect_close(1000, SLICE(""), SLICE("\x88\x02\x03\xe8"));
    expect_close(1011, SLICE("no"), SLICE("\x88\x04\x03\xf3no"));
    expect_close(1000, SLICE("\xff"), SLICE("\x88\x02\x03\xe8"));
    char longest[2 + 125], reason[200];
    memset(reason, 'x', sizeof reason);
    memcpy(longest, "\x88\x7d\x03\xe8", 4);
    memset(longest + 4, 'x', 123);
    expect_close(1000, slice_of(reason, 200), slice_of(longest, sizeof longest));
    /* A character is not cut in two. */
    memcpy(reason + 121, "\xe2\x82\xac", 3);
    longest[1] = 2 + 121;
    expect_close(1000, slice_of(reason, 200), slice_of(longest, 4 + 121));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_whole_input),
        cmocka_unit_test(reads_the_same_in_pieces_of_any_size),
        cmocka_unit_test(without_room_no_data_is_handed_out_but_control_frames_are),
        cmocka_unit_test(unmasks_from_any_place_of_the_mask),
        cmocka_unit_test(what_is_put_back_comes_again),
        cmocka_unit_test(a_close_says_why),
        cmocka_unit_test(codes_that_may_be_sent),
        cmocka_unit_test(the_server_s_heads_are_as_short_as_can_be),
        cmocka_unit_test(the_server_s_close_fits_a_control_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
