/* SPDX-License-Identifier: MIT
 * Links with keys, over real sockets. */
#include <sys/eventfd.h>

#include "tests/support/key_files.h"
#include "tests/unit/protocol/link_fixture.h"

static struct key_pair server, edge, ada, stranger;
static struct keys *keys;
static int reread_fd;

/* What the handler said, from its thread. */
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t said_more = PTHREAD_COND_INITIALIZER;
static char said[1024];

static void note(const char *text)
{
    (void)pthread_mutex_lock(&said_lock);
    (void)snprintf(said, sizeof said, "%s", text);
    (void)pthread_cond_broadcast(&said_more);
    (void)pthread_mutex_unlock(&said_lock);
}

static void on_refused(void *arg, const char *text)
{
    (void)arg;
    note(text);
}

static void on_reread(void *arg, const char *text, bool is_bad)
{
    (void)arg;
    char line[900];
    (void)snprintf(line, sizeof line, "reread %d %s", is_bad, text);
    note(line);
}

/* Waits until it says that; the alarm ends a vain wait. */
static void await_said(const char *part)
{
    (void)pthread_mutex_lock(&said_lock);
    while (strstr(said, part) == NULL)
        (void)pthread_cond_wait(&said_more, &said_lock);
    (void)pthread_mutex_unlock(&said_lock);
}

static void write_list(const char *more)
{
    own(mem) char *text = mem_printf("proxy %s edge-1\nadmin %s ada\n%s",
                                     edge.public_key, ada.public_key, more);
    write_text("list", text, 0644);
}

static int setup(void **state)
{
    static const struct zap_events events = {.refused = on_refused,
                                             .reread = on_reread};
    if (setup_key_files(state) != 0 || setup_link(state) != 0)
        return -1;
    said[0] = '\0';
    server = make_pair();
    edge = make_pair();
    ada = make_pair();
    stranger = make_pair();
    write_pair("key", &server);
    write_list("");
    keys = open_keys();
    reread_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(reread_fd >= 0);
    assert_int_equal(link_context_use_keys(context, keys, reread_fd, &events),
                     ERR_NONE);
    return 0;
}

static int teardown(void **state)
{
    int rc = teardown_link(state);
    (void)close(reread_fd);
    keys_free(&keys);
    return teardown_key_files(state) + rc;
}

static struct link *bind_secure(const char *endpoint, enum zap_domain domain)
{
    struct link *l = NULL;
    assert_int_equal(link_bind_secure(context, endpoint, domain, &l), ERR_NONE);
    return l;
}

static struct link *
connect_secure(const char *endpoint, const struct key_pair *own, const char *server_key)
{
    struct link *l = NULL;
    assert_int_equal(
        link_connect_secure(context, endpoint, CARGO_FRAMES, own, server_key, &l),
        ERR_NONE);
    return l;
}

/* Other events may come before it: those of connections tried again. */
static struct link_event await_refusal(struct link *l, enum link_refusal refusal)
{
    for (;;) {
        struct link_event e = await_event(l);
        if (e.kind == LINK_REFUSED && e.refusal == refusal)
            return e;
    }
}

/* The first message must be a HELLO. */
static void greet(struct link *l)
{
    struct buf frames;
    struct frame_hello hello = {.version = PROTOCOL_VERSION,
                                .role = SLICE("proxy"),
                                .window_bytes = 1 << 20,
                                .inline_bytes = 1 << 10};
    buf_init(&frames, 0);
    frame_pack_hello(&frames, 1, &hello);
    assert_int_equal(link_send(l, 0, buf_slice(&frames), SLICE("")), ERR_NONE);
    buf_fini(&frames);
}

static uint32_t expect_greeting(struct link *l)
{
    struct link_message m;
    assert_int_equal(receive(l, &m), STEP_DONE);
    uint32_t peer = m.peer;
    link_message_done(&m);
    return peer;
}

static void an_authorized_key_is_let_in_and_named(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    own(link) struct link *app = bind_secure(endpoint, ZAP_APP);
    assert_non_null(app);
    own(link) struct link *proxy = connect_secure(endpoint, &edge, server.public_key);
    (void)await(proxy, LINK_UP);
    greet(proxy);
    uint32_t peer = expect_greeting(app);
    const struct key_user *user = link_peer_user(app, peer);
    assert_non_null(user);
    assert_int_equal(user->role, KEY_PROXY);
    assert_string_equal(user->name, "edge-1");
    assert_string_equal(user->key, edge.public_key);
    assert_null(link_peer_user(app, peer + 1));
    assert_null(link_peer_user(proxy, 0));
    send_text(app, peer, "answer");
    (void)expect_text(proxy, "answer");
}

