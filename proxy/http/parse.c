/* SPDX-License-Identifier: MIT
 * The request line and the field lines, in one pass over the bytes. Whatever the input
 * is cut into, the outcome is the same: a limit hides the bytes behind it, and a line
 * that is not complete is read again from its start. */
#include "proxy/http/parse.h"

#include "protocol/header_names.h"
#include "proxy/http/chars.h"

/*
 *   input.ptr      line        at             end
 *    |... done ...|.. of this ..|... unread ...|
 */
struct parser {
    const char *line, *at, *end;
    const struct http_limits *limits;
    struct request_head *head;
    enum err err; /* with BAD; `at` is where */
};

static enum step parse_request_line(struct parser *p);
static enum step parse_empty_line(struct parser *p);
static enum step parse_method(struct parser *p);
static enum step parse_target(struct parser *p);
static enum step parse_version(struct parser *p);
static enum err split_target(struct request_head *head);
static enum step parse_fields(struct parser *p);
static enum step parse_field(struct parser *p);
static enum step end_line(struct parser *p, const char *limit);

void http_limits_init(struct http_limits *limits)
{
    *limits = (struct http_limits){
        .max_target = 16384,
        .max_field = 16384,
        .max_head = 65536,
        .max_fields = 100,
        .max_method = 32,
        .max_chunk_ext = 256,
        .max_trailer = 8192,
    };
}

static inline enum step bad(struct parser *p, enum err err, const char *at)
{
    p->err = err;
    p->at = at;
    return STEP_BAD;
}

static inline const char *least(const char *a, const char *b, size_t bytes)
{
    return (size_t)(a - b) < bytes ? a : b + bytes;
}

enum step parse_head(struct slice input,
                     const struct http_limits *limits,
                     size_t *scanned,
                     struct request_head *ret_head,
                     size_t *ret_used,
                     struct parse_failure *ret_failure)
{
    ASSERT(limits->max_fields <= HTTP_MAX_FIELDS && limits->max_head <= HTTP_MAX_HEAD);
    ASSERT(*scanned <= input.len);
    const size_t len = input.len < limits->max_head ? input.len : limits->max_head;
    struct parser p = {
        .line = input.ptr,
        .at = input.ptr + *scanned,
        .end = input.ptr + len,
        .limits = limits,
        .head = ret_head,
    };
    enum step step = STEP_DONE;

    ret_head->field_count = 0;
    if (*scanned != 0)
        step = parse_fields(&p);
    if (step != STEP_MORE || input.len >= limits->max_head) {
        /* The first look at this input, or the last. */
        ret_head->field_count = 0;
        p.line = p.at = input.ptr;
        step = parse_request_line(&p);
        if (step == STEP_DONE)
            step = parse_fields(&p);
    }

    if (step == STEP_MORE && input.len >= limits->max_head) {
        enum err err = p.line == input.ptr ? ERR_TARGET_TOO_LONG : ERR_FIELDS_TOO_LARGE;
        step = bad(&p, err, p.end);
    }
    switch (step) {
    case STEP_DONE:
        *ret_used = (size_t)(p.at - input.ptr);
        *scanned = 0;
        break;
    case STEP_MORE:
        *scanned = (size_t)(p.line - input.ptr);
        break;
    case STEP_BAD:
        ret_failure->err = p.err;
        ret_failure->offset = (size_t)(p.at - input.ptr);
        break;
    }
    return step;
}

static enum step parse_request_line(struct parser *p)
{
    enum step step = parse_empty_line(p);
    if (step == STEP_DONE)
        step = parse_method(p);
    if (step == STEP_DONE)
        step = parse_target(p);
    if (step == STEP_DONE)
        step = parse_version(p);
    return step;
}

/* One empty line before the request line is ignored. */
static enum step parse_empty_line(struct parser *p)
{
    if (p->at == p->end)
        return STEP_MORE;
    if (*p->at != '\r' && *p->at != '\n')
        return STEP_DONE;
    return end_line(p, p->end);
}

