/* SPDX-License-Identifier: MIT
 * No sequence of frames harms the core: seeded random proxies, some of which misbehave,
 * some of which vanish, against handlers that do all that handlers can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/base/clock.h"
#include "protocol/base/log.h"
#include "tests/unit/appserver/core/harness.h"

enum { ROUNDS = 40, STEPS = 120, STREAMS = 12 };

static char bytes[FRAME_MAX_BULK];
static atomic_uint turn;

static void read_all(struct request *r)
{
    struct slice piece;
    enum err e;

    while (request_read(r, 5000, &piece, &e) == STEP_DONE)
        continue;
}

static void stream_some(struct request *r)
{
    struct frame_file file = {SLICE("/srv/x"), 1, 2, 0, 5};
    enum err e = request_head(r, 200, SLICE(""), HEADERS_NONE, false, 0);

    for (size_t n = 1; n < sizeof(bytes) && e == ERR_NONE; n = n * 5 + 3)
        e = request_write(r, slice_of(bytes, n));
    if (e == ERR_NONE && atomic_load(&turn) % 3 == 0 &&
        request_file(r, &file, &e) == STEP_DONE)
        return;
    if (e == ERR_NONE)
        (void)!request_end(r);
}

static void handle(struct request *r, void *arg)
{
    (void)arg;
    switch (atomic_fetch_add(&turn, 1) % 8) {
    case 0:
        read_all(r);
        break;
    case 1:
        stream_some(r);
        return;
    case 2:
        request_abort(r, ERR_APP_FAILED, SLICE("on purpose"));
        return;
    case 3:
        (void)usleep(300);
        break;
    case 4:
        return;
    case 5:
        (void)!request_inform(r, 103, HEADERS_NONE);
        break;
    case 6:
        request_finish(&r);
        return;
    default:
        break;
    }
    if (request_gone(r) == ERR_NONE)
        (void)!request_respond(r, 200, SLICE(""), HEADERS_NONE, slice_of(bytes, 100));
}

static void send_random(struct proxy *p, uint32_t *next)
{
    enum body_form forms[] = {BODY_NONE, BODY_INLINE, BODY_LENGTH, BODY_UNKNOWN};
    uint32_t stream = *next > 0 ? *next - (uint32_t)rand() % STREAMS : 0;
    size_t size = (size_t)rand() % 3000;
    enum body_form form = forms[rand() % 4];

    switch (rand() % 16) {
    default:
        proxy_request_body(p, ++*next, "/x", form, slice_of(bytes, size), size,
                           rand() % 4 == 0 ? REQUEST_EXPECT : 0);
        break;
    case 8:
        frame_pack_body(&p->out, stream, slice_of(bytes, size % 100));
        break;
    case 9:
        frame_pack_end(&p->out, stream, SLICE(""));
        break;
    case 10:
        frame_pack_window(&p->out, stream, (uint64_t)rand());
        break;
    case 11:
    case 12:
        frame_pack_cancel(&p->out, stream, ERR_CLIENT_GONE);
        break;
    case 13:
        frame_pack_filed(&p->out, stream, rand() % 2);
        break;
    case 14:
        frame_pack_ping(&p->out, p->epoch + (rand() % 8 == 0), 1, clock_now_us());
        break;
    case 15:
        if (rand() % 8 == 0)
            buf_add(&p->out, slice_of(bytes, size % 7));
        else
            proxy_send_bulk(p, stream, slice_of(bytes, size + 1));
        break;
    }
}

static void drop_input(struct proxy *p)
{
    struct link_message m;

    while (link_recv(p->link, &m) == STEP_DONE)
        link_message_done(&m);
}

static void no_sequence_of_frames_harms_the_core(void **state)
{
    struct app a;
    struct proxy p, good;

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 31);
    log_set_level(LOG_ERROR);
    app_init(&a, 4, handle, NULL);
    app_start(&a);
    proxy_open(&good, a.endpoint);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint32_t next = 0;
        srand(round);
        proxy_open(&p, a.endpoint);
        for (int step = 0; step < STEPS; step++) {
            send_random(&p, &next);
            if (buf_len(&p.out) > 0 && rand() % 4 == 0)
                proxy_send(&p);
            if (rand() % 8 == 0)
                drop_input(&p);
        }
        proxy_close(&p);
    }
    /* All it held is let go, and it serves. */
    struct frame f;
    while (app_stats(&a).running + app_stats(&a).waiting > 0)
        assert_false(proxy_try_next(&good, 1000, &f));
    atomic_store(&turn, 7);
    proxy_request(&good, 1, "/x");
    proxy_send(&good);
    (void)proxy_expect_response(&good, 1);
    app_stop(&a);
    proxy_close(&good);
    log_set_level(LOG_INFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_sequence_of_frames_harms_the_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
