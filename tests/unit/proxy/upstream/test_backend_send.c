/* SPDX-License-Identifier: MIT
 * proxy/upstream/backend_send.c: cancelling, and bodies within their window. */
#include "tests/unit/proxy/upstream/fake_app.h"

/* A request with a body of unknown length, or one that waits for 100 Continue. */
static void ask_with_body(struct fixture *f, struct asker *a, bool expects)
{
    asker_init(a, "POST", "/");
    buf_clear(&a->ticket.frame);
    struct frame_request r = {
        .flags = expects ? REQUEST_EXPECT : 0,
        .method = SLICE("POST"),
        .target = SLICE("/"),
        .minor = 1,
        .scheme = SLICE("http"),
        .body_form = BODY_UNKNOWN,
        .id = SLICE("r1"),
    };
    frame_pack_request(&a->ticket.frame, 0, &r, HEADERS_NONE);
    a->ticket.has_body_to_follow = true;
    a->ticket.expects = expects;
    pool_submit(f->pool, &a->ticket);
}

static void a_cancelled_request_holds_its_slot_until_the_app_ends_it(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 1);
    struct app *app = &f.apps[0];
    struct asker a, b;
    ask(&f, &a, "GET");
    ask(&f, &b, "GET");
    UNTIL(&f, app->count == 1);
    ticket_cancel(&a.ticket, ERR_CLIENT_GONE);
    assert_int_equal(a.ticket.state, TICKET_IDLE);
    UNTIL(&f, app->count == 2);
    assert_int_equal(app->seen[1].kind, FRAME_CANCEL);
    assert_int_equal(app->seen[1].reason, ERR_CLIENT_GONE);
    fixture_settle(&f);
    assert_int_equal(app->count, 2);

    /* Pieces of the answer are dropped; its end frees the slot. */
    app_head(app, app->seen[0].stream);
    APP_SAY(app, frame_pack_body, app->seen[0].stream, SLICE("late"));
    fixture_settle(&f);
    assert_int_equal(app->count, 2);
    APP_SAY(app, frame_pack_abort, app->seen[0].stream, ERR_CLIENT_GONE, SLICE(""));
    UNTIL(&f, app->count == 3);
    assert_string_equal(a.heard, "sent");
    assert_int_equal(pool_stats(f.pool)->unknown_stream, 0);
    asker_fini(&a);
    asker_fini(&b);
    fixture_fini(&f);
}

static void the_exchange_may_cancel_inside_an_event(void **state)
{
    (void)state;
    struct fixture f;
    struct asker a, b;
    struct app *app = begin(&f, &a, "GET");
    ask(&f, &b, "GET");
    UNTIL(&f, app->count == 2);
    a.cancels_at_head = b.cancels_at_head = true;
    app_respond(app, app->seen[0].stream, "x"); /* whole: nothing is left to cancel */
    app_head(app, app->seen[1].stream);
    UNTIL(&f, app->count == 3);
    assert_int_equal(app->seen[2].kind, FRAME_CANCEL);
    assert_int_equal(app->seen[2].stream, app->seen[1].stream);
    assert_string_equal(a.heard, "sent head 200 x");
    assert_string_equal(b.heard, "sent head 200");
    assert_int_equal(pool_busy(f.pool), 0);
    asker_fini(&b);
    end(&f, &a);
}

static void a_body_follows_within_the_apps_window(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    f.apps[0].window_bytes = 100000;
    fixture_up(&f, 0, 4);
    struct app *app = &f.apps[0];
    struct asker a;
    ask_with_body(&f, &a, false);
    assert_int_equal(ticket_room(&a.ticket), 100000);
    static char data[70000];
    ticket_send_body(&a.ticket, SLICE("abc"));
    ticket_send_body(&a.ticket, slice_of(data, sizeof data));
    ticket_send_body(&a.ticket, slice_of(data, 29997));
    assert_int_equal(ticket_room(&a.ticket), 0);
    UNTIL(&f, app->count == 4);
    assert_int_equal(app->seen[1].bytes, 3);
    assert_int_equal(app->seen[2].bytes, sizeof data);
    assert_true(app->seen[2].bulk);
    assert_int_equal(app->seen[3].bytes, 29997);

    APP_SAY(app, frame_pack_window, a.ticket.stream, UINT64_C(1) << 40);
    UNTIL(&f, strcmp(a.heard, "sent room") == 0);
    assert_int_equal(ticket_room(&a.ticket), FRAME_MAX_BULK);
    ticket_send_end(&a.ticket);
    UNTIL(&f, app->count == 5);
    assert_int_equal(app->seen[4].kind, FRAME_END);
    end(&f, &a);
}

