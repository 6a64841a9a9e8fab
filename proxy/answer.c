/* SPDX-License-Identifier: MIT
 * Framing is the edge's alone: whatever the application sends, the client sees exactly
 * what the head announced, or a connection that breaks off. */
#include "proxy/answer.h"

#include "proxy/http/trailers.h"

bool answer_head(struct answer *a,
                 struct client *c,
                 const struct frame_response *response,
                 const struct response_to *to,
                 struct response_failure *ret_failure)
{
    if (!respond_head(response, to, client_out(c), &a->plan, ret_failure))
        return false;
    a->status = response->status;
    client_touch(c);
    return true;
}

static void write_chunk(struct client *c, struct slice data)
{
    respond_chunk_begin(client_out(c), data.len);
    client_write(c, data);
    respond_chunk_end(client_out(c));
}

void answer_body(struct answer *a,
                 struct client *c,
                 struct ticket *t,
                 struct slice data)
{
    a->received += data.len;
    if (a->plan.framing == RESPONSE_NO_BODY)
        data.len = 0;
    if (a->plan.framing == RESPONSE_LENGTH && data.len > a->plan.length - a->body_out) {
        data.len = (size_t)(a->plan.length - a->body_out);
        a->has_excess = true;
    }
    a->body_out += data.len;
    if (data.len > 0 && a->plan.framing == RESPONSE_CHUNKED)
        write_chunk(c, data);
    else if (data.len > 0)
        client_write(c, data);
    answer_passed_on(a, c, t);
}

bool answer_end(struct answer *a,
                struct client *c,
                const struct header_list *trailers,
                struct response_failure *ret_failure)
{
    if (a->plan.framing == RESPONSE_LENGTH && a->body_out < a->plan.length) {
        *ret_failure = (struct response_failure){.err = ERR_RESPONSE_TRUNCATED};
        return false;
    }
    if (a->plan.framing != RESPONSE_CHUNKED)
        return true;
    if (trailers == NULL || trailers->count == 0 || !a->plan.takes_trailers)
        respond_last_chunk(client_out(c));
    else if (!trailers_write(*trailers, client_out(c), ret_failure))
        return false;
    client_touch(c);
    return true;
}

bool answer_file(struct answer *a,
                 struct client *c,
                 const struct file_roots *roots,
                 const struct frame_file *file)
{
    bool is_suppressed = a->plan.framing == RESPONSE_NO_BODY;
    bool fits = a->plan.framing == RESPONSE_LENGTH &&
                file->length == a->plan.length - a->body_out;
    if (!is_suppressed && !fits)
        return false;
    int fd = file_open(roots, file->path, file->device, file->inode, file->offset,
                       file->length);
    if (fd < 0)
        return false;
    /* HEAD: the file was judged, nothing of it is sent. */
    uint64_t length = is_suppressed ? 0 : file->length;
    a->body_out += length;
    client_send_file(c, fd, file->offset, length);
    return true;
}

/* What waits in the client's output is taken for body, although a little of it may be
 * framing: too careful by a few bytes, and exact when nothing waits. */
void answer_passed_on(struct answer *a, const struct client *c, struct ticket *t)
{
    uint64_t pending = client_pending(c);
    uint64_t passed = pending < a->received ? a->received - pending : 0;
    if (passed <= a->passed)
        return;
    ticket_passed_on(t, (size_t)(passed - a->passed));
    a->passed = passed;
}

uint64_t answer_sent_bytes(const struct answer *a, const struct client *c)
{
    uint64_t pending = client_pending(c);
    return pending < a->body_out ? a->body_out - pending : 0;
}
