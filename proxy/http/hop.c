/* SPDX-License-Identifier: MIT
 * The hop's own fields: whom to believe about the client, and the headers that go on to
 * the application. */
#include "proxy/http/hop.h"

#include <arpa/inet.h>

#include "protocol/header_names.h"
#include "proxy/http/chars.h"

enum { MAX_ID = 64, MAX_TRUSTED = 32 };

/* Packing a field takes at most three bytes more than its line; ours are few and short.
 */
_Static_assert(HTTP_MAX_HEAD + 3 * HTTP_MAX_FIELDS + 4096 <= FRAME_MAX_HEAD &&
                   HTTP_MAX_FIELDS + 8 <= FRAME_MAX_HEADERS,
               "any head fits a frame");

static bool parse_network(struct slice text, struct trusted_networks *t);
static bool parse_address(struct slice text, uint8_t ret_address[16]);
static bool is_in_networks(const struct trusted_networks *t, const uint8_t address[16]);
static void read_forwarded_for(const struct request_head *head,
                               const struct request_rules *rules,
                               const struct trusted_networks *trusted,
                               struct hop_result *result);
static bool is_id(struct slice text);
static void put_cookies(struct header_writer *w,
                        const struct request_head *head,
                        const struct request_rules *rules,
                        uint32_t first,
                        struct slice own);
static void put_forwarded_for(struct header_writer *w,
                              const struct request_head *head,
                              const struct request_rules *rules,
                              const struct hop_peer *peer,
                              bool is_trusted);
static void put_unnumbered(struct header_writer *w, const struct field *field);

bool trusted_parse(const char *text, struct trusted_networks *ret_trusted)
{
    struct trusted_networks t = {.count = 0};
    struct list_cursor list = {.rest = slice_from(text)};
    struct slice item;

    while (list_next_item(&list, &item))
        if (item.len > 0 && !parse_network(item, &t))
            return false;
    *ret_trusted = t;
    return true;
}

static bool parse_network(struct slice text, struct trusted_networks *t)
{
    if (slice_eq(text, SLICE("unix"))) {
        t->unix_sockets = true;
        return true;
    }
    if (t->count == MAX_TRUSTED)
        return false;
    if (slice_eq(text, SLICE("*"))) {
        t->unix_sockets = true;
        t->networks[t->count++].prefix = 0;
        return true;
    }

    const char *slash = memchr(text.ptr, '/', text.len);
    struct slice address = text;
    if (slash != NULL)
        address.len = (size_t)(slash - text.ptr);
    if (!parse_address(address, t->networks[t->count].address))
        return false;
    const unsigned width = memchr(address.ptr, ':', address.len) != NULL ? 128 : 32;
    uint64_t bits = width;
    if (slash != NULL &&
        !chars_to_length(slice_of(slash + 1, text.len - address.len - 1), &bits))
        return false;
    if (bits > width)
        return false;
    t->networks[t->count++].prefix = (uint8_t)(bits + 128 - width);
    return true;
}

/* IPv4 in dotted decimal without leading zeros, read by hand: it is the common form and
 * inet_pton needs a copy. */
static bool parse_ipv4(struct slice text, uint8_t ret_address[4])
{
    size_t at = 0;

    for (int part = 0; part < 4; part++) {
        unsigned value = 0;
        size_t start = at;
        for (; at < text.len && char_is(text.ptr[at], CHAR_DIGIT) && at - start < 3;
             at++)
            value = value * 10 + (unsigned)(text.ptr[at] - '0');
        if (at == start || value > 255 || (at - start > 1 && text.ptr[start] == '0'))
            return false;
        ret_address[part] = (uint8_t)value;
        if (part < 3 && (at == text.len || text.ptr[at++] != '.'))
            return false;
    }
    return at == text.len;
}

