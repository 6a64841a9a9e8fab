/* SPDX-License-Identifier: MIT
 * HTTP/1 requests: bytes in, a head of slices out; and the chunked body's reader. Pure:
 * no socket, log, clock, global or allocation. Strict by default: what RFC 9112 lets a
 * server refuse is refused. */
#ifndef HTTP_PARSE_H
#define HTTP_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"

enum {
    HTTP_MAX_FIELDS = 128,
    HTTP_MAX_HEAD = 240 * 1024, /* bytes: with what hop_headers adds it fits a frame */
};

/* Named limits with their defaults; options set them. */
struct http_limits {
    uint32_t max_target;    /* bytes of the request target: 16384 */
    uint32_t max_field;     /* bytes of one field line: 16384 */
    uint32_t max_head;      /* bytes of the whole head: 65536, at most HTTP_MAX_HEAD */
    uint32_t max_fields;    /* field lines: 100, at most HTTP_MAX_FIELDS */
    uint32_t max_method;    /* bytes: 32 */
    uint32_t max_chunk_ext; /* bytes of extension on one chunk-size line: 256 */
    uint32_t max_trailer;   /* bytes of the trailer section: 8192 */
    bool lenient;           /* accept bare LF line ends in the head (one switch) */
};
void http_limits_init(struct http_limits *limits);

struct field {
    uint8_t number;     /* header_names.h, or HEADER_NONE */
    struct slice name;  /* as sent */
    struct slice value; /* surrounding OWS trimmed */
};

enum target_form { TARGET_ORIGIN, TARGET_ABSOLUTE, TARGET_AUTHORITY, TARGET_ASTERISK };

/* Slices point into the input given to parse_head. */
struct request_head {
    struct slice method;
    struct slice target; /* as sent */
    enum target_form form;
    struct slice path;      /* with query; "/" for an absolute form without path */
    struct slice authority; /* absolute form: its authority; else empty */
    struct slice scheme;    /* absolute form: its scheme */
    uint8_t minor;          /* HTTP/1.0 -> 0; 1.1 and later 1.x -> 1 */
    uint32_t field_count;
    struct field fields[HTTP_MAX_FIELDS];
};

/* Where and why: for `show errors` and the log. */
struct parse_failure {
    enum err err;
    size_t offset; /* byte of the input */
};

/* DONE: a whole head, `ret_used` bytes long (a leading empty line included). MORE: the
 * input holds no complete head yet and passes no limit (so it is shorter than
 * max_head); call again with more. BAD: ret_failure says why. Grammar only;
 * rules_check() judges the meaning.
 *
 * A call gets the whole input again, which may have moved. `scanned` is where the first
 * field line stands that was not complete; it saves reading the lines before it once
 * more. Start each head with 0. What ret_head holds counts only after DONE. */
MUST_CHECK enum step parse_head(struct slice input,
                                const struct http_limits *limits,
                                size_t *scanned,
                                struct request_head *ret_head,
                                size_t *ret_used,
                                struct parse_failure *ret_failure);

/* A body's reader; chunked and by length differ in nothing else for the caller. */
struct body_reader {
    bool chunked;
    uint8_t state;
    uint8_t digits;   /* of the chunk-size line */
    uint32_t line;    /* bytes of the current extension or trailer line */
    uint32_t trailer; /* bytes of the trailer section */
    uint64_t left;    /* bytes left of the body or chunk */
    uint64_t total,
        overhead; /* data and framing bytes so far: many tiny chunks are refused */
};

void body_reader_length(struct body_reader *r, uint64_t bytes);
void body_reader_chunked(struct body_reader *r);

/* Takes what it can off `input`. ret_data: the next contiguous piece of data (may be
 * empty; borrowed from the input), at most `room` bytes of it; valid with MORE and with
 * DONE, so look at it first. MORE: call again while input is left, or with new input.
 * DONE: the body (and its trailers, which are checked and dropped) has ended; input
 * points behind it. BAD: ret_err. */
MUST_CHECK enum step body_read(struct body_reader *r,
                               const struct http_limits *limits,
                               struct slice *input,
                               size_t room,
                               struct slice *ret_data,
                               enum err *ret_err);

#endif
