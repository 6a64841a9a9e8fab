/* SPDX-License-Identifier: MIT
 * proxy/upload.c: each mode, with a ticket that only counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/upload.h"

static struct ticket ticket;
static struct upload upload;
static struct buf sent;
static int ends;
static char scratch[FRAME_MAX_BULK];

size_t ticket_room(const struct ticket *t)
{
    return t->state == TICKET_SENT ? (size_t)t->to_app.left : 0;
}

void ticket_send_body(struct ticket *t, struct slice data)
{
    assert_true(data.len <= t->to_app.left);
    t->to_app.left -= data.len;
    buf_add(&sent, data);
}

void ticket_send_end(struct ticket *t)
{
    assert_int_equal(t->state, TICKET_SENT);
    ends++;
}

static void begin(enum upload_mode mode)
{
    ticket = (struct ticket){.is_replayable = true};
    buf_init(&sent, 0);
    ends = 0;
    upload_init(&upload, mode, "/tmp");
}

static void end(void)
{
    upload_fini(&upload);
    buf_fini(&sent);
}

/* The ticket left for a backend with so much room. */
static void leave(uint64_t room)
{
    ticket.state = TICKET_SENT;
    ticket.to_app.left = room;
    upload_restart(&upload);
    assert_int_equal(upload_pump(&upload, &ticket, scratch), ERR_NONE);
}

static void grant(uint64_t room)
{
    ticket.to_app.left += room;
    assert_int_equal(upload_pump(&upload, &ticket, scratch), ERR_NONE);
}

static void take(const char *text)
{
    assert_true(upload_room(&upload, &ticket) >= strlen(text));
    assert_int_equal(upload_take(&upload, &ticket, slice_from(text)), ERR_NONE);
}

static void assert_sent(const char *text, int want_ends)
{
    assert_int_equal(buf_len(&sent), strlen(text));
    assert_memory_equal(buf_slice(&sent).ptr == NULL ? "" : buf_slice(&sent).ptr, text,
                        strlen(text));
    assert_int_equal(ends, want_ends);
}

static void without_a_body_there_is_no_room_and_nothing_to_send(void **state)
{
    (void)state;
    begin(UPLOAD_NONE);
    leave(100);
    assert_int_equal(upload_room(&upload, &ticket), 0);
    assert_sent("", 0);
    end();
}

static void a_gathered_body_leaves_as_there_is_room_and_again_for_a_retry(void **state)
{
    (void)state;
    begin(UPLOAD_GATHER);
    take("hello ");
    take("world");
    upload_complete(&upload, &ticket);
    assert_int_equal(upload.mode, UPLOAD_SPOOLED);
    assert_int_equal(upload.received, 11);
    assert_int_equal(upload_room(&upload, &ticket), 0);
    leave(4);
    assert_sent("hell", 0);
    buf_clear(&sent);
    leave(10);
    assert_sent("hello worl", 0);
    grant(1);
    assert_sent("hello world", 1);
    grant(100);
    assert_sent("hello world", 1);
    assert_true(ticket.is_replayable);
    end();
}

static void a_streamed_body_goes_no_further_than_there_is_room(void **state)
{
    (void)state;
    begin(UPLOAD_STREAM);
    assert_int_equal(upload_room(&upload, &ticket), 0); /* queued */
    leave(5);
    assert_int_equal(upload_room(&upload, &ticket), 5);
    assert_true(ticket.is_replayable); /* nothing is lost yet */
    take("hello");
    assert_false(ticket.is_replayable);
    assert_int_equal(upload_room(&upload, &ticket), 0);
    upload_complete(&upload, &ticket);
    assert_sent("hello", 1);
    end();
}

static void what_was_gathered_before_streaming_began_goes_first(void **state)
{
    (void)state;
    begin(UPLOAD_GATHER);
    take("hello ");
    upload.mode = UPLOAD_STREAM;
    leave(4);
    assert_int_equal(upload_room(&upload, &ticket), 0);
    grant(4);
    assert_int_equal(upload_room(&upload, &ticket), 2);
    take("wo");
    upload_complete(&upload, &ticket);
    assert_sent("hello wo", 1);
    end();
}

static void an_end_before_the_ticket_leaves_is_told_then(void **state)
{
    (void)state;
    begin(UPLOAD_GATHER);
    take("hello");
    upload.mode = UPLOAD_STREAM;
    upload_complete(&upload, &ticket);
    assert_sent("", 0);
    leave(100);
    assert_sent("hello", 1);
    end();
}

static void an_unwanted_body_has_room_without_end(void **state)
{
    (void)state;
    begin(UPLOAD_DISCARD);
    assert_int_equal(upload_room(&upload, &ticket), SIZE_MAX);
    take("hello");
    upload_complete(&upload, &ticket);
    assert_sent("", 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_body_there_is_no_room_and_nothing_to_send),
        cmocka_unit_test(a_gathered_body_leaves_as_there_is_room_and_again_for_a_retry),
        cmocka_unit_test(a_streamed_body_goes_no_further_than_there_is_room),
        cmocka_unit_test(what_was_gathered_before_streaming_began_goes_first),
        cmocka_unit_test(an_end_before_the_ticket_leaves_is_told_then),
        cmocka_unit_test(an_unwanted_body_has_room_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