static bool parse_address(struct slice text, uint8_t ret_address[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char copy[INET6_ADDRSTRLEN];

    if (parse_ipv4(text, ret_address + 12)) {
        memcpy(ret_address, mapped, sizeof(mapped));
        return true;
    }
    if (text.len == 0 || text.len >= sizeof(copy) ||
        memchr(text.ptr, 0, text.len) != NULL)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return inet_pton(AF_INET6, copy, ret_address) == 1;
}

static bool is_in_networks(const struct trusted_networks *t, const uint8_t address[16])
{
    for (uint32_t i = 0; i < t->count; i++) {
        const uint8_t *network = t->networks[i].address;
        const size_t bytes = t->networks[i].prefix / 8;
        const unsigned rest = t->networks[i].prefix % 8;
        const unsigned mask = 0xff00U >> rest & 0xff;
        if (memcmp(network, address, bytes) == 0 &&
            (rest == 0 || ((network[bytes] ^ address[bytes]) & mask) == 0))
            return true;
    }
    return false;
}

bool hop_is_trusted(const struct trusted_networks *trusted, const struct hop_peer *peer)
{
    uint8_t address[16];

    if (peer->addr.len == 0)
        return trusted->unix_sockets;
    return trusted->count > 0 && parse_address(peer->addr, address) &&
           is_in_networks(trusted, address);
}

static struct slice last_item(struct slice list)
{
    const char *comma = list.len == 0 ? NULL : memrchr(list.ptr, ',', list.len);
    if (comma == NULL)
        return chars_trim(list);
    return chars_trim(slice_of(comma + 1, list.len - (size_t)(comma + 1 - list.ptr)));
}

void hop_client(const struct request_head *head,
                const struct request_rules *rules,
                const struct hop_peer *peer,
                const struct trusted_networks *trusted,
                struct hop_result *ret_result)
{
    struct hop_result result = {
        .is_trusted = hop_is_trusted(trusted, peer),
        .client_addr = peer->addr,
        .client_port = peer->port,
        .scheme = peer->is_tls ? SLICE("https") : SLICE("http"),
    };

    *ret_result = result;
    if (!result.is_trusted)
        return;
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        if (rules_is_dropped(rules, i))
            continue;
        if (field->number == HEADER_X_FORWARDED_PROTO) {
            /* The last one is the word of the peer itself. */
            struct slice proto = last_item(field->value);
            if (slice_eq_nocase(proto, SLICE("https")))
                result.scheme = SLICE("https");
            else if (slice_eq_nocase(proto, SLICE("http")))
                result.scheme = SLICE("http");
        } else if (field->number == HEADER_X_REQUEST_ID && is_id(field->value)) {
            result.id = field->value;
        }
    }
    read_forwarded_for(head, rules, trusted, &result);
    *ret_result = result;
}

static bool is_id(struct slice text)
{
    if (text.len == 0 || text.len > MAX_ID)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~')
            return false;
    return true;
}

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1" or "[2001:db8::1]:80" -> the address
 * alone. */
static bool
read_node(struct slice node, struct slice *ret_text, uint8_t ret_address[16])
{
    if (node.len > 0 && node.ptr[0] == '[') {
        const char *close = memchr(node.ptr, ']', node.len);
        if (close == NULL)
            return false;
        node = slice_of(node.ptr + 1, (size_t)(close - node.ptr - 1));
    } else if (node.len > 0) {
        const char *colon = memchr(node.ptr, ':', node.len);
        if (colon != NULL && colon == memrchr(node.ptr, ':', node.len))
            node.len = (size_t)(colon - node.ptr);
    }
    *ret_text = node;
    return parse_address(node, ret_address);
}

/* From the nearest hop outwards: the first address that is no trusted proxy is the
 * client. Anything malformed ends the walk, since who wrote it is unknown. */
static void read_forwarded_for(const struct request_head *head,
                               const struct request_rules *rules,
                               const struct trusted_networks *trusted,
                               struct hop_result *result)
{
    for (uint32_t i = head->field_count; i-- > 0;) {
        if (head->fields[i].number != HEADER_X_FORWARDED_FOR ||
            rules_is_dropped(rules, i))
            continue;
        struct slice rest = head->fields[i].value;
        while (rest.len > 0) {
            const char *comma = memrchr(rest.ptr, ',', rest.len);
            struct slice node = last_item(rest), text;
            uint8_t address[16];
            if (!read_node(node, &text, address))
                return;
            result->client_addr = text;
            result->client_port = 0;
            if (!is_in_networks(trusted, address))
                return;
            rest.len = comma == NULL ? 0 : (size_t)(comma - rest.ptr);
        }
    }
}

