/* SPDX-License-Identifier: MIT
 * The corpus through all the pure files, as an edge calls them: head, rules, client,
 * headers, body, and again for what is pipelined behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdio.h>

#include "protocol/header_names.h"
#include "proxy/http/hop.h"
#include "proxy/http/parse.h"
#include "proxy/http/rules.h"
#include "tests/support/http_case.h"

/* What became of one request. */
struct outcome {
    enum step step;
    enum err err;
    size_t used;
    struct request_head head;
    struct request_rules rules;
    struct hop_result client;
    struct buf headers, body;
};

struct edge_setup {
    struct http_limits limits;
    struct rules_options rules;
    struct trusted_networks trusted;
    struct hop_peer peer;
};

static struct edge_setup set_up(const struct http_case *c)
{
    struct edge_setup s = {
        .rules = {.max_body = 1 << 30},
        .peer = {.addr = SLICE("127.0.0.1"), .port = 4711},
    };

    http_limits_init(&s.limits);
    s.limits.lenient = http_case_says(c, "option", "lenient");
    s.rules.is_tls = s.peer.is_tls = http_case_says(c, "option", "tls");
    if (http_case_says(c, "option", "underscore-reject"))
        s.rules.underscore = UNDERSCORE_REJECT;
    if (http_case_says(c, "option", "underscore-keep"))
        s.rules.underscore = UNDERSCORE_KEEP;
    if (http_case_says(c, "option", "trusted"))
        assert_true(trusted_parse("127.0.0.1", &s.trusted));
    return s;
}

static enum step read_body(struct slice input,
                           size_t room,
                           const struct edge_setup *setup,
                           struct outcome *o)
{
    struct body_reader reader;
    enum step step = STEP_MORE;
    const char *start = input.ptr;

    if (o->rules.framing == FRAMING_CHUNKED)
        body_reader_chunked(&reader);
    else
        body_reader_length(&reader, o->rules.content_length);
    do {
        struct slice data;
        step = body_read(&reader, &setup->limits, &input, room, &data, &o->err);
        if (step != STEP_BAD)
            buf_add(&o->body, data);
    } while (step == STEP_MORE && input.len > 0);
    o->used += (size_t)(input.ptr - start);
    return step;
}

static struct outcome serve(struct slice input, const struct edge_setup *setup)
{
    struct outcome o = {.err = ERR_NONE};
    struct parse_failure failure;
    size_t scanned = 0;

    buf_init(&o.headers, 0);
    buf_init(&o.body, 0);
    o.step = parse_head(input, &setup->limits, &scanned, &o.head, &o.used, &failure);
    if (o.step == STEP_DONE &&
        !rules_check(&o.head, input.ptr, &setup->rules, &o.rules, &failure))
        o.step = STEP_BAD;
    if (o.step == STEP_BAD) {
        assert_in_range(failure.offset, 0, input.len);
        o.err = failure.err;
    }
    if (o.step != STEP_DONE)
        return o;
    hop_client(&o.head, &o.rules, &setup->peer, &setup->trusted, &o.client);
    struct hop_own own = {.id = o.client.id.len > 0 ? o.client.id : SLICE("made-here")};
    hop_headers(&o.head, &o.rules, &setup->peer, &o.client, &own, &o.headers);
    o.step =
        read_body(slice_of(input.ptr + o.used, input.len - o.used), 4096, setup, &o);
    return o;
}

static struct header_list headers_of(const struct outcome *o)
{
    struct slice packed = buf_slice(&o->headers);
    unsigned char first = (unsigned char)packed.ptr[0];
    size_t prefix = 1, elements = first & 0x0fU;

    if (first == 0xdc) {
        prefix = 3;
        elements =
            (size_t)(unsigned char)packed.ptr[1] << 8 | (unsigned char)packed.ptr[2];
    } else {
        assert_int_equal(first & 0xf0, 0x90);
    }
    return (struct header_list){
        .packed = slice_of(packed.ptr + prefix, packed.len - prefix),
        .count = (uint32_t)(elements / 2),
    };
}

static bool
has_header(const struct outcome *o, struct slice name, const struct slice *value)
{
    struct header_list it = headers_of(o);
    struct header h;

    while (header_next(&it, &h))
        if (slice_eq(h.name, name) && (value == NULL || slice_eq(h.value, *value)))
            return true;
    return false;
}

static void check_headers(const struct http_case *c, const struct outcome *o)
{
    struct slice line;

    for (unsigned i = 0; http_case_line(c, "header", i, &line); i++) {
        const char *colon = memchr(line.ptr, ':', line.len);
        assert_non_null(colon);
        struct slice name = slice_of(line.ptr, (size_t)(colon - line.ptr));
        struct slice value = slice_of(colon + 2, line.len - name.len - 2);
        if (!has_header(o, name, &value))
            fail_msg("%s: no header %.*s", c->name, SLICE_FMT(line));
    }
    for (unsigned i = 0; http_case_line(c, "no-header", i, &line); i++)
        if (has_header(o, line, NULL))
            fail_msg("%s: header %.*s", c->name, SLICE_FMT(line));
}

static void check_text(const struct http_case *c, const char *key, struct slice got)
{
    struct slice want;

    if (http_case_line(c, key, 0, &want) && !slice_eq(want, got))
        fail_msg("%s: %s is %.*s", c->name, key, SLICE_FMT(got));
}

static void check_bool(const struct http_case *c, const char *key, bool got)
{
    check_text(c, key, got ? SLICE("yes") : SLICE("no"));
}

