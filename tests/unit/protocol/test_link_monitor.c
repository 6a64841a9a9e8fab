/* SPDX-License-Identifier: MIT
 * protocol/link_monitor.c: peers that come, are killed, and come again. */
#include "tests/unit/protocol/link_fixture.h"

static const char *const SCHEMES[] = {"ipc", "tcp"};
enum { SCHEME_COUNT = sizeof SCHEMES / sizeof SCHEMES[0] };

enum { ANSWERS = 250 };

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void answer_many(const char *endpoint, int in, int out)
{
    struct link *l = bind_link(endpoint);
    say(out);
    uint32_t first = expect_text(l, "to be answered");
    uint32_t second = expect_text(l, "witness");
    for (int i = 0; i < ANSWERS; i++)
        send_text(l, first, "answer");
    send_text(l, second, "done");
    hear(in); /* killed here */
}

static void a_killed_app_is_down_and_its_answers_stay_readable(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        struct child app = start_child(answer_many, endpoint);
        hear(app.from);
        own(link) struct link *proxy = connect_link(endpoint);
        own(link) struct link *witness = connect_link(endpoint);
        struct link_event up = await(proxy, LINK_UP);
        await_up(witness);
        send_text(proxy, 0, "to be answered");
        (void)usleep(GLANCE_MS * 1000);
        send_text(witness, 0, "witness");
        (void)expect_text(witness, "done");
        (void)usleep(GLANCE_MS * 1000);
        kill_child(&app);

        struct link_event down = await(proxy, LINK_DOWN);
        assert_int_equal(down.fd, up.fd);
        for (int i = 0; i < ANSWERS; i++) {
            struct link_message m;
            assert_int_equal(link_recv(proxy, &m), STEP_DONE);
            assert_int_equal(m.source_fd, up.fd);
            link_message_done(&m);
        }
        assert_int_equal(link_send(proxy, 0, SLICE("x"), SLICE("y")), ERR_LINK_DOWN);
        (void)unlink(endpoint + 6);
    }
}

static void send_frames(struct link *l, struct buf *frames, const char *bulk)
{
    enum err e;
    while ((e = link_send(l, 0, buf_slice(frames), slice_from(bulk))) == ERR_LINK_FULL)
        glance_at(link_fd(l));
    assert_int_equal(e, ERR_NONE);
    buf_fini(frames);
}

static void send_hello(struct link *l, uint64_t epoch)
{
    struct frame_hello hello = {.version = PROTOCOL_VERSION, .role = SLICE("proxy")};
    struct buf frames;
    buf_init(&frames, 0);
    frame_pack_hello(&frames, epoch, &hello);
    send_frames(l, &frames, NULL);
}

static void send_body(struct link *l, uint32_t stream)
{
    struct buf frames;
    buf_init(&frames, 0);
    frame_pack_body_bulk(&frames, stream);
    send_frames(l, &frames, "bulk");
}

/* Until it is certain that some of it stays on this side. */
static void send_until_full(struct link *l)
{
    struct buf frames;
    enum err e;
    buf_init(&frames, 0);
    for (uint32_t i = 0; i < 60; i++)
        frame_pack_cancel(&frames, i, ERR_CLIENT_GONE);
    frame_pack_body_bulk(&frames, 1);
    do
        e = link_send(l, 0, buf_slice(&frames), SLICE("bulk"));
    while (e == ERR_NONE);
    assert_int_equal(e, ERR_LINK_FULL);
    buf_fini(&frames);
}

static struct frame expect_frame(struct link *l, enum frame_kind kind)
{
    struct link_message m;
    struct frame f;
    enum err e;
    assert_int_equal(receive(l, &m), STEP_DONE);
    struct slice rest = m.frames;
    assert_int_equal(frame_unpack(&rest, &f, &e), STEP_DONE);
    assert_int_equal(f.kind, kind);
    link_message_done(&m);
    return f; /* without what it borrows */
}

static void read_nothing(const char *endpoint, int in, int out)
{
    struct link *l = bind_link(endpoint);
    say(out);
    hear(in);
    (void)l;
}

static void read_from_hello(const char *endpoint, int in, int out)
{
    struct link *l = bind_link(endpoint);
    say(out);
    (void)expect_frame(l, FRAME_HELLO);
    struct frame f = expect_frame(l, FRAME_BODY);
    assert_int_equal(f.stream, 1);
    say(out);
    hear(in);
}

