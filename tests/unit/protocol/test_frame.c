/* SPDX-License-Identifier: MIT
 * The vectors of tests/cases/frames: what each one means, that packing gives the same
 * bytes, and that protocol/README.md shows exactly these. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol/frame.h"
#include "protocol/header_names.h"
#include "tests/support/frames.h"
#include "tests/support/vectors.h"

#define EPOCH 0x1122334455667788
#define TEXT(literal)                                                                  \
    {                                                                                  \
        literal, sizeof literal - 1                                                    \
    }

/* A list is given apart from its frame: packed headers cannot stand in an initializer.
 */
struct expected {
    const char *name;
    struct frame frame;
    struct {
        uint8_t number;
        const char *name, *value;
    } headers[4];
};

static const struct expected EXPECTED[] = {
    {"hello_proxy",
     {.kind = FRAME_HELLO,
      .epoch = EPOCH,
      .hello = {.version = 1,
                .role = TEXT("proxy"),
                .instance = 0xa1a2a3a4a5a6a7a8,
                .clock_us = 61000000,
                .features = FEATURE_FILE | FEATURE_WEBSOCKET | FEATURE_TRAILERS |
                            FEATURE_INFORM,
                .window_bytes = 262144,
                .inline_bytes = 32768}},
     {{0}}},
    {"hello_app",
     {.kind = FRAME_HELLO,
      .epoch = EPOCH,
      .hello = {.version = 1,
                .role = TEXT("app"),
                .instance = 0xb1b2b3b4b5b6b7b8,
                .clock_us = 3500000,
                .features = FEATURE_INFORM,
                .window_bytes = 262144,
                .inline_bytes = 32768,
                .has_app = true,
                .pool = TEXT("default"),
                .slots = 16,
                .interface = TEXT("wsgi"),
                .pid = 4242,
                .page = TEXT("/run/banyan/app-0.page"),
                .page_slot = 3}},
     {{0}}},
    {"grant", {.kind = FRAME_GRANT, .epoch = EPOCH, .window = 17}, {{0}}},
    {"request",
     {.kind = FRAME_REQUEST,
      .stream = 7,
      .request = {.method = TEXT("GET"),
                  .target = TEXT("/hello?name=banyan"),
                  .minor = 1,
                  .scheme = TEXT("http"),
                  .client_addr = TEXT("192.0.2.10"),
                  .client_port = 52144,
                  .server_addr = TEXT("198.51.100.1"),
                  .server_port = 80,
                  .deadline_us = 121000000,
                  .queued_us = 61000500,
                  .id = TEXT("r-0001")}},
     {{HEADER_HOST, NULL, "example.org"},
      {HEADER_USER_AGENT, NULL, "curl/8.5.0"},
      {HEADER_ACCEPT, NULL, "*/*"},
      {0, "x-trace", "abc"}}},
    {"request_inline",
     {.kind = FRAME_REQUEST,
      .stream = 8,
      .request = {.flags = REQUEST_RETRY,
                  .method = TEXT("POST"),
                  .target = TEXT("/form"),
                  .minor = 1,
                  .scheme = TEXT("https"),
                  .client_addr = TEXT("2001:db8::1"),
                  .client_port = 443,
                  .server_addr = TEXT("/run/web.sock"),
                  .body_form = BODY_INLINE,
                  .body = TEXT("name=ficus"),
                  .body_length = 10,
                  .queued_us = 61000600,
                  .id = TEXT("r-0002")}},
     {{HEADER_HOST, NULL, "example.org"},
      {HEADER_CONTENT_TYPE, NULL, "application/x-www-form-urlencoded"},
      {HEADER_CONTENT_LENGTH, NULL, "10"}}},
    {"request_length",
     {.kind = FRAME_REQUEST,
      .stream = 9,
      .request = {.flags = REQUEST_EXPECT,
                  .method = TEXT("PUT"),
                  .target = TEXT("/upload"),
                  .minor = 1,
                  .scheme = TEXT("http"),
                  .server_addr = TEXT("198.51.100.1"),
                  .server_port = 8000,
                  .body_form = BODY_LENGTH,
                  .body_length = 100000,
                  .deadline_us = 121000000,
                  .queued_us = 61000700,
                  .id = TEXT("r-0003")}},
     {{HEADER_HOST, NULL, "example.org"},
      {HEADER_CONTENT_LENGTH, NULL, "100000"},
      {HEADER_EXPECT, NULL, "100-continue"}}},
    {"request_unknown",
     {.kind = FRAME_REQUEST,
      .stream = 10,
      .request = {.method = TEXT("POST"),
                  .target = TEXT("/stream"),
                  .minor = 1,
                  .scheme = TEXT("http"),
                  .client_addr = TEXT("192.0.2.10"),
                  .client_port = 52144,
                  .server_addr = TEXT("198.51.100.1"),
                  .server_port = 80,
                  .body_form = BODY_UNKNOWN,
                  .deadline_us = 121000000,
                  .queued_us = 61000800,
                  .id = TEXT("r-0004")}},
     {{HEADER_HOST, NULL, "example.org"}}},
    {"request_trailers",
     {.kind = FRAME_REQUEST,
      .stream = 11,
      .request = {.flags = REQUEST_TRAILERS,
                  .method = TEXT("GET"),
                  .target = TEXT("/rows"),
                  .minor = 1,
                  .scheme = TEXT("http"),
                  .client_addr = TEXT("192.0.2.10"),
                  .client_port = 52144,
                  .server_addr = TEXT("198.51.100.1"),
                  .server_port = 80,
                  .deadline_us = 121000000,
                  .queued_us = 61000900,
                  .id = TEXT("r-0005")}},
     {{HEADER_HOST, NULL, "example.org"}}},
    {"request_root",
     {.kind = FRAME_REQUEST,
      .stream = 12,
      .request = {.method = TEXT("GET"),
                  .target = TEXT("/shop/cart?id=1"),
                  .minor = 1,
                  .scheme = TEXT("http"),
                  .client_addr = TEXT("192.0.2.10"),
                  .client_port = 52144,
                  .server_addr = TEXT("198.51.100.1"),
                  .server_port = 80,
                  .deadline_us = 121000000,
                  .queued_us = 61001000,
                  .id = TEXT("r-0006"),
                  .root = 5}},
     {{HEADER_HOST, NULL, "example.org"}}},
    {"response",
     {.kind = FRAME_RESPONSE,
      .stream = 7,
      .response =
          {.status = 200, .has_length = true, .length = 6, .body = TEXT("hello\n")}},
     {{HEADER_CONTENT_TYPE, NULL, "text/plain; charset=utf-8"},
      {HEADER_CONTENT_LENGTH, NULL, "6"},
      {0, "X-Tree", "banyan"}}},
    {"response_empty",
     {.kind = FRAME_RESPONSE,
      .stream = 8,
      .response = {.status = 204, .reason = TEXT("Nothing Here"), .has_length = true}},
     {{0}}},
    {"head",
     {.kind = FRAME_HEAD,
      .stream = 9,
      .response = {.status = 200, .has_length = true, .length = 1048576}},
     {{HEADER_CONTENT_TYPE, NULL, "application/octet-stream"}}},
    {"head_unknown",
     {.kind = FRAME_HEAD, .stream = 10, .response = {.status = 200}},
     {{HEADER_CONTENT_TYPE, NULL, "text/event-stream"}}},
    {"inform",
     {.kind = FRAME_INFORM, .stream = 7, .response = {.status = 103}},
     {{44, NULL, "</style.css>; rel=preload; as=style"}}},
    {"body",
     {.kind = FRAME_BODY, .stream = 9, .body = {.data = TEXT("0123456789abcdef")}},
     {{0}}},
    {"body_bulk", {.kind = FRAME_BODY, .stream = 9, .body = {.bulk = true}}, {{0}}},
    {"window", {.kind = FRAME_WINDOW, .stream = 9, .bytes = 131072}, {{0}}},
    {"end", {.kind = FRAME_END, .stream = 9}, {{0}}},
    {"end_trailers", {.kind = FRAME_END, .stream = 9}, {{0, "x-checksum", "5eb63bbb"}}},
    {"file",
     {.kind = FRAME_FILE,
      .stream = 9,
      .file = {.path = TEXT("/srv/media/tree.jpg"),
               .device = 2049,
               .inode = 393241,
               .length = 1048576}},
     {{0}}},
    {"filed", {.kind = FRAME_FILED, .stream = 9, .taken = true}, {{0}}},
    {"ws_accept",
     {.kind = FRAME_WS, .stream = 11, .ws = {.op = WS_ACCEPT, .data = TEXT("chat")}},
     {{0, "x-room", "7"}}},
    {"ws_text",
     {.kind = FRAME_WS,
      .stream = 11,
      .ws = {.op = WS_TEXT, .data = TEXT("h\303\251"), .fin = true}},
     {{0}}},
    {"ws_binary",
     {.kind = FRAME_WS,
      .stream = 11,
      .ws = {.op = WS_BINARY, .data = TEXT("\0\1\2\3")}},
     {{0}}},
    {"ws_close",
     {.kind = FRAME_WS,
      .stream = 11,
      .ws = {.op = WS_CLOSE, .data = TEXT("done"), .code = 1000}},
     {{0}}},
    {"cancel",
     {.kind = FRAME_CANCEL, .stream = 7, .stop = {.reason = ERR_CLIENT_GONE}},
     {{0}}},
    {"abort",
     {.kind = FRAME_ABORT,
      .stream = 7,
      .stop = {.reason = ERR_APP_FAILED, .text = TEXT("KeyError in view")}},
     {{0}}},
    {"return",
     {.kind = FRAME_RETURN, .stream = 7, .stop = {.reason = ERR_SHUTTING_DOWN}},
     {{0}}},
    {"drain", {.kind = FRAME_DRAIN, .epoch = EPOCH}, {{0}}},
    {"bye",
     {.kind = FRAME_BYE,
      .epoch = EPOCH,
      .stop = {.reason = ERR_SHUTTING_DOWN, .text = TEXT("SHUTTING_DOWN")}},
     {{0}}},
    {"ping",
     {.kind = FRAME_PING,
      .epoch = EPOCH,
      .load = {.sequence = 5, .clock_us = 62000000}},
     {{0}}},
    {"load",
     {.kind = FRAME_LOAD,
      .epoch = EPOCH,
      .load = {.sequence = 5,
               .clock_us = 4500000,
               .running = 12,
               .waiting = 3,
               .service_us = 850,
               .slots = 16}},
     {{0}}},
    {"limit", {.kind = FRAME_LIMIT, .epoch = EPOCH, .running = 8}, {{0}}},
};

