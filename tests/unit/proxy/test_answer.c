/* SPDX-License-Identifier: MIT
 * proxy/answer.c: what of an application's answer reaches the client, for each framing.
 * The client is a buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/answer.h"
#include "tests/support/assert_slice.h"

struct client {
    struct buf out;
    uint64_t taken; /* by whoever reads */
    uint64_t file_bytes;
};

static struct client client;
static struct ticket ticket;
static struct answer answer;
static uint64_t passed_on;
static int file; /* what file_open gives */

struct buf *client_out(struct client *c)
{
    return &c->out;
}

void client_touch(struct client *c)
{
    (void)c;
}

void client_write(struct client *c, struct slice data)
{
    buf_add(&c->out, data);
}

uint64_t client_pending(const struct client *c)
{
    return buf_len(&c->out) + c->file_bytes - c->taken;
}

void client_send_file(struct client *c, int fd, uint64_t offset, uint64_t length)
{
    assert_int_equal(fd, file);
    assert_int_equal(offset, 7);
    c->file_bytes += length;
}

int file_open(const struct file_roots *roots,
              struct slice path,
              uint64_t device,
              uint64_t inode,
              uint64_t offset,
              uint64_t length)
{
    (void)roots, (void)device, (void)inode, (void)offset, (void)length;
    assert_slice(path, "/f");
    return file;
}

void ticket_passed_on(struct ticket *t, size_t bytes)
{
    assert_ptr_equal(t, &ticket);
    passed_on += bytes;
}

enum { NO_LENGTH = -1 };

static enum err begin(int status, int64_t length, struct response_to to)
{
    struct frame_response r = {.status = (uint16_t)status,
                               .has_length = length != NO_LENGTH,
                               .length = (uint64_t)length};
    client = (struct client){0};
    buf_init(&client.out, 0);
    answer = (struct answer){0};
    passed_on = 0;
    struct response_failure failure = {.err = ERR_NONE};
    bool is_good = answer_head(&answer, &client, &r, &to, &failure);
    assert_int_equal(is_good, failure.err == ERR_NONE);
    return failure.err;
}

static enum err end_with(const struct header_list *trailers)
{
    struct response_failure failure = {.err = ERR_NONE};
    bool is_good = answer_end(&answer, &client, trailers, &failure);
    assert_int_equal(is_good, failure.err == ERR_NONE);
    return failure.err;
}

static void end(void)
{
    buf_fini(&client.out);
}

/* The body as the client got it; the head is forgotten. */
static struct slice body_out(void)
{
    struct slice out = buf_slice(&client.out);
    const char *blank = memmem(out.ptr, out.len, "\r\n\r\n", 4);
    assert_non_null(blank);
    size_t head = (size_t)(blank + 4 - out.ptr);
    return slice_of(out.ptr + head, out.len - head);
}

static void each_framing_brings_exactly_what_its_head_says(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int status;
        struct response_to to;
        int64_t length;
        const char *pieces[4], *want;
        enum err err;
        bool has_excess;
    } rows[] = {
        {"length", 200, {.minor = 1}, 6, {"abc", "", "def"}, "abcdef", ERR_NONE, false},
        {"too long", 200, {.minor = 1}, 4, {"abc", "def", "g"}, "abcd", ERR_NONE, true},
        {"too short", 200, {.minor = 1}, 7, {"abc"}, "abc", ERR_RESPONSE_TRUNCATED, 0},
        {"nothing", 200, {.minor = 1}, 0, {""}, "", ERR_NONE, false},
        {"excess of nothing", 200, {.minor = 1}, 0, {"a"}, "", ERR_NONE, true},
        {"chunked",
         200,
         {.minor = 1},
         NO_LENGTH,
         {"abc", "", "0123456789abcdef"},
         "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
         ERR_NONE,
         false},
        {"empty chunked", 200, {.minor = 1}, NO_LENGTH, {""}, "0\r\n\r\n", ERR_NONE, 0},
        {"until close",
         200,
         {.minor = 0},
         NO_LENGTH,
         {"abc", "d"},
         "abcd",
         ERR_NONE,
         0},
        {"HEAD", 200, {.minor = 1, .is_head = true}, 9, {"abc"}, "", ERR_NONE, false},
        {"204", 204, {.minor = 1}, NO_LENGTH, {"abc"}, "", ERR_NONE, false},
        {"304", 304, {.minor = 1}, 9, {"abc"}, "", ERR_NONE, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(begin(rows[i].status, rows[i].length, rows[i].to), ERR_NONE);
        assert_int_equal(answer.status, rows[i].status);
        for (size_t n = 0; rows[i].pieces[n] != NULL; n++)
            answer_body(&answer, &client, &ticket, slice_from(rows[i].pieces[n]));
        assert_int_equal(end_with(NULL), rows[i].err);
        assert_slice(body_out(), rows[i].want);
        assert_int_equal(answer.has_excess, rows[i].has_excess);
        end();
    }
}

