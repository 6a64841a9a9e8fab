/* SPDX-License-Identifier: MIT
 * proxy/http/ws_deflate.c: offers, messages there and back, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/http/ws_deflate.h"
#include "tests/support/assert_slice.h"

#define BOTH                                                                           \
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

static void takes_the_first_offer_that_it_can(void **state)
{
    (void)state;
    static const struct {
        const char *offer, *answer; /* NULL: none can be taken */
    } rows[] = {
        {"permessage-deflate", BOTH},
        {"Permessage-Deflate", BOTH},
        {"permessage-deflate; client_max_window_bits", BOTH},
        {"permessage-deflate;client_max_window_bits=10", BOTH},
        {"permessage-deflate; client_max_window_bits=\"8\"", BOTH},
        {"permessage-deflate; server_no_context_takeover", BOTH},
        {"permessage-deflate; client_no_context_takeover; server_no_context_takeover",
         BOTH},
        {"permessage-deflate; server_max_window_bits=15",
         BOTH "; server_max_window_bits=15"},
        {"permessage-deflate; server_max_window_bits=9; client_max_window_bits",
         BOTH "; server_max_window_bits=9"},
        {"permessage-deflate; server_max_window_bits = \"12\"",
         BOTH "; server_max_window_bits=12"},
        {"x-webkit-deflate-frame, permessage-deflate", BOTH},
        {"permessage-deflate; server_max_window_bits=8, permessage-deflate", BOTH},
        {"permessage-deflate; mystery, permessage-deflate; client_max_window_bits",
         BOTH},
        {"permessage-bzip2, permessage-deflate; server_max_window_bits=10, "
         "permessage-deflate",
         BOTH "; server_max_window_bits=10"},
        {"", NULL},
        {",", NULL},
        {";", NULL},
        {"permessage-bzip2", NULL},
        {"permessage-deflate;", NULL},
        {"permessage-deflate; ; server_no_context_takeover", NULL},
        {"permessage-deflate; mystery", NULL},
        {"permessage-deflate=1", NULL},
        {"permessage-deflate; server_no_context_takeover=1", NULL},
        {"permessage-deflate; client_no_context_takeover=", NULL},
        {"permessage-deflate; server_max_window_bits", NULL},
        {"permessage-deflate; server_max_window_bits=", NULL},
        {"permessage-deflate; server_max_window_bits=7", NULL},
        {"permessage-deflate; server_max_window_bits=8", NULL},
        {"permessage-deflate; server_max_window_bits=16", NULL},
        {"permessage-deflate; server_max_window_bits=09", NULL},
        {"permessage-deflate; server_max_window_bits=+9", NULL},
        {"permessage-deflate; client_max_window_bits=", NULL},
        {"permessage-deflate; client_max_window_bits=7", NULL},
        {"permessage-deflate; client_max_window_bits=1000000000000000000000", NULL},
        {"permessage-deflate; client_max_window_bits=\"", NULL},
        {"permessage-deflate; client_max_window_bits; client_max_window_bits=9", NULL},
        {"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
         NULL},
        {"permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
         NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ws_terms terms = {0};
        struct buf answer;
        buf_init(&answer, 0);
        bool is_taken = ws_deflate_accept(slice_from(rows[i].offer), &terms);
        assert_int_equal(terms.has_deflate, is_taken);
        if (is_taken != (rows[i].answer != NULL))
            fail_msg("%s", rows[i].offer);
        if (is_taken) {
            ws_deflate_answer(&terms, &answer);
            assert_slice(buf_slice(&answer), rows[i].answer);
        }
        buf_fini(&answer);
    }
}

/* Inflates what comes in pieces of `in_size`, taking `room` at a time. */
static enum step inflate_all(struct ws_deflate *d,
                             struct slice data,
                             size_t in_size,
                             size_t room,
                             struct buf *out)
{
    struct ws_inflater *i = ws_inflater_take(d);
    enum step step = STEP_MORE;
    buf_clear(out);
    do {
        size_t n = data.len < in_size ? data.len : in_size, length;
        bool is_last = n == data.len;
        struct slice piece = slice_of(data.ptr, n);
        do {
            bool fits = buf_reserve(out, room);
            assert_true(fits);
            step = ws_inflate(i, &piece, is_last, buf_tail(out), room, &length);
            assert_true(length <= room);
            buf_commit(out, length);
        } while (step == STEP_MORE && length == room);
        if (step == STEP_MORE)
            assert_int_equal(piece.len, 0);
        data = slice_of(data.ptr + n, data.len - n);
    } while (step == STEP_MORE && data.len > 0);
    ws_inflater_give(d, &i);
    assert_null(i);
    return step;
}