static void nothing_sent_to_a_dead_app_reaches_its_successor(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        struct child first = start_child(read_nothing, endpoint);
        hear(first.from);
        own(link) struct link *proxy = connect_link(endpoint);
        await_up(proxy);
        assert_int_equal(kill(first.pid, SIGSTOP), 0);
        send_until_full(proxy);
        kill_child(&first);
        (void)await(proxy, LINK_DOWN);
        assert_int_equal(link_send(proxy, 0, SLICE("x"), SLICE("")), ERR_LINK_DOWN);

        struct child second = start_child(read_from_hello, endpoint);
        hear(second.from);
        await_up(proxy);
        glance_at(-1);
        send_hello(proxy, 2);
        send_body(proxy, 1);
        hear(second.from); /* it read these and nothing else */
        kill_child(&second);
        (void)unlink(endpoint + 6);
    }
}

static void what_precedes_hello_is_dropped_for_each_connection(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *app = bind_link(endpoint);
        for (int i = 0; i < 2; i++) {
            own(link) struct link *proxy = connect_link(endpoint);
            await_up(proxy);
            send_body(proxy, 1);
            send_hello(proxy, 7);
            send_body(proxy, 2);
            struct frame f = expect_frame(app, FRAME_HELLO);
            assert_int_equal(f.epoch, 7);
            f = expect_frame(app, FRAME_BODY);
            assert_int_equal(f.stream, 2);
        }
    }
}

static void a_peer_that_comes_late_is_found(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *proxy = connect_link(endpoint);
        struct link_event none;
        assert_false(link_next_event(proxy, &none));
        glance_at(link_monitor_fd(proxy));
        own(link) struct link *app = bind_link(endpoint);
        await_up(proxy);
        send_text(proxy, 0, "hello");
        (void)expect_text(app, "hello");
    }
}

static void send_twice(const char *endpoint, int in, int out)
{
    struct link *l = connect_link(endpoint);
    await_up(l);
    send_text(l, 0, "hello");
    hear(in);
    send_text(l, 0, "more");
    say(out);
    hear(in);
}

static void a_bound_link_names_the_peer_that_is_gone(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        struct child one = start_child(send_twice, endpoint);
        struct child two = start_child(send_twice, endpoint);
        own(link) struct link *app = bind_link(endpoint);
        (void)await(app, LINK_UP);
        (void)await(app, LINK_UP);
        (void)expect_text(app, "hello");
        (void)expect_text(app, "hello");
        say(one.to);
        struct link_message m;
        assert_int_equal(receive(app, &m), STEP_DONE);
        uint32_t peer = m.peer;
        int fd = m.source_fd;
        link_message_done(&m);
        hear(one.from);
        kill_child(&one);
        struct link_event down = await(app, LINK_DOWN);
        assert_int_equal(down.peer, peer);
        assert_int_equal(down.fd, fd);
        assert_int_equal(link_send(app, peer, SLICE("x"), SLICE("")), ERR_LINK_DOWN);
        say(two.to);
        assert_int_not_equal(expect_text(app, "more"), peer);
        kill_child(&two);
        (void)await(app, LINK_DOWN);
    }
}

static void what_a_dead_proxy_had_sent_is_dropped(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *app = bind_link(endpoint);
        struct child proxy = start_child(send_twice, endpoint);
        say(proxy.to);
        hear(proxy.from);
        glance_at(link_fd(app));
        kill_child(&proxy);
        (void)await(app, LINK_UP);
        while (await_event(app).kind != LINK_DOWN)
            ; /* REFUSED, if it died before the app had a look at it */
        struct link_message m;
        assert_int_equal(link_recv(app, &m), STEP_MORE);
        assert_false(link_has_input(app));
    }
}

/* Most connections get the descriptor of the one before. */
static void reused_descriptors_do_not_confuse_peers(void **state)
{
    (void)state;
    enum { GENERATIONS = 8 };
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *app = bind_link(endpoint);
        struct {
            uint32_t peer;
            int fd;
            bool is_gone;
        } seen[GENERATIONS] = {0};
        for (int i = 0; i < GENERATIONS; i++) {
            own(link) struct link *proxy = connect_link(endpoint);
            await_up(proxy);
            send_text(proxy, 0, "hello");
            struct link_message m;
            assert_int_equal(receive(app, &m), STEP_DONE);
            seen[i].peer = m.peer;
            seen[i].fd = m.source_fd;
            link_message_done(&m);
            send_text(app, seen[i].peer, "there");
            (void)expect_text(proxy, "there");
            link_free(&proxy);
            glance_at(-1);
        }
        /* The events were left alone all the time. */
        for (int gone = 0; gone < GENERATIONS;) {
            struct link_event e = await_event(app);
            if (e.kind != LINK_DOWN)
                continue;
            int i = 0;
            while (i < GENERATIONS && seen[i].peer != e.peer)
                i++;
            assert_in_range(i, 0, GENERATIONS - 1);
            assert_int_equal(e.fd, seen[i].fd);
            assert_false(seen[i].is_gone);
            seen[i].is_gone = true;
            gone++;
        }
    }
}

