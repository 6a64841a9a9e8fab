/* SPDX-License-Identifier: MIT
 * appserver/asgi/http.c: what an application sends, and what the edge gets. */
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

#define START "await s({'type': 'http.response.start', 'status': 200"
#define TURN "for _ in range(3): await asyncio.sleep(0)\n"
#define BODY "await s({'type': 'http.response.body'"

/* The body of `async def app(scope, r, s)`; `raised` is what it caught. */
static const struct row {
    const char *name, *source, *method, *sent;
} ROWS[] = {
    {"start and whole body are one answer",
     START ", 'headers': [(b'X-A', b'1')]})\n" BODY ", 'body': b'hello'})", "GET",
     "RESPOND 200  [X-A: 1] hello"},
    {"a missing body is empty, other keys are passed over",
     START ", 'new': 1})\n" BODY ", 'newer': 2})", "GET", "RESPOND 200  [] "},
    {"bytearray and memoryview are bytes",
     START "})\n" BODY ", 'body': bytearray(b'a'), 'more_body': True})\n" BODY
           ", 'body': memoryview(b'b')})",
     "GET", "RESPOND 200  [] ab"},
    {"a head that is left alone leaves with the iteration",
     START "})\nawait asyncio.sleep(0)\nawait asyncio.sleep(0)\n" BODY
           ", 'body': b'late'})",
     "GET", "HEAD 200  []|PUT late|END"},
    {"headers may be a generator of lists",
     START ", 'headers': ([n, b'v'] for n in (b'a', b'b'))})\n" BODY "})", "GET",
     "RESPOND 200  [a: v, b: v] "},
    {"status may be an IntEnum",
     "import http\nawait s({'type': 'http.response.start', 'status': "
     "http.HTTPStatus.NOT_FOUND})\n" BODY "})",
     "GET", "RESPOND 404  [] "},
    {"messages may be other mappings",
     "import types\nawait s(types.MappingProxyType({'type': 'http.response.start', "
     "'status': 200}))\n" BODY "})",
     "GET", "RESPOND 200  [] "},
    {"Content-Length frames the answer, hop-by-hop fields are dropped",
     START ", 'headers': [(b'content-length', b'2'), (b'transfer-encoding', "
           "b'chunked'), (b'connection', b'x')]})\n" BODY
           ", 'body': b'a', 'more_body': True})\n" BODY ", 'body': b'b'})",
     "GET", "RESPOND 200  [] ab"},
    {"a longer body raises, and nothing of it is sent",
     START ", 'headers': [(b'content-length', b'2')]})\ntry:\n " BODY
           ", 'body': b'abc'})\nexcept RuntimeError: " BODY ", 'body': b'ab'})",
     "GET", "RESPOND 200  [] ab"},
    {"a shorter one is cut off",
     START ", 'headers': [(b'content-length', b'5')]})\n" BODY
           ", 'body': b'a', 'more_body': True})\n" BODY ", 'body': b'b'})",
     "GET", "HEAD 200  [] length=5|PUT a|ABORT RESPONSE_TRUNCATED"},
    {"HEAD has no body but its length", START "})\n" BODY ", 'body': b'hello'})",
     "HEAD", "RESPOND 200  [content-length: 5] "},
    {"204 has neither",
     "await s({'type': 'http.response.start', 'status': 204})\n" BODY
     ", 'body': b'x'})",
     "GET", "RESPOND 204  [] "},
    {"nothing is sent when nothing was said", "pass", "GET", "ABORT APP_FAILED"},
    {"a body that is not ended is cut off",
     START "})\n" BODY ", 'body': b'a', 'more_body': True})", "GET",
     "HEAD 200  []|PUT a|ABORT APP_FAILED"},
    {"an exception before the start", "raise ValueError('no')", "GET",
     "ABORT APP_FAILED"},
    {"SystemExit is an exception like others", "raise SystemExit(3)", "GET",
     "ABORT APP_FAILED"},
    {"an exception in the middle",
     START "})\n" BODY ", 'body': b'a', 'more_body': True})\n1/0", "GET",
     "HEAD 200  []|PUT a|ABORT APP_FAILED"},
    {"an exception behind the end changes nothing",
     START "})\n" BODY ", 'body': b'a'})\n1/0", "GET", "RESPOND 200  [] a"},
    {"wrong order raises",
     "try:\n " BODY "})\nexcept RuntimeError: pass\n" START "})\ntry:\n " START
     "})\nexcept RuntimeError: " BODY ", 'body': b'good'})\ntry:\n " BODY
     "})\nexcept RuntimeError as e: raised(e)",
     "GET", "RESPOND 200  [] good"},
    {"unknown and wrong types raise",
     "for m in ({'type': 'http.response.trailer'}, {'type': 1}, {}, {'type': "
     "'http.response.start'}, {'type': 'http.response.start', 'status': '200'}, "
     "{'type': 'http.response.start', 'status': 99}, {'type': 'websocket.send'}):\n"
     " try: await s(m)\n except (RuntimeError, TypeError, ValueError): pass\n"
     " else: raise SystemExit\n" START "})\n" BODY "})",
     "GET", "RESPOND 200  [] "},
    {"headers that HTTP forbids raise",
     "for h in ([(b'a', b'b\\r\\nc: d')], [(b'a b', b'c')], [('a', 'b')], [(b'a',)], "
     "[b'ab'], b'ab', {b'a': b'b'}, [(b'a', b'b\\x00')]):\n"
     " try: " START ", 'headers': h})\n except (TypeError, ValueError): pass\n"
     " else: raise SystemExit\n" START "})\n" BODY "})",
     "GET", "RESPOND 200  [] "},
    {"a str body raises",
     START "})\ntry:\n " BODY ", 'body': 'text'})\nexcept TypeError: " BODY "})", "GET",
     "RESPOND 200  [] "},
    {"early hints",
     "await s({'type': 'http.response.early_hint', 'links': [b'</a>', "
     "b'</b>']})\n" START "})\n" BODY "})",
     "GET", "INFORM 103 [link: </a>, link: </b>]|RESPOND 200  [] "},
    {"trailers come behind the body, in one list",
     START ", 'trailers': True})\n" BODY ", 'body': b'a'})\n"
           "await s({'type': 'http.response.trailers', 'headers': [(b'x', b'1')], "
           "'more_trailers': True})\n"
           "await s({'type': 'http.response.trailers', 'headers': [(b'y', b'2')]})",
     "GET", "HEAD 200  []|PUT a|END [x: 1, y: 2]"},
    {"Trailer is sent where there are some",
     START ", 'trailers': True, 'headers': [(b'trailer', b'x')]})\n" BODY "})\n"
           "await s({'type': 'http.response.trailers'})",
     "GET", "HEAD 200  [trailer: x]|END"},
    {"promised trailers that do not come cut it off",
     START ", 'trailers': True})\n" BODY ", 'body': b'a'})", "GET",
     "HEAD 200  []|PUT a|ABORT APP_FAILED"},
    {"a path is sent with its length",
     START "})\nawait s({'type': 'http.response.pathsend', 'path': path})", "GET",
     "RESPOND 200  [] 0123456789"},
    {"a file may follow a head that left already",
     START "})\nfor _ in range(3): await asyncio.sleep(0)\n"
           "await s({'type': 'http.response.pathsend', 'path': path})",
     "GET", "HEAD 200  []|FILE 10"},
    {"a file that is not there raises",
     START "})\ntry: await s({'type': 'http.response.pathsend', 'path': '/none'})\n"
           "except FileNotFoundError: " BODY ", 'body': b'sorry'})",
     "GET", "RESPOND 200  [] sorry"},
    {"two tasks may send; the pieces keep their order",
     START "})\nasync def piece(b): " BODY ", 'body': b, 'more_body': True})\n"
           "await asyncio.gather(piece(b'a'), piece(b'b'))\n" BODY ", 'body': b'c'})",
     "GET", "HEAD 200  []|PUT ab|PUT c|END"},
};

