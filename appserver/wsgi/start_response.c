/* SPDX-License-Identifier: MIT
 * Judges what an application says about its answer and packs it for the wire in the
 * same pass: status and fields are latin-1 str without control characters, names are
 * tokens, framing fields are not the application's. */
#include <Python.h>
#include <structmember.h>

#include "appserver/wsgi/start_response.h"

#include <stdatomic.h>
#include <unistd.h>

#include "appserver/interp/failure.h"
#include "appserver/interp/field.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/names.h"
#include "appserver/interp/own.h"
#include "appserver/interp/text.h"

enum { STATUS_FIRST = 200, STATUS_LAST = 999, UNBIND_WAIT_US = 1000 };

struct bound {
    PyObject_HEAD vectorcallfunc vectorcall;
    struct answer *answer; /* NULL: the request is over */
    PyObject *write;       /* of start_response: the struct bound that it returns */
    atomic_bool is_busy;   /* of write(): a thread is inside */
};

static PyTypeObject *bound_type;

static PyObject *start_response_call(PyObject *self,
                                     PyObject *const *args,
                                     size_t nargsf,
                                     PyObject *keywords);
static PyObject *
write_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *keywords);
static bool pick_exc_info(PyObject *const *args,
                          Py_ssize_t count,
                          PyObject *keywords,
                          PyObject **ret_exc_info);
static bool may_start(const struct answer *a, PyObject *exc_info);
static bool raise_exc_info(PyObject *exc_info);
static bool
parse_status(PyObject *status, uint16_t *ret_code, struct slice *ret_reason);
static bool add_field(PyObject *field, struct answer *a);
static bool write_chunk(struct bound *b, PyObject *chunk);

static void bound_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_CLEAR(((struct bound *)self)->write);
    PyObject_Free(self);
    Py_DECREF(type);
}

bool start_response_init(void)
{
    static PyMemberDef members[] = {
        {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct bound, vectorcall),
         READONLY, NULL},
        {0},
    };
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)bound_dealloc},
        {Py_tp_call, (void *)PyVectorcall_Call},
        {Py_tp_members, members},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "banyan._core.StartResponse",
        .basicsize = sizeof(struct bound),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL |
                 Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    if (bound_type == NULL)
        bound_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return bound_type != NULL;
}

static struct bound *bound_new(vectorcallfunc call)
{
    struct bound *b = PyObject_New(struct bound, bound_type);

    if (b != NULL) {
        b->vectorcall = call;
        b->answer = NULL;
        b->write = NULL;
        atomic_init(&b->is_busy, false);
    }
    return b;
}

PyObject *start_response_new(void)
{
    struct bound *b = bound_new(start_response_call);

    if (b == NULL)
        return NULL;
    b->write = (PyObject *)bound_new(write_call);
    if (b->write == NULL)
        Py_CLEAR(b);
    return (PyObject *)b;
}

void start_response_bind(PyObject *start_response, struct answer *answer)
{
    struct bound *b = (struct bound *)start_response;
    struct bound *w = (struct bound *)b->write;

    b->answer = answer;
    w->answer = answer;
    while (answer == NULL && atomic_load(&w->is_busy)) {
        GIL_YIELD;
        (void)usleep(UNBIND_WAIT_US);
    }
}

bool start_response_is_unshared(PyObject *start_response)
{
    return Py_REFCNT(start_response) == 1 &&
           Py_REFCNT(((struct bound *)start_response)->write) == 1;
}

bool start_response_add_fields(PyObject *fields, struct answer *answer)
{
    py_own PyObject *list =
        PySequence_Fast(fields, "the headers must be a list of (name, value)");
    if (list == NULL)
        return false;
    /* Nothing below runs Python code, so the list stays as it is. */
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list); i++)
        if (!add_field(PySequence_Fast_GET_ITEM(list, i), answer))
            return false;
    return true;
}

/* start_response(status, headers, exc_info=None) */
static PyObject *start_response_call(PyObject *self,
                                     PyObject *const *args,
                                     size_t nargsf,
                                     PyObject *keywords)
{
    struct bound *b = (struct bound *)self;
    struct answer *a = b->answer;
    PyObject *exc_info = NULL;
    struct slice reason;
    uint16_t code;

    if (!pick_exc_info(args, PyVectorcall_NARGS(nargsf), keywords, &exc_info))
        return NULL;
    if (a == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "start_response was called after its request had ended");
        return NULL;
    }
    if (!may_start(a, exc_info) || !parse_status(args[0], &code, &reason))
        return NULL;
    answer_start(a, code, reason);
    if (!start_response_add_fields(args[1], a))
        return NULL;
    answer_started(a);
    field_log_dropped(a);
    return Py_NewRef(b->write);
}

/* ret_exc_info is borrowed from the caller; NULL: not given or None. */
static bool pick_exc_info(PyObject *const *args,
                          Py_ssize_t count,
                          PyObject *keywords,
                          PyObject **ret_exc_info)
{
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);

    if (count < 2 || count + named > 3) {
        PyErr_Format(PyExc_TypeError,
                     "start_response takes status, headers and exc_info (%zd given)",
                     count + named);
        return false;
    }
    if (named == 1 &&
        PyUnicode_Compare(PyTuple_GET_ITEM(keywords, 0), name_exc_info) != 0) {
        PyErr_SetString(PyExc_TypeError, "start_response has no keyword but exc_info");
        return false;
    }
    if (count + named == 3 && args[2] != Py_None)
        *ret_exc_info = args[2];
    return true;
}

