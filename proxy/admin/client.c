/* SPDX-License-Identifier: MIT
 * Somebody who says lines and hears answers, whatever carries them:
 *
 *   carrier -> in -> line -> operation -> out -> carrier
 *
 * One line at a time: the next when its operation is over and the answer has left. */
#include <string.h>

#include "protocol/base/mem.h"
#include "proxy/admin/admin_priv.h"

void admin_client_init(struct admin_client *c,
                       struct admin *admin,
                       const struct admin_carrier *carrier)
{
    c->magic = ADMIN_CLIENT_MAGIC;
    c->id = ++admin->client_ids;
    c->admin = admin;
    c->carrier = carrier;
    buf_init(&c->in, ADMIN_MAX_LINE);
    buf_init(&c->out, 0);
    list_push_back(&admin->clients, &c->node);
}

void admin_client_free(struct admin_client **client_p)
{
    struct admin_client *c = take(*client_p);
    CHECK_OBJ(c, ADMIN_CLIENT_MAGIC);
    if (c->operation != NULL)
        operation_client_left(c->operation);
    node_leave(&c->node);
    buf_fini(&c->in);
    buf_fini(&c->out);
    c->magic = 0;
    c->carrier->free(c);
}

void admin_client_follow(struct admin_client *c)
{
    CHECK_OBJ(c, ADMIN_CLIENT_MAGIC);
    struct slice in = buf_slice(&c->in);
    if (c->operation != NULL || c->is_ending)
        return;
    const char *end = in.len == 0 ? NULL : memchr(in.ptr, '\n', in.len);
    if (end == NULL) {
        if (in.len == ADMIN_MAX_LINE)
            admin_client_refuse(c, "this line is too long");
        else if (c->is_eof)
            admin_client_end(c);
        return;
    }
    size_t length = (size_t)(end - in.ptr);
    own(mem) char *line = mem_alloc(length + 1);
    memcpy(line, in.ptr, length);
    buf_consume(&c->in, length + 1);
    c->carrier->read(c);
    operation_start(c, slice_of(line, length));
}

void admin_client_refuse(struct admin_client *c, const char *why)
{
    buf_addf(&c->out, "!%s\n=%d\n", why, (int)OUTCOME_REFUSED);
    admin_client_end(c);
}

void admin_client_end(struct admin_client *c)
{
    c->is_ending = true;
    admin_client_write(c);
}

void admin_client_write(struct admin_client *c)
{
    c->carrier->write(c);
}

void admin_client_written(struct admin_client *c)
{
    CHECK_OBJ(c, ADMIN_CLIENT_MAGIC);
    ASSERT(buf_len(&c->out) == 0);
    if (c->is_ending)
        admin_client_free(&c);
    else if (c->operation == NULL)
        admin_client_follow(c);
}
