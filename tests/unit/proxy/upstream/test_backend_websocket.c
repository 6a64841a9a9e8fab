/* SPDX-License-Identifier: MIT
 * proxy/upstream/backend_{frames,send}.c: a handshake, and what may be said after it.
 */
#include "tests/unit/proxy/upstream/fake_app.h"

static struct app *begin_ws(struct fixture *f, struct asker *a, uint32_t features)
{
    fixture_init(f, 10);
    f->apps[0].own_features = features;
    fixture_up(f, 0, 4);
    asker_init(a, "GET", "/chat");
    a->ticket.is_websocket = true;
    pool_submit(f->pool, &a->ticket);
    UNTIL(f, f->apps[0].count == 1);
    return &f->apps[0];
}

static void
pack(struct buf *to, uint32_t stream, enum ws_op op, struct slice data, bool fin)
{
    struct frame_ws ws = {.op = op, .data = data, .fin = fin, .code = 1000};
    frame_pack_ws(to, stream, &ws, HEADERS_NONE);
}

static void say(struct app *app, enum ws_op op, const char *data, bool fin)
{
    APP_SAY(app, pack, app->seen[0].stream, op, slice_from(data), fin);
}

static void a_handshake_is_marked_for_who_knows_it(void **state)
{
    (void)state;
    for (int knows = 0; knows < 2; knows++) {
        struct fixture f;
        struct asker a;
        struct app *app = begin_ws(&f, &a, knows ? FEATURE_WEBSOCKET : FEATURE_INFORM);
        assert_true(app->features & FEATURE_WEBSOCKET);
        assert_int_equal(app->seen[0].flags, knows ? REQUEST_WEBSOCKET : 0);
        assert_int_equal(a.ticket.ws, knows ? TICKET_WS_OFFERED : TICKET_WS_NONE);
        app_respond(app, app->seen[0].stream, "no");
        UNTIL(&f, strcmp(a.heard, "sent head 200 no done") == 0);
        end(&f, &a);
    }
}

/* Handed back by one that knows WebSocket, taken by one that does not. */
static void the_mark_is_that_of_who_gets_it(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *first = begin_ws(&f, &a, FEATURE_WEBSOCKET);
    fixture_up(&f, 1, 4);
    struct app *second = &f.apps[1];
    APP_SAY(first, frame_pack_return, first->seen[0].stream, ERR_SHUTTING_DOWN);
    UNTIL(&f, second->count == 1);
    assert_int_equal(second->seen[0].flags, REQUEST_RETRY);
    assert_int_equal(a.ticket.ws, TICKET_WS_NONE);
    end(&f, &a);
}

static void messages_pass_in_both_directions(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *app = begin_ws(&f, &a, FEATURE_WEBSOCKET);
    assert_int_equal(ticket_room(&a.ticket), 0);
    say(app, WS_ACCEPT, "chat", true);
    say(app, WS_TEXT, "one", true);
    say(app, WS_BINARY, "tw", false);
    say(app, WS_BINARY, "o", true);
    say(app, WS_TEXT, "", true);
    UNTIL(&f,
          strcmp(a.heard, "sent accept chat text one binary tw+ binary o text ") == 0);
    struct frame_ws ws = {.op = WS_TEXT, .data = SLICE("hello"), .fin = true};
    ticket_send_ws(&a.ticket, &ws);
    UNTIL(&f, app->count == 2);
    assert_string_equal(app->seen[1].text, "1 hello");
    say(app, WS_CLOSE, "bye", true);
    APP_SAY(app, frame_pack_end, app->seen[0].stream, (struct slice){0});
    UNTIL(&f, strstr(a.heard, "close bye done") != NULL);
    end(&f, &a);
}

