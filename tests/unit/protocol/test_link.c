/* SPDX-License-Identifier: MIT
 * protocol/link.c: messages over real sockets, good ones and bad ones. */
#include "tests/unit/protocol/link_fixture.h"

#include <zmq.h>

static const char *const SCHEMES[] = {"inproc", "ipc", "tcp"};
enum { SCHEME_COUNT = sizeof SCHEMES / sizeof SCHEMES[0] };

static char bytes[FRAME_MAX_MESSAGE];

static void fill_bytes(void)
{
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 31 + i / 251);
}

static void expect_parts(struct link *l, size_t frames_bytes, size_t bulk_bytes)
{
    struct link_message m;
    assert_int_equal(receive(l, &m), STEP_DONE);
    assert_int_equal(m.frames.len, frames_bytes);
    assert_int_equal(m.bulk.len, bulk_bytes);
    assert_true(slice_eq(m.frames, slice_of(bytes, frames_bytes)));
    assert_true(slice_eq(m.bulk, slice_of(bytes, bulk_bytes)));
    link_message_done(&m);
}

static void carries_messages_of_every_size_both_ways(void **state)
{
    (void)state;
    static const struct {
        size_t frames, bulk;
    } SIZES[] = {
        {1, 0},
        {33, 0},
        {34, 33},
        {9, 1},
        {8192, 8192},
        {64 * 1024 + 1, 0},
        {16, FRAME_MAX_BULK},
        {FRAME_MAX_MESSAGE, FRAME_MAX_BULK},
    };
    fill_bytes();
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *app = bind_link(endpoint);
        own(link) struct link *proxy = connect_link(endpoint);
        await_up(proxy);
        send_text(proxy, 0, "hello");
        uint32_t peer = expect_text(app, "hello");
        for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
            struct slice frames = slice_of(bytes, SIZES[i].frames);
            struct slice bulk = slice_of(bytes, SIZES[i].bulk);
            assert_int_equal(link_send(proxy, 0, frames, bulk), ERR_NONE);
            expect_parts(app, SIZES[i].frames, SIZES[i].bulk);
            assert_int_equal(link_send(app, peer, frames, bulk), ERR_NONE);
            expect_parts(proxy, SIZES[i].frames, SIZES[i].bulk);
        }
    }
}

static void tells_its_peers_apart(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *app = bind_link(endpoint);
        own(link) struct link *first = connect_link(endpoint);
        own(link) struct link *second = connect_link(endpoint);
        await_up(first);
        await_up(second);
        send_text(first, 0, "1");
        uint32_t first_peer = expect_text(app, "1");
        send_text(second, 0, "2");
        uint32_t second_peer = expect_text(app, "2");
        assert_int_not_equal(first_peer, second_peer);
        send_text(app, second_peer, "to 2");
        send_text(app, first_peer, "to 1");
        (void)expect_text(first, "to 1");
        (void)expect_text(second, "to 2");
    }
}

static void moves_a_message_with_its_bytes(void **state)
{
    (void)state;
    static const size_t SIZES[] = {5, 33, 34, 9000};
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("ipc", endpoint);
    fill_bytes();
    own(link) struct link *app = bind_link(endpoint);
    own(link) struct link *proxy = connect_link(endpoint);
    await_up(proxy);
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        struct slice all = slice_of(bytes, SIZES[i]);
        assert_int_equal(link_send(proxy, 0, all, all), ERR_NONE);
        struct link_message from, to;
        assert_int_equal(receive(app, &from), STEP_DONE);
        uint32_t peer = from.peer;
        from.frames.ptr += 2;
        from.frames.len -= 2;
        link_message_move(&to, &from);
        memset(&from, 0xee, sizeof from);
        assert_int_equal(to.peer, peer);
        assert_true(slice_eq(to.frames, slice_of(bytes + 2, SIZES[i] - 2)));
        assert_true(slice_eq(to.bulk, all));
        link_message_done(&to);
    }
}

static void says_who_it_cannot_reach(void **state)
{
    (void)state;
    struct slice text = SLICE("x"), none = {NULL, 0};
    for (size_t s = 1; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *proxy = connect_link(endpoint);
        assert_int_equal(link_send(proxy, 0, text, none), ERR_LINK_DOWN);
        assert_int_equal(link_send(proxy, 0, text, text), ERR_LINK_DOWN);
        own(link) struct link *app = bind_link(endpoint);
        assert_int_equal(link_send(app, 12345, text, text), ERR_LINK_DOWN);
        /* And nothing of the refused ones lingers. */
        await_up(proxy);
        send_text(proxy, 0, "hello");
        uint32_t peer = expect_text(app, "hello");
        send_text(app, peer, "there");
        (void)expect_text(proxy, "there");
    }
}

