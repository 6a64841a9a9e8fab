/* SPDX-License-Identifier: MIT
 * appserver/wsgi/environ.c: request frame -> environ. */
#include <Python.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/interp/own.h"
#include "appserver/wsgi/call.h"
#include "protocol/base/clock.h"
#include "tests/support/fake_request.h"
#include "tests/support/python.h"

static struct environ_maker *make_maker_at(const char *root_path)
{
    struct environ_options options = {.is_multithread = true, .root_path = root_path};

    assert_true(call_init());
    struct environ_maker *m = environ_maker_new(&options);
    assert_non_null(m);
    return m;
}

static struct environ_maker *make_maker(void)
{
    return make_maker_at(NULL);
}

/* `expression` over the environ `e` of this request. */
static void expect(struct environ_maker *m,
                   struct request *r,
                   const char *expression,
                   const char *want)
{
    py_own PyObject *namespace = python_run("");
    py_own PyObject *e = environ_make(m, r, NULL);

    assert_non_null(e);
    assert_int_equal(PyDict_SetItemString(namespace, "e", e), 0);
    char *got = python_eval(namespace, expression);
    assert_string_equal(got, want);
    mem_free(&got);
}

static void has_the_keys_of_pep_3333(void **state)
{
    (void)state;
    static const struct {
        const char *expression, *want;
    } rows[] = {
        {"type(e) is dict", "True"},
        {"e['REQUEST_METHOD'], e['SERVER_PROTOCOL']", "('GET', 'HTTP/1.1')"},
        {"e['SCRIPT_NAME'], e['PATH_INFO'], e['QUERY_STRING']", "('', '/', '')"},
        {"e['REQUEST_URI'], e['RAW_URI']", "('/', '/')"},
        {"e['SERVER_NAME'], e['SERVER_PORT']", "('example.com', '80')"},
        {"e['REMOTE_ADDR'], e['REMOTE_PORT']", "('192.0.2.1', '4711')"},
        {"e['wsgi.version'], e['wsgi.url_scheme']", "((1, 0), 'http')"},
        {"e['wsgi.multithread'], e['wsgi.multiprocess'], e['wsgi.run_once']",
         "(True, False, False)"},
        {"e['wsgi.input'].read(), e['wsgi.input_terminated']", "(b'', True)"},
        {"e['banyan.request_id'], e['HTTP_HOST']", "('id-1', 'example.com')"},
        {"'CONTENT_LENGTH' in e, 'CONTENT_TYPE' in e", "(False, False)"},
        {"[k for k, v in e.items() if k.isupper() and type(v) is not str]", "[]"},
    };
    struct environ_maker *m = make_maker();
    struct request r;

    fake_request_init(&r);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect(m, &r, rows[i].expression, rows[i].want);
    fake_request_fini(&r);
    environ_maker_free(&m);
}

static void decodes_the_path_once_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        const char *target, *want;
    } rows[] = {
        {"/caf%C3%A9", "('/caf\xc3\x83\xc2\xa9', '', '/caf%C3%A9')"},
        {"/%FF%2f%2541?a=%20b", "('/\xc3\xbf/%41', 'a=%20b', '/%FF%2f%2541?a=%20b')"},
        {"/a%zz%4", "('/a%zz%4', '', '/a%zz%4')"},
        {"/x?a?b=\xe9", "('/x', 'a?b=\xc3\xa9', '/x?a?b=\xc3\xa9')"},
        {"/?", "('/', '', '/?')"},
        {"*", "('*', '', '*')"},
        {"", "('', '', '')"},
    };
    struct environ_maker *m = make_maker();
    struct request r;

    fake_request_init(&r);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        r.frame.target = slice_from(rows[i].target);
        expect(m, &r, "e['PATH_INFO'], e['QUERY_STRING'], e['REQUEST_URI']",
               rows[i].want);
    }
    fake_request_fini(&r);
    environ_maker_free(&m);
}