static void pieces_count_with_sixteen_bytes_more(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    fixture_init(&f, 10);
    f.apps[0].window_bytes = 100;
    f.apps[0].own_features = FEATURE_WEBSOCKET;
    fixture_up(&f, 0, 4);
    asker_init(&a, "GET", "/chat");
    a.ticket.is_websocket = true;
    pool_submit(f.pool, &a.ticket);
    struct app *app = &f.apps[0];
    UNTIL(&f, app->count == 1);
    say(app, WS_ACCEPT, "", true);
    UNTIL(&f, strcmp(a.heard, "sent accept ") == 0);
    assert_int_equal(ticket_ws_room(&a.ticket), 84);
    struct frame_ws ws = {.op = WS_BINARY, .data = SLICE(""), .fin = true};
    for (int i = 0; i < 5; i++)
        ticket_send_ws(&a.ticket, &ws);
    assert_int_equal(ticket_ws_room(&a.ticket), 4);
    ws.data = SLICE("1234");
    ticket_send_ws(&a.ticket, &ws);
    assert_int_equal(ticket_ws_room(&a.ticket), 0);
    APP_SAY(app, frame_pack_window, app->seen[0].stream, 16);
    UNTIL(&f, strcmp(a.heard, "sent accept  room") == 0);
    assert_int_equal(ticket_ws_room(&a.ticket), 0);
    APP_SAY(app, frame_pack_window, app->seen[0].stream, 1000000);
    UNTIL(&f, strcmp(a.heard, "sent accept  room room") == 0);
    assert_int_equal(ticket_ws_room(&a.ticket), FRAME_MAX_INLINE_BODY);
    end(&f, &a);
}

/* The stream stays the app server's until it ends it, and nothing more is said on it.
 */
static void a_stream_that_was_left_holds_its_slot(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a, b;
    fixture_init(&f, 10);
    f.apps[0].own_features = FEATURE_WEBSOCKET;
    fixture_up(&f, 0, 1);
    struct app *app = &f.apps[0];
    asker_init(&a, "GET", "/chat");
    a.ticket.is_websocket = true;
    pool_submit(f.pool, &a.ticket);
    ask(&f, &b, "GET");
    UNTIL(&f, app->count == 1);
    say(app, WS_ACCEPT, "", true);
    UNTIL(&f, strcmp(a.heard, "sent accept ") == 0);
    struct frame_ws close = {.op = WS_CLOSE, .code = 1000};
    ticket_send_ws(&a.ticket, &close);
    ticket_leave(&a.ticket);
    assert_int_equal(a.ticket.state, TICKET_IDLE);
    ticket_leave(&a.ticket); /* nothing */
    UNTIL(&f, app->count == 2);
    say(app, WS_TEXT, "late", true);
    fixture_settle(&f);
    assert_int_equal(app->count, 2); /* no CANCEL, and no room for another */
    APP_SAY(app, frame_pack_end, app->seen[0].stream, (struct slice){0});
    UNTIL(&f, app->count == 3);
    assert_int_equal(app->seen[2].kind, FRAME_REQUEST);
    assert_string_equal(a.heard, "sent accept ");
    asker_fini(&b);
    end(&f, &a);
}

static void an_accepted_handshake_is_not_sent_again(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a;
    struct app *app = begin_ws(&f, &a, FEATURE_WEBSOCKET);
    say(app, WS_ACCEPT, "", true);
    UNTIL(&f, strcmp(a.heard, "sent accept ") == 0);
    APP_SAY(app, frame_pack_bye, app->epoch, SLICE("SHUTTING_DOWN"));
    UNTIL(&f, strcmp(a.heard, "sent accept  failed BACKEND_LOST") == 0);
    end(&f, &a);
}

/* ---- breaches ---- */

static void pack_accept(struct buf *to, uint32_t stream)
{
    pack(to, stream, WS_ACCEPT, SLICE(""), true);
}

static void pack_text(struct buf *to, uint32_t stream)
{
    pack(to, stream, WS_TEXT, SLICE("x"), true);
}

static void pack_close(struct buf *to, uint32_t stream)
{
    pack(to, stream, WS_CLOSE, SLICE(""), true);
}