static void an_expected_body_waits_until_it_is_asked_for(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 4);
    struct asker a;
    ask_with_body(&f, &a, true);
    assert_int_equal(ticket_room(&a.ticket), 0);
    UNTIL(&f, f.apps[0].count == 1);
    assert_int_equal(f.apps[0].seen[0].flags, REQUEST_EXPECT);
    APP_SAY(&f.apps[0], frame_pack_window, a.ticket.stream, 500);
    UNTIL(&f, strcmp(a.heard, "sent room") == 0);
    assert_int_equal(ticket_room(&a.ticket), 500);
    end(&f, &a);
}

static void what_an_app_server_says_shows_that_it_began(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 4);
    struct app *app = &f.apps[0];
    struct asker a;
    ask_with_body(&f, &a, false);
    UNTIL(&f, app->count == 1);
    assert_false(ticket_is_started(&a.ticket));
    APP_SAY(app, frame_pack_return, a.ticket.stream, ERR_SHUTTING_DOWN);
    UNTIL(&f, app->count == 2); /* and is sent again */
    assert_false(ticket_is_started(&a.ticket));
    APP_SAY(app, frame_pack_window, a.ticket.stream, 500);
    UNTIL(&f, strstr(a.heard, "room") != NULL);
    assert_true(ticket_is_started(&a.ticket));
    end(&f, &a);
}

static void a_mark_in_the_shared_page_shows_that_it_began(void **state)
{
    (void)state;
    struct fixture f;
    struct page *page;
    char path[64];
    fixture_init(&f, 10);
    snprintf(path, sizeof path, "%s/page", f.dir);
    assert_int_equal(page_create(path, APP_INSTANCE, &page), ERR_NONE);
    f.apps[0].page_path = path;
    f.apps[0].page_slot = page_claim(page);
    fixture_up(&f, 0, 4);
    struct asker a;
    ask_with_body(&f, &a, false);
    assert_false(ticket_is_started(&a.ticket));
    page_mark(page, f.apps[0].page_slot, a.ticket.stream);
    assert_true(ticket_is_started(&a.ticket));
    asker_fini(&a);
    page_free(&page);
    fixture_fini(&f);
}

static void a_retried_request_keeps_its_flags(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 4);
    struct asker a;
    ask_with_body(&f, &a, true);
    UNTIL(&f, f.apps[0].count == 1);
    APP_SAY(&f.apps[0], frame_pack_return, a.ticket.stream, ERR_SHUTTING_DOWN);
    UNTIL(&f, f.apps[0].count == 2);
    assert_int_equal(f.apps[0].seen[1].flags, REQUEST_EXPECT | REQUEST_RETRY);
    end(&f, &a);
}

/* An app server that does not read: ZeroMQ takes some thousand messages, then no more.
 */
static void a_full_link_loses_nothing_and_gets_nothing_new(void **state)
{
    (void)state;
    enum { REQUESTS = 12000 };
    static struct asker a[REQUESTS];
    struct fixture f;
    fixture_init(&f, REQUESTS);
    fixture_up(&f, 0, REQUESTS);
    struct app *app = &f.apps[0];
    for (uint32_t i = 0; i < REQUESTS; i++) {
        ask(&f, &a[i], "POST");
        (void)pool_turn(f.pool, clock_now_us());
    }
    /* The rest waits in the queue, where it could still go elsewhere. */
    assert_true(pool_stats(f.pool)->sent < REQUESTS);
    assert_int_equal(a[REQUESTS - 1].ticket.state, TICKET_QUEUED);

    uint32_t arrived = 0;
    while (arrived < REQUESTS) {
        UNTIL(&f, app->count > 0);
        for (uint32_t i = 0; i < app->count; i++)
            assert_int_equal(app->seen[i].stream, ++arrived);
        app->count = 0;
        pool_tick(f.pool, clock_now_us());
    }
    for (uint32_t i = 0; i < REQUESTS; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancelled_request_holds_its_slot_until_the_app_ends_it),
        cmocka_unit_test(the_exchange_may_cancel_inside_an_event),
        cmocka_unit_test(a_body_follows_within_the_apps_window),
        cmocka_unit_test(an_expected_body_waits_until_it_is_asked_for),
        cmocka_unit_test(what_an_app_server_says_shows_that_it_began),
        cmocka_unit_test(a_mark_in_the_shared_page_shows_that_it_began),
        cmocka_unit_test(a_retried_request_keeps_its_flags),
        cmocka_unit_test(a_full_link_loses_nothing_and_gets_nothing_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