static void the_longest_message_passes(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    own(link) struct link *app = bind_secure(endpoint, ZAP_APP);
    assert_non_null(app);
    own(link) struct link *proxy = connect_secure(endpoint, &edge, server.public_key);
    (void)await(proxy, LINK_UP);
    greet(proxy);
    uint32_t peer = expect_greeting(app);
    own(mem) char *longest = mem_zalloc(FRAME_MAX_MESSAGE);
    own(mem) char *bulk = mem_zalloc(FRAME_MAX_BULK);
    assert_int_equal(link_send(app, peer, slice_of(longest, FRAME_MAX_MESSAGE),
                               slice_of(bulk, FRAME_MAX_BULK)),
                     ERR_NONE);
    struct link_message m;
    assert_int_equal(receive(proxy, &m), STEP_DONE);
    assert_int_equal(m.frames.len, FRAME_MAX_MESSAGE);
    assert_int_equal(m.bulk.len, FRAME_MAX_BULK);
    link_message_done(&m);
}

static void an_unknown_key_is_refused_with_its_address(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    own(link) struct link *app = bind_secure(endpoint, ZAP_APP);
    assert_non_null(app);
    own(link) struct link *proxy =
        connect_secure(endpoint, &stranger, server.public_key);
    (void)await_refusal(proxy, REFUSAL_DENIED);
    await_said("refused a connection from 127.0.0.1: its key ");
    await_said(" is in no line of --authorized-keys; wanted here: proxy");
    char prefix[KEY_SHOWN + 1] = {0};
    memcpy(prefix, stranger.public_key, KEY_SHOWN);
    await_said(prefix);
    assert_int_equal(link_send(proxy, 0, SLICE("x"), SLICE("")), ERR_LINK_DOWN);
}

static void a_role_is_good_for_its_door_only(void **state)
{
    (void)state;
    static const struct {
        enum zap_domain domain;
        struct key_pair *pair;
        const char *says;
    } cases[] = {
        {ZAP_APP, &ada, "(ada) is of role admin; wanted here: proxy"},
        {ZAP_APP, &stranger, NULL},
        {ZAP_CONTROL, &edge, NULL},
    };
    own(mem) char *web = mem_printf("app %s web\n", stranger.public_key);
    struct buf report;
    write_list(web);
    buf_init(&report, 0);
    assert_true(keys_reload(keys, &report));
    buf_fini(&report);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char endpoint[ENDPOINT_BYTES];
        fresh_endpoint("tcp", endpoint);
        own(link) struct link *bound = bind_secure(endpoint, cases[i].domain);
        assert_non_null(bound);
        own(link) struct link *l =
            connect_secure(endpoint, cases[i].pair, server.public_key);
        (void)await_refusal(l, REFUSAL_DENIED);
        if (cases[i].says != NULL) /* an address is mentioned once in a while */
            await_said(cases[i].says);
    }
}

static void another_servers_key_does_not_do(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    own(link) struct link *app = bind_secure(endpoint, ZAP_APP);
    assert_non_null(app);
    own(link) struct link *proxy = connect_secure(endpoint, &edge, ada.public_key);
    (void)await_refusal(proxy, REFUSAL_BROKEN);
    (void)await_refusal(app, REFUSAL_KEY);
}

static void plain_and_secure_do_not_meet(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES], plain[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    fresh_endpoint("tcp", plain);
    own(link) struct link *app = bind_secure(endpoint, ZAP_APP);
    assert_non_null(app);
    own(link) struct link *proxy = connect_link(endpoint);
    (void)await_refusal(proxy, REFUSAL_MECHANISM);
    (void)await_refusal(app, REFUSAL_MECHANISM);

    own(link) struct link *open_app = bind_link(plain);
    own(link) struct link *keyed = connect_secure(plain, &edge, server.public_key);
    (void)await_refusal(keyed, REFUSAL_MECHANISM);
    (void)await_refusal(open_app, REFUSAL_MECHANISM);
}