/* Whether a field passes as it is; those that do not are dropped or written by us. */
static bool passes(const struct field *field, bool is_trusted)
{
    static const char prefix[] = "x-forwarded-";
    const struct slice queue_start =
        SLICE("x-queue-start"); /* APM agents read it too */

    switch (field->number) {
    case HEADER_HOST:
    case HEADER_COOKIE:
    case HEADER_X_FORWARDED_FOR:
    case HEADER_X_FORWARDED_PROTO:
    case HEADER_X_REAL_IP:
    case HEADER_X_REQUEST_ID:
        return false;
    case HEADER_FORWARDED:
    case HEADER_X_FORWARDED_HOST:
    case HEADER_X_FORWARDED_PORT:
    case HEADER_X_REQUEST_START:
        return is_trusted;
    case HEADER_NONE:
        return is_trusted || field->name.len < sizeof(prefix) ||
               (strncasecmp(field->name.ptr, prefix, sizeof(prefix) - 1) != 0 &&
                !slice_eq_nocase(field->name, queue_start));
    default:
        return true;
    }
}

void hop_headers(const struct request_head *head,
                 const struct request_rules *rules,
                 const struct hop_peer *peer,
                 const struct hop_result *client,
                 const struct hop_own *own,
                 struct buf *to)
{
    const struct slice nameless = {NULL, 0};
    bool has_cookies = false, has_forwarded_host = false, has_start = false;
    struct header_writer w;

    header_begin(&w, to);
    if (rules->host.len > 0)
        header_put(&w, HEADER_HOST, nameless, rules->host);
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        if (rules_is_dropped(rules, i))
            continue;
        if (field->number == HEADER_COOKIE && !has_cookies) {
            put_cookies(&w, head, rules, i, own->cookie);
            has_cookies = true;
        }
        if (!passes(field, client->is_trusted))
            continue;
        if (field->number == HEADER_X_FORWARDED_HOST)
            has_forwarded_host = true;
        if (field->number == HEADER_X_REQUEST_START)
            has_start = true;
        if (field->number == HEADER_NONE)
            put_unnumbered(&w, field);
        else
            header_put(&w, field->number, nameless, field->value);
    }
    put_forwarded_for(&w, head, rules, peer, client->is_trusted);
    if (!has_forwarded_host && rules->host.len > 0)
        header_put(&w, HEADER_X_FORWARDED_HOST, nameless, rules->host);
    header_put(&w, HEADER_X_FORWARDED_PROTO, nameless, client->scheme);
    if (client->client_addr.len > 0)
        header_put(&w, HEADER_X_REAL_IP, nameless, client->client_addr);
    if (own->id.len > 0)
        header_put(&w, HEADER_X_REQUEST_ID, nameless, own->id);
    if (own->start_us != 0 && !has_start)
        hop_put_start(&w, own->start_us);
    header_end(&w);
}

void hop_put_start(struct header_writer *w, uint64_t start_us)
{
    char text[24];
    size_t at = sizeof(text);

    do {
        text[--at] = (char)('0' + start_us % 10);
        start_us /= 10;
    } while (start_us > 0);
    text[--at] = '=';
    text[--at] = 't';
    header_put(w, HEADER_X_REQUEST_START, (struct slice){NULL, 0},
               slice_of(text + at, sizeof(text) - at));
}

/* Appends the values of all fields of this number that pass, from field `first` on. */
static void join(struct buf *to,
                 const struct request_head *head,
                 const struct request_rules *rules,
                 uint32_t first,
                 struct slice separator)
{
    for (uint32_t i = first; i < head->field_count; i++) {
        if (head->fields[i].number != head->fields[first].number ||
            rules_is_dropped(rules, i) || head->fields[i].value.len == 0)
            continue;
        if (buf_len(to) > 0)
            buf_add(to, separator);
        buf_add(to, head->fields[i].value);
    }
}