static PyObject *make_app(const char *body)
{
    struct buf source;

    buf_init(&source, 0);
    buf_addf(&source,
             "import asyncio, tempfile\n"
             "_file = tempfile.NamedTemporaryFile(); _file.write(b'0123456789')\n"
             "_file.flush(); path = _file.name\n"
             "log = []\n"
             "def raised(e): log.append(type(e).__name__)\n"
             "async def app(scope, r, s):\n ");
    for (const char *c = body; *c != '\0'; c++)
        buf_addf(&source, *c == '\n' ? "\n " : "%c", *c);
    buf_add(&source, slice_of("\n", 2));
    PyObject *namespace = python_run(buf_slice(&source).ptr);
    buf_fini(&source);
    return namespace;
}

static void sends_what_the_application_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        py_own PyObject *namespace = make_app(ROWS[i].source);
        struct request r;
        struct core core;
        fake_request_init(&r);
        r.frame.method = slice_from(ROWS[i].method);
        r.takes_files = true;
        struct server *s = fake_server_new(namespace, NULL, &core);
        fake_server_start(s, &r);
        if (strstr(ROWS[i].sent, "FILE") != NULL) {
            r.is_filed = true;
            fake_core_tell(&core, &r, NEWS_FILED);
            fake_server_turn(s);
        }
        if (strcmp(fake_request_sent(&r), ROWS[i].sent) != 0)
            fail_msg("%s: %s", ROWS[i].name, fake_request_sent(&r));
        assert_true(r.is_finished);
        assert_int_equal(s->open, 0);
        fake_server_free(&s);
        fake_request_fini(&r);
    }
}

