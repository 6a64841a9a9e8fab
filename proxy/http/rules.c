/* SPDX-License-Identifier: MIT
 * The judge of a parsed head. One pass over the fields gathers what the rules look at
 * and refuses what is wrong by itself; then framing, Host, Connection and Upgrade are
 * decided from what was gathered. */
#include "proxy/http/rules.h"

#include <arpa/inet.h>

#include "protocol/header_names.h"
#include "proxy/http/chars.h"

enum {
    MAX_CONNECTION_NAMES = 32, /* fields one head may name in Connection */
    MAX_HOST = 255 + 6,        /* bytes: a DNS name and ":65535" */
    MAX_KNOWN_NAME = 64,       /* bytes: longer than any with a number */
};

/* What was seen of one head. NULL: no such field. */
struct judgement {
    const struct request_head *head;
    const struct rules_options *options;
    struct request_rules *rules;
    const struct field *host, *content_length, *transfer_encoding, *content_type,
        *authorization, *upgrade /* to websocket */, *key, *version;
    bool has_key_twice, has_version_twice;
    bool wants_close, wants_keep_alive, wants_upgrade, expects;
    struct slice names[MAX_CONNECTION_NAMES]; /* fields that Connection names */
    uint32_t name_count;
    enum err err;
    const char *at; /* where; NULL: the head as a whole */
};

static bool gather(struct judgement *j);
static bool gather_field(struct judgement *j, uint32_t i);
static bool gather_unnumbered(struct judgement *j, uint32_t i);
static bool gather_connection(struct judgement *j, struct slice value);
static bool judge_target(struct judgement *j);
static bool judge_host(struct judgement *j);
static bool judge_framing(struct judgement *j);
static bool judge_transfer_encoding(struct judgement *j);
static bool judge_upgrade(struct judgement *j);
static bool judge_key(struct judgement *j);
static void drop_named(struct judgement *j);
static void decide_keep_alive(struct judgement *j);

bool rules_check(const struct request_head *head,
                 const char *base,
                 const struct rules_options *options,
                 struct request_rules *ret_rules,
                 struct parse_failure *ret_failure)
{
    struct request_rules rules = {.is_head = slice_eq(head->method, SLICE("HEAD"))};
    struct judgement j;

    /* `names` stays as it is: it has a count, and 512 bytes. */
    memset(&j, 0, offsetof(struct judgement, names));
    j.name_count = 0;
    j.err = ERR_NONE;
    j.at = NULL;
    j.head = head;
    j.options = options;
    j.rules = &rules;

    if (!judge_target(&j) || !gather(&j) || !judge_framing(&j) || !judge_host(&j) ||
        !judge_upgrade(&j)) {
        ret_failure->err = j.err;
        ret_failure->offset = j.at == NULL ? 0 : (size_t)(j.at - base);
        return false;
    }
    drop_named(&j);
    decide_keep_alive(&j);
    rules.expect_continue =
        j.expects && (rules.framing == FRAMING_CHUNKED || rules.content_length > 0);
    *ret_rules = rules;
    return true;
}

static bool refuse(struct judgement *j, enum err err, struct slice where)
{
    j->err = err;
    j->at = where.ptr;
    return false;
}

static void drop(struct judgement *j, uint32_t i)
{
    j->rules->dropped[i / 64] |= UINT64_C(1) << (i % 64);
}

/* Method and target fit each other. */
static bool judge_target(struct judgement *j)
{
    static const struct slice idempotent[] = {
        {"GET", 3}, {"HEAD", 4}, {"PUT", 3}, {"DELETE", 6}, {"OPTIONS", 7},
    };
    const struct slice method = j->head->method;

    for (size_t i = 0; i < sizeof(idempotent) / sizeof(idempotent[0]); i++)
        if (slice_eq(method, idempotent[i]))
            j->rules->is_idempotent = true;
    if (slice_eq(method, SLICE("TRACE")) || slice_eq(method, SLICE("CONNECT")))
        return refuse(j, ERR_METHOD_NOT_ALLOWED, method);

    switch (j->head->form) {
    case TARGET_ORIGIN:
        return true;
    case TARGET_ASTERISK:
        j->rules->is_options_asterisk = slice_eq(method, SLICE("OPTIONS"));
        return j->rules->is_options_asterisk ||
               refuse(j, ERR_BAD_TARGET, j->head->target);
    case TARGET_ABSOLUTE: {
        struct slice scheme = j->options->is_tls ? SLICE("https") : SLICE("http");
        return slice_eq_nocase(j->head->scheme, scheme) ||
               refuse(j, ERR_BAD_TARGET, j->head->target);
    }
    case TARGET_AUTHORITY:
        break;
    }
    return refuse(j, ERR_BAD_TARGET, j->head->target);
}

