/* SPDX-License-Identifier: MIT
 * proxy/upstream/pool.c: the queue, credit, membership, and what becomes of requests
 * whose app server dies. */
#include "tests/unit/proxy/upstream/fake_app.h"

enum { MANY = 8 };

static void requests_wait_while_no_app_server_is_up(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 100);
    fixture_add(&f, 0);
    struct asker a;
    ask(&f, &a, "GET");
    fixture_settle(&f);
    assert_string_equal(a.heard, "");
    assert_int_equal(pool_busy(f.pool), 1);
    assert_int_equal(pool_up(f.pool), 0);

    fixture_bind(&f, 0, 4);
    UNTIL(&f, f.apps[0].count == 1);
    assert_string_equal(f.apps[0].seen[0].text, "GET /");
    app_respond(&f.apps[0], f.apps[0].seen[0].stream, "hello");
    UNTIL(&f, strcmp(a.heard, "sent head 200 hello done") == 0);
    assert_int_equal(pool_busy(f.pool), 0);
    asker_fini(&a);
    fixture_fini(&f);
}

static void no_more_requests_run_than_were_granted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 100);
    fixture_up(&f, 0, 2);
    struct app *app = &f.apps[0];
    struct asker a[MANY];
    for (int i = 0; i < MANY; i++)
        ask(&f, &a[i], "GET");
    UNTIL(&f, app->count == 2);
    fixture_settle(&f);
    assert_int_equal(app->count, 2);

    app_respond(app, app->seen[0].stream, "x");
    UNTIL(&f, app->count == 3);
    fixture_settle(&f);
    assert_int_equal(app->count, 3);

    /* A lowered window takes nothing back, and lets nothing new pass until it is met.
     */
    app_grant(app, 1);
    app_respond(app, app->seen[1].stream, "x");
    fixture_settle(&f);
    assert_int_equal(app->count, 3);
    app_respond(app, app->seen[2].stream, "x");
    UNTIL(&f, app->count == 4);
    app_grant(app, 100);
    UNTIL(&f, app->count == MANY);
    for (int i = 0; i < MANY; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

static void the_queue_is_first_in_first_out(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 100);
    fixture_up(&f, 0, 1);
    struct app *app = &f.apps[0];
    struct asker a[MANY];
    for (int i = 0; i < MANY; i++) {
        char target[16];
        snprintf(target, sizeof target, "/%d", i);
        asker_init(&a[i], "GET", target);
        pool_submit(f.pool, &a[i].ticket);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        UNTIL(&f, app->count == i + 1);
        char want[16];
        snprintf(want, sizeof want, "GET /%u", i);
        assert_string_equal(app->seen[i].text, want);
        assert_int_equal(app->seen[i].stream, i + 1);
        app_respond(app, app->seen[i].stream, "");
    }
    for (int i = 0; i < MANY; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

static void requests_of_one_turn_leave_in_one_message(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 100);
    fixture_up(&f, 0, 100);
    uint32_t before = f.apps[0].messages;
    struct asker a[MANY];
    for (int i = 0; i < MANY; i++)
        ask(&f, &a[i], "GET");
    assert_int_equal(pool_stats(f.pool)->messages_out, before);
    UNTIL(&f, f.apps[0].count == MANY);
    assert_int_equal(f.apps[0].messages, before + 1);
    for (int i = 0; i < MANY; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

static void a_full_queue_refuses_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 2);
    struct asker a[3];
    for (int i = 0; i < 3; i++)
        ask(&f, &a[i], "GET");
    assert_string_equal(a[1].heard, "");
    assert_string_equal(a[2].heard, "failed QUEUE_FULL");
    assert_int_equal(pool_stats(f.pool)->queue_full, 1);

    /* One that leaves the queue makes room. */
    asker_fini(&a[0]);
    assert_int_equal(pool_busy(f.pool), 1);
    ask(&f, &a[0], "GET");
    assert_string_equal(a[0].heard, "");
    for (int i = 0; i < 3; i++)
        asker_fini(&a[i]);
    assert_int_equal(pool_busy(f.pool), 0);
    fixture_fini(&f);
}

static void a_queued_request_fails_at_its_deadline(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    struct asker early, late;
    ask(&f, &early, "GET");
    fixture_pass(&f, 20 * (uint64_t)SECOND_US);
    ask(&f, &late, "GET");
    fixture_pass(&f, 9 * (uint64_t)SECOND_US);
    assert_string_equal(early.heard, "");
    fixture_pass(&f, 2 * (uint64_t)SECOND_US);
    assert_string_equal(early.heard, "failed QUEUE_TIMEOUT");
    assert_string_equal(late.heard, "");
    assert_int_equal(pool_stats(f.pool)->queue_timeout, 1);
    asker_fini(&early);
    asker_fini(&late);
    fixture_fini(&f);
}

static void a_returned_request_goes_elsewhere(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 4);
    struct asker a;
    ask(&f, &a, "POST");
    UNTIL(&f, f.apps[0].count == 1);
    fixture_up(&f, 1, 4);
    APP_SAY(&f.apps[0], frame_pack_return, f.apps[0].seen[0].stream, ERR_SHUTTING_DOWN);
    UNTIL(&f, f.apps[1].count == 1);
    assert_int_equal(f.apps[1].seen[0].flags, REQUEST_RETRY);
    assert_string_equal(f.apps[1].seen[0].text, "POST /");
    app_respond(&f.apps[1], f.apps[1].seen[0].stream, "ok");
    UNTIL(&f, strcmp(a.heard, "sent sent head 200 ok done") == 0);
    assert_int_equal(f.apps[0].count, 1);
    asker_fini(&a);
    fixture_fini(&f);
}