static void check_meaning(const struct http_case *c, const struct outcome *o)
{
    char framing[40];

    check_text(c, "method", o->head.method);
    check_text(c, "target", o->head.path);
    check_text(c, "version", o->head.minor == 0 ? SLICE("1.0") : SLICE("1.1"));
    check_text(c, "host", o->rules.host);
    check_text(c, "client", o->client.client_addr);
    check_text(c, "scheme", o->client.scheme);
    check_text(c, "body", buf_slice(&o->body));
    check_bool(c, "keep-alive", o->rules.keep_alive);
    check_bool(c, "expect-continue", o->rules.expect_continue);
    check_bool(c, "websocket", o->rules.websocket);
    switch (o->rules.framing) {
    case FRAMING_NONE:
        (void)snprintf(framing, sizeof(framing), "none");
        break;
    case FRAMING_LENGTH:
        (void)snprintf(framing, sizeof(framing), "length %llu",
                       (unsigned long long)o->rules.content_length);
        break;
    case FRAMING_CHUNKED:
        (void)snprintf(framing, sizeof(framing), "chunked");
        break;
    }
    check_text(c, "framing", slice_from(framing));
    check_headers(c, o);
}

static void check_case(const struct http_case *c)
{
    const struct edge_setup setup = set_up(c);
    struct slice input = buf_slice(&c->data);
    bool is_open = true, is_known = true;
    const char *want;

    for (unsigned nth = 0; (want = http_case_outcome(c, nth)) != NULL; nth++) {
        struct outcome o = serve(input, &setup);
        char got[64];
        (void)snprintf(got, sizeof(got),
                       o.step == STEP_DONE   ? "ok"
                       : o.step == STEP_MORE ? "more"
                                             : "bad %s",
                       err_name(o.err));
        if (strcmp(got, want) != 0)
            fail_msg("%s, request %u: %s, not %s", c->name, nth, got, want);
        if (nth == 0 && o.step == STEP_DONE)
            check_meaning(c, &o);
        if (o.step == STEP_BAD && nth == 0) {
            char status[8];
            (void)snprintf(status, sizeof(status), "%d", err_status(o.err));
            check_text(c, "status", slice_from(status));
        }
        is_open = is_open && o.step == STEP_DONE && o.rules.keep_alive;
        is_known = !o.rules.websocket && is_known;
        input = slice_of(input.ptr + o.used, input.len - o.used);
        buf_fini(&o.headers);
        buf_fini(&o.body);
        if (o.step != STEP_DONE)
            input.len = 0;
    }
    assert_int_equal(input.len, 0);
    if (is_known)
        check_text(c, "close", is_open ? SLICE("no") : SLICE("yes"));
}

static void every_case_of_the_corpus_ends_as_it_says(void **state)
{
    (void)state;
    assert_true(http_cases_each(check_case) > 200);
}

/* ---- the body's reader, cut anywhere ---- */

/* Gives the body in pieces of `piece` bytes and takes it with `room` at a time. */
static enum step read_in_pieces(struct slice input,
                                size_t piece,
                                size_t room,
                                struct outcome *o,
                                const struct http_limits *limits)
{
    struct body_reader reader;
    enum step step = STEP_MORE;

    body_reader_chunked(&reader);
    if (o->rules.framing != FRAMING_CHUNKED)
        body_reader_length(&reader, o->rules.content_length);
    while (step == STEP_MORE && input.len > 0) {
        struct slice part = slice_of(input.ptr, input.len < piece ? input.len : piece);
        const char *start = part.ptr;
        do {
            struct slice data;
            step = body_read(&reader, limits, &part, room, &data, &o->err);
            if (step != STEP_BAD)
                buf_add(&o->body, data);
        } while (step == STEP_MORE && part.len > 0);
        input.ptr += part.ptr - start;
        input.len -= (size_t)(part.ptr - start);
        o->used += (size_t)(part.ptr - start);
    }
    return step;
}

static void check_body_splits(const struct http_case *c)
{
    const struct edge_setup setup = set_up(c);
    struct slice input = buf_slice(&c->data);
    struct outcome whole = serve(input, &setup);
    struct parse_failure failure;
    size_t scanned = 0, used = 0;

    /* Only where the head is good there is a body to read. */
    if (parse_head(input, &setup.limits, &scanned, &whole.head, &used, &failure) ==
            STEP_DONE &&
        rules_check(&whole.head, input.ptr, &setup.rules, &whole.rules, &failure) &&
        input.len - used > 0 && whole.rules.framing != FRAMING_NONE) {
        struct slice body = slice_of(input.ptr + used, input.len - used);
        for (size_t piece = 1; piece <= body.len && piece < 200;
             piece += piece / 30 + 1) {
            for (size_t room = 1; room < 100; room += 33) {
                struct outcome o = {.rules = whole.rules};
                buf_init(&o.body, 0);
                enum step step = read_in_pieces(body, piece, room, &o, &setup.limits);
                assert_int_equal(step, whole.step);
                if (step == STEP_BAD)
                    assert_int_equal(o.err, whole.err);
                else
                    assert_true(slice_eq(buf_slice(&o.body), buf_slice(&whole.body)));
                if (step == STEP_DONE)
                    assert_int_equal(o.used, whole.used - used);
                buf_fini(&o.body);
                if (body.len > 4096)
                    break;
            }
        }
    }
    buf_fini(&whole.headers);
    buf_fini(&whole.body);
}

static void bodies_read_the_same_however_they_are_cut(void **state)
{
    (void)state;
    assert_true(http_cases_each(check_body_splits) > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_of_the_corpus_ends_as_it_says),
        cmocka_unit_test(bodies_read_the_same_however_they_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
