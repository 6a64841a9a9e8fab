/* SPDX-License-Identifier: MIT
 * proxy/exchange_record.c: the cookie that takes a client back to its app server, and
 * when the application is told that its request came. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

#include "protocol/header_names.h"
#include "tests/unit/proxy/websocket_rig.h"

#define COOKIE_OF_AB "node=00000000000000ab"
#define OK_EMPTY "Content-Length: 0\r\n\r\n"

static void begin_sticky(struct rig *rig)
{
    rig_init(rig);
    rig_start(rig);
    rig_connect(rig);
    rig_pool.sticky = (struct sticky){.name = "node"};
    rig_pool.key = 0xab;
}

/* The value of a field of the latest request; no ptr: it has none. */
static struct slice field(uint8_t number)
{
    struct header_list list = rig_latest()->frame.request.headers;
    struct header h;
    while (header_next(&list, &h))
        if (h.number == number)
            return h.value;
    return (struct slice){0};
}

static void the_first_answer_sets_the_cookie_and_the_next_does_not(void **state)
{
    (void)state;
    struct rig rig;
    begin_sticky(&rig);
    rig_send(&rig, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(rig_latest()->ticket->sticks_to == 0);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Set-Cookie: " COOKIE_OF_AB
                             "; Path=/; HttpOnly; SameSite=Lax\r\n"
                             "Cache-Control: private\r\n" OK_EMPTY);

    rig_send(&rig,
             "GET / HTTP/1.1\r\nHost: x\r\nCookie: a=b; " COOKIE_OF_AB "\r\n\r\n");
    assert_true(rig_latest()->ticket->sticks_to == 0xab);
    assert_slice(field(HEADER_COOKIE), "a=b");
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD OK_EMPTY);
    rig_fini(&rig);
}

static void who_was_served_by_another_one_gets_another_cookie(void **state)
{
    (void)state;
    struct rig rig;
    begin_sticky(&rig);
    rig_pool.key = 0xcd;
    rig_send(&rig, "GET / HTTP/1.1\r\nHost: x\r\nCookie: " COOKIE_OF_AB "\r\n\r\n");
    assert_true(field(HEADER_COOKIE).ptr == NULL);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD
               "Set-Cookie: node=00000000000000cd; Path=/; HttpOnly; SameSite=Lax\r\n"
               "Cache-Control: private\r\n" OK_EMPTY);

    /* The first one failed, another one answers. */
    rig_send(&rig, "GET / HTTP/1.1\r\nHost: x\r\nCookie: node=x\r\n\r\n");
    rig_pool.key = 0xab;
    rig_sent(rig_latest());
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD "Set-Cookie: " COOKIE_OF_AB
                             "; Path=/; HttpOnly; SameSite=Lax\r\n"
                             "Cache-Control: private\r\n" OK_EMPTY);
    rig_fini(&rig);
}

static void a_page_of_the_edges_own_sets_none(void **state)
{
    (void)state;
    struct rig rig;
    begin_sticky(&rig);
    rig_send(&rig, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    rig_fail(rig_latest(), ERR_BACKEND_LOST);
    rig_run(&rig);
    rig_expect(&rig, "HTTP/1.1 502 Bad Gateway\r\nDate: *\r\nServer: banyan\r\n"
                     "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\n"
                     "\r\n502 Bad Gateway\n");
    rig_fini(&rig);
}

static void without_the_option_cookies_are_the_applications(void **state)
{
    (void)state;
    struct rig rig;
    begin_sticky(&rig);
    rig_pool.sticky.name[0] = '\0';
    rig_send(&rig, "GET / HTTP/1.1\r\nHost: x\r\nCookie: " COOKIE_OF_AB "\r\n\r\n");
    assert_true(rig_latest()->ticket->sticks_to == 0);
    assert_slice(field(HEADER_COOKIE), COOKIE_OF_AB);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    rig_expect(&rig, OK_HEAD OK_EMPTY);
    rig_fini(&rig);
}

static void the_cookie_is_secure_where_the_client_is(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    assert_true(trusted_parse("*", &rig.options.trusted));
    rig_start(&rig);
    rig_connect(&rig);
    rig_pool.sticky = (struct sticky){.name = "node", .max_age_s = 60};
    rig_pool.key = 0xab;
    rig_send(&rig, "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n\r\n");
    rig_head(rig_latest(), 204, RIG_UNKNOWN_LENGTH);
    rig_done(rig_latest());
    rig_run(&rig);
    rig_expect(&rig, "HTTP/1.1 204 No Content\r\nDate: *\r\nServer: banyan\r\n"
                     "Set-Cookie: " COOKIE_OF_AB
                     "; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure\r\n"
                     "Cache-Control: private\r\n\r\n");
    rig_fini(&rig);
}

static void an_accepted_handshake_sets_it_too(void **state)
{
    (void)state;
    struct rig rig;
    begin_sticky(&rig);
    rig_send(&rig, HANDSHAKE "\r\n");
    rig_accept(rig_latest());
    rig_run(&rig);
    rig_expect(&rig, "HTTP/1.1 101 Switching Protocols\r\nDate: *\r\nServer: banyan\r\n"
                     "Set-Cookie: " COOKIE_OF_AB "; Path=/; HttpOnly; SameSite=Lax\r\n"
                     "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: *\r\n\r\n");
    rig_fini(&rig);
}

/* ---- X-Request-Start ---- */

static void assert_started(struct slice value, time_t from, time_t to)
{
    assert_int_equal(value.len, 2 + 16);
    assert_int_equal(memcmp(value.ptr, "t=", 2), 0);
    char text[32] = {0};
    memcpy(text, value.ptr + 2, value.len - 2);
    assert_in_range(strtoull(text, NULL, 10) / 1000000, from, to);
}

static void the_application_hears_when_its_request_came(void **state)
{
    (void)state;
    struct rig rig;
    time_t before = time(NULL) - 1;
    begin_sticky(&rig);
    rig_send(&rig, "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Start: t=1\r\n\r\n");
    assert_started(field(HEADER_X_REQUEST_START), before, time(NULL));
    rig_fini(&rig);
}

/* How long the client takes is no time in the queue. */
static void a_gathered_body_is_in_the_queue_when_it_is_whole(void **state)
{
    (void)state;
    struct rig rig;
    begin_sticky(&rig);
    time_t before = time(NULL) - 1;
    rig_send(&rig, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab");
    assert_int_equal(rig_pool.count, 0);
    rig_wait(&rig, 20);
    rig_send(&rig, "cd");
    assert_int_equal(rig_pool.count, 1);
    assert_in_range(rig_latest()->frame.request.queued_us, 20900000, 21100000);
    /* The rig's clock ran on, the day's did not. */
    assert_started(field(HEADER_X_REQUEST_START), before + 19, time(NULL) + 21);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_answer_sets_the_cookie_and_the_next_does_not),
        cmocka_unit_test(who_was_served_by_another_one_gets_another_cookie),
        cmocka_unit_test(a_page_of_the_edges_own_sets_none),
        cmocka_unit_test(without_the_option_cookies_are_the_applications),
        cmocka_unit_test(the_cookie_is_secure_where_the_client_is),
        cmocka_unit_test(an_accepted_handshake_sets_it_too),
        cmocka_unit_test(the_application_hears_when_its_request_came),
        cmocka_unit_test(a_gathered_body_is_in_the_queue_when_it_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