/* Receiving reads events ahead; whoever waits for the descriptor must learn of them. */
static void the_monitors_descriptor_stays_readable_while_events_are_left(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("ipc", endpoint);
    own(link) struct link *app = bind_link(endpoint);
    own(link) struct link *proxy = connect_link(endpoint);
    await_up(proxy);
    send_text(proxy, 0, "hello");
    (void)expect_text(app, "hello");
    assert_true(is_readable(link_monitor_fd(app)));
    (void)await(app, LINK_UP);
    struct link_event e;
    assert_false(link_next_event(app, &e));
    assert_false(is_readable(link_monitor_fd(app)));
    link_free(&proxy);
    (void)await(app, LINK_DOWN);
}

static void a_listener_that_hangs_up_is_refused_and_never_up(void **state)
{
    (void)state;
    char path[ENDPOINT_BYTES], endpoint[ENDPOINT_BYTES];
    path_of("rude", path);
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%.100s", path);
    int listening = listen_unix(path);
    own(link) struct link *proxy = connect_link(endpoint);
    for (int i = 0; i < 2; i++) {
        int fd = accept(listening, NULL, NULL);
        assert_true(fd >= 0);
        (void)close(fd);
        assert_int_equal(await(proxy, LINK_REFUSED).fd, -1);
    }
    assert_int_equal(link_send(proxy, 0, SLICE("x"), SLICE("")), ERR_LINK_DOWN);
    (void)close(listening);
    (void)unlink(path);
}

/* ZeroMQ gives up on it, and says no more than that the connection ended. */
static void a_listener_that_is_no_zeromq_is_refused(void **state)
{
    (void)state;
    static const char zeros[64];
    char path[ENDPOINT_BYTES], endpoint[ENDPOINT_BYTES];
    path_of("stranger", path);
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%.100s", path);
    int listening = listen_unix(path);
    own(link) struct link *proxy = connect_link(endpoint);
    int fd = accept(listening, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, zeros, sizeof zeros), sizeof zeros);
    struct link_event e = await(proxy, LINK_REFUSED);
    assert_int_equal(e.fd, -1);
    assert_int_equal(e.refusal, REFUSAL_BROKEN);
    (void)close(fd);
    (void)close(listening);
    (void)unlink(path);
}

static void a_visitor_that_hangs_up_is_refused(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("ipc", endpoint);
    own(link) struct link *app = bind_link(endpoint);
    int fd = connect_unix(endpoint + 6);
    struct link_event up = await(app, LINK_UP);
    (void)close(fd);
    (void)await(app, LINK_REFUSED);
    struct link_event down = await(app, LINK_DOWN);
    assert_int_equal(down.fd, up.fd);
    assert_int_equal(down.peer, 0);
}

static void the_first_event_makes_the_monitors_descriptor_readable(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *app = bind_link(endpoint);
        own(link) struct link *proxy = connect_link(endpoint);
        assert_true(becomes_readable(link_monitor_fd(app)));
        assert_true(becomes_readable(link_monitor_fd(proxy)));
        (void)unlink(endpoint + 6);
    }
}

static void inproc_has_no_events(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("inproc", endpoint);
    own(link) struct link *app = bind_link(endpoint);
    own(link) struct link *proxy = connect_link(endpoint);
    struct link_event e;
    assert_int_equal(link_monitor_fd(app), -1);
    assert_int_equal(link_monitor_fd(proxy), -1);
    assert_false(link_next_event(app, &e));
    assert_false(link_next_event(proxy, &e));
    send_text(proxy, 0, "hello");
    struct link_message m;
    assert_int_equal(receive(app, &m), STEP_DONE);
    assert_int_equal(m.source_fd, -1);
    link_message_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_killed_app_is_down_and_its_answers_stay_readable, setup_link,
            teardown_link),
        cmocka_unit_test_setup_teardown(
            nothing_sent_to_a_dead_app_reaches_its_successor, setup_link,
            teardown_link),
        cmocka_unit_test_setup_teardown(
            what_precedes_hello_is_dropped_for_each_connection, setup_link,
            teardown_link),
        cmocka_unit_test_setup_teardown(a_peer_that_comes_late_is_found, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(a_bound_link_names_the_peer_that_is_gone,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(what_a_dead_proxy_had_sent_is_dropped,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(reused_descriptors_do_not_confuse_peers,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(
            the_monitors_descriptor_stays_readable_while_events_are_left, setup_link,
            teardown_link),
        cmocka_unit_test_setup_teardown(
            a_listener_that_hangs_up_is_refused_and_never_up, setup_link,
            teardown_link),
        cmocka_unit_test_setup_teardown(a_listener_that_is_no_zeromq_is_refused,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(a_visitor_that_hangs_up_is_refused, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(
            the_first_event_makes_the_monitors_descriptor_readable, setup_link,
            teardown_link),
        cmocka_unit_test_setup_teardown(inproc_has_no_events, setup_link,
                                        teardown_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
