/* SPDX-License-Identifier: MIT
 * The body as a file object.
 *
 *   request memory:  |.. given out ..|... rest ...|   one piece, valid until the next
 *                                                     request_read
 *
 * Bytes are copied once, from the piece into the object that the application gets. */
#include <Python.h>

#include "appserver/wsgi/input.h"

#include <stdatomic.h>
#include <unistd.h>

#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/own.h"
#include "protocol/base/buf.h"

enum {
    INPUT_PIECE_BYTES = 128 * 1024,
    INPUT_FIRST_BYTES =
        64 * 1024, /* what read() takes before it knows how much comes */
    INPUT_CLOSE_WAIT_US = 1000,
};

enum input_state { INPUT_EMPTY, INPUT_OPEN, INPUT_OVER };

struct input {
    PyObject_HEAD enum input_state state;
    struct request *request;
    struct slice rest;
    bool is_end;         /* nothing comes after `rest` */
    enum err failed;     /* every further read says so */
    uint64_t left_bytes; /* in `rest` and after it; UINT64_MAX: unknown */
    atomic_bool is_busy; /* a thread is inside a read */
};

static PyTypeObject *input_type;

static PyObject *read_some(struct input *in, uint64_t want);
static PyObject *read_line(struct input *in, uint64_t want);
static size_t fill(struct input *in, char *to, size_t want);
static bool refill(struct input *in);
static bool gather_line(struct input *in, uint64_t want, struct buf *line);
static struct slice take_rest(struct input *in, size_t bytes);

PyObject *input_new(void)
{
    struct input *in = PyObject_New(struct input, input_type);

    if (in != NULL) {
        in->state = INPUT_EMPTY;
        in->request = NULL;
        in->rest = slice_of("", 0);
        in->is_end = true;
        in->failed = ERR_NONE;
        in->left_bytes = 0;
        atomic_init(&in->is_busy, false);
    }
    return (PyObject *)in;
}

void input_open(PyObject *input, struct request *request)
{
    struct input *in = (struct input *)input;
    const struct frame_request *f = request_frame(request);
    bool is_here = f->body_form == BODY_INLINE || f->body_form == BODY_NONE;

    in->state = INPUT_OPEN;
    in->request = request;
    in->rest = f->body_form == BODY_INLINE ? f->body : slice_of("", 0);
    in->is_end = is_here;
    in->failed = ERR_NONE;
    in->left_bytes = is_here                       ? in->rest.len
                     : f->body_form == BODY_LENGTH ? f->body_length
                                                   : UINT64_MAX;
}

void input_close(PyObject *input)
{
    struct input *in = (struct input *)input;

    in->state = INPUT_OVER;
    while (atomic_load(&in->is_busy)) {
        GIL_YIELD;
        (void)usleep(INPUT_CLOSE_WAIT_US);
    }
    in->request = NULL;
    in->rest = slice_of("", 0);
}

bool input_is_unshared(PyObject *input)
{
    return Py_REFCNT(input) == 1;
}

/* ---- the methods ---- */

static struct input *enter(PyObject *self)
{
    struct input *in = (struct input *)self;

    if (in->state == INPUT_OVER) {
        PyErr_SetString(PyExc_ValueError, "wsgi.input was used after its request");
        return NULL;
    }
    if (atomic_exchange(&in->is_busy, true)) {
        PyErr_SetString(PyExc_RuntimeError, "wsgi.input is in use by another thread");
        return NULL;
    }
    return in;
}

static void leave(struct input *in)
{
    atomic_store(&in->is_busy, false);
}

static void raise_failed(const struct input *in)
{
    PyErr_SetString(failure_client_gone, err_text(in->failed));
}

