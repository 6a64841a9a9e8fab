/* SPDX-License-Identifier: MIT
 * appserver/asgi/scope.c: every key of a scope. */
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

#include "appserver/asgi/scope.h"

static void scope_into(PyObject *namespace, struct scope_maker *m, struct request *r)
{
    py_own PyObject *state = PyDict_New();
    py_own PyObject *id = NULL;
    py_own PyObject *scope = scope_make(m, r, state, &id);

    if (scope == NULL)
        PyErr_Print();
    assert_non_null(scope);
    assert_int_equal(PyDict_SetItemString(namespace, "s", scope), 0);
}

static void assert_eval(PyObject *namespace, const char *expression, const char *value)
{
    char *got = python_eval(namespace, expression);
    if (strcmp(got, value) != 0)
        fail_msg("%s: %s", expression, got);
    mem_free(&got);
}

static struct scope_maker *make(const char *root_path)
{
    assert_true(server_init());
    struct scope_maker *m = scope_maker_new(root_path);
    assert_non_null(m);
    return m;
}

static void has_all_that_the_specification_names(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run("");
    struct scope_maker *m = make("/mounted");
    struct request r;
    fake_request_init(&r);
    r.frame.target = SLICE("/a%2Fb?x=%20");
    scope_into(namespace, m, &r);
    assert_eval(namespace, "{k: v for k, v in s.items() if not k.startswith('banyan')}",
                "{'type': 'http', 'asgi': {'version': '3.0', 'spec_version': '2.4'}, "
                "'http_version': '1.1', 'server': ('192.0.2.9', 8000), 'client': "
                "('192.0.2.1', 4711), 'scheme': 'http', 'method': 'GET', 'root_path': "
                "'/mounted', 'path': '/a/b', 'raw_path': b'/a%2Fb', 'query_string': "
                "b'x=%20', 'headers': [(b'host', b'example.com')], 'state': {}, "
                "'extensions': {'http.response.pathsend': {}, "
                "'http.response.early_hint': {}}}");
    assert_eval(namespace, "s['banyan.request_id'], s['banyan.queue_time']",
                "('id-1', 0.0)");
    fake_request_fini(&r);
    scope_maker_free(&m);
}

static void path_keeps_what_the_application_is_mounted_at(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run("");
    struct scope_maker *m = make("/other");
    struct request r;
    fake_request_init(&r);
    r.frame.target = SLICE("/s%68op/c%C3%A9?x");
    r.frame.root = 7;
    scope_into(namespace, m, &r);
    assert_eval(namespace, "ascii((s['root_path'], s['path'], s['raw_path']))",
                "('/shop', '/shop/c\\xe9', b'/s%68op/c%C3%A9')");
    r.frame.root = 0;
    scope_into(namespace, m, &r);
    assert_eval(namespace, "s['root_path']", "/other");
    fake_request_fini(&r);
    scope_maker_free(&m);
}

static void what_differs_from_the_usual(void **state)
{
    (void)state;
    static const struct fake_field fields[] = {{"X-Odd", "1"},    {"x-odd", "2"},
                                               {"accept", "a"},   {"accept", "b"},
                                               {"cookie", "c=d"}, {NULL, NULL}};
    py_own PyObject *namespace = python_run("");
    struct scope_maker *m = make("");
    struct request r;
    fake_request_init(&r);
    r.frame.target = SLICE("/%C3%A9/%ff%zz");
    r.frame.method = SLICE("PURGE");
    r.frame.minor = 0;
    r.frame.scheme = SLICE("https");
    r.frame.client_addr = SLICE("");
    r.frame.server_addr = SLICE("/run/web.sock");
    r.frame.server_port = 0;
    r.takes_trailers = true;
    fake_request_fields(&r, fields);
    for (int again = 0; again < 2; again++) { /* from memory the second time */
        scope_into(namespace, m, &r);
        assert_eval(namespace, "ascii(s['path'])", "'/\\xe9/\\ufffd%zz'");
        assert_eval(namespace, "s['raw_path'], s['query_string']",
                    "(b'/%C3%A9/%ff%zz', b'')");
        assert_eval(namespace, "s['method'], s['http_version'], s['scheme']",
                    "('PURGE', '1.0', 'https')");
        assert_eval(namespace, "s['client'], s['server']",
                    "(None, ('/run/web.sock', None))");
        assert_eval(namespace, "s['headers']",
                    "[(b'x-odd', b'1'), (b'x-odd', b'2'), (b'accept', b'a'), "
                    "(b'accept', b'b'), (b'cookie', b'c=d')]");
        assert_eval(namespace, "'http.response.trailers' in s['extensions']", "True");
    }
    fake_request_fini(&r);
    scope_maker_free(&m);
}

static void websockets_have_their_own_keys(void **state)
{
    (void)state;
    static const struct fake_field fields[] = {
        {"sec-websocket-protocol", "chat,  superchat"},
        {"sec-websocket-protocol", "last"},
        {NULL, NULL}};
    py_own PyObject *namespace = python_run("");
    struct scope_maker *m = make("");
    struct request r;
    fake_request_init(&r);
    r.is_websocket = true;
    fake_request_fields(&r, fields);
    scope_into(namespace, m, &r);
    assert_eval(namespace, "s['type'], s['scheme'], s['subprotocols'], 'method' in s",
                "('websocket', 'ws', ['chat', 'superchat', 'last'], False)");
    assert_eval(namespace, "s['extensions']", "{'websocket.http.response': {}}");
    fake_request_fini(&r);
    scope_maker_free(&m);
}

static void nothing_of_a_scope_is_in_the_next(void **state)
{
    (void)state;
    py_own PyObject *namespace = python_run("");
    struct scope_maker *m = make("");
    struct request r;
    fake_request_init(&r);
    scope_into(namespace, m, &r);
    py_own PyObject *done = PyRun_String(
        "for d in (s, s['state'], s['asgi'], s['extensions']): d['x'] = 1\n"
        "s['headers'].append(1)",
        Py_file_input, namespace, namespace);
    assert_non_null(done);
    scope_into(namespace, m, &r);
    assert_eval(namespace,
                "any('x' in d for d in (s, s['state'], s['asgi'], s['extensions'])), "
                "len(s['headers'])",
                "(False, 1)");
    fake_request_fini(&r);
    scope_maker_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_all_that_the_specification_names),
        cmocka_unit_test(path_keeps_what_the_application_is_mounted_at),
        cmocka_unit_test(what_differs_from_the_usual),
        cmocka_unit_test(websockets_have_their_own_keys),
        cmocka_unit_test(nothing_of_a_scope_is_in_the_next),
    };

    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
