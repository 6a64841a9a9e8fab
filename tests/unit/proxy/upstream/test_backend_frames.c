/* SPDX-License-Identifier: MIT
 * proxy/upstream/backend_frames.c: answers in their order, and whoever breaks it. */
#include "tests/unit/proxy/upstream/fake_app.h"

static void pack_response(struct buf *to, uint32_t stream)
{
    frame_pack_response(to, stream, 200, SLICE(""), HEADERS_NONE,
                        SLICE("RESPONSE after HEAD"));
}

static void pack_too_much(struct buf *to, uint32_t stream)
{
    static const char piece[32 * 1024];
    for (int i = 0; i < 3; i++)
        frame_pack_body(to, stream, slice_of(piece, sizeof piece));
}

static void pack_overflow(struct buf *to, uint32_t stream)
{
    frame_pack_window(to, stream, UINT64_MAX);
}

static void pack_end(struct buf *to, uint32_t stream)
{
    frame_pack_end(to, stream, (struct slice){0});
}

static void pack_body(struct buf *to, uint32_t stream)
{
    frame_pack_body(to, stream, SLICE("x"));
}

static void pack_bulk_without_part(struct buf *to, uint32_t stream)
{
    frame_pack_body_bulk(to, stream);
}

static void pack_head(struct buf *to, uint32_t stream)
{
    frame_pack_head(to, stream, 200, SLICE(""), HEADERS_NONE, false, 0);
}

static void pack_return(struct buf *to, uint32_t stream)
{
    frame_pack_return(to, stream, ERR_NONE);
}

static void pack_inform(struct buf *to, uint32_t stream)
{
    frame_pack_inform(to, stream, 103, HEADERS_NONE);
}

static void pack_file(struct buf *to, uint32_t stream)
{
    struct frame_file file = {.path = SLICE("/x")};
    frame_pack_file(to, stream, &file);
}

static void pack_request(struct buf *to, uint32_t stream)
{
    struct frame_request r = {
        .method = SLICE("GET"), .target = SLICE("/"), .scheme = SLICE("http")};
    frame_pack_request(to, stream, &r, HEADERS_NONE);
}

static void pack_garbage(struct buf *to, uint32_t stream)
{
    (void)stream;
    buf_add(to, SLICE("\xc1\xc1garbage"));
}

static void a_streamed_answer_arrives_in_its_order(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *app = begin(&f, &a, "GET");
    uint32_t s = app->seen[0].stream;
    static char bulk[100000];
    APP_SAY(app, frame_pack_inform, s, 103, HEADERS_NONE);
    app_head(app, s);
    APP_SAY(app, frame_pack_body, s, SLICE("abc"));
    ticket_passed_on(&a.ticket, 0);
    UNTIL(&f, strstr(a.heard, "body 3") != NULL);
    ticket_passed_on(&a.ticket, 3);
    struct buf frames;
    buf_init(&frames, 0);
    frame_pack_body(&frames, s, SLICE("de"));
    frame_pack_body_bulk(&frames, s);
    app_send(app, &frames, slice_of(bulk, 60000));
    assert_true(app->features & FEATURE_TRAILERS);
    APP_SAY(app, frame_pack_end, s, SLICE("\xdc\x00\x02\xa1x\xa1y"));
    UNTIL(&f, strcmp(a.heard, "sent inform 103 head 200 body 3 body 2 body 60000 done "
                              "1 trailers") == 0);
    end(&f, &a);
}

static void the_apps_window_opens_as_bytes_are_passed_on(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *app = begin(&f, &a, "GET");
    uint32_t s = app->seen[0].stream;
    static char piece[32 * 1024];
    app_head(app, s);
    APP_SAY(app, frame_pack_body, s, slice_of(piece, sizeof piece));
    APP_SAY(app, frame_pack_body, s, slice_of(piece, sizeof piece));
    UNTIL(&f, a.body_bytes == 2 * sizeof piece);
    ticket_passed_on(&a.ticket, 10);
    fixture_settle(&f);
    assert_int_equal(app->count, 1);
    ticket_passed_on(&a.ticket, sizeof piece);
    UNTIL(&f, app->count == 2);
    assert_int_equal(app->seen[1].kind, FRAME_WINDOW);
    assert_int_equal(app->seen[1].bytes, 10 + sizeof piece);

    APP_SAY(app, frame_pack_body, s, slice_of(piece, sizeof piece));
    UNTIL(&f, a.body_bytes == 3 * sizeof piece);
    end(&f, &a);
}