static unsigned send_until_full(struct link *l, uint32_t peer)
{
    char text[2000] = {0};
    enum err e = ERR_NONE;
    unsigned sent = 0;
    for (; sent < 100 * 1000; sent++) {
        e = link_send(l, peer, slice_of(text, sizeof text), SLICE("bulk"));
        if (e != ERR_NONE)
            break;
    }
    assert_int_equal(e, ERR_LINK_FULL);
    return sent;
}

static void drain(struct link *l, unsigned count)
{
    struct link_message m;
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(receive(l, &m), STEP_DONE);
        assert_int_equal(m.bulk.len, 4);
        link_message_done(&m);
    }
}

static void a_full_link_says_so_and_recovers(void **state)
{
    (void)state;
    for (size_t s = 0; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *app = bind_link(endpoint);
        own(link) struct link *proxy = connect_link(endpoint);
        await_up(proxy);
        send_text(proxy, 0, "hello");
        uint32_t peer = expect_text(app, "hello");
        drain(app, send_until_full(proxy, 0));
        send_text(proxy, 0, "again");
        (void)expect_text(app, "again");
        drain(proxy, send_until_full(app, peer));
        send_text(app, peer, "again");
        (void)expect_text(proxy, "again");
    }
}

/* A send may use up the edge of ZMQ_FD: only link_has_input knows then. */
static void input_is_seen_although_a_send_used_up_the_descriptor(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("ipc", endpoint);
    own(link) struct link *app = bind_link(endpoint);
    own(link) struct link *proxy = connect_link(endpoint);
    await_up(proxy);
    send_text(proxy, 0, "hello");
    uint32_t peer = expect_text(app, "hello");
    for (int i = 0; i < 50; i++) {
        struct link_message none;
        assert_int_equal(link_recv(proxy, &none), STEP_MORE);
        assert_false(link_has_input(proxy));
        send_text(app, peer, "answer");
        struct pollfd p = {.fd = link_fd(proxy), .events = POLLIN};
        assert_int_equal(poll(&p, 1, -1), 1);
        (void)usleep(2000);
        send_text(proxy, 0, "a");
        send_text(proxy, 0, "b");
        /* Nearly always the descriptor is silent now. */
        while (!link_has_input(proxy))
            glance_at(-1);
        (void)expect_text(proxy, "answer");
        (void)expect_text(app, "a");
        (void)expect_text(app, "b");
    }
}

struct raw_peer {
    void *context, *socket;
};

static struct raw_peer connect_raw(const char *endpoint, const char *routing_id)
{
    struct raw_peer r = {.context = zmq_ctx_new()};
    r.socket = zmq_socket(r.context, ZMQ_DEALER);
    int none = 0;
    assert_int_equal(zmq_setsockopt(r.socket, ZMQ_LINGER, &none, sizeof none), 0);
    if (routing_id != NULL)
        assert_int_equal(
            zmq_setsockopt(r.socket, ZMQ_ROUTING_ID, routing_id, strlen(routing_id)),
            0);
    assert_int_equal(zmq_connect(r.socket, endpoint), 0);
    return r;
}

static void close_raw(struct raw_peer *r)
{
    (void)zmq_close(r->socket);
    (void)zmq_ctx_term(r->context);
}

static void send_raw(struct raw_peer *r, size_t size, int flags)
{
    assert_int_equal(zmq_send(r->socket, bytes, size, flags), (int)size);
}

