/* SPDX-License-Identifier: MIT
 * Judges a field and packs it for the wire in the same pass. */
#include <Python.h>

#include "appserver/interp/field.h"

#include <stdatomic.h>

#include "appserver/interp/gil.h"
#include "appserver/interp/text.h"
#include "protocol/base/log.h"
#include "protocol/header_names.h"

static bool add_length(struct slice value, struct answer *a);
static bool is_token(struct slice name);
static bool is_hop_by_hop(uint8_t number);
static struct slice strip(struct slice value);

bool field_add(struct answer *a,
               struct slice name,
               struct slice value,
               PyObject *name_shown,
               PyObject *value_shown)
{
    if (!is_token(name) || name.len > FRAME_MAX_STRING) {
        PyErr_Format(PyExc_ValueError,
                     "header name %R has characters that HTTP forbids", name_shown);
        return false;
    }
    if (text_has_control(value)) {
        PyErr_Format(PyExc_ValueError,
                     "the value of header %R has characters that HTTP forbids: %R",
                     name_shown, value_shown);
        return false;
    }
    if (a->writer.count >= FRAME_MAX_HEADERS - 1 ||
        buf_len(&a->headers) + name.len + value.len > FRAME_MAX_HEAD - 1024) {
        PyErr_Format(PyExc_ValueError, "more than %d headers or %d bytes of them",
                     FRAME_MAX_HEADERS - 1, FRAME_MAX_HEAD - 1024);
        return false;
    }
    value = strip(value);
    uint8_t number = header_number(name);
    if (number == HEADER_CONTENT_LENGTH)
        return add_length(value, a);
    if (is_hop_by_hop(number) && !(number == HEADER_TRAILER && a->has_trailers))
        a->dropped = number;
    else
        answer_field(a, number, name, value);
    return true;
}

void field_log_dropped(const struct answer *a)
{
    static atomic_bool said[HEADER_COUNT];

    if (a->dropped == HEADER_NONE || atomic_exchange(&said[a->dropped], true))
        return;
    struct slice name = header_canonical(a->dropped);
    GIL_YIELD;
    log_warn(
        NULL,
        "%s: the application sends %.*s; framing is the server's, the field is dropped",
        request_id(a->request), SLICE_FMT(name));
}

static bool add_length(struct slice value, struct answer *a)
{
    uint64_t length = 0;
    bool good = value.len > 0 && value.len <= 18;

    for (size_t i = 0; good && i < value.len; i++) {
        good = value.ptr[i] >= '0' && value.ptr[i] <= '9';
        length = length * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    if (!good || (a->has_length && a->length != length)) {
        PyErr_SetString(PyExc_ValueError,
                        good ? "two different Content-Length headers"
                             : "Content-Length is not a number of bytes");
        return false;
    }
    answer_set_length(a, length);
    return true;
}

static bool is_token(struct slice name)
{
    /* Bit c: character c may stand in a field name (RFC 9110 section 5.6.2). */
    static const uint64_t TOKEN[2] = {0x03ff6cfa00000000u, 0x57ffffffc7fffffeu};

    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if (c >= 128 || (TOKEN[c / 64] >> (c % 64) & 1) == 0)
            return false;
    }
    return name.len > 0;
}

static bool is_hop_by_hop(uint8_t number)
{
    switch (number) {
    case HEADER_CONNECTION:
    case HEADER_KEEP_ALIVE:
    case HEADER_PROXY_CONNECTION:
    case HEADER_TE:
    case HEADER_TRAILER:
    case HEADER_TRANSFER_ENCODING:
    case HEADER_UPGRADE:
        return true;
    default:
        return false;
    }
}

static struct slice strip(struct slice value)
{
    while (value.len > 0 && (value.ptr[0] == ' ' || value.ptr[0] == '\t')) {
        value.ptr++;
        value.len--;
    }
    while (value.len > 0 &&
           (value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t'))
        value.len--;
    return value;
}