/* The next field of this number that was not dropped, or field_count. */
static uint32_t find_field(const struct request_head *head,
                           const struct request_rules *rules,
                           uint32_t from,
                           uint8_t number)
{
    while (from < head->field_count &&
           (head->fields[from].number != number || rules_is_dropped(rules, from)))
        from++;
    return from;
}

/* The cookies but those of this name. */
static void join_others(struct buf *to, struct slice cookies, struct slice name)
{
    while (cookies.len > 0) {
        const char *semicolon = memchr(cookies.ptr, ';', cookies.len);
        size_t length =
            semicolon == NULL ? cookies.len : (size_t)(semicolon - cookies.ptr);
        struct slice one = chars_trim(slice_of(cookies.ptr, length));
        length += semicolon != NULL;
        cookies = slice_of(cookies.ptr + length, cookies.len - length);
        bool is_own = one.len > name.len && one.ptr[name.len] == '=' &&
                      memcmp(one.ptr, name.ptr, name.len) == 0;
        if (is_own || one.len == 0)
            continue;
        if (buf_len(to) > 0)
            buf_add(to, SLICE("; "));
        buf_add(to, one);
    }
}

/* One Cookie field, whatever number of lines it came in (RFC 9113 section 8.2.3). */
static void put_cookies(struct header_writer *w,
                        const struct request_head *head,
                        const struct request_rules *rules,
                        uint32_t first,
                        struct slice own)
{
    const struct slice nameless = {NULL, 0};
    struct slice value = head->fields[first].value;
    struct buf joined, others;

    buf_init(&joined, 0);
    buf_init(&others, 0);
    if (find_field(head, rules, first + 1, HEADER_COOKIE) != head->field_count) {
        join(&joined, head, rules, first, SLICE("; "));
        value = buf_slice(&joined);
    }
    bool is_among_them = own.len > 0 && value.len > 0 &&
                         memmem(value.ptr, value.len, own.ptr, own.len) != NULL;
    if (is_among_them) {
        join_others(&others, value, own);
        value = buf_slice(&others);
    }
    if (!is_among_them || value.len > 0)
        header_put(w, HEADER_COOKIE, nameless, value);
    buf_fini(&joined);
    buf_fini(&others);
}

/* What trusted peers said, then the peer itself. */
static void put_forwarded_for(struct header_writer *w,
                              const struct request_head *head,
                              const struct request_rules *rules,
                              const struct hop_peer *peer,
                              bool is_trusted)
{
    const struct slice nameless = {NULL, 0};
    uint32_t first = head->field_count;
    struct buf joined;

    if (is_trusted)
        first = find_field(head, rules, 0, HEADER_X_FORWARDED_FOR);
    if (first == head->field_count) {
        if (peer->addr.len > 0)
            header_put(w, HEADER_X_FORWARDED_FOR, nameless, peer->addr);
        return;
    }
    buf_init(&joined, 0);
    join(&joined, head, rules, first, SLICE(", "));
    if (peer->addr.len > 0) {
        if (buf_len(&joined) > 0)
            buf_add(&joined, SLICE(", "));
        buf_add(&joined, peer->addr);
    }
    header_put(w, HEADER_X_FORWARDED_FOR, nameless, buf_slice(&joined));
    buf_fini(&joined);
}

static void put_unnumbered(struct header_writer *w, const struct field *field)
{
    char few[128];
    struct buf many;
    char *lower = few;

    buf_init(&many, 0);
    if (field->name.len > sizeof(few)) {
        buf_add(&many, field->name);
        lower = many.data;
    }
    for (size_t i = 0; i < field->name.len; i++)
        lower[i] = char_lower(field->name.ptr[i]);
    header_put(w, HEADER_NONE, slice_of(lower, field->name.len), field->value);
    buf_fini(&many);
}