static void a_request_returned_by_the_only_one_goes_there_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 4);
    struct app *app = &f.apps[0];
    struct asker a;
    ask(&f, &a, "POST");
    for (uint32_t n = 0; n < 10; n++) {
        UNTIL(&f, app->count == n + 1);
        APP_SAY(app, frame_pack_return, app->seen[n].stream, ERR_SHUTTING_DOWN);
    }
    UNTIL(&f, app->count == 11);
    APP_SAY(app, frame_pack_return, app->seen[10].stream, ERR_REQUEST_TIMEOUT);
    UNTIL(&f, strstr(a.heard, "failed REQUEST_TIMEOUT") != NULL);
    asker_fini(&a);
    fixture_fini(&f);
}

static void one_that_returns_everything_is_left_alone_for_a_while(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 1);
    struct app *app = &f.apps[0];
    struct asker a;
    ask(&f, &a, "POST");
    uint32_t total = 0;
    while (a.ticket.state == TICKET_SENT) {
        UNTIL(&f, app->count == 1);
        app->count = 0;
        assert_true(++total < 200);
        APP_SAY(app, frame_pack_return, app->seen[0].stream, ERR_NONE);
        UNTIL(&f, pool_stats(f.pool)->returned == total);
    }
    assert_in_range(total, 60, 80);
    fixture_settle(&f);
    assert_int_equal(app->count, 0);
    fixture_pass(&f, SECOND_US);
    UNTIL(&f, app->count == 1);
    asker_fini(&a);
    fixture_fini(&f);
}

/* ---- death ---- */

static void kill_app(struct fixture *f, uint32_t at)
{
    link_free(&f->apps[at].link);
    f->apps[at].count = 0;
}