static void pack_two_closes(struct buf *to, uint32_t stream)
{
    pack_close(to, stream);
    pack_close(to, stream);
}

static void pack_text_after_close(struct buf *to, uint32_t stream)
{
    pack_close(to, stream);
    pack_text(to, stream);
}

static void pack_mixed(struct buf *to, uint32_t stream)
{
    pack(to, stream, WS_BINARY, SLICE("x"), false);
    pack_text(to, stream);
}

static void pack_too_much(struct buf *to, uint32_t stream)
{
    static const char piece[32 * 1024];
    for (int i = 0; i < 3; i++)
        pack(to, stream, WS_BINARY, slice_of(piece, sizeof piece), true);
}

static void pack_body(struct buf *to, uint32_t stream)
{
    frame_pack_body(to, stream, SLICE("x"));
}

static void pack_response(struct buf *to, uint32_t stream)
{
    frame_pack_response(to, stream, 200, SLICE(""), HEADERS_NONE, SLICE("x"));
}

static void pack_head(struct buf *to, uint32_t stream)
{
    frame_pack_head(to, stream, 200, SLICE(""), HEADERS_NONE, false, 0);
}

static void pack_inform(struct buf *to, uint32_t stream)
{
    frame_pack_inform(to, stream, 103, HEADERS_NONE);
}

static void pack_return(struct buf *to, uint32_t stream)
{
    frame_pack_return(to, stream, ERR_NONE);
}

static void pack_file(struct buf *to, uint32_t stream)
{
    struct frame_file file = {.path = SLICE("/x")};
    frame_pack_file(to, stream, &file);
}

static void whoever_breaks_the_order_is_cut_off(void **state)
{
    static const struct {
        const char *name;
        void (*pack)(struct buf *to, uint32_t stream);
        bool is_handshake, after_accept;
    } cases[] = {
        {"accept of what is no handshake", pack_accept, false, false},
        {"text before accept", pack_text, true, false},
        {"close before accept", pack_close, true, false},
        {"text in an ordinary answer", pack_text, false, false},
        {"a second accept", pack_accept, true, true},
        {"two closes", pack_two_closes, true, true},
        {"text after close", pack_text_after_close, true, true},
        {"two messages mixed", pack_mixed, true, true},
        {"more than the window", pack_too_much, true, true},
        {"BODY after accept", pack_body, true, true},
        {"RESPONSE after accept", pack_response, true, true},
        {"HEAD after accept", pack_head, true, true},
        {"INFORM after accept", pack_inform, true, true},
        {"RETURN after accept", pack_return, true, true},
        {"FILE after accept", pack_file, true, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct asker a;
        fixture_init(&f, 10);
        f.apps[0].own_features = FEATURE_WEBSOCKET;
        fixture_up(&f, 0, 4);
        struct app *app = &f.apps[0];
        asker_init(&a, "POST", "/");
        a.ticket.is_websocket = cases[i].is_handshake;
        pool_submit(f.pool, &a.ticket);
        UNTIL(&f, app->count == 1);
        struct buf frames;
        buf_init(&frames, 0);
        if (cases[i].after_accept)
            pack_accept(&frames, app->seen[0].stream);
        cases[i].pack(&frames, app->seen[0].stream);
        app_send(app, &frames, SLICE(""));
        UNTIL(&f, app->byes == 1);
        if (strstr(a.heard, "failed BAD_FRAME") == NULL)
            fail_msg("%s: %s", cases[i].name, a.heard);
        end(&f, &a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handshake_is_marked_for_who_knows_it),
        cmocka_unit_test(the_mark_is_that_of_who_gets_it),
        cmocka_unit_test(messages_pass_in_both_directions),
        cmocka_unit_test(pieces_count_with_sixteen_bytes_more),
        cmocka_unit_test(a_stream_that_was_left_holds_its_slot),
        cmocka_unit_test(an_accepted_handshake_is_not_sent_again),
        cmocka_unit_test(whoever_breaks_the_order_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