static enum step parse_method(struct parser *p)
{
    const char *start = p->at, *at = start;
    const char *limit = least(p->end, start, (size_t)p->limits->max_method + 1);

    while (at < limit && char_is(*at, CHAR_TOKEN))
        at++;
    if ((size_t)(at - start) > p->limits->max_method)
        return bad(p, ERR_METHOD_TOO_LONG, at);
    if (at == limit)
        return STEP_MORE;
    if (*at == '\r' || *at == '\n' || (at == start && *at == ' '))
        return bad(p, ERR_BAD_REQUEST_LINE, at);
    if (*at != ' ')
        return bad(p, ERR_BAD_METHOD, at);
    p->head->method = slice_of(start, (size_t)(at - start));
    p->at = at + 1;
    return STEP_DONE;
}

/* Any visible ASCII but # and \, and % only before two hex digits. Wider than the
 * grammar of URIs: browsers and scripts send " < > ^ ` { | } as they are. */
static enum step parse_target(struct parser *p)
{
    const char *start = p->at, *at = start;
    const char *limit = least(p->end, start, (size_t)p->limits->max_target + 1);

    for (; at < limit; at++) {
        if (char_is(*at, CHAR_TARGET))
            continue;
        if (*at != '%')
            break;
        for (int digit = 0; digit < 2 && at + 1 < limit; digit++)
            if (!char_is(*++at, CHAR_HEX))
                return bad(p, ERR_BAD_TARGET, at);
    }
    if ((size_t)(at - start) > p->limits->max_target)
        return bad(p, ERR_TARGET_TOO_LONG, at);
    if (at == limit)
        return STEP_MORE;
    if (*at == '\r' || *at == '\n')
        return bad(p, ERR_BAD_REQUEST_LINE, at);
    if (*at != ' ' || at == start)
        return bad(p, ERR_BAD_TARGET, at);

    p->head->target = slice_of(start, (size_t)(at - start));
    enum err err = split_target(p->head);
    if (err != ERR_NONE)
        return bad(p, err, start);
    p->at = at + 1;
    return STEP_DONE;
}

static enum err split_target(struct request_head *head)
{
    const struct slice target = head->target;
    const char *at = target.ptr, *end = at + target.len;

    head->authority = head->scheme = (struct slice){NULL, 0};
    head->path = target;
    if (*at == '/') {
        head->form = TARGET_ORIGIN;
        return ERR_NONE;
    }
    if (target.len == 1 && *at == '*') {
        head->form = TARGET_ASTERISK;
        return ERR_NONE;
    }

    head->form = TARGET_AUTHORITY;
    while (at < end && char_is(*at, CHAR_SCHEME))
        at++;
    if (end - at < 3 || memcmp(at, "://", 3) != 0 ||
        !char_is(*target.ptr, CHAR_ALPHA)) {
        head->path = (struct slice){NULL, 0};
        head->authority = target;
        return ERR_NONE;
    }
    head->form = TARGET_ABSOLUTE;
    head->scheme = slice_of(target.ptr, (size_t)(at - target.ptr));
    const char *authority = at += 3;
    while (at < end && *at != '/' && *at != '?')
        at++;
    head->authority = slice_of(authority, (size_t)(at - authority));
    head->path = slice_of(at, (size_t)(end - at));
    if (at == end)
        head->path = SLICE("/");
    else if (*at ==
             '?') /* its origin form is no slice of the input, and nobody sends it */
        return ERR_BAD_TARGET;
    return ERR_NONE;
}

static enum step parse_version(struct parser *p)
{
    static const char model[] = "HTTP/1.1";
    enum { MODEL = sizeof(model) - 1, MAJOR = 5, MINOR = 7 };
    const char *start = p->at;

