/* SPDX-License-Identifier: MIT
 * appserver/asgi/websocket.c: messages both ways, and every way to end. */
#include <Python.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/interp/own.h"
#include "protocol/base/log.h"
#include "tests/support/fake_loop.h"
#include "tests/support/python.h"

#define CONNECT "log.append((await r())['type'])\n"
#define ACCEPT CONNECT "await s({'type': 'websocket.accept'})\n"
#define TEXT(t) "await s({'type': 'websocket.send', 'text': '" t "'})\n"

static PyObject *make_app(const char *body)
{
    struct buf source;

    buf_init(&source, 0);
    buf_addf(&source, "import asyncio\nlog = []\nasync def app(scope, r, s):\n ");
    for (const char *c = body; *c != '\0'; c++)
        buf_addf(&source, *c == '\n' ? "\n " : "%c", *c);
    buf_add(&source, slice_of("\n", 2));
    PyObject *namespace = python_run(buf_slice(&source).ptr);
    buf_fini(&source);
    return namespace;
}

static void assert_log(PyObject *namespace, const char *expected)
{
    char *got = python_eval(namespace, "log");
    assert_string_equal(got, expected);
    mem_free(&got);
}

static const struct row {
    const char *name, *source, *sent;
} ROWS[] = {
    {"accepted and left is closed with 1000", ACCEPT, "ACCEPT []|CLOSE 1000 "},
    {"subprotocol and headers",
     CONNECT "await s({'type': 'websocket.accept', 'subprotocol': 'chat', 'headers': "
             "[(b'x', b'y')]})",
     "ACCEPT chat[x: y]|CLOSE 1000 "},
    {"messages",
     ACCEPT TEXT("a") "await s({'type': 'websocket.send', 'bytes': b'b', "
                      "'text': None})",
     "ACCEPT []|TEXT a|BINARY b|CLOSE 1000 "},
    {"an empty message is sent, too", ACCEPT TEXT(""), "ACCEPT []|TEXT |CLOSE 1000 "},
    {"closed with code and reason",
     ACCEPT "await s({'type': 'websocket.close', 'code': 4001, 'reason': 'bye'})\n"
            "log.append(await r())",
     "ACCEPT []|CLOSE 4001 bye"},
    {"closed before accept is 403", CONNECT "await s({'type': 'websocket.close'})",
     "RESPOND 403  [] "},
    {"refused with an answer",
     CONNECT "await s({'type': 'websocket.http.response.start', 'status': 401, "
             "'headers': [(b'a', b'b')]})\n"
             "await s({'type': 'websocket.http.response.body', 'body': b'no'})",
     "RESPOND 401  [a: b] no"},
    {"an exception before accept", CONNECT "1/0", "ABORT APP_FAILED"},
    {"left before accept", CONNECT, "ABORT APP_FAILED"},
    {"an exception after accept is 1011", ACCEPT "1/0", "ACCEPT []|CLOSE 1011 "},
    {"wrong order and wrong messages raise",
     CONNECT "for m in ({'type': 'websocket.send', 'text': 'x'}, {'type': "
             "'http.response.start', 'status': 200}, {'type': 'websocket.accept', "
             "'subprotocol': 'a,b'}):\n"
             " try: await s(m)\n except (RuntimeError, ValueError): log.append(1)\n"
             "await s({'type': 'websocket.accept'})\n"
             "for m in ({'type': 'websocket.accept'}, {'type': 'websocket.send'}, "
             "{'type': 'websocket.send', 'text': b'x'}, {'type': 'websocket.close', "
             "'code': 1006}, {'type': 'websocket.close', 'reason': 'x' * 124}):\n"
             " try: await s(m)\n"
             " except (RuntimeError, TypeError, ValueError): log.append(2)\n"
             "assert log[1:] == [1] * 3 + [2] * 5\n"
             "await s({'type': 'websocket.close'})\n"
             "try: await s({'type': 'websocket.send', 'text': 'x'})\n"
             "except RuntimeError: pass\nelse: log.append('sent')",
     "ACCEPT []|CLOSE 1000 "},
};

