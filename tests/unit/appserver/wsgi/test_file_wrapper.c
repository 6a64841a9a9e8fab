/* SPDX-License-Identifier: MIT
 * appserver/wsgi/file_wrapper.c: which objects are plain files, and how those are sent.
 */
#include <Python.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/interp/own.h"
#include "appserver/wsgi/call.h"
#include "appserver/wsgi/file_wrapper.h"
#include "tests/support/fake_request.h"
#include "tests/support/python.h"

enum { SMALL = 10, LARGE = 300 * 1000 };

/* small: ten digits; large: LARGE of them; both without a name on disk. */
static const char *const FILES =
    "import gzip, io, os, tempfile\n"
    "def make(size, at):\n"
    "    made = tempfile.TemporaryFile()\n"
    "    made.write(b'0123456789' * (size // 10)); made.flush()\n"
    "    f = os.fdopen(os.dup(made.fileno()), 'rb')\n"
    "    f.seek(at)\n"
    "    return f\n"
    "class Wrapped:\n"
    "    def __init__(self, file): self.file = file; self.fileno = file.fileno\n"
    "    def read(self, n): return self.file.read(n).lower()\n"
    "def pipe():\n"
    "    r, w = os.pipe(); os.close(w)\n"
    "    return os.fdopen(r, 'rb')\n";

static void trusts_plain_files_and_nothing_that_resembles_them(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        bool plain;
        uint64_t offset, length;
    } rows[] = {
        {"make(10, 0)", true, 0, 10},
        {"make(10, 4)", true, 4, 6},
        {"make(10, 99)", true, 99, 0},
        {"make(10, 4).detach()", true, 4, 6},
        {"tempfile.NamedTemporaryFile()", true, 0, 0},
        {"tempfile.TemporaryFile('w+')", false, 0, 0},
        {"gzip.GzipFile(fileobj=make(10, 0))", false, 0, 0},
        {"io.BufferedReader(gzip.GzipFile(fileobj=make(10, 0)))", false, 0, 0},
        {"io.BytesIO(b'x')", false, 0, 0},
        {"Wrapped(make(10, 0))", false, 0, 0},
        {"pipe()", false, 0, 0},
        {"open('/dev/null', 'rb')", false, 0, 0},
        {"5", false, 0, 0},
    };
    py_own PyObject *namespace = python_run(FILES);

    assert_true(call_init());
    assert_int_equal(PyDict_SetItemString(namespace, "wrap", file_wrapper_type()), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct plain_file file = {.fd = -1};
        py_own PyObject *made =
            PyRun_String(rows[i].file, Py_eval_input, namespace, namespace);
        assert_non_null(made);
        py_own PyObject *wrapped = PyObject_CallOneArg(file_wrapper_type(), made);
        assert_non_null(wrapped);
        bool plain = file_wrapper_plain(wrapped, &file);
        if (plain != rows[i].plain)
            print_error("%s\n", rows[i].file);
        assert_int_equal(plain, rows[i].plain);
        assert_null(PyErr_Occurred());
        if (plain) {
            assert_int_equal(file.offset, rows[i].offset);
            assert_int_equal(file.length, rows[i].length);
        }
    }
    struct plain_file file;
    assert_false(file_wrapper_plain(namespace, &file)); /* no wrapper at all */
}

/* Sends make(size, at) and returns what went out, the bytes of pieces as counts. */
static void send_file(int size,
                      int at,
                      const char *method,
                      int64_t length,
                      bool takes_files,
                      struct request *r,
                      enum err want)
{
    py_own PyObject *namespace = python_run(FILES);
    char expression[64];
    struct plain_file file;
    struct answer a;

    assert_true(call_init());
    (void)snprintf(expression, sizeof expression, "make(%d, %d)", size, at);
    py_own PyObject *made =
        PyRun_String(expression, Py_eval_input, namespace, namespace);
    py_own PyObject *wrapped = PyObject_CallOneArg(file_wrapper_type(), made);
    assert_true(file_wrapper_plain(wrapped, &file));
    fake_request_init(r);
    r->frame.method = slice_from(method);
    r->takes_files = takes_files;
    answer_init(&a);
    answer_begin(&a, r);
    answer_start(&a, 200, SLICE("OK"));
    if (length >= 0)
        answer_set_length(&a, (uint64_t)length);
    answer_started(&a);
    assert_int_equal(plain_file_send(&file, &a), want);
    assert_int_equal(a.state, ANSWER_DONE);
    answer_fini(&a);
}

