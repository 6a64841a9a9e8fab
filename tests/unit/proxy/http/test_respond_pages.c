/* SPDX-License-Identifier: MIT
 * proxy/http/respond.c: the edge's own pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdlib.h>

#include "proxy/http/respond.h"
#include "tests/support/assert_slice.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct response_to plain = {.minor = 1, .keep_alive = true};

static void answers_with_a_page_of_its_own(void **state)
{
    (void)state;
    static const struct {
        enum err err;
        struct response_to to;
        const char *want;
    } cases[] = {
        {ERR_BAD_HOST,
         {.minor = 1},
         "HTTP/1.1 400 Bad Request\r\n"
         "Content-Type: text/plain; charset=utf-8\r\n"
         "Content-Length: 52\r\n"
         "Connection: close\r\n"
         "\r\n"
         "400 Bad Request: missing, duplicate or invalid Host\n"},
        {ERR_BACKEND_LOST,
         {.minor = 1, .keep_alive = true},
         "HTTP/1.1 502 Bad Gateway\r\n"
         "Content-Type: text/plain; charset=utf-8\r\n"
         "Content-Length: 16\r\n"
         "\r\n"
         "502 Bad Gateway\n"},
        {ERR_QUEUE_FULL,
         {.minor = 0,
          .is_head = true,
          .keep_alive = true,
          .date = {"now", 3},
          .server = {"banyan", 6}},
         "HTTP/1.1 503 Service Unavailable\r\n"
         "Date: now\r\n"
         "Server: banyan\r\n"
         "Retry-After: 1\r\n"
         "Content-Type: text/plain; charset=utf-8\r\n"
         "Content-Length: 24\r\n"
         "Connection: keep-alive\r\n"
         "\r\n"},
        {ERR_METHOD_NOT_ALLOWED,
         {.minor = 1, .is_head = true},
         "HTTP/1.1 405 Method Not Allowed\r\n"
         "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
         "Content-Type: text/plain; charset=utf-8\r\n"
         "Content-Length: 43\r\n"
         "Connection: close\r\n"
         "\r\n"},
        {ERR_UPGRADE_REQUIRED,
         {.minor = 1, .is_head = true},
         "HTTP/1.1 426 Upgrade Required\r\n"
         "Upgrade: websocket\r\n"
         "Connection: upgrade\r\n"
         "Sec-WebSocket-Version: 13\r\n"
         "Content-Type: text/plain; charset=utf-8\r\n"
         "Content-Length: 52\r\n"
         "Connection: close\r\n"
         "\r\n"},
        {ERR_NONE,
         {.minor = 1, .keep_alive = true},
         "HTTP/1.1 500 Internal Server Error\r\n"
         "Content-Type: text/plain; charset=utf-8\r\n"
         "Content-Length: 26\r\n"
         "\r\n"
         "500 Internal Server Error\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf out;
        buf_init(&out, 0);
        respond_error(cases[i].err, &cases[i].to, &out);
        assert_slice(buf_slice(&out), cases[i].want);
        buf_fini(&out);
    }
}

static void every_failure_has_a_page(void **state)
{
    (void)state;
    for (int err = 0; err < ERR_COUNT; err++) {
        struct buf out;
        buf_init(&out, 0);
        respond_error((enum err)err, &plain, &out);
        buf_add(&out, SLICE("\0"));
        assert_memory_equal(out.data, "HTTP/1.1 ", 9);
        const char *length = strstr(out.data, "Content-Length: "),
                   *body = strstr(out.data, "\r\n\r\n");
        assert_non_null(length);
        assert_non_null(body);
        assert_int_equal(strtoul(length + 16, NULL, 10), strlen(body + 4));
        assert_null(strstr(out.data, "Unknown"));
        buf_fini(&out);
    }
}

static void answers_plainly(void **state)
{
    (void)state;
    struct buf out;

    buf_init(&out, 0);
    respond_plain(200, SLICE(""), &plain, &out);
    assert_slice(buf_slice(&out), "HTTP/1.1 200 OK\r\n"
                                  "Content-Type: text/plain; charset=utf-8\r\n"
                                  "Content-Length: 0\r\n"
                                  "\r\n");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_with_a_page_of_its_own),
        cmocka_unit_test(every_failure_has_a_page),
        cmocka_unit_test(answers_plainly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