static void drops_messages_of_a_wrong_form_and_names_their_peer(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t sizes[4]; /* up to the first 0 */
    } FORMS[] = {
        {"three parts", {1, 1, 1}},
        {"four parts, long ones", {5000, 5000, 5000, 5000}},
        {"a bulk part over the limit", {1, FRAME_MAX_BULK + 1}},
    };
    for (size_t s = 1; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *app = bind_link(endpoint);
        struct raw_peer raw = connect_raw(endpoint, NULL);
        send_raw(&raw, 1, 0);
        struct link_message m;
        assert_int_equal(receive(app, &m), STEP_DONE);
        uint32_t peer = m.peer;
        int fd = m.source_fd;
        assert_in_range(fd, 0, 65535);
        link_message_done(&m);
        for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
            const size_t *sizes = FORMS[i].sizes;
            for (int part = 0; part < 4 && sizes[part] > 0; part++) {
                bool more = part < 3 && sizes[part + 1] > 0;
                send_raw(&raw, sizes[part], more ? ZMQ_SNDMORE : 0);
            }
            assert_int_equal(receive(app, &m), STEP_BAD);
            assert_int_equal(m.peer, peer);
            assert_int_equal(m.source_fd, fd);
            link_message_done(&m); /* not needed, does nothing */
            send_raw(&raw, 1, 0);
            assert_int_equal(receive(app, &m), STEP_DONE);
            link_message_done(&m);
        }
        close_raw(&raw);
    }
}

static void a_part_over_the_message_limit_ends_the_connection(void **state)
{
    (void)state;
    for (size_t s = 1; s < SCHEME_COUNT; s++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint(SCHEMES[s], endpoint);
        own(link) struct link *app = bind_link(endpoint);
        struct raw_peer raw = connect_raw(endpoint, NULL);
        assert_int_equal(zmq_send(raw.socket, "x", 1, 0), 1);
        uint32_t peer = expect_text(app, "x");
        (void)await(app, LINK_UP);
        own(mem) char *large = mem_zalloc(FRAME_MAX_MESSAGE + 1);
        assert_int_equal(zmq_send(raw.socket, large, FRAME_MAX_MESSAGE + 1, 0),
                         FRAME_MAX_MESSAGE + 1);
        struct link_event down = await(app, LINK_DOWN);
        assert_int_equal(down.peer, peer);
        close_raw(&raw);
    }
}

/* Nobody could be answered who chose a routing id that is not ROUTER's own. */
static void ignores_a_peer_with_a_routing_id_of_its_own(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("ipc", endpoint);
    own(link) struct link *app = bind_link(endpoint);
    struct raw_peer raw = connect_raw(endpoint, "mallory");
    send_raw(&raw, 1, 0);
    own(link) struct link *proxy = connect_link(endpoint);
    await_up(proxy);
    glance_at(-1);
    send_text(proxy, 0, "good");
    (void)expect_text(app, "good");
    close_raw(&raw);
}

static void survives_bytes_that_are_not_zeromq(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } GARBAGE[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12},
        {"\xff\0\0\0\0\0\0\0\1\x7f\x03\0PLAIN", 17},
        /* ZMTP 2.0, then a frame of 8 GiB */
        {"\xff\0\0\0\0\0\0\0\1\x7f\1\5\0\0\2\0\0\0\2\0\0\0\0", 23},
        {"", 0},
    };
    char endpoint[ENDPOINT_BYTES], path[ENDPOINT_BYTES];
    (void)snprintf(path, sizeof path, "%s/garbage", directory);
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%.100s", path);
    own(link) struct link *app = bind_link(endpoint);
    for (size_t i = 0; i < sizeof GARBAGE / sizeof GARBAGE[0]; i++) {
        int fd = connect_unix(path);
        assert_int_equal(write(fd, GARBAGE[i].bytes, GARBAGE[i].size), GARBAGE[i].size);
        own(link) struct link *proxy = connect_link(endpoint);
        await_up(proxy);
        send_text(proxy, 0, "good");
        (void)expect_text(app, "good");
        (void)close(fd);
        send_text(proxy, 0, "still");
        (void)expect_text(app, "still");
    }
}

static void a_pair_joins_two_ends(void **state)
{
    (void)state;
    struct link *a, *b;
    link_pair_new(context, &a, &b);
    struct link *c, *d;
    link_pair_new(context, &c, &d);
    assert_int_equal(link_monitor_fd(a), -1);
    struct link_event e;
    assert_false(link_next_event(a, &e));
    send_text(a, 0, "from a");
    send_text(c, 0, "from c");
    (void)expect_text(b, "from a");
    (void)expect_text(d, "from c");
    assert_int_equal(link_send(b, 0, SLICE("one"), SLICE("two")), ERR_NONE);
    struct link_message m;
    assert_int_equal(receive(a, &m), STEP_DONE);
    assert_true(slice_eq(m.frames, SLICE("one")) && slice_eq(m.bulk, SLICE("two")));
    assert_int_equal(m.source_fd, -1);
    link_message_done(&m);
    link_free(&a);
    link_free(&b);
    link_free(&c);
    link_free(&d);
    assert_null(a);
}

