/* SPDX-License-Identifier: MIT
 * Says what the edge makes of requests, for comparison with other parsers: records
 * "LENGTH\n" + bytes on stdin, one line each on stdout, binary values in hexadecimal
 * (empty: "-"):
 *   ok MINOR METHOD TARGET BODY USED [NAME VALUE]...
 *   more
 *   bad ERR */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/base/buf.h"
#include "proxy/http/parse.h"
#include "proxy/http/rules.h"

static void print_hex(struct slice s)
{
    putchar(' ');
    if (s.len == 0)
        putchar('-');
    for (size_t i = 0; i < s.len; i++)
        printf("%02x", (unsigned)(unsigned char)s.ptr[i]);
}

static enum step read_body(const struct http_limits *limits,
                           const struct request_rules *rules,
                           struct slice *input,
                           struct buf *body,
                           enum err *ret_err)
{
    struct body_reader reader;
    enum step step;

    if (rules->framing == FRAMING_CHUNKED)
        body_reader_chunked(&reader);
    else
        body_reader_length(&reader, rules->content_length);
    do {
        struct slice data;
        step = body_read(&reader, limits, input, SIZE_MAX, &data, ret_err);
        if (step != STEP_BAD)
            buf_add(body, data);
    } while (step == STEP_MORE && input->len > 0);
    return step;
}

static void judge(struct slice input)
{
    static struct request_head head;
    const struct rules_options options = {.max_body = 1 << 30};
    struct http_limits limits;
    struct request_rules rules;
    struct parse_failure failure = {.err = ERR_NONE};
    struct slice rest = input;
    struct buf body;
    size_t scanned = 0, used = 0;

    http_limits_init(&limits);
    buf_init(&body, 0);
    enum step step = parse_head(input, &limits, &scanned, &head, &used, &failure);
    if (step == STEP_DONE && !rules_check(&head, input.ptr, &options, &rules, &failure))
        step = STEP_BAD;
    if (step == STEP_DONE) {
        rest = slice_of(input.ptr + used, input.len - used);
        step = read_body(&limits, &rules, &rest, &body, &failure.err);
    }
    switch (step) {
    case STEP_MORE:
        printf("more");
        break;
    case STEP_BAD:
        printf("bad %s", err_name(failure.err));
        break;
    case STEP_DONE:
        printf("ok %u", head.minor);
        print_hex(head.method);
        print_hex(head.target);
        print_hex(buf_slice(&body));
        printf(" %zu", input.len - rest.len);
        for (uint32_t i = 0; i < head.field_count; i++) {
            print_hex(head.fields[i].name);
            print_hex(head.fields[i].value);
        }
        break;
    }
    putchar('\n');
    (void)fflush(stdout);
    buf_fini(&body);
}

int main(void)
{
    char line[32];
    enum { MAX_RECORD = 16 * 1024 * 1024 };

    while (fgets(line, sizeof(line), stdin) != NULL) {
        size_t len = strtoul(line, NULL, 10);
        if (len > MAX_RECORD)
            return 2;
        char *input = malloc(len + 1);
        if (input == NULL || fread(input, 1, len, stdin) != len)
            return 2;
        judge(slice_of(input, len));
        free(input);
    }
    return 0;
}