static void what_was_never_started_is_queued_again_in_its_order(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 100);
    char path[64];
    snprintf(path, sizeof path, "%s/page", f.dir);
    struct page *page;
    assert_int_equal(page_create(path, APP_INSTANCE, &page), ERR_NONE);
    f.apps[0].page_path = path;
    f.apps[0].page_slot = page_claim(page);
    fixture_up(&f, 0, 6);

    struct asker a[MANY];
    for (int i = 0; i < MANY; i++) {
        char target[16];
        snprintf(target, sizeof target, "/%d", i);
        asker_init(&a[i], "POST", target);
        pool_submit(f.pool, &a[i].ticket);
    }
    UNTIL(&f, f.apps[0].count == 6);
    page_mark(page, f.apps[0].page_slot, f.apps[0].seen[1].stream);
    page_free(&page);
    kill_app(&f, 0);
    UNTIL(&f, strcmp(a[1].heard, "sent failed BACKEND_LOST") == 0);
    assert_string_equal(a[0].heard, "sent failed BACKEND_LOST");
    assert_int_equal(pool_stats(f.pool)->requeued, 4);
    assert_int_equal(pool_stats(f.pool)->lost, 2);

    /* They come before the two that had waited all the time. */
    f.apps[1].window_bytes = 0;
    fixture_up(&f, 1, 100);
    UNTIL(&f, f.apps[1].count == 6);
    for (uint32_t i = 0; i < 6; i++) {
        char want[16];
        snprintf(want, sizeof want, "POST /%u", i + 2);
        assert_string_equal(f.apps[1].seen[i].text, want);
        assert_int_equal(f.apps[1].seen[i].flags, i < 4 ? REQUEST_RETRY : 0);
    }
    for (int i = 0; i < MANY; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

static void without_a_page_only_idempotent_ones_are_retried_and_only_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 100);
    fixture_up(&f, 0, 100);
    struct asker get, post;
    ask(&f, &get, "GET");
    ask(&f, &post, "POST");
    UNTIL(&f, f.apps[0].count == 2);
    kill_app(&f, 0);
    UNTIL(&f, strcmp(post.heard, "sent failed BACKEND_LOST") == 0);
    assert_string_equal(get.heard, "sent");

    fixture_up(&f, 1, 100);
    UNTIL(&f, f.apps[1].count == 1);
    assert_string_equal(f.apps[1].seen[0].text, "GET /");
    kill_app(&f, 1);
    UNTIL(&f, strcmp(get.heard, "sent sent failed BACKEND_LOST") == 0);
    assert_int_equal(pool_stats(f.pool)->retried, 1);
    asker_fini(&get);
    asker_fini(&post);
    fixture_fini(&f);
}

static void what_the_client_has_seen_part_of_is_not_retried(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 100);
    fixture_up(&f, 0, 100);
    struct asker begun, committed, spent;
    ask(&f, &begun, "GET");
    ask(&f, &committed, "GET");
    ask(&f, &spent, "PUT");
    spent.ticket.is_replayable = false;
    spent.ticket.has_body_to_follow = true;
    UNTIL(&f, f.apps[0].count == 3);
    ticket_send_body(&spent.ticket, SLICE("abc"));
    app_head(&f.apps[0], begun.ticket.stream);
    committed.ticket.is_committed = true;
    UNTIL(&f, strcmp(begun.heard, "sent head 200") == 0 && f.apps[0].count == 4);
    kill_app(&f, 0);
    UNTIL(&f, pool_busy(f.pool) == 0);
    assert_string_equal(begun.heard, "sent head 200 failed BACKEND_LOST");
    assert_string_equal(committed.heard, "sent failed BACKEND_LOST");
    assert_string_equal(spent.heard, "sent failed BACKEND_LOST");
    asker_fini(&begun);
    asker_fini(&committed);
    asker_fini(&spent);
    fixture_fini(&f);
}