/* The optional size argument: None and negative mean all. */
static bool pick_size(PyObject *const *args, Py_ssize_t count, uint64_t *ret_size)
{
    *ret_size = UINT64_MAX;
    if (count > 1) {
        PyErr_SetString(PyExc_TypeError, "at most one argument is expected");
        return false;
    }
    if (count == 0 || args[0] == Py_None)
        return true;
    Py_ssize_t size = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred())
        return false;
    if (size >= 0)
        *ret_size = (uint64_t)size;
    return true;
}

static PyObject *input_read(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t want;

    if (!pick_size(args, count, &want))
        return NULL;
    struct input *in = enter(self);
    if (in == NULL)
        return NULL;
    PyObject *bytes = read_some(in, want);
    leave(in);
    return bytes;
}

static PyObject *input_readline(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t want;

    if (!pick_size(args, count, &want))
        return NULL;
    struct input *in = enter(self);
    if (in == NULL)
        return NULL;
    PyObject *line = read_line(in, want);
    leave(in);
    return line;
}

/* Lines until the end, or until `hint` bytes are passed. */
static PyObject *
input_readlines(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t hint, total = 0;

    if (!pick_size(args, count, &hint))
        return NULL;
    if (hint == 0)
        hint = UINT64_MAX;
    struct input *in = enter(self);
    if (in == NULL)
        return NULL;
    py_own PyObject *lines = PyList_New(0);
    bool more = lines != NULL;
    while (more && total < hint) {
        py_own PyObject *line = read_line(in, UINT64_MAX);
        more = line != NULL && PyBytes_GET_SIZE(line) > 0;
        if (line == NULL || (more && PyList_Append(lines, line) < 0)) {
            Py_CLEAR(lines);
            break;
        }
        total += (uint64_t)PyBytes_GET_SIZE(line);
    }
    leave(in);
    return py_take(lines);
}

static PyObject *input_readinto(PyObject *self, PyObject *target)
{
    Py_buffer view;

    if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    struct input *in = enter(self);
    PyObject *count = NULL;
    if (in != NULL) {
        size_t got = fill(in, view.buf, (size_t)view.len);
        if (in->failed != ERR_NONE)
            raise_failed(in);
        else
            count = PyLong_FromSize_t(got);
        leave(in);
    }
    PyBuffer_Release(&view);
    return count;
}

static PyObject *input_next(PyObject *self)
{
    struct input *in = enter(self);

    if (in == NULL)
        return NULL;
    PyObject *line = read_line(in, UINT64_MAX);
    leave(in);
    if (line != NULL && PyBytes_GET_SIZE(line) == 0)
        Py_CLEAR(line);
    return line;
}

static void input_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_Free(self);
    Py_DECREF(type);
}

bool input_init(void)
{
    static PyMethodDef methods[] = {
        {"read", (PyCFunction)(void (*)(void))input_read, METH_FASTCALL,
         PyDoc_STR("read([size]): so many bytes, fewer only at the end of the body.")},
        {"readline", (PyCFunction)(void (*)(void))input_readline, METH_FASTCALL,
         PyDoc_STR("readline([size]): up to and with the next newline.")},
        {"readlines", (PyCFunction)(void (*)(void))input_readlines, METH_FASTCALL,
         PyDoc_STR("readlines([hint]): a list of lines.")},
        {"readinto", input_readinto, METH_O,
         PyDoc_STR(
             "readinto(buffer): fills it; the count is smaller only at the end.")},
        {0},
    };
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)input_dealloc},
        {Py_tp_iter, (void *)PyObject_SelfIter},
        {Py_tp_iternext, (void *)input_next},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "banyan._core.Input",
        .basicsize = sizeof(struct input),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    if (input_type == NULL)
        input_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return input_type != NULL;
}