static bool gather(struct judgement *j)
{
    for (uint32_t i = 0; i < j->head->field_count; i++)
        if (!gather_field(j, i))
            return false;
    return true;
}

/* Keeps the first of a field that may stand only once. */
static bool gather_once(struct judgement *j,
                        const struct field **first,
                        const struct field *field,
                        enum err err)
{
    if (*first != NULL)
        return refuse(j, err, field->name);
    *first = field;
    return true;
}

static bool has_item(struct slice value, struct slice wanted)
{
    struct list_cursor list = {.rest = value};
    struct slice item;

    while (list_next_item(&list, &item))
        if (slice_eq_nocase(item, wanted))
            return true;
    return false;
}

static bool gather_field(struct judgement *j, uint32_t i)
{
    const struct field *field = &j->head->fields[i];

    switch (field->number) {
    case HEADER_NONE:
        return gather_unnumbered(j, i);
    case HEADER_HOST:
        return gather_once(j, &j->host, field, ERR_BAD_HOST);
    case HEADER_CONTENT_LENGTH:
        return gather_once(j, &j->content_length, field, ERR_BAD_CONTENT_LENGTH);
    case HEADER_CONTENT_TYPE:
        return gather_once(j, &j->content_type, field, ERR_DUPLICATE_FIELD);
    case HEADER_AUTHORIZATION:
        return gather_once(j, &j->authorization, field, ERR_DUPLICATE_FIELD);
    case HEADER_TRANSFER_ENCODING:
        drop(j, i);
        return gather_once(j, &j->transfer_encoding, field, ERR_BAD_TRANSFER_ENCODING);
    case HEADER_CONNECTION:
        drop(j, i);
        return gather_connection(j, field->value);
    case HEADER_UPGRADE:
        drop(j, i);
        if (has_item(field->value, SLICE("websocket")))
            j->upgrade = field;
        return true;
    case HEADER_TE:
        drop(j, i);
        if (j->head->minor > 0 && has_item(field->value, SLICE("trailers")))
            j->rules->takes_trailers = true;
        return true;
    case HEADER_KEEP_ALIVE:
    case HEADER_PROXY_CONNECTION:
    case HEADER_TRAILER:
    case HEADER_X_ACCEL_BUFFERING:
        drop(j, i);
        return true;
    case HEADER_EXPECT:
        if (j->head->minor == 0)
            return true;
        j->expects = true;
        return slice_eq_nocase(field->value, SLICE("100-continue")) ||
               refuse(j, ERR_EXPECTATION_FAILED, field->value);
    case HEADER_SEC_WEBSOCKET_KEY:
        j->has_key_twice = j->key != NULL;
        j->key = field;
        return true;
    case HEADER_SEC_WEBSOCKET_VERSION:
        j->has_version_twice = j->version != NULL;
        j->version = field;
        return true;
    default:
        return true;
    }
}

static bool has_prefix(struct slice s, struct slice lower)
{
    return s.len >= lower.len && slice_eq_nocase(slice_of(s.ptr, lower.len), lower);
}

/* With a dash in the underscore's place it would be a name that means something to us
 * or to many. */
static bool has_known_twin(struct slice name)
{
    char dashed[MAX_KNOWN_NAME];

    if (name.len > sizeof(dashed))
        return false;
    for (size_t i = 0; i < name.len; i++)
        dashed[i] = name.ptr[i] == '_' ? '-' : name.ptr[i];
    struct slice twin = slice_of(dashed, name.len);
    return header_number(twin) != HEADER_NONE ||
           has_prefix(twin, SLICE("x-forwarded-")) ||
           has_prefix(twin, SLICE("x-accel-")) ||
           slice_eq_nocase(twin, SLICE("x-sendfile"));
}

/* Names that would become another's twin in a CGI environment, and names that command
 * us or a proxy before us. */
