/* SPDX-License-Identifier: MIT
 * file_wrapper and the way around Python for plain files. A descriptor is trusted only
 * when it belongs to a raw FileIO: GzipFile and its kind have a fileno() too, whose
 * bytes are not what read() gives. */
#include <Python.h>
#include <structmember.h>

#include "appserver/wsgi/file_wrapper.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appserver/interp/failure.h"
#include "appserver/interp/names.h"
#include "appserver/interp/own.h"
#include "protocol/base/mem.h"

enum {
    FILE_BLOCK_BYTES = 64 * 1024,  /* of read(), where the application names none */
    FILE_PIECE_BYTES = 128 * 1024, /* of pread(2) */
    FILE_UNWRAP_DEPTH = 3,         /* TemporaryFile -> BufferedReader -> FileIO */
};

struct file_wrapper {
    PyObject_HEAD PyObject *file;
    Py_ssize_t block_bytes;
};

static PyTypeObject *wrapper_type;

/* The types whose read() gives the bytes of the file below, and where that is. */
static struct {
    const char *module, *name;
    PyObject **below; /* attribute; NULL: this is the file */
    PyObject *type;
} files[] = {
    {"io", "FileIO", NULL, NULL},
    {"io", "BufferedReader", &name_raw, NULL},
    {"io", "BufferedRandom", &name_raw, NULL},
    {"tempfile", "_TemporaryFileWrapper", &name_file, NULL},
};
enum { FILES = sizeof files / sizeof files[0] };

static PyObject *find_raw(PyObject *file);
static bool find_position(PyObject *file, int fd, uint64_t *ret_offset);
static enum err send_small(const struct plain_file *file, struct answer *a);
static enum step
send_by_edge(const struct plain_file *f, struct answer *a, enum err *ret);
static enum err send_pieces(const struct plain_file *file, struct answer *a);

static PyObject *wrapper_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char filelike[] = "filelike", blksize[] = "blksize";
    static char *names[] = {filelike, blksize, NULL};
    PyObject *file;
    Py_ssize_t block_bytes = FILE_BLOCK_BYTES;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|n:file_wrapper", names, &file,
                                     &block_bytes))
        return NULL;
    PyObject *self = PyType_GenericAlloc(type, 0);
    if (self != NULL) {
        struct file_wrapper *w = (struct file_wrapper *)self;
        w->file = Py_NewRef(file);
        w->block_bytes = block_bytes > 0 ? block_bytes : FILE_BLOCK_BYTES;
    }
    return self;
}

static int wrapper_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((struct file_wrapper *)self)->file);
    return 0;
}

static int wrapper_clear(PyObject *self)
{
    Py_CLEAR(((struct file_wrapper *)self)->file);
    return 0;
}

static void wrapper_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)wrapper_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *wrapper_next(PyObject *self)
{
    struct file_wrapper *w = (struct file_wrapper *)self;
    py_own PyObject *size = PyLong_FromSsize_t(w->block_bytes);
    py_own PyObject *block =
        size == NULL ? NULL : PyObject_CallMethodOneArg(w->file, name_read, size);

    if (block == NULL)
        return NULL;
    int has_bytes = PyObject_IsTrue(block);
    return has_bytes == 1 ? py_take(block) : NULL;
}

/* close() of the file, looked up now: Django puts its own there. */
static PyObject *wrapper_close(PyObject *self, PyObject *unused)
{
    py_own PyObject *close = NULL;

    (void)unused;
    switch (py_find_attr(((struct file_wrapper *)self)->file, name_close, &close)) {
    case PY_FOUND:
        return PyObject_CallNoArgs(close);
    case PY_MISSING:
        return Py_NewRef(Py_None);
    default:
        return NULL;
    }
}

