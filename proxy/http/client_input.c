/* SPDX-License-Identifier: MIT
 * A connection's input: heads, bodies, and what the socket tells besides bytes. It is
 * read into a buffer that all connections share; only what is left over is copied into
 * the connection's own. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "proxy/http/client_priv.h"

static void use_input(struct client *c, struct slice input);
static bool use_head(struct client *c, struct slice *input);
static bool use_body(struct client *c, struct slice *input);
static void use_upgraded(struct client *c, struct slice *input);
static void settle(struct client *c);

/* Whether a read makes sense: there is a use for the bytes, or room to keep some. */
static bool wants_input(const struct client *c)
{
    switch (c->state) {
    case CLIENT_IDLE:
    case CLIENT_HEAD:
    case CLIENT_LINGER:
        return true;
    case CLIENT_BODY:
        return buf_len(&c->in) == 0;
    case CLIENT_BUSY:
        return buf_len(&c->in) < c->all->options.max_pipeline;
    case CLIENT_UPGRADED:
        return !c->is_paused;
    case CLIENT_CLOSED:
        break;
    }
    return false;
}

/* One read. False: nothing now, the end, or the socket is broken. */
static bool receive(struct client *c, struct slice *ret_input)
{
    const struct clients_options *o = &c->all->options;
    char *to = c->all->scratch;
    size_t room = c->state == CLIENT_BUSY && o->max_pipeline < SCRATCH_BYTES
                      ? o->max_pipeline
                      : SCRATCH_BYTES;
    bool is_own = buf_len(&c->in) > 0;
    if (is_own) {
        bool fits = buf_reserve(&c->in, READ_MORE);
        ASSERT(fits);
        to = buf_tail(&c->in);
        room = buf_room(&c->in);
    }

    ssize_t n;
    do
        n = recv(c->fd, to, room, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n <= 0) {
        c->can_read = c->has_to_look = false;
        if (n == 0)
            c->saw_eof = true;
        else if (errno != EAGAIN && errno != EWOULDBLOCK)
            c->is_broken = true;
        return false;
    }
    /* A short read emptied the socket. The peer's end, when it was there already, comes
     * without another event: a close was told with the bytes (saw_hangup), a reset was
     * not. */
    c->can_read = (size_t)n == room || c->saw_hangup;
    c->has_to_look = !c->can_read;
    if (is_own)
        buf_commit(&c->in, (size_t)n);
    *ret_input = is_own ? buf_slice(&c->in) : slice_of(to, (size_t)n);
    return true;
}

static void read_socket(struct client *c)
{
    for (int reads = 0; c->can_read && wants_input(c); reads++) {
        struct slice input;
        if (reads == READ_BUDGET) {
            client_make_ready(c);
            return;
        }
        if (!receive(c, &input))
            return;
        use_input(c, input);
        /* Who waits for more looks at once; a whole request in a while, for most are
         * answered by then. */
        if (c->has_to_look && (c->state == CLIENT_HEAD || c->state == CLIENT_BODY))
            c->can_read = true;
    }
}

/* `input` is all of c->in, or stands in the shared buffer while c->in is empty. */
static void use_input(struct client *c, struct slice input)
{
    struct slice rest = input;
    bool goes_on = true;
    while (goes_on) {
        switch (c->state) {
        case CLIENT_IDLE:
        case CLIENT_HEAD:
            goes_on = rest.len > 0 && use_head(c, &rest);
            break;
        case CLIENT_BODY:
            goes_on = rest.len > 0 && use_body(c, &rest);
            break;
        case CLIENT_BUSY:
            goes_on = false;
            break;
        case CLIENT_UPGRADED:
            use_upgraded(c, &rest);
            goes_on = c->state != CLIENT_UPGRADED;
            break;
        case CLIENT_LINGER:
        case CLIENT_CLOSED:
            rest.len = 0;
            goes_on = false;
            break;
        }
    }

    if (buf_len(&c->in) > 0) {
        buf_consume(&c->in, input.len - rest.len);
        if (buf_len(&c->in) == 0)
            buf_fini(&c->in);
    } else {
        bool fits = buf_append(&c->in, rest);
        ASSERT(fits);
    }
}

void client_read(struct client *c)
{
    read_socket(c);
    settle(c);
}

void client_read_on(struct client *c)
{
    if (buf_len(&c->in) > 0 || (c->state == CLIENT_UPGRADED && c->is_paused))
        use_input(c, buf_slice(&c->in));
    client_read(c);
}

/* Opens a request that can only be refused; what follows it on the connection has no
 * meaning any more. `at` is the place in `input`, which begins with its head. */
