/* SPDX-License-Identifier: MIT
 * The functions of loop.h without a core. */
#include <Python.h>

#include "tests/support/fake_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/interp/own.h"

enum { ITERATIONS = 30 };

static void served_out(void)
{
}

struct server *fake_server_new(PyObject *namespace,
                               const struct server_options *options,
                               struct core *core)
{
    static const struct server_options plain = {
        .root_path = "",
        .on_served_out = served_out,
        .graceful_timeout_s = 30,
    };
    py_own PyObject *asyncio = PyImport_ImportModule("asyncio");
    py_own PyObject *loop = PyObject_CallMethod(asyncio, "new_event_loop", NULL);
    py_own PyObject *state = PyDict_New();
    py_own PyObject *app = Py_XNewRef(PyDict_GetItemString(namespace, "app"));

    assert_non_null(loop);
    assert_non_null(app);
    assert_true(server_init());
    assert_int_equal(PyDict_SetItemString(namespace, "loop", loop), 0);
    assert_int_equal(PyDict_SetItemString(namespace, "state", state), 0);
    *core = (struct core){.count = 0};
    struct server *s = server_new(app, loop, state, options == NULL ? &plain : options);
    if (s == NULL)
        PyErr_Print();
    assert_non_null(s);
    s->core = core;
    return s;
}

void fake_server_free(struct server **server_p)
{
    py_own PyObject *loop = Py_NewRef((*server_p)->loop);

    server_free(server_p);
    py_own PyObject *closed = PyObject_CallMethod(loop, "close", NULL);
    assert_non_null(closed);
}

void fake_core_tell(struct core *core, struct request *r, unsigned what)
{
    assert_true(core->count < FAKE_NEWS);
    core->news[core->count++] = (struct loop_news){.request = r, .what = what};
}

void fake_server_turn(struct server *s)
{
    server_turn(s);
    fake_server_settle(s);
}

void fake_server_start(struct server *s, struct request *r)
{
    fake_core_tell(s->core, r, NEWS_STARTED);
    fake_server_turn(s);
}

/* stop() before run_forever() makes it one iteration. */
void fake_server_settle(struct server *s)
{
    for (int i = 0; i < ITERATIONS; i++) {
        py_own PyObject *stopped = PyObject_CallMethod(s->loop, "stop", NULL);
        py_own PyObject *ran = PyObject_CallMethod(s->loop, "run_forever", NULL);
        if (ran == NULL)
            PyErr_Print();
        assert_non_null(stopped);
        assert_non_null(ran);
    }
}

void fake_request_incoming(struct request *r, enum ws_op op, const char *data)
{
    assert_true(r->incoming_count < FAKE_PIECES);
    r->incoming[r->incoming_count++] =
        (struct ws_piece){.op = op, .data = slice_from(data), .fin = true};
}

/* ---- loop.h ---- */

void core_loop_enter(struct core *core, uint64_t thread_tag)
{
    (void)core;
    (void)thread_tag;
}

int core_loop_fd(const struct core *core)
{
    (void)core;
    return -1;
}

size_t core_loop_turn(struct core *core, struct loop_news *ret_news, size_t max)
{
    size_t count = core->count;

    assert_true(count <= max);
    memcpy(ret_news, core->news, count * sizeof *ret_news);
    core->count = 0;
    return count;
}

void core_loop_flush(struct core *core)
{
    core->flushes++;
}

bool core_is_draining(const struct core *core)
{
    return core->is_draining;
}

bool core_is_drained(struct core *core)
{
    return core->count == 0;
}

void request_set_owner(struct request *r, void *owner)
{
    r->owner = owner;
}

void *request_owner(const struct request *r)
{
    return r->owner;
}

enum take
request_take(struct request *r, size_t max, struct slice *ret_data, enum err *ret_err)
{
    if (r->gone != ERR_NONE) {
        *ret_err = r->gone;
        return TAKE_GONE;
    }
    switch (request_read(r, max, ret_data, ret_err)) {
    case STEP_DONE:
        return TAKE_DATA;
    case STEP_MORE:
        return r->is_open ? TAKE_WAIT : TAKE_END;
    default:
        return TAKE_GONE;
    }
}

uint32_t request_inline_max(const struct request *r)
{
    (void)r;
    return FRAME_MAX_INLINE_BODY;
}

/* As much of `data` as there is room for; advances both. */
static struct slice take_room(struct request *r, struct slice *data)
{
    struct slice part = slice_of(data->ptr, data->len < r->room ? data->len : r->room);

    if (r->room != SIZE_MAX)
        r->room -= part.len;
    data->ptr += part.len;
    data->len -= part.len;
    return part;
}

enum err request_put(struct request *r, struct slice *data)
{
    if (r->gone != ERR_NONE)
        return r->gone;
    struct slice part = take_room(r, data);
    if (part.len > 0) {
        fake_request_note(r, "PUT ");
        buf_add(&r->sent, part);
    }
    return ERR_NONE;
}

enum err
request_put_file(struct request *r, const struct frame_file *file, bool *ret_asked)
{
    *ret_asked = r->takes_files;
    if (r->takes_files) {
        fake_request_note(r, "FILE ");
        buf_addf(&r->sent, "%llu", (unsigned long long)file->length);
    }
    return r->gone;
}

bool request_file_taken(const struct request *r)
{
    return r->is_filed;
}

enum err request_end_with(struct request *r, struct slice trailers)
{
    fake_request_note(r, "END");
    if (trailers.len > 0) {
        buf_add(&r->sent, SLICE(" "));
        fake_request_note_fields(r, trailers);
    }
    return r->gone;
}

bool request_takes_trailers(const struct request *r)
{
    return r->takes_trailers;
}

bool request_takes_inform(const struct request *r)
{
    return r->takes_inform;
}

bool request_is_websocket(const struct request *r)
{
    return r->is_websocket;
}

enum err
request_ws_accept(struct request *r, struct slice subprotocol, struct slice headers)
{
    fake_request_note(r, "ACCEPT ");
    buf_addf(&r->sent, "%.*s", SLICE_FMT(subprotocol));
    fake_request_note_fields(r, headers);
    return r->gone;
}

enum err
request_ws_put(struct request *r, enum ws_op op, struct slice *data, bool *ret_done)
{
    if (r->gone != ERR_NONE)
        return r->gone;
    *ret_done = r->room > 0;
    struct slice part = take_room(r, data);
    *ret_done = *ret_done && data->len == 0;
    if (part.len > 0 || *ret_done) {
        fake_request_note(r, op == WS_TEXT ? "TEXT" : "BINARY");
        buf_addf(&r->sent, "%s %.*s", *ret_done ? "" : "+", SLICE_FMT(part));
    }
    return ERR_NONE;
}

enum err request_ws_close(struct request *r, uint16_t code, struct slice reason)
{
    fake_request_note(r, "CLOSE ");
    buf_addf(&r->sent, "%u %.*s", code, SLICE_FMT(reason));
    return r->gone;
}

enum take
request_ws_take(struct request *r, struct ws_piece *ret_piece, enum err *ret_err)
{
    if (r->next_incoming < r->incoming_count) {
        *ret_piece = r->incoming[r->next_incoming++];
        return TAKE_DATA;
    }
    *ret_err = r->gone;
    return r->gone != ERR_NONE ? TAKE_GONE : TAKE_WAIT;
}