static void sends_small_files_inside_the_answer(void **state)
{
    (void)state;
    static const struct {
        int at;
        const char *method;
        int64_t length;
        enum err want;
        const char *sent;
    } rows[] = {
        {3, "GET", -1, ERR_NONE, "RESPOND 200 OK [] 3456789"},
        {3, "GET", 4, ERR_NONE, "RESPOND 200 OK [] 3456"},
        {3, "GET", 0, ERR_NONE, "RESPOND 200 OK [] "},
        {10, "GET", -1, ERR_NONE, "RESPOND 200 OK [] "},
        {3, "HEAD", -1, ERR_NONE, "RESPOND 200 OK [content-length: 7] "},
        {3, "GET", 9, ERR_RESPONSE_TRUNCATED,
         "HEAD 200 OK [] length=9|WRITE 3456789|END"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct request r;
        send_file(SMALL, rows[i].at, rows[i].method, rows[i].length, true, &r,
                  rows[i].want);
        assert_string_equal(fake_request_sent(&r), rows[i].sent);
        fake_request_fini(&r);
    }
}

static void offers_large_files_to_the_edge(void **state)
{
    (void)state;
    struct request r;

    send_file(LARGE, 5, "GET", -1, true, &r, ERR_NONE);
    assert_string_equal(fake_request_sent(&r),
                        "HEAD 200 OK [] length=299995|FILE 5+299995");
    fake_request_fini(&r);
    send_file(LARGE, 5, "GET", 100 * 1000, true, &r, ERR_NONE);
    assert_string_equal(fake_request_sent(&r),
                        "HEAD 200 OK [] length=100000|FILE 5+100000");
    fake_request_fini(&r);
}

static void sends_large_files_in_pieces_when_the_edge_does_not_take_them(void **state)
{
    (void)state;
    struct request r;

    send_file(LARGE, 5, "GET", -1, false, &r, ERR_NONE);
    const char *sent = fake_request_sent(&r);
    assert_int_equal(r.writes, 3);
    assert_int_equal(strlen(sent), strlen("HEAD 200 OK [] length=299995|END") +
                                       3 * strlen("|WRITE ") + LARGE - 5);
    assert_non_null(strstr(sent, "length=299995|WRITE 567890"));
    fake_request_fini(&r);
}

static void iterates_in_blocks_and_closes_what_close_is_then(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run(
        "import io\n"
        "class F(io.BytesIO): pass\n"
        "closed = []\n"
        "def use(wrap):\n"
        "    f = F(b'abcdefg')\n"
        "    w = wrap(f, 3)\n"
        "    f.close = lambda: closed.append(1)\n" /* Django does that */
        "    chunks = list(w)\n"
        "    w.close()\n"
        "    class Bare:\n"
        "        def read(self, n): return b''\n"
        "    bare = wrap(filelike=Bare(), blksize=7)\n"
        "    bare.close()\n"
        "    return chunks, list(closed), w.filelike is f, bare.blksize, list(bare)\n");

    assert_true(call_init());
    assert_int_equal(PyDict_SetItemString(namespace, "wrap", file_wrapper_type()), 0);
    char *got = python_eval(namespace, "use(wrap)");
    assert_string_equal(got, "([b'abc', b'def', b'g'], [1], True, 7, [])");
    mem_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trusts_plain_files_and_nothing_that_resembles_them),
        cmocka_unit_test(sends_small_files_inside_the_answer),
        cmocka_unit_test(offers_large_files_to_the_edge),
        cmocka_unit_test(sends_large_files_in_pieces_when_the_edge_does_not_take_them),
        cmocka_unit_test(iterates_in_blocks_and_closes_what_close_is_then),
    };

    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
