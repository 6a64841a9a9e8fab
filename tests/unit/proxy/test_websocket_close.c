/* SPDX-License-Identifier: MIT
 * proxy/websocket.c: broken rules, Closes of both sides, pings, shutting down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/proxy/websocket_rig.h"

/* ---- the client breaks the rules ---- */

static void broken_rules_have_their_codes(void **state)
{
    (void)state;
    static const struct {
        unsigned first;
        struct slice payload;
        struct slice close; /* to the client */
        const char *said;
    } rows[] = {
        {0x83, SLICE(""), SLICE("\x88\x10\x03\xeaprotocol error"),
         "c1002:protocol error\n"},
        {0xc1, SLICE(""), SLICE("\x88\x10\x03\xeaprotocol error"),
         "c1002:protocol error\n"},
        {0x81, SLICE("\xff"), SLICE("\x88\x0e\x03\xefinvalid data"),
         "c1007:invalid data\n"},
        {0x81, SLICE("a\xc3"), SLICE("\x88\x0e\x03\xefinvalid data"),
         "c1007:invalid data\n"},
        {0x88, SLICE("\x03"), SLICE("\x88\x10\x03\xeaprotocol error"),
         "c1002:protocol error\n"},
        {0x88, SLICE("\x03\xee"), SLICE("\x88\x10\x03\xeaprotocol error"),
         "c1002:protocol error\n"},
        {0x88, SLICE("\x03\xe8\xff"), SLICE("\x88\x0e\x03\xefinvalid data"),
         "c1007:invalid data\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rig rig;
        begin(&rig);
        send_frame(&rig, rows[i].first, rows[i].payload);
        expect_bytes(&rig, rows[i].close);
        expect_said(rows[i].said);
        assert_true(rig_latest()->was_left);
        assert_int_equal(rig_latest()->cancelled, ERR_NONE);
        expect_end(&rig);
        rig_fini(&rig);
    }
}

/* ---- parting ---- */

static void the_client_closes(void **state)
{
    (void)state;
    static const struct {
        struct slice payload, answer;
        const char *said;
    } rows[] = {
        {SLICE("\x03\xe8"), SLICE("\x88\x02\x03\xe8"), "c1000:\n"},
        {SLICE("\x0f\xa1why"), SLICE("\x88\x02\x0f\xa1"), "c4001:why\n"},
        {SLICE(""), SLICE("\x88\x00"), "c0:\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rig rig;
        begin(&rig);
        send_frame(&rig, 0x88, rows[i].payload);
        expect_bytes(&rig, rows[i].answer);
        expect_said(rows[i].said);
        assert_true(rig_latest()->was_left);
        expect_end(&rig);
        rig_fini(&rig);
    }
}

static void the_application_closes(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_close(rig_latest(), 4000, "enough");
    rig_run(&rig);
    expect_bytes(&rig, SLICE("\x88\x08\x0f\xa0"
                             "enough"));
    assert_false(rig.saw_eof);
    /* What crosses it is dropped. */
    send_frame(&rig, 0x81, SLICE("too late"));
    send_frame(&rig, 0x89, SLICE("ping"));
    expect_said("");
    expect_bytes(&rig, SLICE(""));
    send_frame(&rig, 0x88, SLICE("\x0f\xa0"));
    expect_said("c4000:\n");
    expect_end(&rig);
    rig_fini(&rig);
}

static void the_application_ends_without_a_close(void **state)
{
    (void)state;
    static const struct {
        enum err err; /* ERR_NONE: END */
        struct slice close;
    } rows[] = {
        {ERR_NONE, SLICE("\x88\x02\x03\xe8")},
        {ERR_APP_FAILED, SLICE("\x88\x10\x03\xf3internal error")},
        {ERR_BACKEND_LOST, SLICE("\x88\x11\x03\xf4service restart")},
        {ERR_BAD_FRAME, SLICE("\x88\x10\x03\xf3internal error")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rig rig;
        begin(&rig);
        if (rows[i].err == ERR_NONE)
            rig_done(rig_latest());
        else
            rig_fail(rig_latest(), rows[i].err);
        rig_run(&rig);
        expect_bytes(&rig, rows[i].close);
        assert_false(rig.saw_eof);
        send_frame(&rig, 0x88, SLICE("\x03\xe8"));
        expect_end(&rig);
        assert_int_equal(rig.stats.failures[rows[i].err],
                         rows[i].err == ERR_NONE ? 0 : 1);
        rig_fini(&rig);
    }
}

static void an_end_behind_the_application_s_close_changes_nothing(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_close(rig_latest(), 1000, "");
    rig_done(rig_latest());
    rig_run(&rig);
    expect_bytes(&rig, SLICE("\x88\x02\x03\xe8"));
    send_frame(&rig, 0x88, SLICE("\x03\xe8"));
    expect_end(&rig);
    rig_fini(&rig);
}

static void a_code_that_no_peer_may_see_becomes_1011(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_close(rig_latest(), 1006, "");
    rig_run(&rig);
    expect_bytes(&rig, SLICE("\x88\x02\x03\xf3"));
    rig_fini(&rig);
}

static void nobody_waits_for_ever_for_a_close(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_close(rig_latest(), 1000, "");
    rig_wait(&rig, 4.9);
    assert_false(rig.saw_eof);
    rig_wait(&rig, 0.3);
    assert_int_equal(rig_latest()->cancelled, ERR_CLIENT_GONE);
    expect_end(&rig);
    rig_fini(&rig);
}

static void a_client_that_vanishes_is_a_cancel(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    send_frame(&rig, 0x01, SLICE("half"));
    rig_hang_up(&rig);
    assert_int_equal(rig_latest()->cancelled, ERR_CLIENT_GONE);
    assert_int_equal(rig.stats.websockets_open, 0);
    assert_int_equal(rig.stats.clients_gone, 1);
    rig_fini(&rig);
}

/* ---- keep-alive ---- */

static void a_silent_client_is_asked_and_dropped(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    rig_wait(&rig, 19.8);
    expect_bytes(&rig, SLICE(""));
    rig_wait(&rig, 0.4);
    expect_bytes(&rig, SLICE("\x89\x00"));
    /* Anything is an answer. */
    rig_wait(&rig, 10);
    send_frame(&rig, 0x8a, SLICE(""));
    rig_wait(&rig, 19);
    expect_bytes(&rig, SLICE(""));
    rig_wait(&rig, 2);
    expect_bytes(&rig, SLICE("\x89\x00"));
    rig_wait(&rig, 18);
    assert_false(rig.saw_eof);
    rig_wait(&rig, 2);
    assert_true(rig.saw_eof);
    expect_bytes(&rig, SLICE("\x88\x0e\x03\xf3ping timeout"));
    assert_int_equal(rig_latest()->cancelled, ERR_CLIENT_GONE);
    assert_int_equal(rig.stats.ws_pings_lost, 1);
    rig_fini(&rig);
}

static void a_client_that_speaks_is_not_asked(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    for (int i = 0; i < 10; i++) {
        rig_wait(&rig, 15);
        send_frame(&rig, 0x82, SLICE("x"));
    }
    expect_bytes(&rig, SLICE(""));
    rig_wait(&rig, 41); /* within twice the interval */
    expect_bytes(&rig, SLICE("\x89\x00"));
    rig_fini(&rig);
}

static void pings_without_a_timeout_go_on(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.options.websocket_ping_timeout_s = 0;
    rig_start(&rig);
    rig_connect(&rig);
    shake_hands(&rig);
    rig_wait(&rig, 61);
    expect_bytes(&rig, SLICE("\x89\x00\x89\x00\x89\x00"));
    rig_fini(&rig);
}

/* ---- shutting down ---- */

static void shutting_down_tells_client_and_application(void **state)
{
    (void)state;
    struct rig rig;
    begin(&rig);
    exchanges_stop(rig.exchanges, 30);
    exchanges_tick(rig.exchanges);
    rig_run(&rig);
    expect_bytes(&rig, SLICE("\x88\x0f\x03\xe9shutting down"));
    expect_said("c1001:shutting down\n");
    assert_true(rig_latest()->was_left);
    send_frame(&rig, 0x88, SLICE("\x03\xe9"));
    expect_end(&rig);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_rules_have_their_codes),
        cmocka_unit_test(the_client_closes),
        cmocka_unit_test(the_application_closes),
        cmocka_unit_test(the_application_ends_without_a_close),
        cmocka_unit_test(an_end_behind_the_application_s_close_changes_nothing),
        cmocka_unit_test(a_code_that_no_peer_may_see_becomes_1011),
        cmocka_unit_test(nobody_waits_for_ever_for_a_close),
        cmocka_unit_test(a_client_that_vanishes_is_a_cancel),
        cmocka_unit_test(a_silent_client_is_asked_and_dropped),
        cmocka_unit_test(a_client_that_speaks_is_not_asked),
        cmocka_unit_test(pings_without_a_timeout_go_on),
        cmocka_unit_test(shutting_down_tells_client_and_application),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
