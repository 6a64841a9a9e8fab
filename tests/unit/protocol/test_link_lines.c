/* SPDX-License-Identifier: MIT
 * protocol/link.c with lines in place of frames. */
#include "tests/unit/protocol/link_fixture.h"

static void open_lines(const char *endpoint, struct link **ret_bound, struct link **ret)
{
    assert_int_equal(link_bind_lines(context, endpoint, LINK_LOCAL_ONLY, ret_bound),
                     ERR_NONE);
    assert_int_equal(link_connect_lines(context, endpoint, LINK_LOCAL_ONLY, ret),
                     ERR_NONE);
    await_up(*ret);
}

static void lines_need_no_greeting(void **state)
{
    /* The second reads as a frame that is no HELLO: [5, 1]. */
    static const char *const lines[] = {"show backends", "\x92\x05\x01", ""};
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    own(link) struct link *bound = NULL, *there = NULL;
    open_lines(endpoint, &bound, &there);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        send_text(there, 0, lines[i]);
        uint32_t peer = expect_text(bound, lines[i]);
        send_text(bound, peer, "+\n");
        (void)expect_text(there, "+\n");
    }
}

static void a_message_says_where_it_came_from(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    own(link) struct link *bound = NULL, *there = NULL;
    open_lines(endpoint, &bound, &there);
    send_text(there, 0, "ping");
    struct link_message m;
    assert_int_equal(receive(bound, &m), STEP_DONE);
    assert_string_equal(link_message_address(&m), "127.0.0.1");
    link_message_done(&m);
}

static void a_message_beyond_the_limit_ends_the_connection(void **state)
{
    static char most[LINK_MAX_LINES + 1];
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    own(link) struct link *bound = NULL, *there = NULL;
    open_lines(endpoint, &bound, &there);
    struct slice line = slice_of(most, LINK_MAX_LINES);
    assert_int_equal(link_send(there, 0, line, SLICE("")), ERR_NONE);
    struct link_message m;
    assert_int_equal(receive(bound, &m), STEP_DONE);
    assert_int_equal(m.frames.len, LINK_MAX_LINES);
    link_message_done(&m);
    line.len++;
    assert_int_equal(link_send(there, 0, line, SLICE("")), ERR_NONE);
    (void)await(there, LINK_DOWN);
}

static void a_port_that_nobody_listens_at_is_unreachable(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    own(link) struct link *there = NULL;
    assert_int_equal(link_connect_lines(context, endpoint, LINK_LOCAL_ONLY, &there),
                     ERR_NONE);
    (void)await(there, LINK_UNREACHABLE);
    own(link) struct link *bound = NULL; /* and it was tried again */
    assert_int_equal(link_bind_lines(context, endpoint, LINK_LOCAL_ONLY, &bound),
                     ERR_NONE);
    struct link_event e;
    do
        e = await_event(there);
    while (e.kind == LINK_UNREACHABLE);
    assert_int_equal(e.kind, LINK_UP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_need_no_greeting, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(a_message_says_where_it_came_from, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(a_message_beyond_the_limit_ends_the_connection,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(a_port_that_nobody_listens_at_is_unreachable,
                                        setup_link, teardown_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