/* The cases of RFC 7692 section 7.2.3. */
static void reads_the_examples_of_the_standard(void **state)
{
    (void)state;
    static const struct {
        struct slice data;
        const char *want;
    } rows[] = {
        {SLICE("\xf2\x48\xcd\xc9\xc9\x07\x00"), "Hello"},
        {SLICE("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), "Hello"}, /* stored */
        {SLICE("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), "Hello"},             /* final */
        {SLICE("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), "Hello"},
        {SLICE("\x00"), ""},
        {SLICE("\x02\x00"), ""},
    };
    struct ws_deflate *d = ws_deflate_new();
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t size = 1; size < 16; size++)
            for (size_t room = 1; room < 8; room++) {
                assert_int_equal(inflate_all(d, rows[i].data, size, room, &out),
                                 STEP_DONE);
                assert_slice(buf_slice(&out), rows[i].want);
            }
    buf_fini(&out);
    ws_deflate_free(&d);
    assert_null(d);
}

static void refuses_what_is_not_compressed(void **state)
{
    (void)state;
    static const struct slice rows[] = {
        SLICE("\x07"),                             /* no such kind of block */
        SLICE("\x00\x05\x00\xfa\xfe\x48\x65\x6c"), /* lengths disagree */
        SLICE("\xf2\x48\xcd\xc9\xc9"),             /* cut off */
        SLICE("\x02\x84\x00"),                     /* refers to before the beginning */
        SLICE("\x00\x05\x00\xfa\xff\x48\x65"),     /* a stored block cut off */
        SLICE("Hello"),
    };
    struct ws_deflate *d = ws_deflate_new();
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t size = 1; size < 9; size++)
            if (inflate_all(d, rows[i], size, 100, &out) != STEP_BAD)
                fail_msg("row %zu passes", i);
    /* The next message is not harmed. */
    assert_int_equal(
        inflate_all(d, SLICE("\xf2\x48\xcd\xc9\xc9\x07\x00"), 7, 100, &out), STEP_DONE);
    assert_slice(buf_slice(&out), "Hello");
    buf_fini(&out);
    ws_deflate_free(&d);
}

static void fill(char *data, size_t length, unsigned kind)
{
    uint64_t random = 88172645463325252u;
    for (size_t i = 0; i < length; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        data[i] = (char)(kind == 0   ? 'a'
                         : kind == 1 ? "{\"key\": 1}, "[i % 12]
                                     : (char)random);
    }
}

static void messages_come_back_in_one_piece_or_many(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 64, 1000, 32768, 100000};
    static char data[100000];
    struct ws_deflate *d = ws_deflate_new();
    struct buf packed, out;
    buf_init(&packed, 0);
    buf_init(&out, 0);
    for (uint8_t bits = 9; bits <= 16; bits++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
            for (unsigned kind = 0; kind < 3; kind++) {
                struct ws_terms terms = {true, bits == 16 ? 0 : bits};
                size_t piece = sizes[s] > 30000 ? 30000 : sizes[s];
                fill(data, sizes[s], kind);
                buf_clear(&packed);
                for (size_t at = 0, n; at < sizes[s] || at == 0; at += n) {
                    n = sizes[s] - at < piece ? sizes[s] - at : piece;
                    ws_deflate_piece(d, &terms, slice_of(data + at, n),
                                     at + n == sizes[s], &packed);
                    if (n == 0)
                        break;
                }
                if (kind == 1 && sizes[s] == 1000)
                    assert_true(buf_len(&packed) < 100);
                assert_int_equal(inflate_all(d, buf_slice(&packed), 4096, 1000, &out),
                                 STEP_DONE);
                assert_int_equal(buf_len(&out), sizes[s]);
                if (sizes[s] > 0)
                    assert_memory_equal(buf_slice(&out).ptr, data, sizes[s]);
            }
    buf_fini(&packed);
    buf_fini(&out);
    ws_deflate_free(&d);
}

/* Two connections speak in turns; neither sees the other's words. */
/* Then what is left to read of it is its end alone. */
static void a_message_may_fill_the_room_to_its_last_byte(void **state)
{
    (void)state;
    static char data[4000];
    struct ws_terms terms = {true, 0};
    struct ws_deflate *d = ws_deflate_new();
    struct buf packed, out;
    buf_init(&packed, 0);
    buf_init(&out, 0);
    fill(data, sizeof data, 0);
    for (size_t length = 1; length <= sizeof data; length++) {
        buf_clear(&packed);
        ws_deflate_piece(d, &terms, slice_of(data, length), true, &packed);
        for (size_t parts = 1; parts <= 4; parts++) {
            if (length % parts != 0)
                continue;
            enum step step =
                inflate_all(d, buf_slice(&packed), 1, length / parts, &out);
            if (step != STEP_DONE || buf_len(&out) != length)
                fail_msg("%zu bytes in %zu parts", length, parts);
        }
    }
    /* Two symbols, of which one ends the block: its end and the next one's beginning
     * are read together with the last match. */
    struct slice zeros = SLICE("\xec\xc1\x31\x01\x00\x00\x00\xc2\xa0\xf5\x4f\x6d\x0a"
                               "\x3f\xa0\x00\x03\x00\x00\x06");
    for (size_t room = 1; room <= 3873; room++)
        if (inflate_all(d, zeros, 1, room, &out) != STEP_DONE || buf_len(&out) != 3873)
            fail_msg("room of %zu", room);
    buf_fini(&packed);
    buf_fini(&out);
    ws_deflate_free(&d);
}

static void messages_of_several_connections_may_be_mixed(void **state)
{
    (void)state;
    struct ws_deflate *d = ws_deflate_new();
    struct ws_terms terms = {true, 0};
    struct buf packed[2];
    static char data[2][2][5000];
    for (unsigned c = 0; c < 2; c++) {
        buf_init(&packed[c], 0);
        fill(data[c][0], 5000, c);
        fill(data[c][1], 5000, 2 - c);
    }
    for (unsigned half = 0; half < 2; half++)
        for (unsigned c = 0; c < 2; c++)
            ws_deflate_piece(d, &terms, slice_of(data[c][half], 5000), half == 1,
                             &packed[c]);
    struct ws_inflater *i[2] = {ws_inflater_take(d), ws_inflater_take(d)};
    struct slice rest[2] = {buf_slice(&packed[0]), buf_slice(&packed[1])};
    static char out[2][10001];
    size_t got[2] = {0, 0};
    bool is_done[2] = {false, false};
    while (!is_done[0] || !is_done[1])
        for (unsigned c = 0; c < 2; c++) {
            size_t n = rest[c].len < 50 ? rest[c].len : 50, length;
            struct slice piece = slice_of(rest[c].ptr, n);
            if (is_done[c])
                continue;
            enum step step = ws_inflate(i[c], &piece, n == rest[c].len, out[c] + got[c],
                                        sizeof out[c] - got[c], &length);
            assert_true(step != STEP_BAD);
            got[c] += length;
            rest[c] = slice_of(piece.ptr, rest[c].len - n + piece.len);
            is_done[c] = step == STEP_DONE;
        }
    for (unsigned c = 0; c < 2; c++) {
        assert_int_equal(got[c], 10000);
        assert_memory_equal(out[c], data[c], 10000);
        ws_inflater_give(d, &i[c]);
        buf_fini(&packed[c]);
    }
    ws_deflate_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_first_offer_that_it_can),
        cmocka_unit_test(reads_the_examples_of_the_standard),
        cmocka_unit_test(refuses_what_is_not_compressed),
        cmocka_unit_test(messages_come_back_in_one_piece_or_many),
        cmocka_unit_test(a_message_may_fill_the_room_to_its_last_byte),
        cmocka_unit_test(messages_of_several_connections_may_be_mixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