static bool gather_unnumbered(struct judgement *j, uint32_t i)
{
    const struct slice name = j->head->fields[i].name;

    if (memchr(name.ptr, '_', name.len) != NULL) {
        switch (j->options->underscore) {
        case UNDERSCORE_DROP:
            drop(j, i);
            break;
        case UNDERSCORE_REJECT:
            return refuse(j, ERR_BAD_FIELD_NAME, name);
        case UNDERSCORE_KEEP:
            if (has_known_twin(name))
                drop(j, i);
            break;
        }
    }
    switch (char_lower(name.ptr[0])) {
    case 'p':
        if (slice_eq_nocase(name, SLICE("proxy")))
            drop(j, i);
        break;
    case 'x':
        if (has_prefix(name, SLICE("x-accel-")) ||
            slice_eq_nocase(name, SLICE("x-sendfile")))
            drop(j, i);
        break;
    default:
        break;
    }
    return true;
}

static bool gather_connection(struct judgement *j, struct slice value)
{
    struct list_cursor list = {.rest = value};
    struct slice option;

    while (list_next_item(&list, &option)) {
        if (option.len == 0)
            continue;
        if (slice_eq_nocase(option, SLICE("keep-alive"))) {
            j->wants_keep_alive = true;
            continue;
        }
        if (slice_eq_nocase(option, SLICE("close"))) {
            j->wants_close = true;
            continue;
        }
        if (slice_eq_nocase(option, SLICE("upgrade"))) {
            j->wants_upgrade = true;
            continue;
        }
        if (!chars_are(option, CHAR_TOKEN) || j->name_count == MAX_CONNECTION_NAMES)
            return refuse(j, ERR_BAD_CONNECTION_OPTION, option);
        switch (header_number(option)) {
        case HEADER_HOST:
        case HEADER_CONTENT_LENGTH:
        case HEADER_TRANSFER_ENCODING:
        case HEADER_AUTHORIZATION:
        case HEADER_COOKIE:
            return refuse(j, ERR_BAD_CONNECTION_OPTION, option);
        default:
            j->names[j->name_count++] = option;
        }
    }
    return true;
}

static bool judge_framing(struct judgement *j)
{
    if (j->transfer_encoding != NULL)
        return judge_transfer_encoding(j);
    if (j->content_length == NULL)
        return true;
    if (!chars_to_length(j->content_length->value, &j->rules->content_length))
        return refuse(j, ERR_BAD_CONTENT_LENGTH, j->content_length->value);
    if (j->rules->content_length > j->options->max_body)
        return refuse(j, ERR_BODY_TOO_LARGE, j->content_length->value);
    j->rules->framing = FRAMING_LENGTH;
    return true;
}

/* Only "chunked" in HTTP/1.1 is accepted. What else is a well-formed list of codings
 * with chunked at most at its end is not implemented; the rest is malformed. */
static bool judge_transfer_encoding(struct judgement *j)
{
    const struct slice value = j->transfer_encoding->value;
    struct list_cursor list = {.rest = value};
    struct slice coding;
    bool is_chunked = false;

    if (j->content_length != NULL)
        return refuse(j, ERR_FRAMING_CONFLICT, value);
    if (j->head->minor == 0)
        return refuse(j, ERR_BAD_TRANSFER_ENCODING, value);
    if (slice_eq_nocase(value, SLICE("chunked"))) {
        j->rules->framing = FRAMING_CHUNKED;
        return true;
    }
    while (list_next_item(&list, &coding)) {
        if (is_chunked || !chars_are(coding, CHAR_TOKEN))
            return refuse(j, ERR_BAD_TRANSFER_ENCODING, value);
        is_chunked = slice_eq_nocase(coding, SLICE("chunked"));
    }
    return refuse(j, ERR_UNKNOWN_TRANSFER_ENCODING, value);
}

static bool is_port(struct slice port)
{
    unsigned value = 0;

    if (port.len == 0)
        return true;
    if (port.len > 5 || !chars_are(port, CHAR_DIGIT))
        return false;
    for (size_t i = 0; i < port.len; i++)
        value = value * 10 + (unsigned)(port.ptr[i] - '0');
    return value <= UINT16_MAX;
}

