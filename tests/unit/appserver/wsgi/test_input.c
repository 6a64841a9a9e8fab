/* SPDX-License-Identifier: MIT
 * appserver/wsgi/input.c: the body as a file, whatever pieces it came in. */
#include <Python.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/interp/own.h"
#include "appserver/wsgi/call.h"
#include "appserver/wsgi/input.h"
#include "tests/support/fake_request.h"
#include "tests/support/python.h"

static const char *const HELPERS =
    "def attempt(f, *args):\n"
    "    try: return f(*args)\n"
    "    except Exception as e: return type(e).__name__\n"
    "def into(f, n):\n"
    "    b = bytearray(n)\n"
    "    return f.readinto(b), bytes(b)\n";

static const struct {
    const char *expression, *want;
} READS[] = {
    {"f.read(), f.read(), f.read(5)", "(b'ab\\ncd\\n\\nefg', b'', b'')"},
    {"f.read(-1)", "b'ab\\ncd\\n\\nefg'"},
    {"f.read(None)", "b'ab\\ncd\\n\\nefg'"},
    {"f.read(0), f.read(4), f.read()", "(b'', b'ab\\nc', b'd\\n\\nefg')"},
    {"f.read(10), f.read(10)", "(b'ab\\ncd\\n\\nefg'[:10], b'')"},
    {"f.read(100)", "b'ab\\ncd\\n\\nefg'"},
    {"f.readline(), f.readline(), f.readline(), f.readline(), f.readline()",
     "(b'ab\\n', b'cd\\n', b'\\n', b'efg', b'')"},
    {"f.readline(1), f.readline(2), f.readline(0), f.readline(-1), f.readline(50)",
     "(b'a', b'b\\n', b'', b'cd\\n', b'\\n')"},
    {"f.readlines()", "[b'ab\\n', b'cd\\n', b'\\n', b'efg']"},
    {"f.readlines(4), f.readlines(0)", "([b'ab\\n', b'cd\\n'], [b'\\n', b'efg'])"},
    {"list(f)", "[b'ab\\n', b'cd\\n', b'\\n', b'efg']"},
    {"f.readline(), f.read(3), next(f), next(f), next(f, None)",
     "(b'ab\\n', b'cd\\n', b'\\n', b'efg', None)"},
    {"into(f, 4), into(f, 99)[0], into(f, 3)",
     "((4, b'ab\\nc'), 6, (0, b'\\x00\\x00\\x00'))"},
    {"attempt(f.read, 'x'), attempt(f.read, 1, 2), attempt(f.readinto, b'ro')",
     "('TypeError', 'TypeError', 'BufferError')"},
};

/* Three ways for the same ten bytes to come. */
enum { FORMS = 3 };
static void script(struct request *r, int form)
{
    fake_request_init(r);
    if (form == 0) {
        fake_request_body(r, "ab\ncd\n\nefg");
        return;
    }
    r->frame.body_form = form == 1 ? BODY_LENGTH : BODY_UNKNOWN;
    r->frame.body_length = form == 1 ? 10 : 0;
    r->pieces[0] = "a";
    r->pieces[1] = "b\nc";
    r->pieces[2] = "d\n\ne";
    r->pieces[3] = "fg";
}

static void expect(struct request *r, const char *expression, const char *want)
{
    py_own PyObject *namespace = python_run(HELPERS);
    py_own PyObject *f = input_new();

    assert_non_null(f);
    input_open(f, r);
    assert_int_equal(PyDict_SetItemString(namespace, "f", f), 0);
    char *wanted = python_eval(namespace, want);
    char *got = python_eval(namespace, expression);
    assert_string_equal(got, wanted);
    mem_free(&got);
    mem_free(&wanted);
    input_close(f);
}

static void reads_like_a_file(void **state)
{
    (void)state;
    assert_true(call_init());
    for (size_t i = 0; i < sizeof READS / sizeof READS[0]; i++) {
        for (int form = 0; form < FORMS; form++) {
            struct request r;
            script(&r, form);
            expect(&r, READS[i].expression, READS[i].want);
            fake_request_fini(&r);
        }
    }
}

static void a_body_that_breaks_off_raises_and_keeps_raising(void **state)
{
    (void)state;
    static const char *const reads[] = {"read", "readline", "readlines"};

    assert_true(call_init());
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        for (int form = 1; form < FORMS; form++) {
            struct request r;
            char expression[80];
            script(&r, form);
            r.pieces[2] = NULL;
            r.body_fails = ERR_CLIENT_GONE;
            (void)snprintf(expression, sizeof expression,
                           "f.readline(), attempt(f.%s), attempt(f.%s)", reads[i],
                           reads[i]);
            expect(&r, expression,
                   "(b'ab\\n', 'ClientDisconnected', 'ClientDisconnected')");
            fake_request_fini(&r);
        }
    }
}

static void a_body_larger_than_the_first_guess_is_read_whole(void **state)
{
    (void)state;
    enum { BYTES = 300 * 1000 };
    char *piece = mem_alloc(BYTES + 1);
    struct request r;

    memset(piece, 'x', BYTES);
    piece[BYTES] = '\0';
    assert_true(call_init());
    for (int form = 0; form < FORMS; form++) {
        fake_request_init(&r);
        if (form == 0) {
            fake_request_body(&r, piece);
        } else {
            r.frame.body_form = form == 1 ? BODY_LENGTH : BODY_UNKNOWN;
            r.frame.body_length = 3 * (uint64_t)BYTES;
            r.pieces[0] = r.pieces[1] = r.pieces[2] = piece;
        }
        expect(&r, "len(f.read())", form == 0 ? "300000" : "900000");
        fake_request_fini(&r);
    }
    mem_free(&piece);
}

static void after_the_request_it_raises(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run(HELPERS);
    struct request r;

    assert_true(call_init());
    py_own PyObject *f = input_new();
    script(&r, 0);
    input_open(f, &r);
    input_close(f);
    fake_request_fini(&r);
    assert_int_equal(PyDict_SetItemString(namespace, "f", f), 0);
    char *got = python_eval(namespace,
                            "attempt(f.read), attempt(f.readline), attempt(next, f)");
    assert_string_equal(got, "('ValueError', 'ValueError', 'ValueError')");
    mem_free(&got);
}

static void without_a_body_it_is_empty_for_ever(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run(HELPERS);

    assert_true(call_init());
    py_own PyObject *f = input_new();
    assert_int_equal(PyDict_SetItemString(namespace, "f", f), 0);
    char *got = python_eval(namespace, "f.read(), f.readline(), list(f), f.read(9)");
    assert_string_equal(got, "(b'', b'', [], b'')");
    mem_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_like_a_file),
        cmocka_unit_test(a_body_that_breaks_off_raises_and_keeps_raising),
        cmocka_unit_test(a_body_larger_than_the_first_guess_is_read_whole),
        cmocka_unit_test(after_the_request_it_raises),
        cmocka_unit_test(without_a_body_it_is_empty_for_ever),
    };

    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
