/* SPDX-License-Identifier: MIT
 * An app server's answer on its way to the client: head, framing of the body, and the
 * count of what was passed on, which is what the app server may send more of. */
#ifndef PROXY_ANSWER_H
#define PROXY_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"
#include "protocol/base/slice.h"
#include "protocol/frame.h"
#include "proxy/http/client.h"
#include "proxy/http/file.h"
#include "proxy/http/respond.h"
#include "proxy/upstream/ticket.h"

struct answer {
    struct response_plan plan;
    int status;        /* 0: no head yet */
    uint64_t received; /* body bytes from the app server */
    uint64_t body_out; /* body bytes given to the client */
    uint64_t passed;   /* reported to ticket_passed_on */
    bool has_excess;   /* more came than the head said */
};

/* True: the head stands in the client's output. */
MUST_CHECK bool answer_head(struct answer *a,
                            struct client *c,
                            const struct frame_response *response,
                            const struct response_to *to,
                            struct response_failure *ret_failure);
void answer_body(struct answer *a,
                 struct client *c,
                 struct ticket *t,
                 struct slice data);
/* `trailers`: NULL or without any: none. False: less came than the head said
 * (RESPONSE_TRUNCATED), or the trailers are bad. */
MUST_CHECK bool answer_end(struct answer *a,
                           struct client *c,
                           const struct header_list *trailers,
                           struct response_failure *ret_failure);

/* True: the file takes the place of the body's bytes. */
MUST_CHECK bool answer_file(struct answer *a,
                            struct client *c,
                            const struct file_roots *roots,
                            const struct frame_file *file);

/* Tells the ticket what the client has taken since. */
void answer_passed_on(struct answer *a, const struct client *c, struct ticket *t);
/* Body bytes that reached the socket. */
uint64_t answer_sent_bytes(const struct answer *a, const struct client *c);

#endif
