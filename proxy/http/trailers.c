/* SPDX-License-Identifier: MIT
 * What an application says behind its body is checked as its head is. */
#include "proxy/http/trailers.h"

#include "protocol/header_names.h"
#include "proxy/http/chars.h"

/* Framing, routing, conditions, authentication, what is said about the body or decides
 * how the response is used: behind the body it comes too late, or says to one reader
 * what another does not hear. */
static const char *const NEVER[] = {
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "warning",
    "www-authenticate",
};

static bool may_stand_here(struct slice name)
{
    for (size_t i = 0; i < sizeof(NEVER) / sizeof(NEVER[0]); i++)
        if (slice_eq_nocase(name, slice_from(NEVER[i])))
            return false;
    return true;
}

bool trailers_write(struct header_list trailers,
                    struct buf *out,
                    struct response_failure *ret_failure)
{
    const size_t length_before = buf_len(out);
    struct header h;

    buf_add(out, SLICE("0\r\n"));
    while (header_next(&trailers, &h)) {
        bool is_known = h.number != HEADER_NONE;
        struct slice name = is_known ? header_canonical(h.number) : h.name;
        bool is_name = is_known || chars_are(name, CHAR_TOKEN);

        if (!is_name || !chars_are_value(h.value)) {
            out->end = out->start + length_before;
            *ret_failure = (struct response_failure){
                ERR_BAD_RESPONSE, is_name ? "bad value of trailer" : "bad trailer",
                name};
            return false;
        }
        if (!may_stand_here(name))
            continue;
        buf_add(out, name);
        buf_add(out, SLICE(": "));
        buf_add(out, h.value);
        buf_add(out, SLICE("\r\n"));
    }
    buf_add(out, SLICE("\r\n"));
    return true;
}