static void refuse(struct client *c, enum err err, struct slice input, size_t at)
{
    refusal_keep(client_note_refusal(c, REFUSED_HEAD, err), input, at, at);
    deadline_disarm(&c->wait);
    client_set_state(c, CLIENT_BUSY);
    c->may_keep_alive = false;
    c->is_out_of_step = true;
    c->all->options.events->refused(c, err);
}

/* False: the head is not whole. */
static bool use_head(struct client *c, struct slice *input)
{
    const struct clients_options *o = &c->all->options;
    struct request_head *head = &c->all->head;
    struct parse_failure failure = {0};
    struct request_rules rules;
    size_t used;

    enum step step = parse_head(*input, o->limits, &c->scanned, head, &used, &failure);
    bool was_idle = c->state == CLIENT_IDLE;
    if (was_idle)
        client_set_state(c, CLIENT_HEAD);
    if (step == STEP_MORE) {
        if (was_idle)
            deadline_arm(o->deadlines, DEADLINE_HEADER, &c->wait);
        return false;
    }
    c->scanned = 0;
    if (step == STEP_BAD ||
        !rules_check(head, input->ptr, o->rules, &rules, &failure)) {
        refuse(c, failure.err, *input, failure.offset);
        return true;
    }
    deadline_disarm(&c->wait);
    *input = slice_of(input->ptr + used, input->len - used);

    struct client_request request = {.head = head, .rules = &rules};
    uint64_t length = rules.framing == FRAMING_LENGTH ? rules.content_length : 0;
    request.body_is_whole =
        rules.framing != FRAMING_CHUNKED &&
        (length == 0 || (length <= WHOLE_BODY && length <= input->len));
    if (request.body_is_whole) {
        request.body = slice_of(input->ptr, (size_t)length);
        *input = slice_of(input->ptr + length, input->len - (size_t)length);
    } else if (rules.framing == FRAMING_LENGTH) {
        body_reader_length(&c->reader, length);
    } else {
        body_reader_chunked(&c->reader);
    }
    c->may_keep_alive = rules.keep_alive && o->keepalive_timeout_us > 0;
    c->is_paused = true;
    c->is_discarding = false;
    c->body_bytes = c->body_spent_us = 0;
    client_set_state(c, request.body_is_whole ? CLIENT_BUSY : CLIENT_BODY);
    o->events->request(c, &request);
    return true;
}

/* ---- a body and its clock ---- */

/* The byte of the body at which its reader stands, framing included. */
static uint64_t body_place(const struct client *c)
{
    return c->reader.total + c->reader.overhead;
}

/* `at` is the place in `input`, and of the body its byte `offset`. */
static void fail_body(
    struct client *c, enum err err, struct slice input, size_t at, uint64_t offset)
{
    refusal_keep(client_note_refusal(c, REFUSED_BODY, err), input, at, offset);
    deadline_disarm(&c->wait);
    c->may_keep_alive = false;
    c->is_out_of_step = true;
    if (c->is_discarding) { /* answered long ago */
        client_close(c, err);
        return;
    }
    client_set_state(c, CLIENT_BUSY);
    c->all->options.events->body_failed(c, err);
}

/* The average rate over the time in which we were willing to read. */
static bool body_is_too_slow(struct client *c, uint64_t now_us)
{
    uint64_t rate = c->all->options.body_min_rate;
    uint64_t spent_us =
        c->body_spent_us + (c->is_paused ? 0 : now_us - c->body_since_us);
    return rate > 0 && spent_us > c->all->options.body_grace_us &&
           (double)c->body_bytes < (double)rate * ((double)spent_us / 1e6);
}

/* False: it needs more input, or room. */
static bool use_body(struct client *c, struct slice *input)
{
    const struct clients_options *o = &c->all->options;
    const struct slice before = *input;
    size_t room = c->is_discarding ? SIZE_MAX : o->events->room(c);
    struct slice data = {0};
    enum err err = ERR_NONE;

    enum step step = body_read(&c->reader, o->limits, input, room, &data, &err);
    if (step == STEP_BAD) {
        size_t used = before.len - input->len; /* the bad byte among them */
        fail_body(c, err, before, used - 1, body_place(c) - 1);
        return true;
    }
    if (data.len > 0) {
        uint64_t now_us = deadlines_now(o->deadlines);
        c->body_bytes += data.len;
        if (!c->is_paused)
            deadline_arm(o->deadlines, DEADLINE_BODY, &c->wait);
        if (!c->is_discarding)
            o->events->body(c, data);
        if (c->state == CLIENT_BODY && step != STEP_DONE && body_is_too_slow(c, now_us))
            fail_body(c, ERR_BODY_TIMEOUT, before, before.len - input->len,
                      body_place(c));
    }
    if (c->state != CLIENT_BODY)
        return true;
    if (step == STEP_DONE) {
        deadline_disarm(&c->wait);
        client_set_state(c, CLIENT_BUSY);
        if (!c->is_discarding)
            o->events->body_end(c);
        return true;
    }
    return input->len < before.len;
}

