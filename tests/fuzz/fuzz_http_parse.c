/* SPDX-License-Identifier: MIT
 * Any bytes as a request's head, whole and cut in two, and through rules and hop.
 * Nothing may be read outside the input, nothing accepted that contradicts itself, and
 * what goes on to an application must be clean. The first byte chooses the options. */
#include <stdlib.h>

#include "protocol/header_names.h"
#include "proxy/http/chars.h"
#include "proxy/http/hop.h"
#include "proxy/http/parse.h"
#include "proxy/http/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum step step;
    struct request_head head;
    size_t used;
    struct parse_failure failure;
};

static void check_inside(struct slice s, struct slice input)
{
    ASSERT(s.len == 0 ||
           (s.ptr >= input.ptr && s.ptr + s.len <= input.ptr + input.len));
}

static void check_head(const struct outcome *o, struct slice input)
{
    const struct request_head *head = &o->head;

    ASSERT(o->used > 0 && o->used <= input.len && input.ptr[o->used - 1] == '\n');
    ASSERT(head->field_count <= HTTP_MAX_FIELDS && head->minor <= 1);
    check_inside(head->method, input);
    check_inside(head->target, input);
    check_inside(head->authority, input);
    check_inside(head->scheme, input);
    if (head->form != TARGET_ABSOLUTE)
        check_inside(head->path, input);
    ASSERT(chars_are(head->method, CHAR_TOKEN) && head->target.len > 0);
    ASSERT(head->form == TARGET_AUTHORITY ||
           head->path.ptr[0] == (head->form == TARGET_ASTERISK ? '*' : '/'));
    for (uint32_t i = 0; i < head->field_count; i++) {
        check_inside(head->fields[i].name, input);
        check_inside(head->fields[i].value, input);
        ASSERT(chars_are(head->fields[i].name, CHAR_TOKEN));
        ASSERT(chars_are_value(head->fields[i].value));
        ASSERT(head->fields[i].number == header_number(head->fields[i].name));
    }
}

static struct outcome
parse(struct slice input, const struct http_limits *limits, size_t *scanned)
{
    struct outcome o = {.used = 0};
    o.step = parse_head(input, limits, scanned, &o.head, &o.used, &o.failure);
    ASSERT(o.step != STEP_BAD ||
           (err_status(o.failure.err) >= 400 && o.failure.offset <= input.len));
    ASSERT(o.step != STEP_MORE || input.len < limits->max_head);
    return o;
}

/* Cut anywhere, the end is the same, and it comes no later than it may. */
static void check_cut(struct slice input,
                      size_t cut,
                      const struct http_limits *limits,
                      const struct outcome *whole)
{
    size_t scanned = 0;
    struct outcome first = parse(slice_of(input.ptr, cut), limits, &scanned);

    if (first.step == STEP_DONE) {
        ASSERT(whole->step == STEP_DONE && first.used == whole->used);
        return;
    }
    if (first.step == STEP_BAD) {
        ASSERT(whole->step == STEP_BAD && whole->failure.err == first.failure.err);
        return;
    }
    struct outcome second = parse(input, limits, &scanned);
    if (second.step == STEP_MORE && whole->step == STEP_BAD) {
        /* Lines are counted from `scanned` on until the head is complete. */
        ASSERT(whole->failure.err == ERR_FIELDS_TOO_LARGE);
        return;
    }
    ASSERT(second.step == whole->step && second.used == whole->used);
    ASSERT(second.step != STEP_BAD || (second.failure.err == whole->failure.err &&
                                       second.failure.offset == whole->failure.offset));
    ASSERT(second.head.field_count == whole->head.field_count ||
           second.step != STEP_DONE);
}

static void check_rules(const struct request_head *head,
                        const struct request_rules *rules)
{
    bool has_length = false, has_coding = false;
    unsigned hosts = 0;

    for (uint32_t i = 0; i < head->field_count; i++) {
        has_length |= head->fields[i].number == HEADER_CONTENT_LENGTH;
        has_coding |= head->fields[i].number == HEADER_TRANSFER_ENCODING;
        hosts += head->fields[i].number == HEADER_HOST;
        ASSERT(head->fields[i].number != HEADER_CONNECTION ||
               rules_is_dropped(rules, i));
    }
    ASSERT(!(has_length && has_coding) && hosts <= 1 &&
           (hosts == 1 || head->minor == 0));
    ASSERT(has_length == (rules->framing == FRAMING_LENGTH));
    ASSERT(has_coding == (rules->framing == FRAMING_CHUNKED));
    ASSERT(!has_coding || head->minor == 1);
    ASSERT(rules->framing == FRAMING_LENGTH || rules->content_length == 0);
    ASSERT(!rules->websocket || (head->minor == 1 && rules->content_length == 0));
    ASSERT(!rules->expect_continue || rules->framing != FRAMING_NONE);
    ASSERT(head->form != TARGET_AUTHORITY);
}