/* More than ZeroMQ would hold by itself: a thread may be told of thousands of app
 * servers before it runs. */
static void the_first_message_makes_its_descriptor_readable(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("inproc", endpoint);
    own(link) struct link *app = bind_link(endpoint);
    own(link) struct link *proxy = connect_link(endpoint);
    struct link *pairs[4];
    link_pair_new(context, &pairs[0], &pairs[1]);
    link_pair_new(context, &pairs[2], &pairs[3]);
    send_text(proxy, 0, "to who is bound");
    assert_true(becomes_readable(link_fd(app)));
    send_text(pairs[0], 0, "to who connected");
    assert_true(becomes_readable(link_fd(pairs[1])));
    send_text(pairs[3], 0, "to who is bound");
    assert_true(becomes_readable(link_fd(pairs[2])));
    for (size_t i = 0; i < 4; i++)
        link_free(&pairs[i]);
}

static void a_pair_loses_nothing(void **state)
{
    (void)state;
    enum { MESSAGES = 5000 };
    struct link *a, *b;
    link_pair_new(context, &a, &b);
    for (int i = 0; i < MESSAGES; i++)
        assert_int_equal(link_send(a, 0, slice_of(&i, sizeof i), SLICE("")), ERR_NONE);
    for (int i = 0; i < MESSAGES; i++) {
        struct link_message m;
        assert_int_equal(receive(b, &m), STEP_DONE);
        assert_true(slice_eq(m.frames, slice_of(&i, sizeof i)));
        link_message_done(&m);
    }
    link_free(&a);
    link_free(&b);
}

/* Each link is three sockets of ZeroMQ's, and its own limit is 1023. */
static void a_context_takes_as_many_links_as_it_was_made_for(void **state)
{
    (void)state;
    enum { LINKS = 400 };
    struct link *links[LINKS] = {0};
    own(link_context) struct link_context *large = link_context_new(LINKS);
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("ipc", endpoint);
    for (int i = 0; i < LINKS; i++)
        assert_int_equal(link_connect(large, endpoint, LINK_LOCAL_ONLY, &links[i]),
                         ERR_NONE);
    for (int i = 0; i < LINKS; i++)
        link_free(&links[i]);
}

static void a_link_without_descriptors_left_is_an_error(void **state)
{
    (void)state;
    own(link_context) struct link_context *small = link_context_new(1);
    struct link *links[400] = {0};
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("ipc", endpoint);
    enum err e = ERR_NONE;
    int made = 0;
    while (made < 400 && (e = link_connect(small, endpoint, LINK_LOCAL_ONLY,
                                           &links[made])) == ERR_NONE)
        made++;
    assert_int_equal(e, ERR_SYSTEM);
    assert_int_equal(errno, EMFILE);
    for (int i = 0; i < made; i++)
        link_free(&links[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(carries_messages_of_every_size_both_ways,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(tells_its_peers_apart, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(moves_a_message_with_its_bytes, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(says_who_it_cannot_reach, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(a_full_link_says_so_and_recovers, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(
            input_is_seen_although_a_send_used_up_the_descriptor, setup_link,
            teardown_link),
        cmocka_unit_test_setup_teardown(
            drops_messages_of_a_wrong_form_and_names_their_peer, setup_link,
            teardown_link),
        cmocka_unit_test_setup_teardown(
            a_part_over_the_message_limit_ends_the_connection, setup_link,
            teardown_link),
        cmocka_unit_test_setup_teardown(ignores_a_peer_with_a_routing_id_of_its_own,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(survives_bytes_that_are_not_zeromq, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(a_pair_joins_two_ends, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(the_first_message_makes_its_descriptor_readable,
                                        setup_link, teardown_link),
        cmocka_unit_test_setup_teardown(a_pair_loses_nothing, setup_link,
                                        teardown_link),
        cmocka_unit_test_setup_teardown(
            a_context_takes_as_many_links_as_it_was_made_for, setup_link,
            teardown_link),
        cmocka_unit_test_setup_teardown(a_link_without_descriptors_left_is_an_error,
                                        setup_link, teardown_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