static void turns_fields_into_keys(void **state)
{
    (void)state;
    static const struct {
        struct fake_field fields[4];
        const char *expression, *want;
    } rows[] = {
        {{{"accept", "*/*"}}, "e['HTTP_ACCEPT']", "*/*"},
        {{{"x-thing-2", "v"}}, "e['HTTP_X_THING_2']", "v"},
        {{{"X-Thing", "caf\xe9"}}, "e['HTTP_X_THING']", "caf\xc3\xa9"},
        {{{"accept", "a"}, {"accept", "b"}, {"accept", "c"}},
         "e['HTTP_ACCEPT']",
         "a,b,c"},
        {{{"x-a", "a"}, {"X-A", "b"}}, "e['HTTP_X_A']", "a,b"},
        {{{"cookie", "a=1"}, {"cookie", "b=2"}}, "e['HTTP_COOKIE']", "a=1; b=2"},
        {{{"content-type", "text/x"}, {"content-length", "4"}},
         "e['CONTENT_TYPE'], e['CONTENT_LENGTH'], "
         "[k for k in e if k.startswith('HTTP_CONTENT')]",
         "('text/x', '4', [])"},
        {{{"x_foo", "spoof"}, {"x-foo", "true"}}, "e['HTTP_X_FOO']", "true"},
        {{{"X-Foo", "true"}, {"x_foo", "spoof"}}, "e['HTTP_X_FOO']", "true"},
        {{{"user-agent", "true"}, {"user_agent", "spoof"}},
         "e['HTTP_USER_AGENT']",
         "true"},
        {{{"x_a-b", "1"}, {"x-a_b", "2"}}, "'HTTP_X_A_B' in e", "False"},
        {{{"x_foo", "a"}, {"X_Foo", "b"}, {"x_fo", "c"}}, "e['HTTP_X_FOO']", "a,b"},
        {{{"proxy", "http://evil"}}, "'HTTP_PROXY' in e", "False"},
        {{{"x-empty", ""}}, "repr(e['HTTP_X_EMPTY'])", "''"},
    };
    struct environ_maker *m = make_maker();

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct request r;
        struct fake_field fields[5] = {{NULL, NULL}};
        memcpy(fields, rows[i].fields, sizeof rows[i].fields);
        fake_request_init(&r);
        fake_request_fields(&r, fields);
        expect(m, &r, rows[i].expression, rows[i].want);
        expect(m, &r, rows[i].expression, rows[i].want); /* from the caches */
        fake_request_fini(&r);
    }
    environ_maker_free(&m);
}

static void knows_the_server_by_the_name_the_client_used(void **state)
{
    (void)state;
    static const struct {
        const char *host, *scheme, *server_addr, *want;
    } rows[] = {
        {"example.com", "http", "192.0.2.9", "('example.com', '80')"},
        {"example.com", "https", "192.0.2.9", "('example.com', '443')"},
        {"example.com:8080", "https", "192.0.2.9", "('example.com', '8080')"},
        {"[::1]:81", "http", "::1", "('[::1]', '81')"},
        {"[::1]", "http", "::1", "('[::1]', '80')"},
        {"example.com:", "http", "::1", "('example.com', '80')"},
        {NULL, "http", "192.0.2.9", "('192.0.2.9', '8000')"},
        {NULL, "http", "/run/x.sock", "('localhost', '80')"},
    };
    struct environ_maker *m = make_maker();

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct request r;
        fake_request_init(&r);
        fake_request_fields(
            &r,
            (struct fake_field[]){{rows[i].host == NULL ? NULL : "host", rows[i].host},
                                  {NULL, NULL}});
        r.frame.scheme = slice_from(rows[i].scheme);
        r.frame.server_addr = slice_from(rows[i].server_addr);
        expect(m, &r, "e['SERVER_NAME'], e['SERVER_PORT']", rows[i].want);
        expect(m, &r, "e['wsgi.url_scheme']", rows[i].scheme);
        fake_request_fini(&r);
    }
    environ_maker_free(&m);
}

static void one_request_leaves_nothing_in_the_next(void **state)
{
    (void)state;
    struct environ_maker *m = make_maker();
    struct request r;

    fake_request_init(&r);
    fake_request_fields(
        &r, (struct fake_field[]){
                {"host", "a"}, {"cookie", "secret=1"}, {"x-own", "1"}, {NULL, NULL}});
    r.frame.scheme = SLICE("https");
    expect(m, &r, "e['HTTP_COOKIE'], e['HTTP_X_OWN']", "('secret=1', '1')");
    fake_request_fini(&r);
    fake_request_init(&r);
    r.frame.client_port = 0;
    expect(m, &r,
           "[k for k in ('HTTP_COOKIE', 'HTTP_X_OWN', 'REMOTE_PORT') if k in e], "
           "e['wsgi.url_scheme']",
           "([], 'http')");
    fake_request_fini(&r);
    environ_maker_free(&m);
}