enum { EXPECTED_COUNT = sizeof EXPECTED / sizeof EXPECTED[0] };

static const struct expected *find_expected(const char *name)
{
    for (size_t i = 0; i < EXPECTED_COUNT; i++)
        if (strcmp(EXPECTED[i].name, name) == 0)
            return &EXPECTED[i];
    fail_msg("no expectation for %s.hex", name);
    return NULL;
}

/* The expected list as it is packed, and as a frame borrows it. */
static struct header_list pack_expected(const struct expected *e, struct buf *to)
{
    struct header_writer w;
    header_begin(&w, to);
    for (size_t i = 0; i < 4 && e->headers[i].value != NULL; i++)
        header_put(&w, e->headers[i].number, slice_from(e->headers[i].name),
                   slice_from(e->headers[i].value));
    header_end(&w);
    return (struct header_list){slice_of(to->data + 3, buf_len(to) - 3), w.count};
}

static void set_headers(struct frame *f, struct header_list list)
{
    if (f->kind == FRAME_REQUEST)
        f->request.headers = list;
    else if (f->kind == FRAME_RESPONSE || f->kind == FRAME_HEAD ||
             f->kind == FRAME_INFORM)
        f->response.headers = list;
    else if (f->kind == FRAME_END)
        f->trailers = list;
    else if (f->kind == FRAME_WS && f->ws.op == WS_ACCEPT)
        f->ws.headers = list;
}

