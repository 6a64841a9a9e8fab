/* SPDX-License-Identifier: MIT
 * The functions of request.h without a core. */
#include "tests/support/fake_request.h"

#include <inttypes.h>

#include "protocol/header_names.h"

static enum err outcome(struct request *r);

void fake_request_init(struct request *r)
{
    static const struct fake_field fields[] = {{"host", "example.com"}, {NULL, NULL}};

    *r = (struct request){
        .frame =
            {
                .method = SLICE("GET"),
                .target = SLICE("/"),
                .minor = 1,
                .scheme = SLICE("http"),
                .client_addr = SLICE("192.0.2.1"),
                .client_port = 4711,
                .server_addr = SLICE("192.0.2.9"),
                .server_port = 8000,
                .body_form = BODY_NONE,
                .id = SLICE("id-1"),
            },
        .takes_inform = true,
        .room = SIZE_MAX,
    };
    buf_init(&r->headers, 0);
    buf_init(&r->sent, 0);
    fake_request_fields(r, fields);
}

void fake_request_fini(struct request *r)
{
    buf_fini(&r->headers);
    buf_fini(&r->sent);
}

void fake_request_fields(struct request *r, const struct fake_field *fields)
{
    struct header_writer w;

    buf_clear(&r->headers);
    header_begin(&w, &r->headers);
    for (; fields->name != NULL; fields++) {
        struct slice name = slice_from(fields->name);
        header_put(&w, header_number(name), name, slice_from(fields->value));
    }
    header_end(&w);
    struct slice packed = buf_slice(&r->headers);
    r->frame.headers = (struct header_list){
        .packed = slice_of(packed.ptr + 3, packed.len - 3),
        .count = w.count,
    };
}

void fake_request_body(struct request *r, const char *whole)
{
    r->frame.body_form = BODY_INLINE;
    r->frame.body = slice_from(whole);
    r->frame.body_length = r->frame.body.len;
}

const char *fake_request_sent(struct request *r)
{
    buf_add(&r->sent, slice_of("", 1));
    r->sent.end--;
    return buf_slice(&r->sent).ptr;
}

const struct frame_request *request_frame(const struct request *r)
{
    return &r->frame;
}

uint64_t request_deadline_us(const struct request *r)
{
    (void)r;
    return 0;
}

uint64_t request_queued_us(const struct request *r)
{
    return r->frame.queued_us;
}

const char *request_id(const struct request *r)
{
    return r->frame.id.ptr;
}

enum step
request_read(struct request *r, size_t max, struct slice *ret_data, enum err *ret_err)
{
    if (r->piece.len == 0 && r->next_piece < FAKE_PIECES &&
        r->pieces[r->next_piece] != NULL)
        r->piece = slice_from(r->pieces[r->next_piece++]);
    if (r->piece.len == 0) {
        *ret_err = r->body_fails;
        return r->body_fails == ERR_NONE ? STEP_MORE : STEP_BAD;
    }
    *ret_data = slice_of(r->piece.ptr, r->piece.len < max ? r->piece.len : max);
    r->piece.ptr += ret_data->len;
    r->piece.len -= ret_data->len;
    return STEP_DONE;
}

size_t request_readable(const struct request *r)
{
    return r->piece.len;
}

enum err request_respond(struct request *r,
                         uint16_t status,
                         struct slice reason,
                         struct slice headers,
                         struct slice body)
{
    fake_request_note(r, "RESPOND ");
    buf_addf(&r->sent, "%u %.*s ", status, SLICE_FMT(reason));
    fake_request_note_fields(r, headers);
    buf_addf(&r->sent, " %.*s", SLICE_FMT(body));
    return outcome(r);
}

enum err request_head(struct request *r,
                      uint16_t status,
                      struct slice reason,
                      struct slice headers,
                      bool has_length,
                      uint64_t length)
{
    fake_request_note(r, "HEAD ");
    buf_addf(&r->sent, "%u %.*s ", status, SLICE_FMT(reason));
    fake_request_note_fields(r, headers);
    if (has_length)
        buf_addf(&r->sent, " length=%" PRIu64, length);
    return outcome(r);
}

enum err request_inform(struct request *r, uint16_t status, struct slice headers)
{
    fake_request_note(r, "INFORM ");
    buf_addf(&r->sent, "%u ", status);
    fake_request_note_fields(r, headers);
    return outcome(r);
}

enum err request_write(struct request *r, struct slice data)
{
    fake_request_note(r, "WRITE ");
    buf_add(&r->sent, data);
    r->writes++;
    return outcome(r);
}

enum step
request_file(struct request *r, const struct frame_file *file, enum err *ret_err)
{
    *ret_err = outcome(r);
    if (*ret_err != ERR_NONE)
        return STEP_BAD;
    if (!r->takes_files)
        return STEP_MORE;
    fake_request_note(r, "FILE ");
    buf_addf(&r->sent, "%" PRIu64 "+%" PRIu64, file->offset, file->length);
    return STEP_DONE;
}

enum err request_end(struct request *r)
{
    fake_request_note(r, "END");
    return outcome(r);
}

void request_abort(struct request *r, enum err reason, struct slice text)
{
    (void)text;
    fake_request_note(r, "ABORT ");
    buf_add(&r->sent, slice_from(err_name(reason)));
}

enum err request_gone(const struct request *r)
{
    return r->writes >= r->gone_after ? r->gone : ERR_NONE;
}

void request_finish(struct request **r_p)
{
    (*r_p)->is_finished = true;
    *r_p = NULL;
}

void fake_request_note(struct request *r, const char *what)
{
    if (buf_len(&r->sent) > 0)
        buf_add(&r->sent, SLICE("|"));
    buf_add(&r->sent, slice_from(what));
}

void fake_request_note_fields(struct request *r, struct slice headers)
{
    struct header_list list = {
        .packed = slice_of(headers.ptr + 3, headers.len - 3),
        .count = (uint32_t)((unsigned char)headers.ptr[1] << 8 |
                            (unsigned char)headers.ptr[2]) /
                 2,
    };
    struct header h;
    const char *before = "[";

    while (header_next(&list, &h)) {
        buf_addf(&r->sent, "%s%.*s: %.*s", before, SLICE_FMT(h.name),
                 SLICE_FMT(h.value));
        before = ", ";
    }
    buf_addf(&r->sent, "%s]", before[0] == '[' ? "[" : "");
}

static enum err outcome(struct request *r)
{
    return request_gone(r);
}

void request_enter(struct request *r)
{
    (void)r;
}

void request_leave(struct request *r)
{
    (void)r;
}
