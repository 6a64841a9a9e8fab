/* SPDX-License-Identifier: MIT
 * appserver/asgi/operation.c: what receive() and send() are to asyncio. */
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

/* Each is the body of `async def app(scope, r, s)`, for a request whose client stays
 * until the test lets it go; `log` must be `says` in the end. */
static const struct row {
    const char *name, *source, *says;
} ROWS[] = {
    {"they are coroutines",
     "import collections.abc as c, inspect\nx, y = r(), s(START)\n"
     "log.append([isinstance(o, c.Coroutine) and asyncio.iscoroutine(o) and "
     "inspect.isawaitable(o) for o in (x, y)])\nx.close(); y.close()",
     "[[True, True]]"},
    {"a task may be made of them",
     "t = asyncio.create_task(r()); log.append((await t)['type'])\n"
     "await asyncio.ensure_future(s(START)); log.append('sent')",
     "['http.request', 'sent']"},
    {"wait_for gives up a receive and leaves it usable",
     "await r()\ntry: await asyncio.wait_for(r(), 0)\n"
     "except asyncio.TimeoutError: log.append('late')\n"
     "LEAVE()\nlog.append((await r())['type'])",
     "['late', 'http.disconnect']"},
    {"one that is cancelled before it began took nothing",
     "t = asyncio.create_task(r()); t.cancel()\ntry: await t\n"
     "except asyncio.CancelledError: log.append('cancelled')\n"
     "log.append((await r())['type'])",
     "['cancelled', 'http.request']"},
    {"CancelledError comes out of a receive that waits",
     "await r()\nasync def wait():\n"
     " try: await r()\n"
     " except asyncio.CancelledError: log.append('inside'); raise\n"
     "t = asyncio.create_task(wait()); await asyncio.sleep(0); t.cancel()\n"
     "try: await t\nexcept asyncio.CancelledError: log.append('outside')",
     "['inside', 'outside']"},
    {"several may wait for the end",
     "await r()\nt = [asyncio.ensure_future(r()) for _ in range(3)]\n"
     "await asyncio.sleep(0); LEAVE()\n"
     "log.append([m['type'] for m in await asyncio.gather(*t)])",
     "[['http.disconnect', 'http.disconnect', 'http.disconnect']]"},
    {"one is awaited once",
     "x = r(); await x\ntry: await x\nexcept RuntimeError as e: log.append('again')",
     "['again']"},
    {"they may be driven by hand",
     "x = r()\ntry: x.send(None)\nexcept StopIteration as e: "
     "log.append(e.value['type'])\n"
     "x = s(START)\ntry: x.send(None)\nexcept StopIteration as e: log.append(e.value)\n"
     "x = r()\ntry: x.throw(KeyError('k'))\nexcept KeyError as e: log.append(e.args)\n"
     "x = s(BODY)\ntry: x.throw(ValueError, ValueError('v'))\n"
     "except ValueError as e: log.append(e.args)",
     "['http.request', None, ('k',), ('v',)]"},
    {"asyncio.timeout works around them",
     "await r()\ntry:\n async with asyncio.timeout(0): await r()\n"
     "except TimeoutError: log.append('late')",
     "['late']"},
    {"wrong calls raise",
     "for f in (lambda: r(1), lambda: s(), lambda: s(START, 1), lambda: s(3)):\n"
     " try: await f()\n except TypeError: log.append(1)",
     "[1, 1, 1, 1]"},
    {"the current task is the request's, with its own context",
     "import contextvars\nv = contextvars.ContextVar('v', default=0); v.set(v.get() + "
     "1)\n"
     "log.append((v.get(), asyncio.current_task().get_name()))",
     "[(1, 'banyan-request')]"},
};

static PyObject *leave(PyObject *self, PyObject *unused)
{
    struct request *r = PyCapsule_GetPointer(self, NULL);
    struct server *s = PyCapsule_GetContext(self);

    (void)unused;
    r->gone = ERR_CLIENT_GONE;
    fake_core_tell(s->core, r, NEWS_GONE);
    server_turn(s);
    return Py_NewRef(Py_None);
}

static void work_with_asyncio(void **state)
{
    (void)state;
    static PyMethodDef method = {"LEAVE", leave, METH_NOARGS, NULL};

    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct request r;
        struct core core;
        struct buf source;
        buf_init(&source, 0);
        buf_addf(&source, "import asyncio\nlog = []\n"
                          "START = {'type': 'http.response.start', 'status': 200}\n"
                          "BODY = {'type': 'http.response.body'}\n"
                          "async def app(scope, r, s):\n"
                          " try: await run(r, s)\n"
                          " except BaseException as e: log.append(repr(e))\n"
                          " loop.stop()\n"
                          "async def run(r, s):\n ");
        for (const char *c = ROWS[i].source; *c != '\0'; c++)
            buf_addf(&source, *c == '\n' ? "\n " : "%c", *c);
        buf_add(&source, slice_of("\n", 2));
        py_own PyObject *namespace = python_run(buf_slice(&source).ptr);
        fake_request_init(&r);
        struct server *s = fake_server_new(namespace, NULL, &core);
        py_own PyObject *self = PyCapsule_New(&r, NULL, NULL);
        assert_int_equal(PyCapsule_SetContext(self, s), 0);
        py_own PyObject *function = PyCFunction_New(&method, self);
        assert_int_equal(PyDict_SetItemString(namespace, "LEAVE", function), 0);
        fake_core_tell(&core, &r, NEWS_STARTED);
        server_turn(s);
        py_own PyObject *ran = PyObject_CallMethod(s->loop, "run_forever", NULL);
        assert_non_null(ran);
        fake_server_settle(s);
        char *got = python_eval(namespace, "log");
        if (strcmp(got, ROWS[i].says) != 0)
            fail_msg("%s: %s", ROWS[i].name, got);
        mem_free(&got);
        assert_int_equal(s->open, 0);
        fake_server_free(&s);
        fake_request_fini(&r);
        buf_fini(&source);
    }
}

static void kept_beyond_the_request_they_are_harmless(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run(
        "import asyncio\nlog = []\nkept = []\n"
        "async def app(scope, r, s):\n"
        " await r(); kept.extend([r, s, r()])\n"
        " await s({'type': 'http.response.start', 'status': 200})\n"
        " await s({'type': 'http.response.body'})\n"
        "async def late():\n"
        " r, s, waiting = kept\n"
        " log.append((await r())['type']); log.append((await waiting)['type'])\n"
        " try: await s({'type': 'http.response.body'})\n"
        " except RuntimeError as e: log.append('over')\n");
    struct request r;
    struct core core;
    fake_request_init(&r);
    struct server *s = fake_server_new(namespace, NULL, &core);
    fake_server_start(s, &r);
    assert_true(r.is_finished);
    py_own PyObject *ran = PyRun_String("loop.run_until_complete(late())",
                                        Py_eval_input, namespace, namespace);
    assert_non_null(ran);
    char *got = python_eval(namespace, "log");
    assert_string_equal(got, "['http.disconnect', 'http.disconnect', 'over']");
    mem_free(&got);
    fake_server_free(&s);
    fake_request_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_with_asyncio),
        cmocka_unit_test(kept_beyond_the_request_they_are_harmless),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
