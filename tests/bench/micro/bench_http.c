/* SPDX-License-Identifier: MIT
 * What one request costs in the pure HTTP files: nanoseconds of parsing, judging,
 * packing its headers and writing its response head. Run: bench_http [ROUNDS]. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/base/clock.h"
#include "protocol/header_names.h"
#include "proxy/http/hop.h"
#include "proxy/http/parse.h"
#include "proxy/http/respond.h"
#include "proxy/http/rules.h"

static const char request[] =
    "GET /articles/2026/11/a-rather-typical-page?page=2&sort=new HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "Connection: keep-alive\r\n"
    "Cache-Control: max-age=0\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like "
    "Gecko) "
    "Chrome/126.0.0.0 Safari/537.36\r\n"
    "Accept: "
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
    "*/*;q=0.8\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Referer: https://www.example.com/articles/2026/11/\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Cookie: sessionid=9b1f2c3d4e5f60718293a4b5c6d7e8f9; csrftoken=abcdef0123456789\r\n"
    "\r\n";

static const struct http_limits *the_limits(void)
{
    static struct http_limits limits;
    http_limits_init(&limits);
    return &limits;
}

static void parse(struct request_head *head)
{
    struct parse_failure failure;
    size_t scanned = 0, used;
    enum step step = parse_head(slice_of(request, sizeof(request) - 1), the_limits(),
                                &scanned, head, &used, &failure);
    ASSERT(step == STEP_DONE && used == sizeof(request) - 1);
}

static void judge(const struct request_head *head, struct request_rules *rules)
{
    const struct rules_options options = {.max_body = 1 << 20};
    struct parse_failure failure;
    bool is_good = rules_check(head, request, &options, rules, &failure);
    ASSERT(is_good);
}

static void
pack(const struct request_head *head, const struct request_rules *rules, struct buf *to)
{
    static const struct trusted_networks none;
    const struct hop_peer peer = {.addr = SLICE("192.0.2.17"), .port = 4711};
    struct hop_result client;

    buf_clear(to);
    hop_client(head, rules, &peer, &none, &client);
    hop_headers(head, rules, &peer, &client, SLICE("0123456789abcdef"), to);
}

static void respond(struct header_list headers, struct buf *to)
{
    const struct frame_response response = {
        .status = 200,
        .headers = headers,
        .has_length = true,
        .length = 12,
    };
    const struct response_to question = {
        .minor = 1,
        .keep_alive = true,
        .date = SLICE("Sat, 21 Nov 2026 07:32:01 GMT"),
        .server = SLICE("banyan"),
    };
    struct response_plan plan;
    struct response_failure failure;

    buf_clear(to);
    bool is_good = respond_head(&response, &question, to, &plan, &failure);
    ASSERT(is_good);
}

static void report(const char *what, uint64_t since_us, long rounds)
{
    printf("%-10s %6.0f ns\n", what,
           (double)(clock_now_us() - since_us) * 1000 / (double)rounds);
}

int main(int argc, char **argv)
{
    const long rounds = argc > 1 ? atol(argv[1]) : 200000;
    struct request_head head;
    struct request_rules rules;
    struct buf to;

    buf_init(&to, 0);
    printf("%zu bytes of head\n", sizeof(request) - 1);
    uint64_t since = clock_now_us();
    for (long i = 0; i < rounds; i++)
        parse(&head);
    report("parse", since, rounds);
    since = clock_now_us();
    for (long i = 0; i < rounds; i++)
        judge(&head, &rules);
    report("rules", since, rounds);
    since = clock_now_us();
    for (long i = 0; i < rounds; i++)
        pack(&head, &rules, &to);
    report("hop", since, rounds);

    struct buf packed;
    struct header_writer w;
    buf_init(&packed, 0);
    header_begin(&w, &packed);
    header_put(&w, HEADER_CONTENT_TYPE, SLICE(""), SLICE("text/html; charset=utf-8"));
    header_put(&w, HEADER_CONTENT_LENGTH, SLICE(""), SLICE("12"));
    header_put(&w, HEADER_NONE, SLICE("X-Frame"), SLICE("DENY"));
    header_end(&w);
    const struct header_list headers = {
        .packed = slice_of(packed.data + 3, buf_len(&packed) - 3),
        .count = w.count,
    };
    since = clock_now_us();
    for (long i = 0; i < rounds; i++)
        respond(headers, &to);
    report("respond", since, rounds);
    buf_fini(&packed);
    buf_fini(&to);
    return 0;
}