static void assert_log(PyObject *namespace, const char *expected)
{
    char *got = python_eval(namespace, "log");
    assert_string_equal(got, expected);
    mem_free(&got);
}

static void gives_an_inline_body_at_once(void **state)
{
    (void)state;
    py_own PyObject *namespace = make_app("log.append(await r()); " START "}); " BODY
                                          "}); log.append(await r())");
    struct request r;
    struct core core;
    fake_request_init(&r);
    fake_request_body(&r, "abc");
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    assert_log(namespace, "[{'type': 'http.request', 'body': b'abc', 'more_body': "
                          "False}, {'type': 'http.disconnect'}]");
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void gives_pieces_as_they_come_and_then_waits_for_the_end(void **state)
{
    (void)state;
    py_own PyObject *namespace =
        make_app("while True:\n m = await r()\n log.append(m)\n"
                 " if m['type'] != 'http.request': break");
    struct request r;
    struct core core;
    fake_request_init(&r);
    r.frame.body_form = BODY_LENGTH;
    r.frame.body_length = 5;
    r.pieces[0] = "ab";
    r.is_open = true;
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    assert_log(namespace,
               "[{'type': 'http.request', 'body': b'ab', 'more_body': True}]");
    r.pieces[1] = "cde";
    fake_core_tell(&core, &r, NEWS_BODY);
    fake_server_turn(s);
    char *got = python_eval(namespace, "log[1]");
    assert_string_equal(got,
                        "{'type': 'http.request', 'body': b'cde', 'more_body': False}");
    mem_free(&got);
    assert_int_equal(s->open, 1);
    r.gone = ERR_CLIENT_GONE;
    fake_core_tell(&core, &r, NEWS_GONE);
    fake_server_turn(s);
    got = python_eval(namespace, "log[2:]");
    assert_string_equal(got, "[{'type': 'http.disconnect'}]");
    mem_free(&got);
    assert_int_equal(s->open, 0);
    assert_true(r.is_finished);
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void send_waits_for_room(void **state)
{
    (void)state;
    py_own PyObject *namespace = make_app(
        START "})\n" BODY ", 'body': b'abcdef', 'more_body': True})\n" TURN BODY
              ", 'body': b'gh', 'more_body': True})\nlog.append('sent')\n" BODY "})");
    struct request r;
    struct core core;
    fake_request_init(&r);
    r.room = 2;
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    assert_string_equal(fake_request_sent(&r), "HEAD 200  []|PUT ab");
    assert_log(namespace, "[]");
    r.room = 100;
    fake_core_tell(&core, &r, NEWS_ROOM);
    fake_server_turn(s);
    assert_string_equal(fake_request_sent(&r),
                        "HEAD 200  []|PUT ab|PUT cdef|PUT gh|END");
    assert_log(namespace, "['sent']");
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void send_after_the_client_left_is_an_oserror(void **state)
{
    (void)state;
    py_own PyObject *namespace =
        make_app(START "})\n" BODY ", 'body': b'abc', 'more_body': True})\n" TURN
                       "try: " BODY ", 'body': b'd', 'more_body': True})\n"
                       "except OSError as e: raised(e)\n"
                       "try: " BODY "})\nexcept OSError as e: raised(e)");
    struct request r;
    struct core core;
    fake_request_init(&r);
    r.room = 0;
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    r.gone = ERR_CLIENT_GONE;
    fake_core_tell(&core, &r, NEWS_GONE);
    fake_server_turn(s);
    assert_log(namespace, "['ClientDisconnected', 'ClientDisconnected']");
    assert_true(r.is_finished);
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void the_deadline_cancels_the_task(void **state)
{
    (void)state;
    py_own PyObject *namespace =
        make_app("try: await asyncio.sleep(60)\nfinally: log.append('finally')");
    struct request r;
    struct core core;
    fake_request_init(&r);
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    assert_int_equal(s->open, 1);
    r.gone = ERR_REQUEST_TIMEOUT;
    fake_core_tell(&core, &r, NEWS_GONE);
    fake_server_turn(s);
    assert_log(namespace, "['finally']");
    assert_string_equal(fake_request_sent(&r), "ABORT REQUEST_TIMEOUT");
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void a_cancelled_send_cuts_the_answer_off(void **state)
{
    (void)state;
    py_own PyObject *namespace =
        make_app(START "})\n" BODY ", 'body': b'abc', 'more_body': True})\n" TURN
                       "try: await asyncio.wait_for(s({'type': 'http.response.body', "
                       "'body': b'd', 'more_body': True}), 0.001)\n"
                       "except asyncio.TimeoutError as e: raised(e)\n"
                       "try: " BODY "})\nexcept RuntimeError as e: raised(e)");
    struct request r;
    struct core core;
    fake_request_init(&r);
    r.room = 1;
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    while (!r.is_finished)
        fake_server_settle(s);
    assert_log(namespace, "['TimeoutError', 'RuntimeError']");
    assert_string_equal(fake_request_sent(&r), "HEAD 200  []|PUT a|ABORT APP_FAILED");
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void a_large_file_is_read_beside_the_loop(void **state)
{
    (void)state;
    py_own PyObject *namespace =
        make_app("_file.truncate(300000)\n" START
                 "})\nawait s({'type': 'http.response.pathsend', 'path': path})");
    struct request r;
    struct core core;
    fake_request_init(&r);
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    while (!r.is_finished)
        fake_server_settle(s);
    assert_true(r.is_finished);
    assert_true(buf_len(&r.sent) > 300000);
    assert_memory_equal(buf_slice(&r.sent).ptr, "HEAD 200  [] length=300000|PUT 0123",
                        35);
    fake_server_free(&s);
    fake_request_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_what_the_application_says),
        cmocka_unit_test(gives_an_inline_body_at_once),
        cmocka_unit_test(gives_pieces_as_they_come_and_then_waits_for_the_end),
        cmocka_unit_test(send_waits_for_room),
        cmocka_unit_test(send_after_the_client_left_is_an_oserror),
        cmocka_unit_test(the_deadline_cancels_the_task),
        cmocka_unit_test(a_cancelled_send_cuts_the_answer_off),
        cmocka_unit_test(a_large_file_is_read_beside_the_loop),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
