/* SPDX-License-Identifier: MIT
 * appserver/wsgi/errors.c: pieces of text become lines of the log, with the request's
 * id. */
#include <Python.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "appserver/interp/current.h"
#include "appserver/interp/own.h"
#include "appserver/wsgi/call.h"
#include "appserver/wsgi/errors.h"
#include "tests/support/fake_request.h"
#include "tests/support/python.h"

enum { LOG_BYTES = 32 * 1024 };

/* Runs `source` with `err` as the errors of the request, or of no request when r is
 * NULL; returns what stderr got meanwhile. */
static const char *run(const char *source, struct request *r)
{
    static char text[LOG_BYTES];
    py_own PyObject *namespace = python_run("");
    py_own PyObject *errors = errors_new();
    int fds[2], old = dup(STDERR_FILENO);

    assert_int_equal(PyDict_SetItemString(namespace, "err", errors), 0);
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    current.request = r;
    py_own PyObject *done = PyRun_String(source, Py_file_input, namespace, namespace);
    errors_flush_current();
    current.request = NULL;
    buf_fini(&current.line);
    assert_int_equal(dup2(old, STDERR_FILENO), STDERR_FILENO);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    (void)close(fds[0]);
    (void)close(fds[1]);
    (void)close(old);
    if (done == NULL)
        PyErr_Print();
    assert_non_null(done);
    return text;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

static void joins_pieces_until_their_newline(void **state)
{
    (void)state;
    struct request r;

    assert_true(call_init());
    fake_request_init(&r);
    const char *log = run("assert err.write('one ') == 4\n"
                          "err.writelines(['two\\n', 'three', '\\n', 'caf\\xe9'])\n",
                          &r);
    assert_non_null(strstr(log, "id-1 one two\n"));
    assert_non_null(strstr(log, "id-1 three\n"));
    assert_non_null(strstr(log, "id-1 caf\xc3\xa9\n"));
    assert_int_equal(count(log, "\n"), 3);
    fake_request_fini(&r);
}

static void flush_ends_a_line(void **state)
{
    (void)state;
    struct request r;

    assert_true(call_init());
    fake_request_init(&r);
    const char *log = run("err.write('a'); err.flush(); err.write('b\\n')\n", &r);
    assert_non_null(strstr(log, "id-1 a\n"));
    assert_non_null(strstr(log, "id-1 b\n"));
    fake_request_fini(&r);
}

static void takes_str_only(void **state)
{
    (void)state;
    struct request r;

    assert_true(call_init());
    fake_request_init(&r);
    (void)run("for bad in (b'x', None, 1):\n"
              "    try: err.write(bad)\n"
              "    except TypeError: pass\n"
              "    else: raise AssertionError(bad)\n"
              "assert not err.isatty()\n"
              "err.write('\\udcff\\n')\n", /* not encodable: escaped, not raised */
              &r);
    fake_request_fini(&r);
}

static void a_line_without_an_end_is_not_gathered_for_ever(void **state)
{
    (void)state;
    struct request r;

    assert_true(call_init());
    fake_request_init(&r);
    const char *log = run("for _ in range(20): err.write('x' * 1000)\n", &r);
    assert_in_range(count(log, "id-1 "), 2, 4);
    fake_request_fini(&r);
}

static void outside_of_requests_lines_have_no_id(void **state)
{
    (void)state;
    assert_true(call_init());
    const char *log = run("err.write('from a thread\\n')\n", NULL);
    assert_non_null(strstr(log, "from a thread\n"));
    assert_null(strstr(log, "id-1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_pieces_until_their_newline),
        cmocka_unit_test(flush_ends_a_line),
        cmocka_unit_test(takes_str_only),
        cmocka_unit_test(a_line_without_an_end_is_not_gathered_for_ever),
        cmocka_unit_test(outside_of_requests_lines_have_no_id),
    };

    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