static void an_abort_ends_the_request_with_its_reason(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a, b, c;
    struct app *app = begin(&f, &a, "GET");
    ask(&f, &b, "GET");
    ask(&f, &c, "GET");
    UNTIL(&f, app->count == 3);
    APP_SAY(app, frame_pack_abort, app->seen[0].stream, ERR_APP_FAILED, SLICE("why"));
    /* Nobody but the edge knows that a client is gone. */
    APP_SAY(app, frame_pack_abort, app->seen[2].stream, ERR_CLIENT_GONE, SLICE(""));
    app_head(app, app->seen[1].stream);
    APP_SAY(app, frame_pack_abort, app->seen[1].stream, ERR_RESPONSE_TRUNCATED,
            SLICE(""));
    UNTIL(&f, strcmp(b.heard, "sent head 200 failed RESPONSE_TRUNCATED") == 0);
    assert_string_equal(a.heard, "sent failed APP_FAILED");
    assert_string_equal(c.heard, "sent failed APP_FAILED");
    asker_fini(&b);
    asker_fini(&c);
    end(&f, &a);
}

static void a_file_is_taken_or_asked_for_as_bytes(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a, b;
    struct app *app = begin(&f, &a, "GET");
    ask(&f, &b, "GET");
    a.takes_file = true;
    UNTIL(&f, app->count == 2);
    struct frame_file file = {.path = SLICE("/x"), .length = 5};
    for (int i = 0; i < 2; i++) {
        app_head(app, app->seen[i].stream);
        APP_SAY(app, frame_pack_file, app->seen[i].stream, &file);
    }
    UNTIL(&f, app->count == 4);
    assert_string_equal(a.heard, "sent head 200 file /x done");
    assert_string_equal(b.heard, "sent head 200 file /x");
    assert_true(app->seen[2].taken);
    assert_false(app->seen[3].taken);
    APP_SAY(app, frame_pack_body, app->seen[1].stream, SLICE("bytes"));
    APP_SAY(app, frame_pack_end, app->seen[1].stream, (struct slice){0});
    UNTIL(&f, strcmp(b.heard, "sent head 200 file /x body 5 done") == 0);
    asker_fini(&b);
    end(&f, &a);
}

static void whoever_breaks_the_protocol_is_cut_off(void **state)
{
    static const struct {
        const char *name;
        void (*pack)(struct buf *to, uint32_t stream);
        bool after_head;
    } cases[] = {
        {"RESPONSE after HEAD", pack_response, true},
        {"a second HEAD", pack_head, true},
        {"INFORM after HEAD", pack_inform, true},
        {"RETURN after HEAD", pack_return, true},
        {"BODY before HEAD", pack_body, false},
        {"END before HEAD", pack_end, false},
        {"FILE before HEAD", pack_file, false},
        {"BODY beyond its window", pack_too_much, true},
        {"WINDOW overflows", pack_overflow, false},
        {"BODY without its part", pack_bulk_without_part, true},
        {"REQUEST from an app server", pack_request, false},
        {"garbage", pack_garbage, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct asker a, b;
        struct app *app = begin(&f, &a, "POST");
        ask(&f, &b, "GET"); /* innocent, and idempotent */
        UNTIL(&f, app->count == 2);
        struct buf frames;
        buf_init(&frames, 0);
        if (cases[i].after_head)
            pack_head(&frames, app->seen[0].stream);
        cases[i].pack(&frames, app->seen[0].stream);
        /* Nothing of the message counts after the breach. */
        pack_body(&frames, app->seen[1].stream);
        app_send(app, &frames, SLICE(""));
        UNTIL(&f, app->byes == 1);
        if (strstr(a.heard, "failed BAD_FRAME") == NULL)
            fail_msg("%s: %s", cases[i].name, a.heard);
        assert_string_equal(b.heard, "sent");
        assert_int_equal(pool_stats(f.pool)->bad_frames, 1);
        assert_int_equal(pool_up(f.pool), 0);

        /* It gets another chance, after a pause. */
        app->count = 0;
        fixture_settle(&f);
        assert_int_equal(app->hellos, 1);
        fixture_pass(&f, 200 * 1000);
        UNTIL(&f, app->hellos == 2 && app->count == 1);
        asker_fini(&b);
        end(&f, &a);
    }
}

static void a_second_part_without_its_body_is_a_breach(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *app = begin(&f, &a, "POST");
    struct buf frames;
    buf_init(&frames, 0);
    pack_head(&frames, app->seen[0].stream);
    app_send(app, &frames, SLICE("bulk"));
    UNTIL(&f, app->byes == 1);
    assert_string_equal(a.heard, "sent head 200 failed BAD_FRAME");
    end(&f, &a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_streamed_answer_arrives_in_its_order),
        cmocka_unit_test(the_apps_window_opens_as_bytes_are_passed_on),
        cmocka_unit_test(an_abort_ends_the_request_with_its_reason),
        cmocka_unit_test(a_file_is_taken_or_asked_for_as_bytes),
        cmocka_unit_test(whoever_breaks_the_protocol_is_cut_off),
        cmocka_unit_test(a_second_part_without_its_body_is_a_breach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
