/* SPDX-License-Identifier: MIT
 * appserver/wsgi/call.c: what an application does, and what is sent for it. */
#include <Python.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/interp/own.h"
#include "appserver/wsgi/call.h"
#include "protocol/base/log.h"
#include "tests/support/fake_request.h"
#include "tests/support/python.h"

/* Each source defines app; `closed` counts close() where it defines one. */
static const struct row {
    const char *name, *source, *method, *sent;
} ROWS[] = {
    {"a list of one bytes is one answer",
     "def app(e, sr): sr('200 OK', [('X-A', '1')]); return [b'hello']", "GET",
     "RESPOND 200 OK [X-A: 1] hello"},
    {"a tuple of several is one answer",
     "def app(e, sr): sr('200 OK', []); return (b'a', b'', b'b')", "GET",
     "RESPOND 200 OK [] ab"},
    {"an empty list is an empty answer",
     "def app(e, sr): sr('404 Not Found', []); return []", "GET",
     "RESPOND 404 Not Found [] "},
    {"a generator streams",
     "def app(e, sr):\n sr('200 OK', [])\n yield b'a'\n yield b'b'", "GET",
     "HEAD 200 OK []|WRITE a|WRITE b|END"},
    {"start_response may come with the first chunk",
     "def app(e, sr):\n yield b''\n sr('201 Created', [])\n yield b'x'", "GET",
     "HEAD 201 Created []|WRITE x|END"},
    {"an empty first chunk sends no head",
     "import sys\n"
     "def app(e, sr):\n sr('200 OK', [])\n yield b''\n"
     " try: 1/0\n except ZeroDivisionError: sr('500 Oops', [], sys.exc_info())\n"
     " yield b'sorry'",
     "GET", "HEAD 500 Oops []|WRITE sorry|END"},
    {"a chunk of the whole length is one answer",
     "def app(e, sr):\n sr('200 OK', [('Content-Length', '5')])\n yield b'hello'",
     "GET", "RESPOND 200 OK [] hello"},
    {"a sized iterable of one part is one answer",
     "class R(list):\n def __iter__(self): return iter([b'x'])\n"
     "def app(e, sr): sr('200 OK', []); return R([1])",
     "GET", "RESPOND 200 OK [] x"},
    {"excess is cut from a list",
     "def app(e, sr): sr('200 OK', [('Content-Length', '3')]); return [b'hello']",
     "GET", "RESPOND 200 OK [] hel"},
    {"excess is cut from a stream",
     "def app(e, sr):\n sr('200 OK', [('Content-Length', '3')])\n"
     " yield b'he'\n yield b'llo'\n yield b'more'",
     "GET", "HEAD 200 OK [] length=3|WRITE he|WRITE l|END"},
    {"a short body ends short",
     "def app(e, sr): sr('200 OK', [('Content-Length', '9')]); return [b'hello']",
     "GET", "HEAD 200 OK [] length=9|WRITE hello|END"},
    {"HEAD has no body but its length",
     "def app(e, sr): sr('200 OK', []); return [b'hello']", "HEAD",
     "RESPOND 200 OK [content-length: 5] "},
    {"HEAD of a generator ends at the first chunk",
     "def app(e, sr):\n sr('200 OK', [('Content-Length', '7')])\n yield b'hello'\n 1/0",
     "HEAD", "RESPOND 200 OK [content-length: 7] "},
    {"204 has neither body nor length",
     "def app(e, sr): sr('204 No Content', [('Content-Length', '5')]); return "
     "[b'hello']",
     "GET", "RESPOND 204 No Content [] "},
    {"304 has a length but no body",
     "def app(e, sr): sr('304 Not Modified', [('Content-Length', '5')]); return []",
     "GET", "RESPOND 304 Not Modified [content-length: 5] "},
    {"write() comes before the iterable",
     "def app(e, sr):\n w = sr('200 OK', [])\n w(b'a')\n w(b'')\n w(b'b')\n return "
     "[b'c']",
     "GET", "HEAD 200 OK []|WRITE a|WRITE b|WRITE c|END"},
    {"an exception before the head aborts", "def app(e, sr): raise ValueError('no')",
     "GET", "ABORT APP_FAILED"},
    {"an exception behind start_response aborts",
     "def app(e, sr):\n sr('200 OK', [])\n raise SystemExit(3)", "GET",
     "ABORT APP_FAILED"},
    {"KeyboardInterrupt is a failure like others",
     "def app(e, sr): raise KeyboardInterrupt", "GET", "ABORT APP_FAILED"},
    {"an exception mid-stream aborts, no end",
     "def app(e, sr):\n sr('200 OK', [])\n yield b'a'\n 1/0", "GET",
     "HEAD 200 OK []|WRITE a|ABORT APP_FAILED"},
    {"start_response never called", "def app(e, sr): return [b'x']", "GET",
     "ABORT APP_FAILED"},
    {"start_response never called, nothing returned", "def app(e, sr): return []",
     "GET", "ABORT APP_FAILED"},
    {"None is not iterable", "def app(e, sr): sr('200 OK', [])", "GET",
     "ABORT APP_FAILED"},
    {"a str chunk is an error", "def app(e, sr): sr('200 OK', []); return ['text']",
     "GET", "ABORT APP_FAILED"},
    {"a second start_response raises",
     "def app(e, sr): sr('200 OK', []); sr('200 OK', []); return []", "GET",
     "ABORT APP_FAILED"},
    {"exc_info after the head raises it again",
     "import sys\n"
     "def app(e, sr):\n sr('200 OK', [])\n yield b'a'\n"
     " try: 1/0\n except ZeroDivisionError:\n"
     "  try: sr('500 Oops', [], sys.exc_info())\n"
     "  except ZeroDivisionError: yield b'again'",
     "GET", "HEAD 200 OK []|WRITE a|WRITE again|END"},
    {"a refused header can be followed by an error page",
     "def app(e, sr):\n"
     " try: sr('200 OK', [('X', 'a\\r\\nY: b')])\n"
     " except ValueError: sr('500 Oops', [])\n"
     " return [b'sorry']",
     "GET", "RESPOND 500 Oops [] sorry"},
    {"hop-by-hop fields are dropped",
     "def app(e, sr):\n"
     " sr('200 OK', [('Connection', 'x'), ('Transfer-Encoding', 'chunked'), ('A', "
     "'b')])\n"
     " return [b'x']",
     "GET", "RESPOND 200 OK [A: b] x"},
    {"cookies stay apart",
     "def app(e, sr):\n"
     " sr('200 OK', [('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')])\n return [b'']",
     "GET", "RESPOND 200 OK [set-cookie: a=1, set-cookie: b=2] "},
    {"early hints",
     "def app(e, sr):\n e['wsgi.early_hints']([('Link', '</a.css>')])\n"
     " sr('200 OK', [])\n return [b'x']",
     "GET", "INFORM 103 [link: </a.css>]|RESPOND 200 OK [] x"},
    {"an object with close",
     "closed = 0\n"
     "class R:\n"
     " def __iter__(self): yield b'x'\n"
     " def close(self):\n"
     "  global closed; closed += 1\n"
     "def app(e, sr): sr('200 OK', []); return R()",
     "GET", "HEAD 200 OK []|WRITE x|END"},
    {"close after an exception",
     "closed = 0\n"
     "class R:\n"
     " def __iter__(self): return self\n"
     " def __next__(self): raise OSError('disk')\n"
     " def close(self):\n"
     "  global closed; closed += 1\n"
     "def app(e, sr): sr('200 OK', []); return R()",
     "GET", "ABORT APP_FAILED"},
    {"close with HEAD",
     "closed = 0\n"
     "class R:\n"
     " def __iter__(self): yield b'x'\n"
     " def close(self):\n"
     "  global closed; closed += 1\n"
     "def app(e, sr): sr('200 OK', []); return R()",
     "HEAD", "RESPOND 200 OK [] "},
};

