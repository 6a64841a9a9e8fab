/* SPDX-License-Identifier: MIT
 * appserver/wsgi/start_response.c: what it refuses, and how. */
#include <Python.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/interp/own.h"
#include "appserver/wsgi/call.h"
#include "appserver/wsgi/start_response.h"
#include "tests/support/fake_request.h"
#include "tests/support/python.h"

static const char *const HELPERS =
    "def attempt(*args, **kw):\n"
    "    try: return 'write' if callable(sr(*args, **kw)) else None\n"
    "    except Exception as e: return type(e).__name__\n"
    "class S(str): pass\n";

static const struct {
    const char *call, *outcome,
        *sent; /* sent: after answer_send_whole, when accepted */
} ROWS[] = {
    {"'200 OK', []", "write", "RESPOND 200 OK [] "},
    {"'200', []", "write", "RESPOND 200  [] "},
    {"'200 ', []", "write", "RESPOND 200  [] "},
    {"'418 caf\\xe9 \\t', []", "write", "RESPOND 418 caf\xe9 \t [] "},
    {"S('200 OK'), [(S('A'), S('b'))]", "write", "RESPOND 200 OK [A: b] "},
    {"'200 OK', (('A', 'b'),)", "write", "RESPOND 200 OK [A: b] "},
    {"'200 OK', [], None", "write", "RESPOND 200 OK [] "},
    {"'200 OK', [], exc_info=None", "write", "RESPOND 200 OK [] "},
    {"'200 OK', [('X-A', ' caf\\xe9 ')]", "write", "RESPOND 200 OK [X-A: caf\xe9] "},
    {"'200 OK', [('X', '')]", "write", "RESPOND 200 OK [X: ] "},
    {"'200 OK', [('Content-Length', '0'), ('content-length', '0')]", "write",
     "RESPOND 200 OK [] "},
    {"b'200 OK', []", "TypeError", NULL},
    {"'20 OK', []", "ValueError", NULL},
    {"'2000 OK', []", "ValueError", NULL},
    {"'200OK', []", "ValueError", NULL},
    {"'', []", "ValueError", NULL},
    {"'100 Continue', []", "ValueError", NULL},
    {"'200 O\\r\\nX: y', []", "ValueError", NULL},
    {"'200 O\\0K', []", "ValueError", NULL},
    {"'200 \\u20ac', []", "ValueError", NULL},
    {"'200 OK', [('X', 'a\\nb')]", "ValueError", NULL},
    {"'200 OK', [('X', 'a\\rb')]", "ValueError", NULL},
    {"'200 OK', [('X', '1234567\\0')]", "ValueError", NULL},
    {"'200 OK', [('X', '12345678\\0')]", "ValueError", NULL},
    {"'200 OK', [('X', '\\x7f')]", "ValueError", NULL},
    {"'200 OK', [('X', '\\u20ac')]", "ValueError", NULL},
    {"'200 OK', [('X Y', 'a')]", "ValueError", NULL},
    {"'200 OK', [('X:', 'a')]", "ValueError", NULL},
    {"'200 OK', [('', 'a')]", "ValueError", NULL},
    {"'200 OK', [('X\\n', 'a')]", "ValueError", NULL},
    {"'200 OK', [('caf\\xe9', 'a')]", "ValueError", NULL},
    {"'200 OK', [('X', b'a')]", "TypeError", NULL},
    {"'200 OK', [(b'X', 'a')]", "TypeError", NULL},
    {"'200 OK', [('X', 1)]", "TypeError", NULL},
    {"'200 OK', [('X',)]", "TypeError", NULL},
    {"'200 OK', ['XY']", "TypeError", NULL},
    {"'200 OK', 5", "TypeError", NULL},
    {"'200 OK'", "TypeError", NULL},
    {"'200 OK', [], None, None", "TypeError", NULL},
    {"'200 OK', [], x=None", "TypeError", NULL},
    {"'200 OK', [], 5", "TypeError", NULL},
    {"'200 OK', [], (None, None)", "TypeError", NULL},
    {"'200 OK', [('Content-Length', '-1')]", "ValueError", NULL},
    {"'200 OK', [('Content-Length', '')]", "ValueError", NULL},
    {"'200 OK', [('Content-Length', '1e3')]", "ValueError", NULL},
    {"'200 OK', [('Content-Length', '9' * 30)]", "ValueError", NULL},
    {"'200 OK', [('Content-Length', '1'), ('Content-Length', '2')]", "ValueError",
     NULL},
    {"'200 OK', [('X', 'y')] * 300", "ValueError", NULL},
    {"'200 OK', [('X', 'y' * 300000)]", "ValueError", NULL},
};

static void judges_status_and_fields(void **state)
{
    (void)state;
    assert_true(call_init());
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        py_own PyObject *namespace = python_run(HELPERS);
        py_own PyObject *sr = start_response_new();
        struct request r;
        struct answer a;
        char expression[160];

        fake_request_init(&r);
        answer_init(&a);
        answer_begin(&a, &r);
        start_response_bind(sr, &a);
        assert_int_equal(PyDict_SetItemString(namespace, "sr", sr), 0);
        (void)snprintf(expression, sizeof expression, "attempt(%s)", ROWS[i].call);
        char *got = python_eval(namespace, expression);
        if (strcmp(got, ROWS[i].outcome) != 0)
            print_error("%s\n", ROWS[i].call);
        assert_string_equal(got, ROWS[i].outcome);
        mem_free(&got);
        if (ROWS[i].sent != NULL) {
            assert_int_equal(answer_send_whole(&a, slice_of("", 0)), ERR_NONE);
            assert_string_equal(fake_request_sent(&r), ROWS[i].sent);
        } else {
            assert_int_equal(a.state, ANSWER_NONE);
        }
        start_response_bind(sr, NULL);
        answer_fini(&a);
        fake_request_fini(&r);
    }
}

static void is_shared_while_somebody_holds_it_or_its_write(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run("");
    struct request r;
    struct answer a;

    assert_true(call_init());
    fake_request_init(&r);
    answer_init(&a);
    answer_begin(&a, &r);
    py_own PyObject *sr = start_response_new();
    assert_true(start_response_is_unshared(sr));
    start_response_bind(sr, &a);
    assert_int_equal(PyDict_SetItemString(namespace, "sr", sr), 0);
    assert_false(start_response_is_unshared(sr));
    py_own PyObject *write =
        PyRun_String("sr('200 OK', [])", Py_eval_input, namespace, namespace);
    assert_int_equal(PyDict_DelItemString(namespace, "sr"), 0);
    assert_false(start_response_is_unshared(sr));
    Py_CLEAR(write);
    assert_true(start_response_is_unshared(sr));
    start_response_bind(sr, NULL);
    answer_fini(&a);
    fake_request_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_status_and_fields),
        cmocka_unit_test(is_shared_while_somebody_holds_it_or_its_write),
    };

    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