static void trailers_go_to_who_takes_them_behind_chunks(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct response_to to;
        int64_t length;
        const char *value, *want;
        enum err err;
    } rows[] = {
        {"taken",
         {.minor = 1, .takes_trailers = true},
         NO_LENGTH,
         "1",
         "3\r\nabc\r\n0\r\nX-A: 1\r\n\r\n",
         ERR_NONE},
        {"unasked", {.minor = 1}, NO_LENGTH, "1", "3\r\nabc\r\n0\r\n\r\n", ERR_NONE},
        {"by length", {.minor = 1, .takes_trailers = true}, 3, "1", "abc", ERR_NONE},
        {"until close", {.minor = 0}, NO_LENGTH, "1", "abc", ERR_NONE},
        {"bad",
         {.minor = 1, .takes_trailers = true},
         NO_LENGTH,
         "1\r\n",
         "3\r\nabc\r\n",
         ERR_BAD_RESPONSE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf packed;
        struct header_writer w;
        buf_init(&packed, 0);
        header_begin(&w, &packed);
        header_put(&w, 0, SLICE("X-A"), slice_from(rows[i].value));
        header_end(&w);
        struct header_list trailers = {slice_of(packed.data + 3, buf_len(&packed) - 3),
                                       w.count};
        assert_int_equal(begin(200, rows[i].length, rows[i].to), ERR_NONE);
        answer_body(&answer, &client, &ticket, SLICE("abc"));
        assert_int_equal(end_with(&trailers), rows[i].err);
        assert_slice(body_out(), rows[i].want);
        end();
        buf_fini(&packed);
    }
}

static void a_head_that_cannot_be_said_leaves_no_trace(void **state)
{
    (void)state;
    struct response_to to = {.minor = 1};
    assert_int_equal(begin(99, 0, to), ERR_BAD_RESPONSE);
    assert_int_equal(buf_len(&client.out), 0);
    assert_int_equal(answer.status, 0);
    end();
}

static void what_the_client_took_is_passed_on_once(void **state)
{
    (void)state;
    struct response_to to = {.minor = 1};
    assert_int_equal(begin(200, 10, to), ERR_NONE);
    size_t head = buf_len(&client.out);
    answer_body(&answer, &client, &ticket, SLICE("0123456"));
    assert_int_equal(passed_on, 0);
    assert_int_equal(answer_sent_bytes(&answer, &client), 0);

    client.taken = head + 3;
    answer_passed_on(&answer, &client, &ticket);
    answer_passed_on(&answer, &client, &ticket);
    assert_int_equal(passed_on, 3);
    assert_int_equal(answer_sent_bytes(&answer, &client), 3);

    /* What is cut counts too: the app server's window is about what it sent. */
    answer_body(&answer, &client, &ticket, SLICE("789excess"));
    client.taken = buf_len(&client.out);
    answer_passed_on(&answer, &client, &ticket);
    assert_int_equal(passed_on, 7 + 9);
    assert_int_equal(answer_sent_bytes(&answer, &client), 10);
    end();
}

static void a_file_is_taken_only_when_it_is_exactly_what_is_missing(void **state)
{
    (void)state;
    static const struct {
        int64_t length;
        bool is_head, is_there, want;
        uint64_t file_bytes;
    } rows[] = {
        {103, false, true, true, 100},      {104, false, true, false, 0},
        {102, false, true, false, 0},       {103, false, false, false, 0},
        {NO_LENGTH, false, true, false, 0}, {103, true, true, true, 0},
        {103, true, false, false, 0},
    };
    const struct frame_file f = {.path = SLICE("/f"), .offset = 7, .length = 100};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct response_to to = {.minor = 1, .is_head = rows[i].is_head};
        assert_int_equal(begin(200, rows[i].length, to), ERR_NONE);
        answer_body(&answer, &client, &ticket, SLICE("abc"));
        file = rows[i].is_there ? 5 : -1;
        assert_int_equal(answer_file(&answer, &client, NULL, &f), rows[i].want);
        assert_int_equal(client.file_bytes, rows[i].file_bytes);
        if (rows[i].want)
            assert_int_equal(end_with(NULL), ERR_NONE);
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_framing_brings_exactly_what_its_head_says),
        cmocka_unit_test(trailers_go_to_who_takes_them_behind_chunks),
        cmocka_unit_test(a_head_that_cannot_be_said_leaves_no_trace),
        cmocka_unit_test(what_the_client_took_is_passed_on_once),
        cmocka_unit_test(a_file_is_taken_only_when_it_is_exactly_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