static void unpack_one(struct slice bytes, struct frame *ret_frame)
{
    enum err err = ERR_NONE;
    struct slice rest = bytes;
    assert_int_equal(frame_unpack(&rest, ret_frame, &err), STEP_DONE);
    assert_int_equal(rest.len, 0);
    struct frame none;
    assert_int_equal(frame_unpack(&rest, &none, &err), STEP_MORE);
}

static void check_decoding(const struct vector *v, void *arg)
{
    (void)arg;
    const struct expected *e = find_expected(v->name);
    struct buf headers;
    buf_init(&headers, 0);
    struct frame wanted = e->frame, got;
    set_headers(&wanted, pack_expected(e, &headers));
    unpack_one(v->bytes, &got);
    if (!frames_equal(&wanted, &got))
        fail_msg("%s.hex does not say what is expected", v->name);
    buf_fini(&headers);
}

static void every_vector_decodes_to_the_expected_frame(void **state)
{
    (void)state;
    assert_int_equal(vectors_each("", check_decoding, NULL), EXPECTED_COUNT);
}

static void check_packing(const struct vector *v, void *arg)
{
    (void)arg;
    struct buf packed;
    struct frame f;
    buf_init(&packed, 0);
    unpack_one(v->bytes, &f);
    frame_repack(&packed, &f);
    if (!slice_eq(buf_slice(&packed), v->bytes))
        fail_msg("packing %s.hex gives other bytes", v->name);
    buf_fini(&packed);
}