static void says_the_length_of_a_gathered_body(void **state)
{
    (void)state;
    struct environ_maker *m = make_maker();
    struct request r;

    fake_request_init(&r);
    fake_request_body(&r, "12345");
    py_own PyObject *namespace = python_run("");
    py_own PyObject *e = environ_make(m, &r, Py_None);
    assert_int_equal(PyDict_SetItemString(namespace, "e", e), 0);
    char *got = python_eval(namespace, "e['CONTENT_LENGTH'], e['wsgi.input']");
    assert_string_equal(got, "('5', None)");
    mem_free(&got);
    fake_request_fini(&r);
    environ_maker_free(&m);
}

static void a_mounted_application_sees_where_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *root_path, *target;
        uint32_t root;
        const char *want; /* SCRIPT_NAME, PATH_INFO, QUERY_STRING */
    } rows[] = {
        /* what the edge's route takes off */
        {NULL, "/shop/cart?a=/b", 5, "('/shop', '/cart', 'a=/b')"},
        {NULL, "/shop", 5, "('/shop', '', '')"},
        {NULL, "/shop/", 5, "('/shop', '/', '')"},
        {NULL, "/s%68op/c%2Fd", 7, "('/shop', '/c/d', '')"},
        {NULL, "/%C3%A9/x", 7, "('/\xc3\x83\xc2\xa9', '/x', '')"},
        {"/other", "/shop/cart", 5, "('/shop', '/cart', '')"},
        /* --root-path, taken off already or not */
        {"/shop", "/shop/cart?x", 0, "('/shop', '/cart', 'x')"},
        {"/shop", "/s%68op", 0, "('/shop', '', '')"},
        {"/shop", "/cart", 0, "('/shop', '/cart', '')"},
        {"/shop", "/shopping", 0, "('/shop', '/shopping', '')"},
        {"", "/cart", 0, "('', '/cart', '')"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct environ_maker *m = make_maker_at(rows[i].root_path);
        struct request r;
        fake_request_init(&r);
        r.frame.target = slice_from(rows[i].target);
        r.frame.root = rows[i].root;
        expect(m, &r, "e['SCRIPT_NAME'], e['PATH_INFO'], e['QUERY_STRING']",
               rows[i].want);
        char whole[64];
        (void)snprintf(whole, sizeof whole, "%s", rows[i].target);
        expect(m, &r, "e['REQUEST_URI']", whole);
        /* The next one is not mounted there. */
        r.frame.target = SLICE("/plain");
        r.frame.root = 0;
        expect(m, &r, "e['PATH_INFO']", "/plain");
        expect(m, &r, "e['SCRIPT_NAME']",
               rows[i].root_path == NULL ? "" : rows[i].root_path);
        fake_request_fini(&r);
        environ_maker_free(&m);
    }
}

static void tells_how_long_the_request_waited(void **state)
{
    (void)state;
    struct environ_maker *m = make_maker();
    struct request r;

    fake_request_init(&r);
    clock_set(5 * 1000 * 1000);
    r.frame.queued_us = 3500 * 1000;
    expect(m, &r, "e['banyan.queue_time']", "1.5");
    r.frame.queued_us = 6000 * 1000; /* clocks of two hosts may differ */
    expect(m, &r, "e['banyan.queue_time']", "0.0");
    clock_release();
    fake_request_fini(&r);
    environ_maker_free(&m);
}

static void takes_more_unknown_names_than_it_remembers(void **state)
{
    (void)state;
    struct environ_maker *m = make_maker();
    char name[16], key[48], value[16];

    for (int i = 0; i < 1000; i++) {
        struct request r;
        (void)snprintf(name, sizeof name, "x-%d", i * 7);
        (void)snprintf(value, sizeof value, "%d", i);
        (void)snprintf(key, sizeof key, "e['HTTP_X_%d']", i * 7);
        fake_request_init(&r);
        fake_request_fields(&r, (struct fake_field[]){{name, value}, {NULL, NULL}});
        py_own PyObject *e = environ_make(m, &r, NULL);
        assert_non_null(e);
        if (i % 50 == 0)
            expect(m, &r, key, value);
        fake_request_fini(&r);
    }
    environ_maker_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_the_keys_of_pep_3333),
        cmocka_unit_test(decodes_the_path_once_and_nothing_else),
        cmocka_unit_test(turns_fields_into_keys),
        cmocka_unit_test(knows_the_server_by_the_name_the_client_used),
        cmocka_unit_test(one_request_leaves_nothing_in_the_next),
        cmocka_unit_test(says_the_length_of_a_gathered_body),
        cmocka_unit_test(a_mounted_application_sees_where_it_is),
        cmocka_unit_test(tells_how_long_the_request_waited),
        cmocka_unit_test(takes_more_unknown_names_than_it_remembers),
    };

    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
