/* SPDX-License-Identifier: MIT
 * appserver/asgi/server.c, drain.c, conn.c: batches, the end, and what is left behind.
 */
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

#define ANSWER                                                                         \
    " await s({'type': 'http.response.start', 'status': 200})\n"                       \
    " await s({'type': 'http.response.body', 'body': await r() and b'ok'})\n"

static void a_batch_is_flushed_once(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run("async def app(scope, r, s):\n" ANSWER);
    struct request r[8];
    struct core core;
    struct server *s = fake_server_new(namespace, NULL, &core);

    for (size_t i = 0; i < 8; i++) {
        fake_request_init(&r[i]);
        fake_core_tell(&core, &r[i], NEWS_STARTED);
    }
    fake_server_turn(s);
    assert_int_equal(core.flushes, 1);
    for (size_t i = 0; i < 8; i++) {
        assert_string_equal(fake_request_sent(&r[i]), "RESPOND 200  [] ok");
        fake_request_fini(&r[i]);
    }
    fake_server_free(&s);
}

static void tasks_come_from_the_loops_factory(void **state)
{
    (void)state;
    py_own PyObject *namespace =
        python_run("import asyncio\nmade = []\nasync def app(scope, r, s):\n" ANSWER
                   "def factory(loop, coro, **more):\n made.append(1)\n"
                   " return asyncio.Task(coro, loop=loop, **more)\n");
    struct request r;
    struct core core;
    fake_request_init(&r);
    struct server *s = fake_server_new(namespace, NULL, &core);
    py_own PyObject *set = PyRun_String("loop.set_task_factory(factory)", Py_eval_input,
                                        namespace, namespace);
    assert_non_null(set);
    fake_server_start(s, &r);
    char *got = python_eval(namespace, "made");
    assert_string_equal(got, "[1]");
    mem_free(&got);
    assert_string_equal(fake_request_sent(&r), "RESPOND 200  [] ok");
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void legacy_applications_are_called_twice(void **state)
{
    (void)state;
    static const struct server_options options = {
        .root_path = "", .is_legacy = true, .graceful_timeout_s = 30};
    py_own PyObject *namespace =
        python_run("class app:\n def __init__(self, scope): pass\n"
                   " async def __call__(self, r, s):\n"
                   "  await s({'type': 'http.response.start', 'status': 200})\n"
                   "  await s({'type': 'http.response.body', 'body': b'two'})\n");
    struct request r;
    struct core core;
    fake_request_init(&r);
    struct server *s = fake_server_new(namespace, &options, &core);
    fake_server_start(s, &r);
    assert_string_equal(fake_request_sent(&r), "RESPOND 200  [] two");
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void what_cannot_be_awaited_is_a_failure(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run("def app(scope, r, s): return 3");
    struct request r;
    struct core core;
    fake_request_init(&r);
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    assert_string_equal(fake_request_sent(&r), "ABORT APP_FAILED");
    assert_true(r.is_finished);
    fake_server_free(&s);
    fake_request_fini(&r);
}

static void contexts_are_apart_and_know_the_request(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run(
        "import contextvars\nlog = []\nv = contextvars.ContextVar('v')\n"
        "async def app(scope, r, s):\n"
        " ids = [x for k, x in contextvars.copy_context().items() if k.name == "
        "'banyan.request_id']\n"
        " log.append((v.get('none'), ids)); v.set('leaked')\n" ANSWER);
    struct core core;
    struct server *s = fake_server_new(namespace, NULL, &core);

    for (int i = 0; i < 2; i++) {
        struct request r;
        fake_request_init(&r);
        fake_server_start(s, &r);
        fake_request_fini(&r);
    }
    char *got = python_eval(namespace, "log");
    assert_string_equal(got, "[('none', ['id-1']), ('none', ['id-1'])]");
    mem_free(&got);
    fake_server_free(&s);
}

static void run_until_stopped(struct server *s)
{
    py_own PyObject *ran = PyObject_CallMethod(s->loop, "run_forever", NULL);
    assert_non_null(ran);
    assert_true(server_is_drained(s));
}

static void an_idle_server_is_drained_at_once(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run("async def app(scope, r, s): pass");
    struct core core;
    struct server *s = fake_server_new(namespace, NULL, &core);

    assert_false(server_is_drained(s));
    core.is_draining = true;
    server_turn(s);
    run_until_stopped(s);
    fake_server_free(&s);
}

static void draining_closes_websockets_and_waits_for_requests(void **state)
{
    (void)state;
    static const struct server_options options = {.root_path = "",
                                                  .graceful_timeout_s = 0.2};
    py_own PyObject *namespace = python_run(
        "import asyncio\nlog = []\n"
        "async def app(scope, r, s):\n"
        " if scope['type'] == 'http':\n"
        "  await asyncio.sleep(0.01)\n"
        "  await s({'type': 'http.response.start', 'status': 200})\n"
        "  return await s({'type': 'http.response.body'})\n"
        " await r(); await s({'type': 'websocket.accept'}); log.append(await r())\n");
    struct request http, ws;
    struct core core;
    fake_request_init(&http);
    fake_request_init(&ws);
    ws.is_websocket = true;
    struct server *s = fake_server_new(namespace, &options, &core);
    fake_core_tell(&core, &ws, NEWS_STARTED);
    fake_server_start(s, &http);
    core.is_draining = true;
    server_turn(s);
    run_until_stopped(s);
    assert_string_equal(fake_request_sent(&http), "RESPOND 200  [] ");
    assert_string_equal(fake_request_sent(&ws), "ACCEPT []|CLOSE 1012 service restart");
    char *got = python_eval(namespace, "log");
    assert_string_equal(got, "[{'type': 'websocket.disconnect', 'code': 1012, "
                             "'reason': 'service restart'}]");
    mem_free(&got);
    assert_int_equal(s->open, 0);
    fake_server_free(&s);
    fake_request_fini(&http);
    fake_request_fini(&ws);
}

static void what_does_not_end_is_cancelled(void **state)
{
    (void)state;
    static const struct server_options options = {.root_path = "",
                                                  .graceful_timeout_s = 0.1};
    py_own PyObject *namespace =
        python_run("import asyncio\nlog = []\nasync def app(scope, r, s):\n"
                   " try: await asyncio.sleep(60)\n finally: log.append('finally')\n");
    struct request r;
    struct core core;
    fake_request_init(&r);
    struct server *s = fake_server_new(namespace, &options, &core);
    fake_server_start(s, &r);
    core.is_draining = true;
    server_turn(s);
    run_until_stopped(s);
    char *got = python_eval(namespace, "log");
    assert_string_equal(got, "['finally']");
    mem_free(&got);
    assert_string_equal(fake_request_sent(&r), "ABORT SHUTTING_DOWN");
    assert_int_equal(s->open, 0);
    fake_server_free(&s);
    fake_request_fini(&r);
}

/* Objects, not bytes: what is left of a request is one of these. */
static long long count_blocks(PyObject *namespace)
{
    char *got = python_eval(namespace, "__import__('sys').getallocatedblocks()");
    long long count = strtoll(got, NULL, 10);
    mem_free(&got);
    return count;
}

static void nothing_is_left_of_ten_thousand_requests(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run(
        "import asyncio, gc\ngc.disable()\nn = 0\nasync def app(scope, r, s):\n"
        " global n; n += 1\n"
        " if n % 7 == 0: raise ValueError(n) if n % 2 else asyncio.CancelledError()\n"
        " if n % 5 == 0: await asyncio.sleep(0)\n"
        " if n % 3 == 0: asyncio.ensure_future(r())\n" ANSWER);
    struct core core;
    struct server *s = fake_server_new(namespace, NULL, &core);
    long long before = 0;

    log_set_level(LOG_ERROR);
    for (int i = 0; i < 10500; i++) {
        struct request r;
        fake_request_init(&r);
        r.frame.client_port = (uint16_t)(1000 + i % 50);
        fake_core_tell(&core, &r, NEWS_STARTED);
        server_turn(s);
        for (int turns = 0; turns < 5; turns++) {
            py_own PyObject *stopped UNUSED =
                PyObject_CallMethod(s->loop, "stop", NULL);
            py_own PyObject *ran = PyObject_CallMethod(s->loop, "run_forever", NULL);
            assert_non_null(ran);
        }
        assert_true(r.is_finished);
        fake_request_fini(&r);
        if (i == 500)
            before = count_blocks(namespace);
    }
    long long grown = count_blocks(namespace) - before;
    assert_true(grown < 500);
    assert_int_equal(s->open, 0);
    fake_server_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_flushed_once),
        cmocka_unit_test(tasks_come_from_the_loops_factory),
        cmocka_unit_test(legacy_applications_are_called_twice),
        cmocka_unit_test(what_cannot_be_awaited_is_a_failure),
        cmocka_unit_test(contexts_are_apart_and_know_the_request),
        cmocka_unit_test(an_idle_server_is_drained_at_once),
        cmocka_unit_test(draining_closes_websockets_and_waits_for_requests),
        cmocka_unit_test(what_does_not_end_is_cancelled),
        cmocka_unit_test(nothing_is_left_of_ten_thousand_requests),
    };

    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