static void packing_gives_the_bytes_of_the_vectors(void **state)
{
    (void)state;
    (void)vectors_each("", check_packing, NULL);
}

static void check_readme(const struct vector *v, void *readme)
{
    own(mem) char *text = mem_alloc(v->text.len + 1);
    memcpy(text, v->text.ptr, v->text.len);
    text[v->text.len] = '\0';
    if (strstr(readme, text) == NULL)
        fail_msg("protocol/README.md does not show %s.hex as it is", v->name);
}

static size_t count_text(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}

static void the_specification_shows_the_vectors(void **state)
{
    (void)state;
    struct buf readme;
    buf_init(&readme, 0);
    vector_read_file(TESTS_DIR "/../protocol/README.md", &readme);
    buf_add(&readme, SLICE("\0"));
    size_t files = vectors_each("", check_readme, readme.data);
    assert_int_equal(count_text(readme.data, "```hex\n"), files);
    buf_fini(&readme);
}

static void the_specification_names_every_kind_header_and_error(void **state)
{
    (void)state;
    struct buf readme;
    buf_init(&readme, 0);
    vector_read_file(TESTS_DIR "/../protocol/README.md", &readme);
    buf_add(&readme, SLICE("\0"));
    for (unsigned kind = 0; kind < FRAME_KIND_COUNT; kind++) {
        own(mem) char *heading =
            mem_printf("\n#### %u %s\n", kind, frame_kind_name((enum frame_kind)kind));
        if (strstr(readme.data, heading) == NULL)
            fail_msg("no section %s", heading);
    }
    for (uint8_t number = 1; number < HEADER_COUNT; number++) {
        own(mem) char *row =
            mem_printf("| %u | `%.*s` |", number, SLICE_FMT(header_lower(number)));
        if (strstr(readme.data, row) == NULL)
            fail_msg("no row %s", row);
    }
    for (unsigned e = 1; e < ERR_COUNT; e++) {
        char status[12] = "";
        if (err_status((enum err)e) != 0)
            (void)snprintf(status, sizeof status, "%d", err_status((enum err)e));
        own(mem) char *row = mem_printf("\n| %s | %s | %s |\n", err_name((enum err)e),
                                        status, err_text((enum err)e));
        if (strstr(readme.data, row) == NULL)
            fail_msg("no row %s", row);
    }
    buf_fini(&readme);
}

static void every_kind_has_a_vector(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < FRAME_KIND_COUNT; kind++) {
        bool found = false;
        for (size_t i = 0; i < EXPECTED_COUNT; i++)
            found = found || EXPECTED[i].frame.kind == kind;
        assert_true(found);
    }
}

static void a_stream_id_and_flags_are_patched_in_place(void **state)
{
    (void)state;
    struct frame_request r = {.method = SLICE("GET"), .target = SLICE("/")};
    struct buf packed;
    struct frame f;

    buf_init(&packed, 0);
    frame_pack_request(&packed, 1, &r, HEADERS_NONE);
    frame_set_stream(packed.data, 0xfedcba98);
    frame_set_flags(packed.data, REQUEST_RETRY | REQUEST_EXPECT);
    unpack_one(buf_slice(&packed), &f);
    assert_int_equal(f.stream, 0xfedcba98);
    assert_int_equal(f.request.flags, REQUEST_RETRY | REQUEST_EXPECT);
    assert_true(slice_eq(f.request.target, SLICE("/")));

    buf_clear(&packed);
    frame_pack_window(&packed, UINT32_MAX, 5);
    frame_set_stream(packed.data, 2);
    unpack_one(buf_slice(&packed), &f);
    assert_int_equal(f.stream, 2);
    assert_int_equal(f.bytes, 5);
    buf_fini(&packed);
}

static void frames_follow_each_other_in_a_batch(void **state)
{
    (void)state;
    struct buf batch;
    struct frame f;
    enum err err;

    buf_init(&batch, 0);
    for (uint32_t stream = 1; stream <= FRAME_MAX_BATCH; stream++)
        frame_pack_window(&batch, stream, stream * 1000);
    struct slice rest = buf_slice(&batch);
    for (uint32_t stream = 1; stream <= FRAME_MAX_BATCH; stream++) {
        assert_int_equal(frame_unpack(&rest, &f, &err), STEP_DONE);
        assert_int_equal(f.stream, stream);
        assert_int_equal(f.bytes, stream * 1000);
    }
    assert_int_equal(frame_unpack(&rest, &f, &err), STEP_MORE);
    buf_fini(&batch);
}