/* The packed headers, walked as the other side's decoder would. */
static void check_packed(struct slice packed)
{
    ASSERT(packed.len >= 3 && (unsigned char)packed.ptr[0] == 0xdc);
    size_t elements =
        (size_t)(unsigned char)packed.ptr[1] << 8 | (unsigned char)packed.ptr[2];
    struct header_list list = {
        .packed = slice_of(packed.ptr + 3, packed.len - 3),
        .count = (uint32_t)(elements / 2),
    };
    struct header h;
    unsigned cookies = 0, hosts = 0;

    ASSERT(elements % 2 == 0 && elements / 2 <= FRAME_MAX_HEADERS);
    while (header_next(&list, &h)) {
        ASSERT(chars_are(h.name, CHAR_TOKEN) && chars_are_value(h.value));
        for (size_t i = 0; i < h.name.len; i++)
            ASSERT(h.name.ptr[i] == char_lower(h.name.ptr[i]));
        ASSERT(h.number != HEADER_TRANSFER_ENCODING && h.number != HEADER_CONNECTION);
        cookies += h.number == HEADER_COOKIE;
        hosts += h.number == HEADER_HOST;
    }
    ASSERT(list.packed.len == 0 && cookies <= 1 && hosts <= 1);
}

static void check_hop(const struct request_head *head,
                      const struct request_rules *rules,
                      const char *trust,
                      struct slice input)
{
    const struct hop_peer peer = {.addr = SLICE("192.0.2.1"), .port = 4711};
    struct trusted_networks trusted;
    struct hop_result client;
    struct buf packed;
    bool is_list = trusted_parse(trust, &trusted);

    ASSERT(is_list);
    buf_init(&packed, 0);
    hop_client(head, rules, &peer, &trusted, &client);
    ASSERT(client.is_trusted == (*trust != 0));
    if (client.client_addr.ptr != peer.addr.ptr)
        check_inside(client.client_addr, input);
    check_inside(client.id, input);
    ASSERT(client.is_trusted ||
           (client.client_addr.ptr == peer.addr.ptr && client.id.len == 0));
    const struct hop_own own = {
        .id = client.id,
        .cookie = client.is_trusted ? SLICE("") : SLICE("stick"),
        .start_us = 1795278265824243,
    };
    hop_headers(head, rules, &peer, &client, &own, &packed);
    check_packed(buf_slice(&packed));
    buf_fini(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const uint8_t choice = data[0];
    struct rules_options options = {
        .is_tls = (choice & 2) != 0,
        .underscore = (enum underscore)(choice % 3),
        .max_body = 1 << 20,
    };
    struct http_limits limits;
    http_limits_init(&limits);
    limits.lenient = (choice & 1) != 0;
    if ((choice & 4) != 0) { /* small ones, to meet them */
        limits.max_target = 40;
        limits.max_field = 60;
        limits.max_head = 300;
        limits.max_fields = 5;
    }

    /* A copy of its own, so that one byte too far is seen. */
    char *copy = malloc(size - 1);
    ASSERT(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    struct slice input = slice_of(copy, size - 1);
    size_t scanned = 0;
    struct outcome whole = parse(input, &limits, &scanned);
    struct request_rules rules;
    struct parse_failure failure;

    for (size_t step = 1 + input.len / 16, cut = step; cut < input.len; cut += step)
        check_cut(input, cut, &limits, &whole);
    if (whole.step == STEP_DONE) {
        check_head(&whole, input);
        if (rules_check(&whole.head, input.ptr, &options, &rules, &failure)) {
            check_rules(&whole.head, &rules);
            check_hop(&whole.head, &rules, (choice & 8) != 0 ? "*" : "", input);
        } else {
            ASSERT(err_status(failure.err) >= 400 && failure.offset <= input.len);
        }
    }
    free(copy);
    return 0;
}