    if (p->end - start >= MODEL + 2 && memcmp(start, "HTTP/1.1\r\n", MODEL + 2) == 0) {
        p->head->minor = 1;
        p->at = start + MODEL + 2;
        return STEP_DONE;
    }
    for (int i = 0; i < MODEL; i++) {
        if (start + i == p->end)
            return STEP_MORE;
        bool fits = i == MAJOR || i == MINOR ? char_is(start[i], CHAR_DIGIT)
                                             : start[i] == model[i];
        if (!fits)
            return bad(p, ERR_BAD_VERSION, start + i);
    }
    p->at = start + MODEL;
    if (p->at < p->end && *p->at != '\r' && *p->at != '\n')
        return bad(p, ERR_BAD_VERSION, p->at);
    enum step step = end_line(p, p->end);
    if (step != STEP_DONE)
        return step;
    if (start[MAJOR] != '1') {
        /* "PRI * HTTP/2.0" greets an HTTP/2 server, which this listener is not. */
        bool is_preface = slice_eq(p->head->method, SLICE("PRI"));
        return bad(p, is_preface ? ERR_BAD_VERSION : ERR_UNSUPPORTED_VERSION, start);
    }
    p->head->minor = start[MINOR] == '0' ? 0 : 1;
    return STEP_DONE;
}

/* Field lines and the empty line behind them. */
static enum step parse_fields(struct parser *p)
{
    for (;;) {
        p->line = p->at;
        if (p->at == p->end)
            return STEP_MORE;
        if (*p->at == '\r' || *p->at == '\n')
            return end_line(p, p->end);
        if (char_is(*p->at, CHAR_SPACE))
            return bad(p, ERR_FOLDED_FIELD, p->at);
        if (p->head->field_count == p->limits->max_fields)
            return bad(p, ERR_FIELDS_TOO_LARGE, p->at);
        enum step step = parse_field(p);
        if (step != STEP_DONE)
            return step;
    }
}

/* The line went on to `limit` without an end. */
static enum step want_line(struct parser *p, const char *limit)
{
    if ((size_t)(limit - p->line) == (size_t)p->limits->max_field + 2)
        return bad(p, ERR_FIELDS_TOO_LARGE, limit);
    return STEP_MORE;
}

static enum step parse_field(struct parser *p)
{
    const char *at = p->at;
    const char *limit = least(p->end, p->line, (size_t)p->limits->max_field + 2);

    while (at < limit && char_is(*at, CHAR_TOKEN))
        at++;
    if (at == limit)
        return want_line(p, limit);
    if (*at != ':' || at == p->at)
        return bad(p, ERR_BAD_FIELD_NAME, at);
    const struct slice name = slice_of(p->at, (size_t)(at - p->at));

    do
        at++;
    while (at < limit && char_is(*at, CHAR_SPACE));
    const char *value = at;
    at = find_control(at, limit);
    while (at < limit && *at == '\t')
        at = find_control(at + 1, limit);
    if (at == limit)
        return want_line(p, limit);
    if (*at != '\r' && *at != '\n')
        return bad(p, ERR_BAD_FIELD_VALUE, at);
    const char *value_end = at;
    while (value_end > value && char_is(value_end[-1], CHAR_SPACE))
        value_end--;

    p->at = at;
    enum step step = end_line(p, limit);
    if (step != STEP_DONE)
        return step == STEP_MORE ? want_line(p, limit) : step;
    p->head->fields[p->head->field_count++] = (struct field){
        .number = header_number(name),
        .name = name,
        .value = slice_of(value, (size_t)(value_end - value)),
    };
    return STEP_DONE;
}

/* `at` stands on CR or LF, or on the limit. */
static enum step end_line(struct parser *p, const char *limit)
{
    const char *at = p->at;

    if (at == limit)
        return STEP_MORE;
    if (*at == '\n') {
        if (!p->limits->lenient)
            return bad(p, ERR_BAD_LINE_END, at);
        p->at = at + 1;
        return STEP_DONE;
    }
    if (at + 1 == limit)
        return STEP_MORE;
    if (at[1] != '\n')
        return bad(p, ERR_BAD_LINE_END, at);
    p->at = at + 2;
    return STEP_DONE;
}