/* All input stands in the client's own buffer or in the shared one. */
static void use_upgraded(struct client *c, struct slice *input)
{
    char *bytes = (char *)(uintptr_t)input->ptr;
    size_t length = input->len;
    c->is_paused = !c->all->options.events->input(c, &bytes, &length);
    *input = slice_of(bytes, length);
}

/* The body's clock stands while we are the ones who make it wait. */
static void watch_body(struct client *c)
{
    const struct clients_options *o = &c->all->options;
    bool is_paused = !c->is_discarding && o->events->room(c) == 0;
    if (is_paused == c->is_paused)
        return;
    uint64_t now_us = deadlines_now(o->deadlines);
    c->is_paused = is_paused;
    if (is_paused) {
        c->body_spent_us += now_us - c->body_since_us;
        deadline_disarm(&c->wait);
    } else {
        c->body_since_us = now_us;
        deadline_arm(o->deadlines, DEADLINE_BODY, &c->wait);
    }
}

/* ---- after reading: what the socket told besides bytes ---- */

static bool socket_has_failed(struct client *c)
{
    int error = 0;
    socklen_t length = sizeof(error);
    return getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error != 0;
}

static void note_half_close(struct client *c)
{
    if (c->is_half_closed || c->is_cut)
        return;
    c->is_half_closed = true;
    c->written = 0;
    if (!c->all->options.events->half_closed(c))
        client_close(c, ERR_CLIENT_GONE);
    else
        deadline_arm(c->all->options.deadlines, DEADLINE_HALF_CLOSED, &c->wait);
}

static void settle(struct client *c)
{
    /* Unread input hides a reset from recv. */
    if (c->can_read && !wants_input(c) && c->state != CLIENT_CLOSED &&
        socket_has_failed(c))
        c->is_broken = true;
    if (c->is_broken)
        client_close(c, ERR_CLIENT_GONE);

    switch (c->state) {
    case CLIENT_IDLE:
        if (c->saw_eof)
            client_close(c, ERR_NONE);
        break;
    case CLIENT_HEAD:
    case CLIENT_LINGER:
        if (c->saw_eof)
            client_close(c, ERR_NONE);
        break;
    case CLIENT_BODY:
        if (c->saw_eof && buf_len(&c->in) == 0)
            client_close(c, ERR_CLIENT_GONE);
        else
            watch_body(c);
        break;
    case CLIENT_BUSY:
        if (c->saw_eof || (c->saw_hangup && !wants_input(c)))
            note_half_close(c);
        else if (c->has_to_look && !deadline_is_armed(&c->wait))
            deadline_arm(c->all->options.deadlines, DEADLINE_LOOK, &c->wait);
        break;
    case CLIENT_UPGRADED:
        if (c->saw_eof && !c->is_paused && !c->is_ended)
            client_close(c, ERR_CLIENT_GONE);
        else if (c->has_to_look && !deadline_is_armed(&c->wait))
            deadline_arm(c->all->options.deadlines, DEADLINE_LOOK, &c->wait);
        break;
    case CLIENT_CLOSED:
        break;
    }
}

/* ---- deadlines ---- */

void client_on_header_late(struct deadline *d)
{
    struct client *c = NODE_OF(d, struct client, wait);
    CHECK_OBJ(c, CLIENT_MAGIC);
    struct slice input = buf_slice(&c->in);
    refuse(c, ERR_HEADER_TIMEOUT, input, input.len);
    buf_fini(&c->in);
}

void client_on_body_late(struct deadline *d)
{
    struct client *c = NODE_OF(d, struct client, wait);
    CHECK_OBJ(c, CLIENT_MAGIC);
    fail_body(c, ERR_BODY_TIMEOUT, buf_slice(&c->in), 0, body_place(c));
}

void client_on_look(struct deadline *d)
{
    struct client *c = NODE_OF(d, struct client, wait);
    CHECK_OBJ(c, CLIENT_MAGIC);
    ASSERT(c->state == CLIENT_BUSY || c->state == CLIENT_UPGRADED);
    client_look(c);
    c->has_to_look = false;
}