static bool is_ipv6(struct slice text)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (text.len >= sizeof(copy) || memchr(text.ptr, 0, text.len) != NULL)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return inet_pton(AF_INET6, copy, &address) == 1;
}

/* A name of letters, digits and - . _ ~, an IPv4 address or an IPv6 one in brackets;
 * and a port. Narrower than the grammar: no percent escapes, no sub-delims. */
static bool is_host(struct slice text)
{
    size_t end = 0;

    if (text.len == 0 || text.len > MAX_HOST)
        return false;
    if (text.ptr[0] == '[') {
        const char *close = memchr(text.ptr, ']', text.len);
        if (close == NULL)
            return false;
        end = (size_t)(close - text.ptr) + 1;
        if (!is_ipv6(slice_of(text.ptr + 1, end - 2)))
            return false;
    } else {
        while (end < text.len && char_is(text.ptr[end], CHAR_HOST))
            end++;
        if (end == 0)
            return false;
    }
    if (end == text.len)
        return true;
    return text.ptr[end] == ':' &&
           is_port(slice_of(text.ptr + end + 1, text.len - end - 1));
}

static bool judge_host(struct judgement *j)
{
    if (j->host == NULL && j->head->minor > 0)
        return refuse(j, ERR_BAD_HOST, (struct slice){NULL, 0});
    if (j->host != NULL && !is_host(j->host->value))
        return refuse(j, ERR_BAD_HOST, j->host->value);
    if (j->host != NULL)
        j->rules->host = j->host->value;
    if (j->head->form == TARGET_ABSOLUTE) {
        if (!is_host(j->head->authority))
            return refuse(j, ERR_BAD_HOST, j->head->authority);
        j->rules->host = j->head->authority;
    }
    return true;
}

/* Anything but a WebSocket handshake is no upgrade to us and stays an HTTP request. */
static bool judge_upgrade(struct judgement *j)
{
    if (j->upgrade == NULL || !j->wants_upgrade || j->head->minor == 0)
        return true;
    if (!slice_eq(j->head->method, SLICE("GET")) || j->rules->content_length > 0 ||
        j->rules->framing == FRAMING_CHUNKED)
        return refuse(j, ERR_BAD_UPGRADE, j->head->method);
    if (j->version == NULL || j->has_version_twice)
        return refuse(j, ERR_BAD_UPGRADE, j->upgrade->name);
    if (!slice_eq(j->version->value, SLICE("13")))
        return refuse(j, ERR_UPGRADE_REQUIRED, j->version->value);
    if (!judge_key(j))
        return refuse(j, ERR_BAD_UPGRADE, j->upgrade->name);
    j->rules->websocket = true;
    /* The edge negotiates; what it agrees on concerns nobody behind it. */
    for (uint32_t i = 0; i < j->head->field_count; i++)
        if (j->head->fields[i].number == HEADER_SEC_WEBSOCKET_EXTENSIONS)
            drop(j, i);
    return true;
}

/* 16 bytes in base64: 22 characters, the last of which has four bits to say nothing,
 * and
 * "==". */
static bool judge_key(struct judgement *j)
{
    if (j->key == NULL || j->has_key_twice || j->key->value.len != 24)
        return false;
    const char *text = j->key->value.ptr;
    for (int i = 0; i < 22; i++)
        if (!char_is(text[i], CHAR_ALPHA | CHAR_DIGIT) && text[i] != '+' &&
            text[i] != '/')
            return false;
    return memchr("AQgw", text[21], 4) != NULL && text[22] == '=' && text[23] == '=';
}

static void drop_named(struct judgement *j)
{
    for (uint32_t n = 0; n < j->name_count; n++)
        for (uint32_t i = 0; i < j->head->field_count; i++)
            if (slice_eq_nocase(j->names[n], j->head->fields[i].name))
                drop(j, i);
}

static void decide_keep_alive(struct judgement *j)
{
    const struct request_rules *rules = j->rules;

    if (j->head->minor > 0) {
        j->rules->keep_alive = !j->wants_close;
        return;
    }
    /* A body behind a GET of HTTP/1.0 is so odd that nothing behind it is believed. */
    bool is_odd = rules->content_length > 0 &&
                  (rules->is_head || slice_eq(j->head->method, SLICE("GET")));
    j->rules->keep_alive = j->wants_keep_alive && !j->wants_close && !is_odd;
}