/* ---- reading; `in` is entered ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Grows by what has arrived, not by what was announced. */
static PyObject *read_some(struct input *in, uint64_t want)
{
    size_t size = (size_t)least(least(want, in->left_bytes),
                                in->rest.len > INPUT_FIRST_BYTES ? in->rest.len
                                                                 : INPUT_FIRST_BYTES);
    size_t got = 0;
    py_own PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);

    while (bytes != NULL) {
        got += fill(in, PyBytes_AS_STRING(bytes) + got, size - got);
        if (in->failed != ERR_NONE) {
            raise_failed(in);
            return NULL;
        }
        if (got < size || got == want || in->left_bytes == 0)
            break;
        size = (size_t)least(least(want, (uint64_t)size * 2),
                             in->left_bytes == UINT64_MAX ? UINT64_MAX
                                                          : got + in->left_bytes);
        (void)_PyBytes_Resize(&bytes, (Py_ssize_t)size);
    }
    if (bytes != NULL && got < size)
        (void)_PyBytes_Resize(&bytes, (Py_ssize_t)got);
    return py_take(bytes);
}

static PyObject *read_line(struct input *in, uint64_t want)
{
    const char *newline = memchr(in->rest.ptr, '\n', in->rest.len);
    size_t length =
        newline == NULL ? in->rest.len : (size_t)(newline - in->rest.ptr) + 1;

    /* The usual case: the line is here. */
    if (newline != NULL || in->is_end || length >= want) {
        struct slice line = take_rest(in, (size_t)least(length, want));
        return PyBytes_FromStringAndSize(line.ptr, (Py_ssize_t)line.len);
    }
    struct buf line;
    PyObject *bytes = NULL;
    buf_init(&line, 0);
    if (gather_line(in, want, &line))
        bytes =
            PyBytes_FromStringAndSize(buf_slice(&line).ptr, (Py_ssize_t)buf_len(&line));
    else
        raise_failed(in);
    buf_fini(&line);
    return bytes;
}

/* Over several pieces. False: in->failed. */
static bool gather_line(struct input *in, uint64_t want, struct buf *line)
{
    GIL_YIELD;
    while (buf_len(line) < want && refill(in)) {
        const char *newline = memchr(in->rest.ptr, '\n', in->rest.len);
        size_t length =
            newline == NULL ? in->rest.len : (size_t)(newline - in->rest.ptr) + 1;
        buf_add(line, take_rest(in, (size_t)least(length, want - buf_len(line))));
        if (newline != NULL)
            break;
    }
    return in->failed == ERR_NONE;
}

/* Copies up to `want` bytes, fewer only at the end or on failure. Yields only when it
 * may have to wait. */
static size_t fill(struct input *in, char *to, size_t want)
{
    size_t got = 0;

    if (in->is_end || in->rest.len >= want) {
        struct slice s = take_rest(in, want);
        if (s.len > 0)
            memcpy(to, s.ptr, s.len);
        return s.len;
    }
    GIL_YIELD;
    while (got < want && refill(in)) {
        struct slice s = take_rest(in, want - got);
        memcpy(to + got, s.ptr, s.len);
        got += s.len;
    }
    return got;
}

/* Without the GIL. Makes `rest` not empty; false: the end, or in->failed. */
static bool refill(struct input *in)
{
    if (in->rest.len > 0)
        return true;
    if (in->is_end || in->failed != ERR_NONE)
        return false;
    switch (request_read(in->request, INPUT_PIECE_BYTES, &in->rest, &in->failed)) {
    case STEP_DONE:
        return true;
    case STEP_MORE:
        in->is_end = true;
        in->left_bytes = 0;
        break;
    case STEP_BAD:
        break;
    }
    in->rest = slice_of("", 0);
    return false;
}

static struct slice take_rest(struct input *in, size_t bytes)
{
    struct slice taken = slice_of(in->rest.ptr, (size_t)least(bytes, in->rest.len));

    in->rest.ptr += taken.len;
    in->rest.len -= taken.len;
    if (in->left_bytes != UINT64_MAX) {
        in->left_bytes -= least(in->left_bytes, taken.len);
        in->is_end = in->is_end || in->left_bytes == 0;
    }
    return taken;
}
