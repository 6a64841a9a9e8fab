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
static bool is_started;
static char scratch[FRAME_MAX_BULK];

size_t ticket_room(const struct ticket *t)
{
    return t->state == TICKET_SENT ? (size_t)t->to_app.left : 0;
}

bool ticket_is_started(const struct ticket *t)
{
    (void)t;
    return is_started;
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
    is_started = false;
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
    assert_int_equal(upload_room(&upload, &ticket), 0);
    upload_complete(&upload, &ticket);
    assert_sent("hello", 1);
    end();
}

static void what_was_streamed_can_be_sent_again_until_it_is_started(void **state)
{
    (void)state;
    begin(UPLOAD_STREAM);
    leave(10);
    take("hello ");
    assert_sent("hello ", 0);
    assert_true(ticket.is_replayable);
    buf_clear(&sent);
    leave(100); /* it was handed back, and there is another */
    assert_sent("hello ", 0);
    take("wor");
    is_started = true;
    take("ld");
    assert_false(ticket.is_replayable);
    assert_int_equal(upload.spool.size, 0);
    take("!");
    upload_complete(&upload, &ticket);
    assert_sent("hello world!", 1);
    end();
}

static void no_more_of_a_stream_is_kept_than_the_limit(void **state)
{
    (void)state;
    static char piece[UPLOAD_KEEP / 4 + 1];
    begin(UPLOAD_STREAM);
    leave(2 * UPLOAD_KEEP);
    memset(piece, 'x', sizeof(piece) - 1);
    for (int i = 0; i < 4; i++)
        take(piece);
    assert_true(ticket.is_replayable);
    assert_int_equal(upload.spool.size, UPLOAD_KEEP);
    take("x");
    assert_false(ticket.is_replayable);
    assert_int_equal(upload.spool.size, 0);
    assert_int_equal(buf_len(&sent), UPLOAD_KEEP + 1);
    end();
}

static void a_copy_that_cannot_be_kept_is_no_failure(void **state)
{
    (void)state;
    static char piece[SPOOL_MEMORY + 2];
    begin(UPLOAD_STREAM);
    upload.spool.temp_dir = "/nowhere";
    leave(UPLOAD_KEEP);
    memset(piece, 'x', sizeof(piece) - 1);
    take(piece);
    assert_false(ticket.is_replayable);
    assert_int_equal(buf_len(&sent), SPOOL_MEMORY + 1);
    end();
}

static void forgetting_waits_for_what_did_not_leave(void **state)
{
    (void)state;
    begin(UPLOAD_GATHER);
    take("hello");
    upload_complete(&upload, &ticket);
    leave(4);
    upload_forget(&upload, &ticket);
    assert_int_equal(upload.spool.size, 5);
    grant(1);
    assert_sent("hello", 1);
    upload_forget(&upload, &ticket);
    assert_int_equal(upload.spool.size, 0);
    assert_false(ticket.is_replayable);
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
        cmocka_unit_test(what_was_streamed_can_be_sent_again_until_it_is_started),
        cmocka_unit_test(no_more_of_a_stream_is_kept_than_the_limit),
        cmocka_unit_test(a_copy_that_cannot_be_kept_is_no_failure),
        cmocka_unit_test(forgetting_waits_for_what_did_not_leave),
        cmocka_unit_test(what_was_gathered_before_streaming_began_goes_first),
        cmocka_unit_test(an_end_before_the_ticket_leaves_is_told_then),
        cmocka_unit_test(an_unwanted_body_has_room_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
