/* SPDX-License-Identifier: MIT
 * Keys of requests: from an address, a header field, a cookie (RFC 6265 section 5.4:
 * name=value; name=value). The cookie of a pool holds a backend's key in hexadecimal:
 * every proxy that has backends of these names understands it, and it names none. */
#include "proxy/affinity.h"

#include <string.h>

#include "protocol/header_names.h"
#include "proxy/upstream/key.h"

static bool find_in(struct slice cookies, struct slice name, struct slice *ret_value)
{
    const char *at = cookies.ptr, *end = at + cookies.len;
    while (at < end) {
        while (at < end && (*at == ' ' || *at == ';'))
            at++;
        const char *semicolon = memchr(at, ';', (size_t)(end - at));
        const char *stop = semicolon == NULL ? end : semicolon;
        size_t length = (size_t)(stop - at);
        if (length > name.len && at[name.len] == '=' &&
            memcmp(at, name.ptr, name.len) == 0) {
            *ret_value = slice_of(at + name.len + 1, length - name.len - 1);
            return true;
        }
        at = stop;
    }
    return false;
}

bool affinity_cookie(const struct request_head *head,
                     struct slice name,
                     struct slice *ret_value)
{
    for (uint32_t i = 0; i < head->field_count; i++)
        if (head->fields[i].number == HEADER_COOKIE &&
            find_in(head->fields[i].value, name, ret_value))
            return true;
    return false;
}

static bool
find_header(const struct request_head *head, struct slice name, struct slice *ret_value)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (!slice_eq_nocase(head->fields[i].name, name))
            continue;
        *ret_value = head->fields[i].value;
        return true;
    }
    return false;
}

uint64_t affinity_key(const struct hash_by *by,
                      const struct request_head *head,
                      struct slice client_addr)
{
    struct slice value, name = slice_from(by->name);
    switch (by->source) {
    case HASH_ADDRESS:
        return balance_key(client_addr);
    case HASH_HEADER:
        return find_header(head, name, &value) ? balance_key(value) : 0;
    case HASH_COOKIE:
        return affinity_cookie(head, name, &value) ? balance_key(value) : 0;
    }
    return 0;
}

enum { COOKIE_DIGITS = 16 };

uint64_t affinity_read_cookie(const struct sticky *sticky,
                              const struct request_head *head)
{
    struct slice value;
    uint64_t key = 0;
    if (!affinity_cookie(head, slice_from(sticky->name), &value) ||
        value.len != COOKIE_DIGITS)
        return 0;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        bool is_letter = c >= 'a' && c <= 'f';
        if (!is_letter && (c < '0' || c > '9'))
            return 0;
        key = key << 4 | (uint64_t)(is_letter ? c - 'a' + 10 : c - '0');
    }
    return key;
}

void affinity_write_cookie(const struct sticky *sticky,
                           uint64_t key,
                           bool is_secure,
                           struct buf *to)
{
    static const char *const same_site[] = {[SAME_SITE_LAX] = "Lax",
                                            [SAME_SITE_STRICT] = "Strict",
                                            [SAME_SITE_NONE] = "None"};
    buf_addf(to, "%s=%0*llx; Path=/; HttpOnly; SameSite=%s", sticky->name,
             COOKIE_DIGITS, (unsigned long long)key, same_site[sticky->same_site]);
    if (sticky->max_age_s > 0)
        buf_addf(to, "; Max-Age=%llu", (unsigned long long)sticky->max_age_s);
    /* Browsers take SameSite=None from secure sites alone. */
    if (is_secure || sticky->same_site == SAME_SITE_NONE)
        buf_add(to, SLICE("; Secure"));
}