static void retries_stay_within_the_budget(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 100);
    fixture_up(&f, 0, 100);
    struct asker a[MANY];
    for (int i = 0; i < MANY; i++)
        ask(&f, &a[i], "GET");
    UNTIL(&f, f.apps[0].count == MANY);
    kill_app(&f, 0);
    UNTIL(&f, pool_busy(f.pool) == 3);
    for (int i = 0; i < MANY; i++)
        assert_string_equal(a[i].heard, i < 3 ? "sent" : "sent failed BACKEND_LOST");
    for (int i = 0; i < MANY; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

static void answers_sent_before_a_death_arrive(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 300);
    fixture_up(&f, 0, 300);
    struct app *app = &f.apps[0];
    static struct asker a[200];
    for (int i = 0; i < 200; i++)
        ask(&f, &a[i], "POST");
    UNTIL(&f, app->count == 200);
    for (uint32_t i = 0; i < 199; i++)
        app_respond(app, app->seen[i].stream, "last words");
    kill_app(&f, 0);
    UNTIL(&f, pool_busy(f.pool) == 0);
    for (int i = 0; i < 199; i++)
        assert_string_equal(a[i].heard, "sent head 200 last words done");
    assert_string_equal(a[199].heard, "sent failed BACKEND_LOST");
    for (int i = 0; i < 200; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

static void a_restarted_app_server_on_the_same_path_is_found(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 100);
    fixture_up(&f, 0, 10);
    uint64_t epoch = f.apps[0].epoch;
    kill_app(&f, 0);
    UNTIL(&f, pool_up(f.pool) == 0);
    struct asker a;
    ask(&f, &a, "POST");
    fixture_bind(&f, 0, 10);
    UNTIL(&f, f.apps[0].count == 1);
    assert_int_not_equal(f.apps[0].epoch, epoch);
    assert_int_equal(f.apps[0].seen[0].flags, 0);
    asker_fini(&a);
    fixture_fini(&f);
}

/* ---- membership ---- */

static void names_are_unique_and_endpoints_checked(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    assert_int_equal(pool_add(f.pool, "a", "ipc:///tmp/x.sock"), ERR_NONE);
    assert_int_equal(pool_add(f.pool, "a", "ipc:///tmp/y.sock"), ERR_BAD_OPTION);
    assert_int_equal(pool_add(f.pool, "b", "http://x"), ERR_BAD_ENDPOINT);
    assert_int_equal(pool_add(f.pool, "b", "tcp://192.0.2.1:1"), ERR_BAD_ENDPOINT);
    struct backend_settings settings = BACKEND_SETTINGS;
    assert_false(pool_set(f.pool, "b", &settings));
    assert_false(pool_remove(f.pool, "b"));
    assert_true(pool_remove(f.pool, "a"));
    assert_false(pool_remove(f.pool, "a"));
    fixture_fini(&f);
}

static void a_drained_backend_ends_what_runs_and_gets_nothing_new(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 10);
    struct asker old, new;
    ask(&f, &old, "GET");
    UNTIL(&f, f.apps[0].count == 1);
    struct backend_settings settings = BACKEND_SETTINGS;
    settings.state = ADMIN_DRAIN;
    assert_true(pool_set(f.pool, "b0", &settings));
    assert_int_equal(pool_up(f.pool), 0);
    ask(&f, &new, "GET");
    app_grant(&f.apps[0], 10);
    app_respond(&f.apps[0], 1, "x");
    UNTIL(&f, strcmp(old.heard, "sent head 200 x done") == 0);
    fixture_settle(&f);
    assert_string_equal(new.heard, "");
    settings.state = ADMIN_READY;
    assert_true(pool_set(f.pool, "b0", &settings));
    UNTIL(&f, strcmp(new.heard, "sent") == 0);
    asker_fini(&old);
    asker_fini(&new);
    fixture_fini(&f);
}

static void a_retired_backend_leaves_when_what_runs_has_ended(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 10);
    struct asker old, new;
    ask(&f, &old, "GET");
    UNTIL(&f, f.apps[0].count == 1);
    assert_true(pool_retire(f.pool, "b0"));
    assert_false(pool_retire(f.pool, "b0"));
    assert_int_equal(pool_up(f.pool), 0);
    ask(&f, &new, "GET");
    pool_tick(f.pool, clock_now_us());
    fixture_settle(&f);
    assert_string_equal(new.heard, "");
    /* Its name is free, and what waits goes to the next one. */
    fixture_up(&f, 1, 10);
    UNTIL(&f, strcmp(new.heard, "sent") == 0);
    assert_int_equal(f.apps[0].count, 1);
    app_respond(&f.apps[0], 1, "x");
    UNTIL(&f, strcmp(old.heard, "sent head 200 x done") == 0);
    pool_tick(f.pool, clock_now_us());
    assert_int_equal(pool_add(f.pool, "b0", "ipc:///tmp/x.sock"), ERR_NONE);
    asker_fini(&old);
    asker_fini(&new);
    fixture_fini(&f);
}

static void a_removed_backend_is_settled_without_trust_in_its_page(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    char path[64];
    snprintf(path, sizeof path, "%s/page", f.dir);
    struct page *page;
    assert_int_equal(page_create(path, APP_INSTANCE, &page), ERR_NONE);
    f.apps[0].page_path = path;
    f.apps[0].page_slot = page_claim(page);
    fixture_up(&f, 0, 10);
    struct asker sent_get, sent_post, packed_post;
    ask(&f, &sent_get, "GET");
    ask(&f, &sent_post, "POST");
    UNTIL(&f, f.apps[0].count == 2);
    ask(&f, &packed_post, "POST"); /* in the batch, not in the link */
    assert_true(pool_remove(f.pool, "b0"));
    assert_string_equal(sent_get.heard, "sent");
    assert_string_equal(sent_post.heard, "sent failed BACKEND_LOST");
    assert_string_equal(packed_post.heard, "sent");
    assert_int_equal(pool_busy(f.pool), 2);
    page_free(&page);
    asker_fini(&sent_get);
    asker_fini(&sent_post);
    asker_fini(&packed_post);
    fixture_fini(&f);
}