static void sends_what_the_application_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        py_own PyObject *namespace = make_app(ROWS[i].source);
        struct request r;
        struct core core;
        fake_request_init(&r);
        r.is_websocket = true;
        struct server *s = fake_server_new(namespace, NULL, &core);
        fake_server_start(s, &r);
        if (strcmp(fake_request_sent(&r), ROWS[i].sent) != 0)
            fail_msg("%s: %s", ROWS[i].name, fake_request_sent(&r));
        assert_true(r.is_finished);
        assert_int_equal(s->open, 0);
        fake_server_free(&s);
        fake_request_fini(&r);
    }
}

#define LISTEN                                                                         \
    ACCEPT "while True:\n m = await r()\n log.append(m)\n"                             \
           " if m['type'] == 'websocket.disconnect': break\n"                          \
           "try: await s({'type': 'websocket.send', 'text': 'x'})\n"                   \
           "except OSError as e: log.append('OSError')"

static void hears_messages_and_the_clients_close(void **state)
{
    (void)state;
    py_own PyObject *namespace = make_app(LISTEN);
    struct request r;
    struct core core;
    fake_request_init(&r);
    r.is_websocket = true;
    fake_request_incoming(&r, WS_TEXT, "h\xc3\xa9");
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    assert_int_equal(s->open, 1);
    fake_request_incoming(&r, WS_BINARY, "ab");
    r.incoming[1].fin = false;
    fake_request_incoming(&r, WS_BINARY, "cd");
    fake_request_incoming(&r, WS_CLOSE, "over");
    r.incoming[3].code = 4000;
    fake_core_tell(&core, &r, NEWS_BODY);
    fake_server_turn(s);
    assert_log(namespace,
               "['websocket.connect', {'type': 'websocket.receive', 'text': 'hé'}, "
               "{'type': 'websocket.receive', 'bytes': b'abcd'}, {'type': "
               "'websocket.disconnect', 'code': 4000, 'reason': 'over'}, 'OSError']");
    assert_true(r.is_finished);
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void a_client_that_vanishes_is_1006(void **state)
{
    (void)state;
    py_own PyObject *namespace = make_app(LISTEN);
    struct request r;
    struct core core;
    fake_request_init(&r);
    r.is_websocket = true;
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    r.gone = ERR_CLIENT_GONE;
    fake_core_tell(&core, &r, NEWS_GONE);
    fake_server_turn(s);
    assert_log(namespace, "['websocket.connect', {'type': 'websocket.disconnect', "
                          "'code': 1006, 'reason': ''}, 'OSError']");
    assert_true(r.is_finished);
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void a_receive_that_waits_before_accept_hears_messages(void **state)
{
    (void)state;
    py_own PyObject *namespace =
        make_app(CONNECT "async def listen(): log.append(await r())\n"
                         "t = asyncio.ensure_future(listen())\n"
                         "await asyncio.sleep(0)\n"
                         "await s({'type': 'websocket.accept'})\nawait t");
    struct request r;
    struct core core;
    fake_request_init(&r);
    r.is_websocket = true;
    fake_request_incoming(&r, WS_TEXT, "a");
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    assert_log(namespace,
               "['websocket.connect', {'type': 'websocket.receive', 'text': 'a'}]");
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void a_message_waits_for_room(void **state)
{
    (void)state;
    py_own PyObject *namespace = make_app(ACCEPT TEXT("abcdef") "log.append('sent')");
    struct request r;
    struct core core;
    fake_request_init(&r);
    r.is_websocket = true;
    r.room = 2;
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    assert_string_equal(fake_request_sent(&r), "ACCEPT []|TEXT+ ab");
    assert_log(namespace, "['websocket.connect']");
    r.room = 100;
    fake_core_tell(&core, &r, NEWS_ROOM);
    fake_server_turn(s);
    assert_string_equal(fake_request_sent(&r),
                        "ACCEPT []|TEXT+ ab|TEXT cdef|CLOSE 1000 ");
    fake_server_free(&s);
    fake_request_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_what_the_application_says),
        cmocka_unit_test(hears_messages_and_the_clients_close),
        cmocka_unit_test(a_client_that_vanishes_is_1006),
        cmocka_unit_test(a_receive_that_waits_before_accept_hears_messages),
        cmocka_unit_test(a_message_waits_for_room),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