static void run(const char *source, struct request *r, PyObject **ret_namespace)
{
    struct environ_options options = {.is_multithread = true};
    PyObject *namespace = python_run(source);
    py_own PyObject *app = Py_XNewRef(PyDict_GetItemString(namespace, "app"));

    assert_non_null(app);
    assert_true(call_init());
    struct call *c = call_new(app, &options);
    assert_non_null(c);
    call_run(c, r);
    assert_null(PyErr_Occurred());
    call_flush(c);
    call_free(&c);
    *ret_namespace = namespace;
}

static void sends_what_the_application_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        const struct row *row = &ROWS[i];
        struct request r;
        py_own PyObject *namespace = NULL;

        fake_request_init(&r);
        r.frame.method = slice_from(row->method);
        run(row->source, &r, &namespace);
        if (strcmp(fake_request_sent(&r), row->sent) != 0)
            print_error("%s\n", row->name);
        assert_string_equal(fake_request_sent(&r), row->sent);
        py_own PyObject *closed = Py_XNewRef(PyDict_GetItemString(namespace, "closed"));
        if (closed != NULL)
            assert_int_equal(PyLong_AsLong(closed), 1);
        fake_request_fini(&r);
    }
}

static void stops_when_the_client_has_gone_and_closes(void **state)
{
    (void)state;
    struct request r;
    py_own PyObject *namespace = NULL;

    fake_request_init(&r);
    r.gone = ERR_CLIENT_GONE;
    r.gone_after = 3;
    run("given = closed = 0\n"
        "class R:\n"
        " def __iter__(self):\n"
        "  global given\n"
        "  for given in range(1000): yield b'x'\n"
        " def close(self):\n"
        "  global closed; closed += 1\n"
        "def app(e, sr): sr('200 OK', []); return R()",
        &r, &namespace);
    char *text = python_eval(namespace, "(given, closed)");
    assert_string_equal(text, "(2, 1)");
    mem_free(&text);
    assert_string_equal(fake_request_sent(&r),
                        "HEAD 200 OK []|WRITE x|WRITE x|WRITE x|ABORT CLIENT_GONE");
    fake_request_fini(&r);
}