static void a_stopped_pool_finishes_but_takes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    struct asker waiting, late;
    ask(&f, &waiting, "GET");
    pool_stop(f.pool);
    ask(&f, &late, "GET");
    assert_string_equal(late.heard, "failed SHUTTING_DOWN");
    fixture_up(&f, 0, 10);
    UNTIL(&f, f.apps[0].count == 1);
    app_respond(&f.apps[0], 1, "x");
    UNTIL(&f, strcmp(waiting.heard, "sent head 200 x done") == 0);
    asker_fini(&waiting);
    asker_fini(&late);
    fixture_fini(&f);
}

static void freeing_the_pool_fails_what_is_left(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    fixture_up(&f, 0, 1);
    struct asker running, waiting;
    ask(&f, &running, "POST");
    ask(&f, &waiting, "POST");
    UNTIL(&f, f.apps[0].count == 1);
    pool_free(&f.pool);
    assert_string_equal(running.heard, "sent failed BACKEND_LOST");
    assert_string_equal(waiting.heard, "failed SHUTTING_DOWN");
    asker_fini(&running);
    asker_fini(&waiting);
    fixture_fini(&f);
}

static void two_app_servers_share_the_requests(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 100);
    fixture_up(&f, 0, 100);
    fixture_up(&f, 1, 100);
    static struct asker a[60];
    for (int i = 0; i < 60; i++)
        ask(&f, &a[i], "GET");
    UNTIL(&f, f.apps[0].count + f.apps[1].count == 60);
    assert_in_range(f.apps[0].count, 25, 35);
    for (int i = 0; i < 60; i++)
        asker_fini(&a[i]);
    fixture_fini(&f);
}

static void it_knows_what_its_applications_speak(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 10);
    assert_false(pool_is_asgi(f.pool));
    f.apps[0].interface = "asgi";
    fixture_up(&f, 0, 4);
    assert_true(pool_is_asgi(f.pool));
    assert_true(pool_remove(f.pool, "b0"));
    assert_int_equal(pool_up(f.pool), 0);
    assert_true(pool_is_asgi(f.pool)); /* until another one says otherwise */
    fixture_up(&f, 1, 4);
    assert_false(pool_is_asgi(f.pool));
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_wait_while_no_app_server_is_up),
        cmocka_unit_test(no_more_requests_run_than_were_granted),
        cmocka_unit_test(the_queue_is_first_in_first_out),
        cmocka_unit_test(requests_of_one_turn_leave_in_one_message),
        cmocka_unit_test(a_full_queue_refuses_at_once),
        cmocka_unit_test(a_queued_request_fails_at_its_deadline),
        cmocka_unit_test(a_returned_request_goes_elsewhere),
        cmocka_unit_test(a_request_returned_by_the_only_one_goes_there_again),
        cmocka_unit_test(one_that_returns_everything_is_left_alone_for_a_while),
        cmocka_unit_test(what_was_never_started_is_queued_again_in_its_order),
        cmocka_unit_test(without_a_page_only_idempotent_ones_are_retried_and_only_once),
        cmocka_unit_test(what_the_client_has_seen_part_of_is_not_retried),
        cmocka_unit_test(retries_stay_within_the_budget),
        cmocka_unit_test(answers_sent_before_a_death_arrive),
        cmocka_unit_test(a_restarted_app_server_on_the_same_path_is_found),
        cmocka_unit_test(names_are_unique_and_endpoints_checked),
        cmocka_unit_test(a_drained_backend_ends_what_runs_and_gets_nothing_new),
        cmocka_unit_test(a_retired_backend_leaves_when_what_runs_has_ended),
        cmocka_unit_test(a_removed_backend_is_settled_without_trust_in_its_page),
        cmocka_unit_test(a_stopped_pool_finishes_but_takes_nothing),
        cmocka_unit_test(freeing_the_pool_fails_what_is_left),
        cmocka_unit_test(two_app_servers_share_the_requests),
        cmocka_unit_test(it_knows_what_its_applications_speak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
