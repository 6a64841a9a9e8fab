/* SPDX-License-Identifier: MIT
 * appserver/interp/loader.c: names of applications, and what is said of wrong ones. */
#include <Python.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/interp/loader.h"
#include "appserver/interp/own.h"
#include "tests/support/python.h"

/* Modules that exist without files. */
static const char *const MODULES =
    "import sys, types\n"
    "def module(name, source):\n"
    "    m = types.ModuleType(name); m.__dict__['__path__'] = []\n"
    "    exec(source, m.__dict__); sys.modules[name] = m\n"
    "module('both', 'application = lambda e, s: \"application\"\\napp = lambda e, s: "
    "\"app\"')\n"
    "module('short', 'def app(e, s): return \"app\"')\n"
    "module('bare', 'x = 1')\n"
    "module('pkg', '')\n"
    "module('pkg.wsgi', 'def application(e, s): return \"deep\"')\n"
    "module('nested', '''class a:\n class b:\n  c = staticmethod(lambda e, s: "
    "\"nested\")''')\n"
    "module('made', '''def create():\n return lambda e, s: \"made\"\n"
    "def broken(): raise ValueError(\"inside\")\ndef nothing(): pass''')\n"
    "module('asgi', '''async def app(scope, receive, send): pass\n"
    "class C:\n async def __call__(self, s, r, d): pass\nobject = C()''')\n"
    "sys.path[:] = [p for p in sys.path if 'python' in p or 'pkg' in p]\n";

static void finds_applications(void **state)
{
    (void)state;
    static const struct {
        const char *name, *says;
    } rows[] = {
        {"both", "application"},
        {"both:app", "app"},
        {"short", "app"},
        {"pkg.wsgi", "deep"},
        {"pkg.wsgi:application", "deep"},
        {"nested:a.b.c", "nested"},
        {"made:create()", "made"},
    };
    py_own PyObject *namespace = python_run(MODULES);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        py_own PyObject *app = loader_load(rows[i].name);
        if (app == NULL)
            PyErr_Print();
        assert_non_null(app);
        assert_int_equal(PyDict_SetItemString(namespace, "app", app), 0);
        char *got = python_eval(namespace, "app(None, None)");
        assert_string_equal(got, rows[i].says);
        mem_free(&got);
    }
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *name, *says; /* "Type: beginning of the text" */
    } rows[] = {
        {"", "ImportError: '' does not name an application"},
        {":app", "ImportError: ':app' does not name an application"},
        {"both:", "ImportError: 'both:' does not name an application"},
        {"nope", "ModuleNotFoundError: there is no module 'nope'; looked in ["},
        {"nope.wsgi:app",
         "ModuleNotFoundError: there is no module 'nope'; looked in ["},
        {"pkg.nope", "ModuleNotFoundError: there is no module 'pkg.nope'; looked in ["},
        {"nope.py", "ModuleNotFoundError: there is no module 'nope' (a module is named "
                    "without '.py'); looked in ["},
        {"bare",
         "ImportError: module 'bare' has neither 'application' nor 'app'; name the "
         "application as 'bare:NAME'"},
        {"bare:app", "ImportError: module 'bare' has no attribute 'app'"},
        {"bare:x", "ImportError: 'bare:x' is not an application: 1 cannot be called"},
        {"bare:x.y", "ImportError: 1 in module 'bare' has no attribute 'y'"},
        {"bare:x()", "ImportError: 'bare:x()': 1 cannot be called"},
        {"made:broken()", "ValueError: inside"},
        {"made:nothing()", "ImportError: 'made:nothing()' is not an application: None"},
    };
    py_own PyObject *namespace = python_run(MODULES);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        py_own PyObject *app = loader_load(rows[i].name);
        assert_null(app);
        py_own PyObject *exception = py_raised();
        assert_non_null(exception);
        assert_int_equal(PyDict_SetItemString(namespace, "e", exception), 0);
        char *got = python_eval(namespace, "f'{type(e).__name__}: {e}'");
        if (strncmp(got, rows[i].says, strlen(rows[i].says)) != 0)
            assert_string_equal(got, rows[i].says);
        mem_free(&got);
    }
}

static void tells_interfaces_apart_by_signature(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        enum interface interface;
    } rows[] = {
        {"def app(environ, start_response): pass", INTERFACE_WSGI},
        {"class app:\n def __init__(self, e, s): pass\n def __iter__(self): pass",
         INTERFACE_WSGI},
        {"class C:\n def __call__(self, environ, start_response): pass\napp = C()",
         INTERFACE_WSGI},
        {"class C:\n def __call__(self, *args, **kwargs): pass\napp = C()",
         INTERFACE_WSGI},
        {"def app(environ, start_response, more=None): pass", INTERFACE_WSGI},
        {"app = print", INTERFACE_WSGI},
        {"async def app(scope, receive, send): pass", INTERFACE_ASGI},
        {"class C:\n async def __call__(self, s, r, d): pass\napp = C()",
         INTERFACE_ASGI},
        {"class C:\n async def run(self, s, r, d): pass\napp = C().run",
         INTERFACE_ASGI},
        {"import functools\nasync def f(x, s, r, d): pass\n"
         "app = functools.partial(f, 1)",
         INTERFACE_ASGI},
        {"class app:\n def __init__(self, s, r, d): pass\n def __await__(self): pass",
         INTERFACE_ASGI},
        {"def app(scope, receive, send): return inner(scope, receive, send)",
         INTERFACE_ASGI},
        {"def app(scope): pass", INTERFACE_ASGI2},
        {"class app:\n def __init__(self, scope): pass\n"
         " async def __call__(self, receive, send): pass",
         INTERFACE_ASGI2},
        {"import functools\ndef f(x, scope): pass\napp = functools.partial(f, 1)",
         INTERFACE_ASGI2},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        py_own PyObject *namespace = python_run(rows[i].source);
        py_own PyObject *app = Py_XNewRef(PyDict_GetItemString(namespace, "app"));
        enum interface got = INTERFACE_WSGI;
        assert_non_null(app);
        if (!loader_detect(app, "auto", &got))
            PyErr_Print();
        if (got != rows[i].interface)
            fail_msg("%s: %d", rows[i].source, got);
    }
}

static void takes_the_interface_that_is_asked_for(void **state)
{
    (void)state;
    enum interface got = INTERFACE_ASGI;

    assert_true(loader_detect(Py_None, "wsgi", &got));
    assert_int_equal(got, INTERFACE_WSGI);
    assert_true(loader_detect(Py_None, "asgi2", &got));
    assert_int_equal(got, INTERFACE_ASGI2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_applications),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(tells_interfaces_apart_by_signature),
        cmocka_unit_test(takes_the_interface_that_is_asked_for),
    };

    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