static bool may_start(const struct answer *a, PyObject *exc_info)
{
    bool is_sent = a->state == ANSWER_HEAD || a->state == ANSWER_DONE;

    if (exc_info != NULL &&
        (!PyTuple_Check(exc_info) || PyTuple_GET_SIZE(exc_info) != 3)) {
        PyErr_SetString(PyExc_TypeError,
                        "exc_info must be the tuple of sys.exc_info()");
        return false;
    }
    if (exc_info != NULL)
        return !is_sent || raise_exc_info(exc_info);
    if (a->state != ANSWER_NONE) {
        PyErr_SetString(PyExc_RuntimeError,
                        "start_response was called a second time without exc_info");
        return false;
    }
    return true;
}

/* Always false: the application's exception is pending again, its head is on its way.
 */
static bool raise_exc_info(PyObject *exc_info)
{
    py_own PyObject *value = Py_NewRef(PyTuple_GET_ITEM(exc_info, 1));

    if (!PyExceptionInstance_Check(value))
        PyErr_SetString(PyExc_TypeError, "exc_info holds no exception");
    else if (PyTraceBack_Check(PyTuple_GET_ITEM(exc_info, 2)) &&
             PyException_SetTraceback(value, PyTuple_GET_ITEM(exc_info, 2)) < 0)
        return false;
    else
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
    return false;
}

static bool parse_status(PyObject *status, uint16_t *ret_code, struct slice *ret_reason)
{
    struct slice s;

    if (!PyUnicode_Check(status)) {
        PyErr_Format(PyExc_TypeError, "the status must be str, not %.100s",
                     Py_TYPE(status)->tp_name);
        return false;
    }
    if (!text_latin1(status, &s) || text_has_control(s)) {
        PyErr_Format(PyExc_ValueError, "the status %R has characters that HTTP forbids",
                     status);
        return false;
    }
    unsigned code = 0;
    size_t digits = 0;
    for (; digits < s.len && digits < 4 && s.ptr[digits] >= '0' && s.ptr[digits] <= '9';
         digits++)
        code = code * 10 + (unsigned)(s.ptr[digits] - '0');
    if (digits != 3 || (s.len > 3 && s.ptr[3] != ' ') || code < STATUS_FIRST ||
        code > STATUS_LAST) {
        PyErr_Format(PyExc_ValueError,
                     "the status %R is not of the form '200 OK' (%d to %d)", status,
                     STATUS_FIRST, STATUS_LAST);
        return false;
    }
    *ret_code = (uint16_t)code;
    *ret_reason = s.len > 4 ? slice_of(s.ptr + 4, s.len - 4) : slice_of("", 0);
    return true;
}

/* One (name, value) of the application's list. */
static bool add_field(PyObject *field, struct answer *a)
{
    struct slice name, value;

    if (!PyTuple_Check(field) || PyTuple_GET_SIZE(field) != 2 ||
        !PyUnicode_Check(PyTuple_GET_ITEM(field, 0)) ||
        !PyUnicode_Check(PyTuple_GET_ITEM(field, 1))) {
        PyErr_Format(PyExc_TypeError, "a header must be a tuple of two str, not %R",
                     field);
        return false;
    }
    if (!text_latin1(PyTuple_GET_ITEM(field, 0), &name) ||
        !text_latin1(PyTuple_GET_ITEM(field, 1), &value)) {
        PyErr_Format(PyExc_ValueError,
                     "header %R has characters that HTTP forbids (beyond latin-1)",
                     field);
        return false;
    }
    return field_add(a, name, value, PyTuple_GET_ITEM(field, 0),
                     PyTuple_GET_ITEM(field, 1));
}

/* write(chunk) */
static PyObject *
write_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *keywords)
{
    struct bound *b = (struct bound *)self;

    if (PyVectorcall_NARGS(nargsf) != 1 || keywords != NULL ||
        !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "write() takes one bytes object");
        return NULL;
    }
    if (b->answer == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "write() was called after its request had ended");
        return NULL;
    }
    if (atomic_exchange(&b->is_busy, true)) {
        PyErr_SetString(PyExc_RuntimeError, "write() is in use by another thread");
        return NULL;
    }
    bool good = write_chunk(b, args[0]);
    atomic_store(&b->is_busy, false);
    return good ? Py_NewRef(Py_None) : NULL;
}

static bool write_chunk(struct bound *b, PyObject *chunk)
{
    struct answer *a = b->answer;
    struct slice bytes =
        slice_of(PyBytes_AS_STRING(chunk), (size_t)PyBytes_GET_SIZE(chunk));
    enum err e = request_gone(a->request);

    if (a->state == ANSWER_NONE) {
        PyErr_SetString(PyExc_RuntimeError, "start_response has not succeeded yet");
        return false;
    }
    if (e == ERR_NONE && bytes.len > 0 && a->state != ANSWER_DONE) {
        GIL_YIELD;
        e = answer_write(a, bytes);
    }
    if (e != ERR_NONE) {
        PyErr_SetString(failure_client_gone, err_text(e));
        return false;
    }
    return true;
}