static bool make_type(void)
{
    static PyMethodDef methods[] = {
        {"close", wrapper_close, METH_NOARGS, PyDoc_STR("Closes the file.")},
        {0},
    };
    static PyMemberDef members[] = {
        {"filelike", T_OBJECT_EX, offsetof(struct file_wrapper, file), READONLY, NULL},
        {"blksize", T_PYSSIZET, offsetof(struct file_wrapper, block_bytes), READONLY,
         NULL},
        {0},
    };
    static PyType_Slot slots[] = {
        {Py_tp_new, (void *)wrapper_new},
        {Py_tp_dealloc, (void *)wrapper_dealloc},
        {Py_tp_traverse, (void *)wrapper_traverse},
        {Py_tp_clear, (void *)wrapper_clear},
        {Py_tp_iter, (void *)PyObject_SelfIter},
        {Py_tp_iternext, (void *)wrapper_next},
        {Py_tp_methods, methods},
        {Py_tp_members, members},
        {Py_tp_doc, (void *)(uintptr_t) "file_wrapper(filelike, blksize=65536)"},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "banyan._core.FileWrapper",
        .basicsize = sizeof(struct file_wrapper),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    wrapper_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return wrapper_type != NULL;
}

bool file_wrapper_init(void)
{
    if (wrapper_type != NULL)
        return true;
    for (size_t i = 0; i < FILES; i++) {
        py_own PyObject *module = PyImport_ImportModule(files[i].module);
        if (module == NULL)
            return false;
        files[i].type = PyObject_GetAttrString(module, files[i].name);
        if (files[i].type == NULL)
            return false;
    }
    return make_type();
}

PyObject *file_wrapper_type(void)
{
    return (PyObject *)wrapper_type;
}

bool file_wrapper_plain(PyObject *o, struct plain_file *ret_file)
{
    struct stat st;
    uint64_t offset;

    if (Py_TYPE(o) != wrapper_type)
        return false;
    PyObject *file = ((struct file_wrapper *)o)->file;
    py_own PyObject *raw = find_raw(file);
    py_own PyObject *number =
        raw == NULL ? NULL : PyObject_CallMethodNoArgs(raw, name_fileno);
    int fd = number == NULL ? -1 : (int)PyLong_AsLong(number);
    bool good = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
                find_position(file, fd, &offset);
    if (PyErr_Occurred())
        failure_drop();
    if (!good)
        return false;
    ret_file->fd = fd;
    ret_file->offset = offset;
    ret_file->length =
        (uint64_t)st.st_size > offset ? (uint64_t)st.st_size - offset : 0;
    return true;
}

/* The FileIO at the bottom of `file`. New reference; NULL: something else is there. */
static PyObject *find_raw(PyObject *file)
{
    py_own PyObject *at = Py_NewRef(file);

    for (int depth = 0; depth < FILE_UNWRAP_DEPTH; depth++) {
        PyObject *below = NULL;
        size_t i = 0;
        while (i < FILES && files[i].type != (PyObject *)Py_TYPE(at))
            i++;
        if (i == FILES)
            return NULL;
        if (files[i].below == NULL)
            return py_take(at);
        if (py_find_attr(at, *files[i].below, &below) != PY_FOUND)
            return NULL;
        py_replace(&at, below);
    }
    return NULL;
}

/* Where the next read() of the object would begin, which a buffered reader's descriptor
 * is ahead of. */
static bool find_position(PyObject *file, int fd, uint64_t *ret_offset)
{
    py_own PyObject *tell = NULL;
    long long offset;

    if (py_find_attr(file, name_tell, &tell) == PY_FOUND) {
        py_own PyObject *position = PyObject_CallNoArgs(tell);
        offset = position == NULL ? -1 : PyLong_AsLongLong(position);
    } else {
        offset = (long long)lseek(fd, 0, SEEK_CUR);
    }
    if (offset < 0)
        return false;
    *ret_offset = (uint64_t)offset;
    return true;
}

/* ---- without the GIL ---- */

enum err plain_file_send(const struct plain_file *file, struct answer *a)
{
    struct plain_file f = *file;
    enum err e = ERR_NONE;

    if (!a->has_length)
        answer_set_length(a, f.length);
    if (f.length > a->length)
        f.length = a->length;
    if (answer_is_bodyless(a) || f.length == 0)
        return answer_end(a);
    if (f.length == a->length && f.length <= FRAME_MAX_INLINE_BODY)
        return send_small(&f, a);
    e = answer_send_head(a);
    if (e != ERR_NONE)
        return e;
    if (f.length == a->length) {
        switch (send_by_edge(&f, a, &e)) {
        case STEP_DONE:
            return ERR_NONE;
        case STEP_MORE:
            break;
        case STEP_BAD:
            return e;
        }
    }
    return send_pieces(&f, a);
}

static enum err send_small(const struct plain_file *file, struct answer *a)
{
    if (!buf_reserve(&a->body, (size_t)file->length))
        return ERR_SYSTEM;
    ssize_t n =
        pread(file->fd, buf_tail(&a->body), (size_t)file->length, (off_t)file->offset);
    if (n < 0)
        return ERR_SYSTEM;
    buf_commit(&a->body, (size_t)n);
    if (!answer_make_whole(a)) /* it shrank since fstat */
        return answer_end(a);
    return answer_flush(a);
}

/* The path is what the kernel says the descriptor is; device and inode let the edge see
 * that it opened the same file. */
static enum step
send_by_edge(const struct plain_file *f, struct answer *a, enum err *ret)
{
    char link[40], path[4096];
    struct stat st;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", f->fd);
    ssize_t n = readlink(link, path, sizeof path);
    if (n <= 0 || (size_t)n == sizeof path || path[0] != '/' || fstat(f->fd, &st) < 0)
        return STEP_MORE;
    struct frame_file frame = {
        .path = slice_of(path, (size_t)n),
        .device = st.st_dev,
        .inode = st.st_ino,
        .offset = f->offset,
        .length = f->length,
    };
    enum step step = request_file(a->request, &frame, ret);
    if (step == STEP_DONE)
        a->state = ANSWER_DONE;
    return step;
}

static enum err send_pieces(const struct plain_file *file, struct answer *a)
{
    own(mem) char *piece = mem_alloc(FILE_PIECE_BYTES);
    uint64_t at = file->offset, left = file->length;
    enum err e = ERR_NONE;

    while (left > 0 && e == ERR_NONE) {
        size_t want = left < FILE_PIECE_BYTES ? (size_t)left : FILE_PIECE_BYTES;
        ssize_t n = pread(file->fd, piece, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; /* shorter than promised: answer_end says so */
        e = answer_write(a, slice_of(piece, (size_t)n));
        at += (uint64_t)n;
        left -= (uint64_t)n;
    }
    return e != ERR_NONE || a->state == ANSWER_DONE ? e : answer_end(a);
}
