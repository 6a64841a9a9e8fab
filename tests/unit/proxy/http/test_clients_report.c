/* SPDX-License-Identifier: MIT
 * proxy/http/clients_report.c: connections as an operator sees them, the end of one,
 * and what is noted of a refused request, wherever it stood in the input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/http/clients_report.h"
#include "tests/unit/proxy/edge_rig.h"

#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

static struct client_report only_row(struct rig *rig)
{
    struct clients_report report;
    clients_report(rig->clients, &report);
    assert_int_equal(report.count, 1);
    assert_int_equal(report.total, 1);
    struct client_report row = report.rows[0];
    clients_report_fini(&report);
    return row;
}

static void a_connection_is_cut_off_in_any_state(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *state;
        enum err cancelled;
    } rows[] = {
        {"", "idle", ERR_NONE},
        {"GET / HT", "head", ERR_NONE},
        {GET, "busy", ERR_KILLED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rig rig;
        rig_init(&rig);
        rig_start(&rig);
        rig_connect(&rig);
        rig_send(&rig, rows[i].sent);
        struct client_report row = only_row(&rig);
        assert_string_equal(row.state, rows[i].state);
        assert_false(clients_kill(rig.clients, row.number + 1));
        assert_true(clients_kill(rig.clients, row.number));
        rig_run(&rig);
        assert_true(rig.saw_eof || rig.saw_reset);
        assert_int_equal(clients_count(rig.clients), 0);
        assert_false(clients_kill(rig.clients, row.number));
        if (rows[i].cancelled != ERR_NONE)
            assert_int_equal(rig_latest()->cancelled, rows[i].cancelled);
        rig_fini(&rig);
    }
}

static void the_place_is_counted_from_the_request_s_own_head(void **state)
{
    (void)state;
    struct rig rig;
    struct refusals refusals;
    rig_init(&rig);
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, GET "GET /a\x01");
    clients_refusals(rig.clients, &refusals);
    assert_int_equal(refusals_count(&refusals), 0);
    refusals_fini(&refusals);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    clients_refusals(rig.clients, &refusals);
    assert_int_equal(refusals_count(&refusals), 1);
    const struct refusal *row = refusals_get(&refusals, 0);
    assert_int_equal(row->err, ERR_BAD_TARGET);
    assert_int_equal(row->part, REFUSED_HEAD);
    assert_int_equal(row->offset, 6);
    assert_int_equal(row->bytes_at, 0);
    assert_memory_equal(row->bytes, "GET /a\x01", 7);
    refusals_fini(&refusals);
    rig_fini(&rig);
}

static void a_body_s_place_does_not_depend_on_how_it_comes(void **state)
{
    (void)state;
    static const char head[] = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
                               "chunked\r\n\r\n",
                      body[] = "3\r\nabc\r\n2\r\nde\r\nxyz\r\n";
    for (size_t cut = 0; cut < sizeof body - 1; cut++) {
        struct rig rig;
        struct refusals refusals;
        char first[sizeof body] = "";
        rig_init(&rig);
        rig_start(&rig);
        rig_connect(&rig);
        rig_send(&rig, head);
        memcpy(first, body, cut);
        rig_send(&rig, first);
        rig_send(&rig, body + cut);
        clients_refusals(rig.clients, &refusals);
        assert_int_equal(refusals_count(&refusals), 1);
        const struct refusal *row = refusals_get(&refusals, 0);
        assert_int_equal(row->err, ERR_BAD_CHUNK);
        assert_int_equal(row->part, REFUSED_BODY);
        assert_int_equal(row->offset, 15); /* the x */
        assert_int_equal(row->bytes[row->offset - row->bytes_at], 'x');
        refusals_fini(&refusals);
        rig_fini(&rig);
    }
}

static void a_good_request_leaves_nothing_behind(void **state)
{
    (void)state;
    struct rig rig;
    struct refusals refusals;
    rig_init(&rig);
    rig_start(&rig);
    rig_connect(&rig);
    rig_send(&rig, GET);
    rig_respond(rig_latest(), 200, "");
    rig_run(&rig);
    clients_refusals(rig.clients, &refusals);
    assert_null(refusals.rows);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_cut_off_in_any_state),
        cmocka_unit_test(the_place_is_counted_from_the_request_s_own_head),
        cmocka_unit_test(a_body_s_place_does_not_depend_on_how_it_comes),
        cmocka_unit_test(a_good_request_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