static void what_is_kept_past_the_request_raises(void **state)
{
    (void)state;
    struct request r;
    py_own PyObject *namespace = NULL;

    fake_request_init(&r);
    fake_request_body(&r, "body");
    run("def app(e, sr):\n"
        " global kept; w = sr('200 OK', []); kept = (e, sr, w); return [b'x']\n"
        "def attempt(f, *args):\n"
        " try: return f(*args)\n"
        " except Exception as e: return type(e).__name__\n",
        &r, &namespace);
    fake_request_fini(&r);
    char *text = python_eval(
        namespace,
        "attempt(kept[0]['wsgi.input'].read), attempt(kept[1], '200 OK', []), "
        "attempt(kept[2], b'x'), attempt(kept[0]['wsgi.early_hints'], [])");
    assert_string_equal(
        text, "('ValueError', 'RuntimeError', 'RuntimeError', 'RuntimeError')");
    mem_free(&text);
}

static void objects_serve_again_when_nothing_was_kept(void **state)
{
    (void)state;
    struct environ_options options = {0};
    py_own PyObject *namespace =
        python_run("seen = []\n"
                   "def app(e, sr):\n"
                   " seen.append((id(sr), id(e['wsgi.input'])))\n"
                   " sr('200 OK', []); return [e['wsgi.input'].read()]\n");
    py_own PyObject *app = Py_XNewRef(PyDict_GetItemString(namespace, "app"));
    struct request r;

    assert_true(call_init());
    struct call *c = call_new(app, &options);
    for (int i = 0; i < 3; i++) {
        fake_request_init(&r);
        fake_request_body(&r, i == 0 ? "one" : "two");
        call_run(c, &r);
        call_flush(c);
        assert_string_equal(fake_request_sent(&r),
                            i == 0 ? "RESPOND 200 OK [] one" : "RESPOND 200 OK [] two");
        fake_request_fini(&r);
    }
    call_free(&c);
    char *text = python_eval(namespace, "len(set(seen))");
    assert_string_equal(text, "1");
    mem_free(&text);
}

/* As sys.getallocatedblocks() sees it, where Python's allocator is in use. */
static void a_thousand_requests_leave_nothing_behind(void **state)
{
    (void)state;
    struct environ_options options = {0};
    py_own PyObject *namespace =
        python_run("import gc, sys\n"
                   "class R:\n"
                   " def __iter__(self): yield b'x'\n"
                   " def close(self): pass\n"
                   "def app(e, sr):\n"
                   " kind = e['PATH_INFO']\n"
                   " if kind == '/fail': raise ValueError\n"
                   " e['wsgi.input'].readline()\n"
                   " if kind == '/late': return late(sr)\n"
                   " if kind == '/bad': sr('200 OK', [('X', 1)])\n"
                   " sr('200 OK', [('Content-Type', 'a/b')])\n"
                   " return R() if kind == '/iter' else [b'x']\n"
                   "def late(sr):\n"
                   " sr('200 OK', [])\n"
                   " yield b'a'\n"
                   " 1/0\n"
                   "def blocks(): gc.collect(); return sys.getallocatedblocks()\n");
    static const char *const targets[] = {"/", "/fail", "/iter", "/late", "/bad"};
    py_own PyObject *app = Py_XNewRef(PyDict_GetItemString(namespace, "app"));
    long blocks[3];

    assert_true(call_init());
    log_set_level(LOG_ERROR);
    struct call *c = call_new(app, &options);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++) {
            for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
                struct request r;
                if (i > 10 && t != 0 && t != 2) /* failures are long in the log */
                    continue;
                fake_request_init(&r);
                r.frame.target = slice_from(targets[t]);
                fake_request_body(&r, "line\nline");
                call_run(c, &r);
                call_flush(c);
                fake_request_fini(&r);
            }
        }
        char *text = python_eval(namespace, "blocks()");
        blocks[round] = strtol(text, NULL, 10);
        mem_free(&text);
    }
    call_free(&c);
    assert_in_range(labs(blocks[2] - blocks[1]), 0, 100); /* one a request were 400 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_what_the_application_says),
        cmocka_unit_test(stops_when_the_client_has_gone_and_closes),
        cmocka_unit_test(what_is_kept_past_the_request_raises),
        cmocka_unit_test(objects_serve_again_when_nothing_was_kept),
        cmocka_unit_test(a_thousand_requests_leave_nothing_behind),
    };

    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