static int connect_tcp(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Its address is known when the connection was seen while it was there. */
static void who_comes_without_keys_is_named(void **state)
{
    (void)state;
    static const char greeting[64] = {'\xff', 0,      0, 0, 0,   0,   0,   0,
                                      0,      '\x7f', 3, 1, 'N', 'U', 'L', 'L'};
    uint16_t port = free_port();
    char endpoint[ENDPOINT_BYTES];
    (void)snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", port);
    own(link) struct link *app = bind_secure(endpoint, ZAP_APP);
    assert_non_null(app);
    int fd = connect_tcp(port);
    (void)await(app, LINK_UP);
    assert_int_equal(write(fd, greeting, sizeof greeting), sizeof greeting);
    struct link_event e = await_refusal(app, REFUSAL_MECHANISM);
    assert_string_equal(e.address, "127.0.0.1");
    (void)close(fd);
}

static void a_removed_key_loses_its_connection(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    own(mem) char *more = mem_printf("proxy %s edge-2\n", stranger.public_key);
    write_list(more);
    struct buf report;
    buf_init(&report, 0);
    assert_true(keys_reload(keys, &report));
    buf_fini(&report);
    own(link) struct link *app = bind_secure(endpoint, ZAP_APP);
    assert_non_null(app);
    own(link) struct link *stays = connect_secure(endpoint, &edge, server.public_key);
    own(link) struct link *goes =
        connect_secure(endpoint, &stranger, server.public_key);
    (void)await(stays, LINK_UP);
    greet(stays);
    uint32_t staying = expect_greeting(app);
    (void)await(goes, LINK_UP);
    greet(goes);
    uint32_t going = expect_greeting(app);

    write_list("");
    assert_int_equal(eventfd_write(reread_fd, 1), 0);
    await_said("reread 0 authorized-keys: removed edge-2");
    struct link_event e;
    do
        e = await_event(app);
    while (e.kind != LINK_DOWN || e.peer == 0);
    assert_int_equal(e.peer, going);
    (void)await(goes, LINK_DOWN);
    (void)await_refusal(goes, REFUSAL_DENIED);
    send_text(app, staying, "still here");
    (void)expect_text(stays, "still here");
}

static void a_bad_list_is_told_and_not_followed(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    fresh_endpoint("tcp", endpoint);
    own(link) struct link *app = bind_secure(endpoint, ZAP_APP);
    assert_non_null(app);
    write_text("list", "nonsense\n", 0644);
    assert_int_equal(eventfd_write(reread_fd, 1), 0);
    await_said("reread 1 ");
    await_said("list:1: \"nonsense\" is no role");
    own(link) struct link *proxy = connect_secure(endpoint, &edge, server.public_key);
    (void)await(proxy, LINK_UP);
}

static void a_half_open_handshake_ends(void **state)
{
    (void)state;
    uint16_t port = free_port();
    char endpoint[ENDPOINT_BYTES];
    (void)snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", port);
    own(link) struct link *app = bind_secure(endpoint, ZAP_APP);
    assert_non_null(app);
    int fd = connect_tcp(port);
    /* Others are not kept waiting by it. */
    own(link) struct link *proxy = connect_secure(endpoint, &edge, server.public_key);
    (void)await(proxy, LINK_UP);
    char greeting[256];
    ssize_t got;
    do
        got = read(fd, greeting, sizeof greeting);
    while (got > 0);
    assert_int_equal(got, 0);
    (void)close(fd);
    (void)await_refusal(app, REFUSAL_BROKEN);
}

static void keys_are_for_tcp(void **state)
{
    (void)state;
    char endpoint[ENDPOINT_BYTES];
    struct link *l = NULL;
    fresh_endpoint("ipc", endpoint);
    assert_int_equal(link_bind_secure(context, endpoint, ZAP_APP, &l),
                     ERR_BAD_ENDPOINT);
    assert_int_equal(link_connect_secure(context, endpoint, CARGO_FRAMES, &edge,
                                         server.public_key, &l),
                     ERR_BAD_ENDPOINT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_authorized_key_is_let_in_and_named),
        TEST(the_longest_message_passes),
        TEST(an_unknown_key_is_refused_with_its_address),
        TEST(a_role_is_good_for_its_door_only),
        TEST(another_servers_key_does_not_do),
        TEST(plain_and_secure_do_not_meet),
        TEST(who_comes_without_keys_is_named),
        TEST(a_removed_key_loses_its_connection),
        TEST(a_bad_list_is_told_and_not_followed),
        TEST(a_half_open_handshake_ends),
        TEST(keys_are_for_tcp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