static void the_largest_frames_round_trip(void **state)
{
    (void)state;
    own(mem) char *letters = mem_alloc(FRAME_MAX_HEAD);
    memset(letters, 'a', FRAME_MAX_HEAD);
    struct slice body = slice_of(letters, FRAME_MAX_INLINE_BODY);
    struct slice text = slice_of(letters, FRAME_MAX_STRING);
    struct buf headers, packed;
    struct header_writer w;
    struct frame f, again;

    buf_init(&headers, 0);
    buf_init(&packed, 0);
    header_begin(&w, &headers);
    header_put(&w, 0, text, slice_of(letters, 0));
    for (unsigned i = 1; i < FRAME_MAX_HEADERS; i++)
        header_put(&w, HEADER_COOKIE, slice_of("", 0), slice_of(letters, 700));
    header_end(&w);
    struct frame_request r = {.method = text,
                              .target = text,
                              .scheme = text,
                              .client_addr = text,
                              .server_addr = text,
                              .body_form = BODY_INLINE,
                              .body = body,
                              .deadline_us = UINT64_MAX,
                              .queued_us = UINT64_MAX,
                              .id = slice_of(letters, FRAME_MAX_ID)};
    frame_pack_request(&packed, UINT32_MAX, &r, buf_slice(&headers));
    unpack_one(buf_slice(&packed), &f);
    assert_int_equal(f.request.headers.count, FRAME_MAX_HEADERS);
    assert_true(slice_eq(f.request.method, text));
    assert_true(slice_eq(f.request.body, body));
    headers.end = headers.start;
    frame_repack(&headers, &f);
    unpack_one(buf_slice(&headers), &again);
    assert_true(frames_equal(&f, &again));
    buf_fini(&headers);
    buf_fini(&packed);
}

static void a_header_list_is_read_back(void **state)
{
    (void)state;
    struct buf packed;
    struct header h;

    buf_init(&packed, 0);
    struct header_writer w;
    header_begin(&w, &packed);
    header_put(&w, HEADER_HOST, slice_of("", 0), SLICE("a"));
    header_put(&w, HEADER_NONE, SLICE("X-One"), SLICE(""));
    header_put(&w, HEADER_NONE, SLICE("Content-TYPE"), SLICE("b"));
    header_end(&w);
    struct header_list it = {slice_of(packed.data + 3, buf_len(&packed) - 3), w.count};
    assert_true(header_next(&it, &h));
    assert_int_equal(h.number, HEADER_HOST);
    assert_true(slice_eq(h.name, SLICE("host")));
    assert_true(header_next(&it, &h));
    assert_int_equal(h.number, HEADER_NONE);
    assert_true(slice_eq(h.name, SLICE("X-One")));
    assert_int_equal(h.value.len, 0);
    assert_true(header_next(&it, &h)); /* written out, known all the same */
    assert_int_equal(h.number, HEADER_CONTENT_TYPE);
    assert_true(slice_eq(h.name, SLICE("content-type")));
    assert_true(slice_eq(h.value, SLICE("b")));
    assert_false(header_next(&it, &h));
    buf_fini(&packed);
}

static void a_list_may_be_written_behind_other_bytes(void **state)
{
    (void)state;
    struct buf packed;
    buf_init(&packed, 0);
    buf_add(&packed, SLICE("consumed and not"));
    buf_consume(&packed, 12);
    struct header_writer w;
    header_begin(&w, &packed);
    header_put(&w, 14, slice_of("", 0), SLICE("1"));
    header_end(&w);
    assert_true(slice_eq(buf_slice(&packed), SLICE(" not\xdc\x00\x02\x0e\xa1"
                                                   "1")));
    buf_fini(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_decodes_to_the_expected_frame),
        cmocka_unit_test(packing_gives_the_bytes_of_the_vectors),
        cmocka_unit_test(the_specification_shows_the_vectors),
        cmocka_unit_test(the_specification_names_every_kind_header_and_error),
        cmocka_unit_test(every_kind_has_a_vector),
        cmocka_unit_test(a_stream_id_and_flags_are_patched_in_place),
        cmocka_unit_test(frames_follow_each_other_in_a_batch),
        cmocka_unit_test(the_largest_frames_round_trip),
        cmocka_unit_test(a_header_list_is_read_back),
        cmocka_unit_test(a_list_may_be_written_behind_other_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
